"""Boils the destination's tables down to the facts of the digest. Pure."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pandas as pd

from pipelines.digest.facts import Alert, Board, Facts, Meter, ReportLine, Reports, RunLine, Widget
from pipelines.watch.health import look_at_sources
from pipelines.watch.reports import REPORT_COLUMNS
from pipelines.watch.settings import WatchSettings
from pipelines.watch.tables import Row, records
from pipelines.watch.usage import forecast, metrics, points

Tables = Mapping[str, pd.DataFrame]
"""The destination's tables by name; one that does not exist yet is empty or left out."""

WINDOW: Final = timedelta(days=60)
"""How far back the usage and the widgets are drawn: two billing months."""
MOST_RUNS: Final = 30
MOST_WIDGETS: Final = 60
WORST_FIRST: Final = {"critical": 0, "warning": 1}


def gather(tables: Tables, now: datetime, settings: WatchSettings) -> Facts:
    """Boil the tables down to what was true at `now` (aware, UTC)."""
    runs = _runs(_table(tables, "export_runs"))
    lately = _lately(runs, now)
    alerts = _alerts(_table(tables, "alerts"), lately)
    still_open = [alert for alert in alerts if alert.cleared_at is None]
    usage = _since(_table(tables, "usage"), "captured_at", now - WINDOW)
    boards, left_out = _boards(tables, now)
    organization = _organization(_table(tables, "organization"))
    events = _table(tables, "data_source_events")
    sources = look_at_sources(_table(tables, "data_sources"), events, settings, now, listed_in_part=False)
    return Facts(
        organization=str(organization.get("name") or organization.get("id") or "clariBI"),
        plan=str(organization.get("plan") or ""),
        generated_at=now,
        reports=_reports(_table(tables, "reports"), lately, still_open),
        alerts=still_open,
        cleared=[alert for alert in alerts if alert.cleared_at is not None],
        meters=_meters(usage, settings, now),
        sources=sources.table,
        boards=boards,
        widgets_left_out=left_out,
        runs=runs,
    )


def _table(tables: Tables, name: str) -> pd.DataFrame:
    return tables.get(name, pd.DataFrame())


def _since(frame: pd.DataFrame, column: str, since: datetime) -> pd.DataFrame:
    """The rows whose stamp or day is not older."""
    return frame[pd.to_datetime(frame[column], utc=True) >= since] if column in frame else frame


def _lately(runs: list[RunLine], now: datetime) -> datetime:
    """Since when something is news: the run before the last one, but a day at least, however often it is run."""
    day_ago = now - timedelta(days=1)
    return min(runs[1].started_at, day_ago) if len(runs) > 1 else day_ago


def _organization(frame: pd.DataFrame) -> Row:
    """The account; of several rows the one whose key was made last."""
    oldest = datetime.min.replace(tzinfo=UTC)
    return max(records(frame), key=lambda row: row.get("key_created_at") or oldest, default={})


def _alerts(frame: pd.DataFrame, lately: datetime) -> list[Alert]:
    """The open ones and those that were cleared lately; the worst first, then the oldest."""
    if "cleared_at" in frame:
        cleared_at = pd.to_datetime(frame["cleared_at"], utc=True)
        frame = frame[cleared_at.isna() | (cleared_at >= lately)]
    alerts = [Alert(**{column.name: row[column.name] for column in fields(Alert)}) for row in records(frame)]
    return sorted(alerts, key=lambda alert: (WORST_FIRST.get(alert.severity, 2), alert.since or alert.raised_at))


def _meters(usage: pd.DataFrame, settings: WatchSettings, now: datetime) -> list[Meter]:
    """Every metric that has a counter and a limit, by day. Only the credits begin anew: only they have a forecast."""
    found = []
    for metric in metrics(usage):
        days = {point.day: point for point in points(usage, metric)}
        ahead = forecast(usage, now) if metric == "ai_credits" else None
        if days:
            found.append(Meter(metric, list(days.values()), settings.thresholds(metric), ahead))
    return found


