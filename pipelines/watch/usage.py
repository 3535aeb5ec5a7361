"""Usage against what the plan allows: shares, how long the credits last, the end of the trial and of the key. Pure.

clariBI tells a counter and its limit, and no history: that is what the export has recorded, one row a run.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.watch.finding import Finding
from pipelines.watch.settings import WatchSettings
from pipelines.watch.tables import Row, records
from pipelines.watch.words import number, span, stamp

USAGE_RULES: Final = ("usage", "usage_forecast", "trial_end")
ORGANIZATION_RULES: Final = ("key_expiry",)
"""What cannot be told while the table `usage`, or `organization`, could not be read."""

RESET_BELOW: Final = 0.5
"""A counter that falls below this share of itself began anew; one that falls less was given something back."""
FEWEST_DAYS, MOST_DAYS = 3, 60
"""Points of a forecast, one a day. So many make at most 1,770 pairs."""
TOLD_AHEAD: Final = timedelta(days=30)
"""What lies further ahead is no finding yet."""
FARTHEST: Final = timedelta(days=3650)
STAGES: Final = (timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""How long before an end it is told; from the second on it is critical."""

_DAY: Final = timedelta(days=1)
_NAMES: Final = {"ai_credits": "AI credits", "storage_gb": "GB of storage"}
_TRIAL_STEP = "Take a plan before, or export everything once more: reports may be out of reach afterwards."
_KEY_STEP = (
    "Make a new one (Settings > Developer > API Keys) and set SOURCES__CLARIBI__API_KEY to it; "
    "without one no run can read clariBI."
)


@dataclass(frozen=True)
class Point:
    """What was used of a metric at one time (UTC), and what the plan allowed."""

    at: datetime
    used: float
    limit: float

    @property
    def day(self) -> date:
        """The day of it, UTC."""
        return self.at.astimezone(UTC).date()

    @property
    def percent(self) -> float:
        """The share used; more than 100 where the plan lets it."""
        return 100 * self.used / self.limit


@dataclass(frozen=True)
class Forecast:
    """When a metric is used up if it goes on like this. Rates are a day; days are UTC.

    The span covers what eight in ten pairs of days say: it is how uneven the use was, not a promise.
    """

    metric: str
    per_day: float
    per_day_low: float
    per_day_high: float
    left: float
    exhausted_on: date
    earliest: date
    latest: date | None
    """None: by the slowest days it would last for more than ten years."""
    resets_on: date
    """When the counter likely begins anew."""
    since: datetime
    """The first point that was used, UTC."""
    days: int
    """How many points, one a day."""


def look_at_usage(
    usage: pd.DataFrame, organization: pd.DataFrame, settings: WatchSettings, now: datetime
) -> list[Finding]:
    """Judge the tables `usage` and `organization` as they were at `now`."""
    found = [_share(metric, points(usage, metric), settings.thresholds(metric)) for metric in metrics(usage)]
    found.append(_runs_out(forecast(usage, now), now))
    newest = max(records(usage), key=lambda row: row["captured_at"], default={})
    trial_ends_at = newest.get("trial_ends_at")
    if trial_ends_at and trial_ends_at > now:  # a paid plan may keep the date of its trial for ever
        found.append(_ending("trial_end", "trial", "The trial", trial_ends_at, _TRIAL_STEP, now))
    key = _newest_key(records(organization))
    found.append(_ending("key_expiry", "api_key", "The API key", key.get("key_expires_at"), _KEY_STEP, now))
    return [finding for finding in found if finding]


def metrics(usage: pd.DataFrame) -> dict[str, str]:
    """Every metric with a counter, and the column of its limit: `X_used` beside `X_limit` or `max_X`."""
    names = [str(name).removesuffix("_used") for name in usage.columns if str(name).endswith("_used")]
    limits = {name: [column for column in (f"{name}_limit", f"max_{name}") if column in usage] for name in names}
    return {name: columns[0] for name, columns in limits.items() if columns}


def points(usage: pd.DataFrame, metric: str) -> list[Point]:
    """The recorded history of a metric, oldest first; rows without a counter or a limit say nothing."""
    limit = metrics(usage).get(metric)
    if limit is None:
        return []
    columns = [name for name in ("captured_at", f"{metric}_used", f"{metric}_remaining", limit) if name in usage]
    found = []
    for row in records(usage[columns].sort_values("captured_at")):
        allowed, used = _number(row[limit]), _used(row, metric, limit)
        if allowed and allowed > 0 and used is not None:  # a limit of 0 or -1 is how some plans write "without end"
            found.append(Point(row["captured_at"], used, allowed))
    return found


def forecast(usage: pd.DataFrame, now: datetime, metric: str = "ai_credits") -> Forecast | None:
    """Estimate, from what was recorded until `now`, when a metric that begins anew each month is used up.

    None while there are fewer than three days since it last began, where nothing is being used, and where nothing is
    left. The rate is the median of the slopes between any two days (Theil-Sen), so that one wild day moves it little.
    """
    month, reset = _since_reset([point for point in points(usage, metric) if point.at <= now])
    daily = list({point.day: point for point in month}.values())[-MOST_DAYS:]
    if len(daily) < FEWEST_DAYS:
        return None
    low, usual, high = (float(slope) for slope in np.percentile(_slopes(daily), [10, 50, 90]))
    newest = daily[-1]
    left = newest.limit - newest.used
    usual_end = _end(newest.at, left, usual)
    if left <= 0 or usual_end is None:
        return None
    return Forecast(
        metric=metric,
        per_day=usual,
        per_day_low=max(low, 0.0),
        per_day_high=high,
        left=left,
        exhausted_on=usual_end,
        earliest=_end(newest.at, left, high) or usual_end,
        latest=_end(newest.at, left, low),
        resets_on=_next_reset(reset, newest.day),
        since=daily[0].at,
        days=len(daily),
    )


