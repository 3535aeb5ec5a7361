"""One deterministic organisation: what it holds, and how it changes night by night. Pure: no clock, no network."""

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

Kind = Literal["reports", "dashboards", "data_sources"]
Ids = Literal["int", "uuid", "short"]
Order = Literal["newest", "oldest", "none"]
Item = dict[str, Any]


class Night(NamedTuple):
    """What one night did to the reports; ids as texts."""

    added: list[str]
    finished: list[str]
    edited: list[str]
    deleted: list[str]
    returned: list[str]


class Organisation:
    """Reports, dashboards and data sources that are the same in every process with the same arguments.

    Reports are made from their number when they are asked for, so a million of them cost nothing until they are read.
    Every change raises `version`. Safe to change in one thread while a server reads it in another.

    `now` is the organisation's own time: `start` plus one day a night.
    """

    def __init__(
        self,
        reports: int = 1240,
        dashboards: int = 18,
        sources: int = 9,
        seed: int = 7,
        ids: Ids = "int",
        start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    ) -> None: ...

    version: int
    nights: int
    ids: Ids
    """May be changed at any time: the objects stay, their ids are spelled anew."""

    @property
    def now(self) -> datetime: ...

    def advance(self, nights: int = 1, activity: float = 1.0) -> list[Night]:
        """Let nights pass: reports are added, finished, edited, deleted and returned, dashboards refreshed, sources flip.

        `activity` scales how much happens; 0 moves the clock alone.
        """

    def add_report(self, **fields: Any) -> str:
        """Add one report, created now and completed unless `fields` say otherwise; give its id."""

    def edit_report(self, id: str | int, **fields: Any) -> None:
        """Set neutral fields of one report."""

    def add(self, kind: Kind, **fields: Any) -> str:
        """Add one object of any kind; give its id."""

    def edit(self, kind: Kind, id: str | int, **fields: Any) -> None:
        """Set neutral fields of one object of any kind."""

    def delete(self, kind: Kind, id: str | int) -> None:
        """Take one object away: lists leave it out, its detail answers 404."""

    def restore(self, kind: Kind, id: str | int) -> None:
        """Bring a deleted object back."""

    def put_raw(self, kind: Kind, item: Item) -> None:
        """Add an object that is served word for word, however nasty, in lists and (when it has an `id`) in detail."""

    def set_usage(self, **fields: Any) -> None:
        """Fix fields of the usage, such as `ai_credits_used`."""

    def truth(self) -> dict[str, Any]:
        """What is alive now: `reports`, `dashboards`, `data_sources` (lists, by creation), `usage`, `organization`.

        Neutral names are the column names of the exported tables; ids are texts, stamps aware datetimes in UTC, URLs without
        their signatures. A report has `insights`, a dashboard `widgets`, as they are served. A raw object appears as it was put.
        """
