"""Windows of time, half-open and in UTC, and the ledger of those that a backfill has read. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from pipelines.claribi.errors import SettingError

INSTANT = timedelta(microseconds=1)
"""The shortest time that two moments can be apart."""


class Window(NamedTuple):
    """From `since` on, and before `until`; both UTC."""

    since: datetime
    until: datetime

    def __contains__(self, at: object) -> bool:
        return isinstance(at, datetime) and self.since <= at < self.until

    def to_state(self) -> dict[str, str]:
        """What is remembered, and what a report shows."""
        return {"since": self.since.isoformat(), "until": self.until.isoformat()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The window that `to_state` put down."""
        return cls(datetime.fromisoformat(state["since"]), datetime.fromisoformat(state["until"]))


def read_moment(option: str, text: str) -> datetime:
    """A date, which means its first moment, or a timestamp, as UTC; raises `SettingError` naming the option."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingError(
            option, f"is {text!r}; it must be a date such as 2026-01-31 or a time such as 2026-01-31T06:00Z."
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def check(window: Window) -> Window:
    """Refuse a window in which nothing can be."""
    if window.until <= window.since:
        raise SettingError(
            "--until",
            f"is {window.until:%Y-%m-%d %H:%M:%S} UTC, which is not after --since "
            f"{window.since:%Y-%m-%d %H:%M:%S} UTC. The window holds what was created from --since on and before "
            "--until.",
        )
    return window


def merged(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The same moments in as few windows as can be, oldest first."""
    found: list[Window] = []
    for window in sorted(windows):
        if found and window.since <= found[-1].until:
            found[-1] = Window(found[-1].since, max(found[-1].until, window.until))
        elif window.since < window.until:
            found.append(window)
    return tuple(found)


def without(windows: Iterable[Window], taken: Iterable[Window]) -> tuple[Window, ...]:
    """The moments of `windows` that are not in `taken`, newest first."""
    left = list(merged(windows))
    for hole in taken:
        parts = ((Window(one.since, min(one.until, hole.since)), Window(max(one.since, hole.until), one.until))
                 for one in left)  # fmt: skip
        left = [part for pair in parts for part in pair if part.since < part.until]
    return tuple(sorted(left, reverse=True))


@dataclass(frozen=True)
class Ledger:
    """Which windows have been read."""

    whole: tuple[Window, ...] = ()
    """With all there is to know of each report."""
    listed: tuple[Window, ...] = ()
    """With what the list says of each report; the list leaves things out."""

    def done(self, *, details: bool) -> tuple[Window, ...]:
        """What need not be read again by whoever wants the details, or does not."""
        return self.whole if details else merged(self.whole + self.listed)

    def add(self, window: Window, *, details: bool) -> "Ledger":
        """The ledger with a further window."""
        if details:
            whole = merged((*self.whole, window))
            return Ledger(whole, tuple(sorted(without(self.listed, whole))))
        return Ledger(self.whole, tuple(sorted(without(merged((*self.listed, window)), self.whole))))

    def remove(self, window: Window) -> "Ledger":
        """The ledger as if a window had never been read."""
        return Ledger(*(tuple(sorted(without(one, [window]))) for one in (self.whole, self.listed)))

    def to_state(self) -> list[dict[str, Any]]:
        """What is remembered, oldest first."""
        told = [(one, True) for one in self.whole] + [(one, False) for one in self.listed]
        return [window.to_state() | {"details": details} for window, details in sorted(told)]

    @classmethod
    def from_state(cls, state: Iterable[Mapping[str, Any]]) -> "Ledger":
        """The ledger that `to_state` put down."""
        ledger = cls()
        for one in state:
            ledger = ledger.add(Window.from_state(one), details=one["details"])
        return ledger