def _share(metric: str, history: list[Point], thresholds: Iterable[float]) -> Finding | None:
    """The highest threshold that the newest point has crossed."""
    allowed = sorted(thresholds)
    newest = history[-1] if history else None
    crossed = [threshold for threshold in allowed if newest and newest.percent >= threshold]
    if newest is None or not crossed:
        return None
    reached = crossed[-1]
    *_, first = takewhile(lambda point: point.percent >= reached, reversed(history))
    name = _NAMES.get(metric, metric.replace("_", " "))
    if metric == "ai_credits":
        step = "Spend less until the counter begins anew with the billing month, or take a larger plan."
    else:
        step = "Remove what is no longer needed, or take a larger plan."
    return Finding(
        rule="usage",
        subject=metric,
        severity="critical" if reached == allowed[-1] else "warning",
        title=f"{name[0].upper()}{name[1:]}: {number(int(newest.percent))} % used",
        text=(
            f"{number(newest.used)} of {number(newest.limit)} {name} are used, "
            f"{number(reached)} % or more since {stamp(first.at)}. {step}"
        ),
        since=first.at,
    )


def _runs_out(expected: Forecast | None, now: datetime) -> Finding | None:
    """A finding only where the credits end before they come anew, and soon."""
    if expected is None or expected.exhausted_on >= expected.resets_on:
        return None
    if expected.exhausted_on > (now.astimezone(UTC) + TOLD_AHEAD).date():
        return None
    name = _NAMES.get(expected.metric, expected.metric.replace("_", " "))
    latest = f", latest {expected.latest}" if expected.latest else "; perhaps not at all"
    return Finding(
        rule="usage_forecast",
        subject=expected.metric,
        severity="warning",
        title=f"The {name} run out around {expected.exhausted_on}",
        text=(
            f"{number(expected.left)} {name} are left and about {number(expected.per_day)} are used a day "
            f"({number(expected.per_day_low)} to {number(expected.per_day_high)}, from {expected.days} days since "
            f"{stamp(expected.since)}): they end around {expected.exhausted_on} (earliest {expected.earliest}"
            f"{latest}), and the counter likely begins anew on {expected.resets_on}. Spend less until then, or take a "
            "larger plan."
        ),
    )


def _ending(rule: str, subject: str, what: str, at: datetime | None, step: str, now: datetime) -> Finding | None:
    """Something expires at a known time; `since` moves with each stage, so that each is told."""
    if at is None or at - now > STAGES[-1]:
        return None
    left = at - now
    stage = next(stage for stage in STAGES if left <= stage)
    return Finding(
        rule=rule,
        subject=subject,
        severity="critical" if stage <= STAGES[1] else "warning",
        title=f"{what} expires in {span(left)}" if left > timedelta(0) else f"{what} has expired",
        text=f"{what} {'expires' if left > timedelta(0) else 'expired'} at {stamp(at)}. {step}",
        since=at - stage,
    )


def _since_reset(history: list[Point]) -> tuple[list[Point], date | None]:
    """The points since the counter last began anew, and the day on which it did; None where that was not seen."""
    for place in range(len(history) - 1, 0, -1):
        before, after = history[place - 1], history[place]
        if after.used < RESET_BELOW * before.used:
            # The run after it saw it: where the first of a month lies between the two, it was that.
            first = after.day.replace(day=1)
            return history[place:], first if before.day < first else after.day
    return history, None


def _next_reset(reset: date | None, today: date) -> date:
    """A month, or several, after the last one that was seen; the first of a month where none was."""
    start = pd.Timestamp(reset or today.replace(day=1))
    passed = (today.year - start.year) * 12 + today.month - start.month
    ahead = (start + pd.DateOffset(months=passed + more) for more in (0, 1))
    return next(day.date() for day in ahead if day.date() > today)


def _slopes(daily: list[Point]) -> npt.NDArray[np.float64]:
    """The slopes between any two points that are at least half a day apart, per day."""
    days = np.array([(point.at - daily[0].at) / _DAY for point in daily])
    used = np.array([point.used for point in daily])
    first, second = np.triu_indices(len(daily), k=1)
    apart = days[second] - days[first]
    kept = apart >= 0.5
    slopes: npt.NDArray[np.float64] = (used[second] - used[first])[kept] / apart[kept]
    return slopes


def _end(at: datetime, left: float, per_day: float) -> date | None:
    """The day on which `left` is used up; None where that is too far to have a date."""
    if per_day <= 0 or left / per_day > FARTHEST / _DAY:
        return None
    return (at.astimezone(UTC) + _DAY * (left / per_day)).date()


def _newest_key(rows: list[Row]) -> Row:
    """The organisation's row; of several, the one whose key was made last."""
    oldest = datetime.min.replace(tzinfo=UTC)
    return max(rows, key=lambda row: row.get("key_created_at") or oldest, default={})


def _used(row: Row, metric: str, limit: str) -> float | None:
    """The counter, or the limit without what remains."""
    used = _number(row[f"{metric}_used"])
    if used is not None:
        return used
    allowed, remaining = _number(row[limit]), _number(row.get(f"{metric}_remaining"))
    return None if allowed is None or remaining is None else allowed - remaining


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
