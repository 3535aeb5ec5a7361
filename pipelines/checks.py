"""One finding of `doctor`, and how whatever went wrong becomes one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.claribi_pipeline import explain

Result = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Check:
    """One finding. Where `says` is the sentence of an error, that ends with the next step already."""

    name: str
    result: Result
    says: str
    next_step: str = ""
    exit_code: int = 0
    """Of a failure: what a run would exit with for this reason."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same for scripts. Of clariBI's objects they hold names and types of fields, no values."""


def attempt(name: str, look: Callable[[], Check], destination: str) -> Check:
    """Make one check; what a user can act on becomes a finding, a bug is raised."""
    try:
        return look()
    except Exception as error:
        reason = explain(error, destination)
        if reason is None:
            raise
        return Check(name, "fail", str(reason), exit_code=reason.exit_code)