def _reports(frame: pd.DataFrame, lately: datetime, alerts: list[Alert]) -> Reports:
    """What was asked for or finished lately; a failure that an open alert tells of is never left out."""
    if frame.empty:
        return Reports(lately, [], [])
    frame = frame.reindex(columns=list(REPORT_COLUMNS))
    told = {alert.subject.removeprefix("reports/") for alert in alerts if alert.subject.startswith("reports/")}
    stamps = pd.DataFrame({name: pd.to_datetime(frame[name], utc=True) for name in ("created_at", "completed_at")})
    newest = stamps.max(axis=1)
    failed = frame["status"].eq("failed")
    alive = frame["deleted_at"].isna()
    shown = frame.assign(at=newest)[alive & (newest.ge(lately) | (failed & frame["id"].astype(str).isin(told)))]
    lines = [_report(row) for row in records(shown.sort_values("at", ascending=False))]
    bad = [line for line in lines if line.status == "failed"]
    return Reports(lately, bad, [line for line in lines if line.status != "failed"])


def _report(row: Row) -> ReportLine:
    title = str(row.get("title") or row["id"])
    return ReportLine(title, str(row.get("status") or "unknown"), row["at"], _url(row))


def _boards(tables: Tables, now: datetime) -> tuple[list[Board], int]:
    """The dashboards with the widgets that have a history, and how many widgets were left out for their number."""
    series = _series(_since(_table(tables, "widget_history"), "captured_on", now - WINDOW))
    placed = _placed(_table(tables, "dashboard_widgets"), series)
    boards, room, left_out = [], MOST_WIDGETS, 0
    for row in sorted(records(_table(tables, "dashboards")), key=lambda row: str(row.get("name") or "").casefold()):
        widgets = placed.get(row["id"], []) if row.get("deleted_at") is None else []
        shown = widgets[:room]
        room, left_out = room - len(shown), left_out + len(widgets) - len(shown)
        if shown:
            boards.append(Board(str(row.get("name") or row["id"]), _url(row), row.get("last_refresh"), shown))
    return boards, left_out


Series = dict[tuple[str, str], list[tuple[date, float]]]


def _series(history: pd.DataFrame) -> Series:
    """The days and values of each widget, by dashboard and widget; oldest day first."""
    found: Series = {}
    for row in records(history.sort_values("captured_on") if len(history) else history):
        if row["value"] is not None:
            day = pd.Timestamp(row["captured_on"]).date()
            found.setdefault((row["dashboard_id"], row["widget_id"]), []).append((day, float(row["value"])))
    return found


def _placed(listed: pd.DataFrame, series: Series) -> dict[str, list[Widget]]:
    """The widgets of each dashboard that have a series, in their order."""
    found: dict[str, list[Widget]] = {}
    for row in sorted(records(listed), key=lambda row: row.get("position") or 0):
        if days := series.get((row["dashboard_id"], row["widget_id"])):
            widget = Widget(str(row.get("title") or row["widget_id"]), days, row.get("target"))
            found.setdefault(row["dashboard_id"], []).append(widget)
    return found


def _runs(frame: pd.DataFrame) -> list[RunLine]:
    if frame.empty:
        return []
    return [_run(row) for row in records(frame.sort_values("started_at", ascending=False).head(MOST_RUNS))]


def _run(row: Row) -> RunLine:
    ended = row.get("finished_at")
    return RunLine(
        started_at=row["started_at"],
        took_s=(ended - row["started_at"]).total_seconds() if ended else None,
        outcome=str(row.get("outcome") or "unknown"),
        requests=int(row.get("requests") or 0),
        waited_s=float(row.get("waited_s") or 0),
        rows=_row_count(row.get("rows")),
    )


def _row_count(text: Any) -> int:
    """Rows of all tables, from their JSON."""
    counts = json.loads(text) if isinstance(text, str) else text
    return sum(count for count in (counts or {}).values() if isinstance(count, int))


def _url(row: Row) -> str:
    """Where to see it in clariBI; empty for anything that a browser should not be sent to."""
    url = str(row.get("web_url") or "")
    return url if url.startswith("https://") else ""
