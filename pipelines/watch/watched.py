"""What one look has found, as scripts and screens read it. Times are UTC, ISO 8601."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """What is wrong now, or was until now."""

    rule: str
    subject: str
    severity: str
    title: str
    text: str
    since: str | None
    raised_at: str


@dataclass(frozen=True)
class Watched:
    """What the rules, and the telling, came to."""

    looked_at: str
    """When clariBI was last read."""
    problems: list[Problem] = field(default_factory=list)
    """All that is wrong, the worst first."""
    cleared: list[Problem] = field(default_factory=list)
    """What was wrong until now, and is no more."""
    left_out: list[str] = field(default_factory=list)
    """Resources that the last run was not to read: what was wrong with them counts as it was."""
    not_read: list[str] = field(default_factory=list)
    """Resources that it was to read and could not: nobody can tell how they are."""
    told: bool = False
    """Whether a message reached somebody."""
    failed: bool = False
    """Whether a message did not arrive somewhere."""
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 where a message did not arrive, 6 with problems, 4 where nobody can tell whether there are any, else 0."""
        if self.failed:
            return 1
        return 6 if self.problems else 4 if self.not_read else 0

    def to_json(self) -> dict[str, Any]:
        """Give it in the shape of `watch --json`."""
        return {"exit_code": self.exit_code, **asdict(self)}

    def is_new(self, problem: Problem) -> bool:
        """Whether this look was the first to find it."""
        return problem.raised_at == self.looked_at
