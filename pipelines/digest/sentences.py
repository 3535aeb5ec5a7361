"""What the page and the mail say of a fact, as text without markup."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from pipelines.digest.facts import WELL, Facts, Meter, RunLine, Widget
from pipelines.watch.health import SourceRow
from pipelines.watch.words import number, span, stamp

LONGEST_LINE: Final = 140
MOST_DAYS: Final = 5
"""Days that are named before the rest is counted."""


def line(text: Any) -> str:
    """A text of anybody's in one line and not too long."""
    words = " ".join(str(text or "").split())
    return words if len(words) <= LONGEST_LINE else words[: LONGEST_LINE - 1] + "…"


def ago(facts: Facts, at: datetime) -> str:
    """How long before the page was made, such as `3 hours`."""
    return span(max(facts.generated_at - at, timedelta(0)))


def outlook(meter: Meter) -> str:
    """How long the rest lasts; empty for a metric that does not begin anew."""
    ahead = meter.forecast
    if ahead is None:
        told = meter.metric == "ai_credits" and meter.newest.used < meter.newest.limit
        return "No forecast yet: it takes three days of use since the counter began anew." if told else ""
    low, high = number(ahead.per_day_low), number(ahead.per_day_high)
    rate = f"About {number(ahead.per_day)} a day ({low} to {high}, from {ahead.days} days)."
    if ahead.exhausted_on >= ahead.resets_on:
        early = f"; on busy days they would end on {ahead.earliest}" if ahead.earliest < ahead.resets_on else ""
        return f"{rate} They last until the counter begins anew on {ahead.resets_on}{early}."
    latest = f"and {ahead.latest}" if ahead.latest else "and never"
    return (
        f"{rate} Used up around {ahead.exhausted_on} (between {ahead.earliest} {latest}); "
        f"the counter begins anew on {ahead.resets_on}."
    )


def usage_title(meter: Meter) -> str:
    """The chart of a metric in words."""
    first, newest = meter.points[0], meter.newest
    return (
        f"{meter.name}: {number(newest.used)} of {number(newest.limit)} used on {day(newest.at)}, "
        f"{number(first.used)} on {day(first.at)}. {outlook(meter)}".strip()
    )


def widget_title(widget: Widget) -> str:
    """The chart of a widget in words."""
    target = "" if widget.target is None else f", target {number(widget.target)}"
    first, last = widget.days[0][0], widget.days[-1][0]
    return (
        f"{line(widget.title)}: {number(widget.newest)} on {last}{target}; "
        f"lowest {number(widget.low)}, highest {number(widget.high)} since {first}"
    )


def runs_title(runs: Sequence[RunLine]) -> str:
    """The chart of the runs in words."""
    bad = sum(run.level != WELL for run in runs)
    days = f"{day(runs[-1].started_at)} to {day(runs[0].started_at)}"
    return f"Calls to clariBI a day, {days}: {len(runs)} runs, {bad or 'none'} of them not done to the end"


def change(widget: Widget) -> str:
    """How far a widget has moved since the first day, such as `+4.2 %`; empty where that has no meaning."""
    return "" if widget.change is None else f"{widget.change:+,.1f} %".replace("-", "−")


def state(source: SourceRow) -> str:
    """What is wrong with a source; clariBI's own word where nothing is."""
    return line(source.status or "unknown") if source.state == "ok" else source.state


def took(run: RunLine) -> str:
    """How long a run took, and how much of it was waiting for the rate limit."""
    if run.took_s is None:
        return ""
    waited = f", {number(round(run.waited_s))} s waiting" if run.waited_s >= 1 else ""
    length = f"{run.took_s:.1f} s" if run.took_s < 10 else f"{run.took_s:,.0f} s"
    return length + waited


def quiet_days(runs: Sequence[RunLine]) -> str:
    """The days without a run between the first and the last of these, as a sentence."""
    ran = {run.day for run in runs}
    first, last = min(ran), max(ran)
    days = [day for day in (first + timedelta(days=n) for n in range((last - first).days)) if day not in ran]
    if not days:
        return ""
    more = f" and {len(days) - MOST_DAYS} more" if len(days) > MOST_DAYS else ""
    return f"No run on {', '.join(map(str, days[:MOST_DAYS]))}{more}."


def day(at: datetime) -> str:
    """The day of a moment, UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def clock(at: datetime) -> str:
    """The time of day, UTC."""
    return f"{at.astimezone(UTC):%H:%M}"


def iso(at: datetime | date) -> str:
    """For machines: the `datetime` of a `<time>`."""
    return at.astimezone(UTC).isoformat(timespec="seconds") if isinstance(at, datetime) else at.isoformat()


FILTERS: Final = {
    "line": line,
    "stamp": stamp,
    "day": day,
    "clock": clock,
    "span": span,
    "number": number,
    "iso": iso,
    "outlook": outlook,
    "change": change,
    "state": state,
    "took": took,
    "quiet_days": quiet_days,
    "usage_title": usage_title,
    "widget_title": widget_title,
    "runs_title": runs_title,
}
"""What a template may call on a fact."""
