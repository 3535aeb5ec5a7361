"""Reports that failed or stopped coming, and dashboards whose numbers are old. Pure.

clariBI's schedules cannot be read, so what is scheduled is told by its rhythm: a title that has come again and again
at nearly the same distance. A title that only sometimes does so has no rhythm, and is never overdue.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from pipelines.watch.finding import Finding
from pipelines.watch.settings import WatchSettings
from pipelines.watch.tables import records
from pipelines.watch.words import label, span, stamp

REPORT_RULES: Final = ("report_failed", "report_overdue")
DASHBOARD_RULES: Final = ("dashboard_old",)
"""What cannot be told while the table `reports`, or `dashboards`, could not be read."""

REPORT_COLUMNS: Final = ("id", "title", "status", "created_at", "completed_at", "web_url", "deleted_at")
DASHBOARD_COLUMNS: Final = ("id", "name", "last_refresh", "web_url", "deleted_at")
RUN_COLUMNS: Final = ("started_at", "outcome")
"""All that is read of each table; a caller with a million reports need not hold the rest."""

TOLD_FOR: Final = timedelta(days=7)
"""A failed report is told for so long after a good run first saw it; one that stopped coming, after it was due."""
FEWEST, MOST = 4, 12
"""How often a title must have come to have a rhythm, and how many of its last times count."""
NEAR, MOSTLY = 0.15, 0.75
"""A rhythm: at least three quarters of the gaps lie within 15 % of their median."""
LATE: Final = 1.5
"""Overdue after so many usual gaps."""
GIVEN_UP: Final = 4
"""A title that stays away for so many usual gaps after it was due, and longer than a week, was stopped on purpose."""
_DAILY: Final = timedelta(days=2)
_WEEKEND: Final = {5, 6}


class Rhythm(NamedTuple):
    """How a title used to come. Times are UTC."""

    title: str
    last: datetime
    gap: timedelta
    """The median distance."""
    times: int
    """On how many days it came, of the last ones that count."""
    due: datetime
    """When it should have come at the latest."""


def look_at_reports(
    reports: pd.DataFrame,
    dashboards: pd.DataFrame,
    export_runs: pd.DataFrame,
    settings: WatchSettings,
    now: datetime,
) -> list[Finding]:
    """Judge `reports` and `dashboards` as they were at `now`; `export_runs` tells which failures are news."""
    seen = _with(reports, REPORT_COLUMNS, "created_at", "completed_at", "deleted_at")
    runs = _with(export_runs, RUN_COLUMNS, "started_at")
    return [
        *_failed(seen, runs, now),
        *(_overdue(rhythm) for rhythm in rhythms(seen) if _missed(rhythm, now)),
        *_old(_with(dashboards, DASHBOARD_COLUMNS, "last_refresh", "deleted_at"), settings, now),
    ]


def rhythms(reports: pd.DataFrame) -> list[Rhythm]:
    """Every title that comes regularly, whether or not it is late; deleted and failed reports came too."""
    came = reports.loc[reports["title"].notna() & reports["created_at"].notna(), ["title", "created_at"]]
    came = came.sort_values("created_at")
    # One a day: what is made twice on a morning is one arrival.
    days = came.assign(day=came["created_at"].dt.floor("D")).drop_duplicates(["title", "day"])
    often = days[days.groupby("title")["title"].transform("size") >= FEWEST]
    found = (
        _rhythm(str(title), [at.to_pydatetime() for at in times.iloc[-MOST:]])
        for title, times in often.groupby("title", sort=True)["created_at"]
    )
    return [rhythm for rhythm in found if rhythm]


def _rhythm(title: str, times: list[datetime]) -> Rhythm | None:
    """Tell the rhythm of arrivals in their order; None where they have none."""
    gaps = np.array([(after - before).total_seconds() for before, after in pairwise(times)])
    usual = float(np.median(gaps))
    if (abs(gaps - usual) <= NEAR * usual).mean() < MOSTLY:
        return None
    gap = timedelta(seconds=usual)
    due = times[-1] + LATE * gap
    off = _WEEKEND - {at.weekday() for at in times}
    while gap < _DAILY and due.weekday() in off:  # a daily one that never comes on a Sunday is not late then
        due += timedelta(days=1)
    return Rhythm(title, times[-1], gap, len(times), due)


def _missed(rhythm: Rhythm, now: datetime) -> bool:
    """Late, and not for so long that it must have been stopped on purpose."""
    return rhythm.due < now <= rhythm.due + max(TOLD_FOR, GIVEN_UP * rhythm.gap)


def _overdue(rhythm: Rhythm) -> Finding:
    expected = rhythm.last + rhythm.gap
    return Finding(
        rule="report_overdue",
        subject=rhythm.title,
        severity="warning",
        title=f"Report {label(rhythm.title, 'without a title')} has not come",
        text=(
            f"It came every {span(rhythm.gap)} ({rhythm.times} times were looked at), the last time at "
            f"{stamp(rhythm.last)}; the next one was due around {stamp(expected)}. Look at its schedule in clariBI: it "
            "may be paused, failed, or renamed."
        ),
        since=expected,
    )


def _failed(reports: pd.DataFrame, runs: pd.DataFrame, now: datetime) -> Iterator[Finding]:
    """Each report that failed, for a week after a good run could first see it, or until its title completes again."""
    failed = reports[(reports["status"] == "failed") & reports["deleted_at"].isna()]
    failed = failed.assign(at=failed["completed_at"].fillna(failed["created_at"]))
    failed = failed[failed["at"] > _news_since(runs, now)].sort_values("at")
    completed = reports[(reports["status"] == "completed") & reports["title"].isin(set(failed["title"].dropna()))]
    came_again = completed.groupby("title")["created_at"].max()
    mended = came_again.reindex(failed["title"]).set_axis(failed.index) > failed["created_at"]
    for row in records(failed[~mended]):
        where = f"Open it in clariBI ({row['web_url']})" if row["web_url"] else "Open it in clariBI"
        yield Finding(
            rule="report_failed",
            subject=f"reports/{row['id']}",
            severity="warning",
            title=f"Report {label(row['title'], row['id'])} failed",
            text=(
                f"clariBI could not make it at {stamp(row['at'])}. {where} to see why; often a data source is not "
                "connected or the AI credits are spent. This is told until the title completes again, for a week at "
                "most."
            ),
            since=row["at"],
        )


def _news_since(runs: pd.DataFrame, now: datetime) -> pd.Timestamp:
    """The last good run that is a week old: what failed before it was seen by it, a week ago or longer.

    Without one, a week ago: what failed before the first run is history.
    """
    week_ago = pd.Timestamp(now - TOLD_FOR)
    good = runs.loc[(runs["outcome"] == "done") & (runs["started_at"] <= week_ago), "started_at"]
    return week_ago if good.empty else pd.Timestamp(good.max())


def _old(dashboards: pd.DataFrame, settings: WatchSettings, now: datetime) -> Iterator[Finding]:
    """Each dashboard that was not refreshed for too long; one that tells no time is passed over."""
    age_h = (pd.Timestamp(now) - dashboards["last_refresh"]).dt.total_seconds() / 3600
    for row in records(dashboards[(age_h > settings.dashboard_after_h) & dashboards["deleted_at"].isna()]):
        at: datetime = row["last_refresh"]
        where = f"Refresh it in clariBI ({row['web_url']})" if row["web_url"] else "Refresh it in clariBI"
        yield Finding(
            rule="dashboard_old",
            subject=f"dashboards/{row['id']}",
            severity="warning",
            title=f"Dashboard {label(row['name'], row['id'])} shows numbers that are {span(now - at)} old",
            text=(
                f"It was last refreshed at {stamp(at)}. {where}, which costs AI credits, or give it a schedule there; "
                "WATCH__DASHBOARD_AFTER_H says how old a dashboard may be."
            ),
            since=at + timedelta(hours=settings.dashboard_after_h),
        )


def _with(frame: pd.DataFrame, columns: tuple[str, ...], *times: str) -> pd.DataFrame:
    """These columns alone, those that the destination does not have included; `times` as UTC, however empty."""
    found = frame.reindex(columns=list(columns))
    for name in times:
        found[name] = pd.to_datetime(found[name], utc=True)
    return found
