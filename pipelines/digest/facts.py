"""What the digest says, as plain values. Times are UTC.

A text that comes from clariBI is kept as it is, hostile or not: escaping is the page's work. Addresses are not: only
`https://` ones are kept.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Final, Literal

from pipelines.watch.health import SourceRow
from pipelines.watch.usage import Forecast, Point

Level = Literal["well", "warning", "critical"]
WELL: Final = "well"
WARNING: Final = "warning"
CRITICAL: Final = "critical"

LEVELS: Final[dict[str, Level]] = {"done": WELL, "later": WARNING}
"""Of a run, by its outcome."""
NAMES: Final = {"ai_credits": "AI credits", "storage_gb": "Storage, GB"}


@dataclass(frozen=True)
class Alert:
    """One thing that is wrong, or was until lately."""

    rule: str
    subject: str
    severity: str
    title: str
    text: str
    since: datetime | None
    raised_at: datetime
    cleared_at: datetime | None


@dataclass(frozen=True)
class Meter:
    """A metric of the plan: how much is used, how that came about, and how long the rest lasts."""

    metric: str
    points: list[Point]
    """Oldest first, at least one."""
    thresholds: tuple[float, ...]
    """Percent, ascending."""
    forecast: Forecast | None

    @property
    def name(self) -> str:
        """The metric as a heading."""
        return NAMES.get(self.metric, self.metric.replace("_", " ").capitalize())

    @property
    def newest(self) -> Point:
        """Where it stands."""
        return self.points[-1]

    @property
    def level(self) -> Level:
        """By the thresholds; the last one is critical."""
        crossed = [threshold for threshold in self.thresholds if self.newest.percent >= threshold]
        if not crossed:
            return WELL
        return CRITICAL if len(crossed) == len(self.thresholds) else WARNING


@dataclass(frozen=True)
class ReportLine:
    """A report that is new or failed."""

    title: str
    status: str
    at: datetime | None
    """When it was finished, or asked for while it is not."""
    url: str


@dataclass(frozen=True)
class Reports:
    """What became of reports lately."""

    since: datetime
    failed: list[ReportLine]
    new: list[ReportLine]
    """All others that were asked for or finished since then, newest first."""


@dataclass(frozen=True)
class Widget:
    """The series of a single-number widget."""

    title: str
    days: list[tuple[date, float]]
    """Oldest first, at least one; the days are UTC."""
    target: float | None

    @property
    def newest(self) -> float:
        """The number it shows today."""
        return self.days[-1][1]

    @property
    def low(self) -> float:
        """The lowest number that is drawn."""
        return min(value for _, value in self.days)

    @property
    def high(self) -> float:
        """The highest number that is drawn."""
        return max(value for _, value in self.days)

    @property
    def change(self) -> float | None:
        """Percent since the first day; None on that day, and where it began with zero."""
        (began, first), (ended, last) = self.days[0], self.days[-1]
        return 100 * (last - first) / abs(first) if first and began != ended else None


@dataclass(frozen=True)
class Board:
    """A dashboard with its widgets in their order."""

    name: str
    url: str
    last_refresh: datetime | None
    widgets: list[Widget]


@dataclass(frozen=True)
class RunLine:
    """A run that was loaded whole."""

    started_at: datetime
    took_s: float | None
    outcome: str
    requests: int
    waited_s: float
    rows: int

    @property
    def day(self) -> date:
        """The day on which it began, UTC."""
        return self.started_at.astimezone(UTC).date()

    @property
    def level(self) -> Level:
        """A run that the rate limit has stopped is gone on with by the next one."""
        return LEVELS.get(self.outcome, CRITICAL)


@dataclass(frozen=True)
class Facts:
    """Everything the page shows."""

    organization: str
    plan: str
    generated_at: datetime
    reports: Reports
    alerts: list[Alert] = field(default_factory=list)
    """The open ones, the worst first."""
    cleared: list[Alert] = field(default_factory=list)
    """Those that were cleared lately."""
    meters: list[Meter] = field(default_factory=list)
    sources: list[SourceRow] = field(default_factory=list)
    """Those in trouble first."""
    boards: list[Board] = field(default_factory=list)
    """Dashboards that have a widget to draw."""
    widgets_left_out: int = 0
    runs: list[RunLine] = field(default_factory=list)
    """The last ones, newest first."""

    @property
    def headline(self) -> str:
        """The page in a few words."""
        if not self.runs:
            return "Nothing exported yet"
        if not self.alerts:
            return "Not all well" if self.unwatched else "All well"
        return f"{len(self.alerts)} problem{'s' * (len(self.alerts) != 1)}"

    @property
    def groups(self) -> list[list[Alert]]:
        """The open alerts by rule: those with a critical one, then the small ones, so that no crowd hides them."""
        found: dict[str, list[Alert]] = {}
        for alert in self.alerts:
            found.setdefault(alert.rule, []).append(alert)
        return sorted(found.values(), key=lambda group: (group[0].severity != CRITICAL, len(group)))

    @property
    def unwatched(self) -> bool:
        """Whether something is wrong and no alert is open: the rules were not run since it began."""
        trouble = any(source.trouble for source in self.sources) or any(meter.level != WELL for meter in self.meters)
        return trouble and not self.alerts

    @property
    def last_run(self) -> RunLine | None:
        """The newest run."""
        return self.runs[0] if self.runs else None

    @property
    def busiest_day(self) -> int:
        """The most calls that the runs of one day, UTC, made."""
        calls: Counter[date] = Counter()
        for run in self.runs:
            calls[run.day] += run.requests
        return max(calls.values(), default=0)

    @cached_property
    def widget_days(self) -> tuple[date, date] | None:
        """The first and the last day of any widget: all of them are drawn over the same time."""
        days = [day for board in self.boards for widget in board.widgets for day, _ in widget.days]
        return (min(days), max(days)) if days else None
