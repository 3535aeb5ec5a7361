"""An account after thirty nights, as the tables of a destination: what a digest is made of, the same in every run."""

import json
from datetime import UTC, date, datetime, timedelta
from math import sin

import pandas as pd

from pipelines.claribi.schema import TABLES
from pipelines.watch.alerts import advance
from pipelines.watch.finding import Finding
from pipelines.watch.health import look_at_sources
from pipelines.watch.reports import look_at_reports
from pipelines.watch.settings import NEVER, WatchSettings
from pipelines.watch.tables import ALERTS, DATA_SOURCE_EVENTS
from pipelines.watch.usage import look_at_usage

NOW = datetime(2026, 11, 24, 3, 12, tzinfo=UTC)
FIRST = datetime(2026, 10, 25, 3, 10, tzinfo=UTC)
NIGHTS = [FIRST + timedelta(days=night) for night in range(31) if night != 11]
"""Thirty runs; there was none on 5 November."""
SETTINGS = WatchSettings(stale_after_h_by={"file": NEVER})
HOSTILE = "<img src=x onerror=alert(1)></svg><script>alert(2)</script>{{7*7}}"
PANDAS = {
    "text": "str",
    "timestamp": "datetime64[us, UTC]",
    "bigint": "Int64",
    "double": "float64",
    "bool": "boolean",
    "date": "datetime64[us]",
    "json": "str",
}
BOARDS = ("Revenue – all regions", "Support desk – Iberia", "Warehouse & shipping – EMEA", "Customer health – DACH")
WIDGETS = (
    "Net revenue",
    "Orders shipped",
    "Days of stock",
    "Open tickets",
    "First reply, min",
    "Churn, %",
    "Sign-ups",
    "Returned parcels",
    "Cash at bank",
    "NPS",
)
SCALES = (20_000, 4_800, 41, 260, 12.5, 1.8, 310, 75, 1_240_000, 44)


def frame(table, *rows):
    """Rows of a table with all its columns under their types, as a destination gives them back."""
    columns = {column.name: column.kind for column in table.columns}
    made = pd.DataFrame([{name: row.get(name) for name in columns} for row in rows], columns=list(columns))
    for name, kind in columns.items():
        stamped = kind in ("timestamp", "date")
        values = pd.to_datetime(made[name], utc=kind == "timestamp") if stamped else made[name]
        made[name] = values.astype(PANDAS[kind])
    return made


def empty():
    return {table.name: frame(table) for table in (*TABLES.values(), ALERTS, DATA_SOURCE_EVENTS)}


def thirty_nights(title=None):
    """Everything that a digest shows; `title` takes the place of every text that comes from clariBI."""
    rows = {
        "organization": [{"id": "1", "name": title or "Morgenrot Coffee Roasters", "plan": title or "enterprise"}],
        "usage": [_usage(at) for at in NIGHTS],
        "data_sources": [_source(number, *given, title) for number, given in enumerate(_SOURCES)],
        "data_source_events": [_event("3", 142, "error"), _event("5", 51, "paused")],
        "reports": [_report(number, title) for number in range(24)],
        "dashboards": [_dashboard(number, title) for number in range(len(BOARDS))],
        "dashboard_widgets": [_widget(board, place, title) for board in range(4) for place in range(10)],
        "widget_history": [
            _value(board, place, day) for board in range(4) for place in range(10) for day in range(len(NIGHTS))
        ],
        "export_runs": [_run(night, at) for night, at in enumerate(NIGHTS)],
    }
    tables = {**TABLES, "alerts": ALERTS, "data_source_events": DATA_SOURCE_EVENTS}
    told = empty() | {name: frame(tables[name], *given) for name, given in rows.items()}
    return told | {"alerts": frame(ALERTS, *_alerts(told))}


def _usage(at):
    start = datetime(2026, 10, 1, tzinfo=UTC) if at.month == 10 else datetime(2026, 11, 1, tzinfo=UTC)
    days = (at - start) / timedelta(days=1)
    used = round((165 if at.month == 10 else 184) * days + 90 * sin(days))
    return {
        "captured_at": at,
        "ai_credits_used": used,
        "ai_credits_limit": 5000,
        "ai_credits_remaining": 5000 - used,
        "data_sources_used": 8 + (days > 12),
        "data_sources_limit": 25,
        "max_users": 100,
    }


_SOURCES = (
    ("Production PostgreSQL", "database", "postgresql", "active", 2.6),
    ("Google Analytics", "api", "google_analytics", "active", 5.1),
    ("Stripe payments", "api", "stripe", "active", 31.5),
    ("HubSpot", "api", "hubspot", "error", 141),
    ("Budget 2026.xlsx", "file", "xlsx", "active", None),
    ("Returns log – Łódź", "file", "csv", "paused", 700),
    ("Warehouse (BigQuery)", "cloud", "bigquery", "active", 1.2),
    ("Google Ads", "api", "google_ads", "active", 3.8),
    ("Support desk", "api", "jira", "active", 4.4),
)


def _source(number, name, kind, engine, status, age_h, title):
    synced = None if age_h is None else NOW - timedelta(hours=age_h)
    return {
        "id": str(number),
        "name": title or name,
        "type": kind,
        "engine": title or engine,
        "status": "error" if title else status,
        "last_synced_at": synced,
        "created_at": FIRST,
    }


def _event(source, hours_ago, event):
    return {"data_source_id": source, "at": NOW - timedelta(hours=hours_ago), "event": event}


_REPORTS = (
    "Daily revenue – EMEA",
    "Weekly churn – DACH",
    "Board pack – 2026 Q4",
    "Why was Iberia so quiet last week? 🤔",
    'Everything tagged "urgent" – Nordics',
    "Café & bakery chain: opening hours vs. sales",
    "Monthly cash flow",
)


def _report(number, title):
    at = NOW - timedelta(hours=2 + 3.1 * number)
    status = "failed" if number in (2, 5, 20) else "generating" if number == 0 else "completed"
    return {
        "id": str(number),
        "title": title or _REPORTS[number % len(_REPORTS)],
        "status": status,
        "created_at": at,
        "completed_at": at + timedelta(minutes=4) if status == "completed" else None,
        "web_url": "javascript:alert(3)" if title else f"https://claribi.example/reports/{number}",
    }


def _dashboard(number, title):
    return {
        "id": str(number),
        "name": title or BOARDS[number],
        "last_refresh": NOW - timedelta(hours=3 + 40 * number),
        "web_url": title or f"https://claribi.example/dashboards/{number}",
    }


def _widget(board, place, title):
    return {
        "dashboard_id": str(board),
        "widget_id": f"w_{place}",
        "position": place,
        "type": "kpi",
        "title": title or WIDGETS[(board + place) % 10],
        "target": SCALES[(board + place) % 10] * 1.1 if place % 3 else None,
    }


def _value(board, place, night):
    scale, seed = SCALES[(board + place) % 10], board * 10 + place
    value = scale * (1 + 0.004 * night * sin(seed) + 0.09 * sin(night * 0.9 + seed) + 0.04 * sin(night * 2.3 * seed))
    return {
        "dashboard_id": str(board),
        "widget_id": f"w_{place}",
        "captured_on": date(2026, 10, 25) + timedelta(days=night),
        "value": round(value, 2 if scale < 100 else 0),
    }


def _alerts(tables):
    """What the rules find at the end of these nights, and one alert that is well again."""
    sources = look_at_sources(tables["data_sources"], tables["data_source_events"], SETTINGS, NOW, listed_in_part=False)
    reports = look_at_reports(tables["reports"], tables["dashboards"], tables["export_runs"], SETTINGS, NOW)
    usage = look_at_usage(tables["usage"], tables["organization"], SETTINGS, NOW)
    old = Finding(
        "source_stale", "data_sources/7", "warning", 'Data source "Google Ads" has not synced for 30 hours', ""
    )
    raised = advance(tables["alerts"], [old], NOW - timedelta(days=2), SETTINGS.remind_after_h)
    now = advance(frame(ALERTS, *raised.rows), [*sources.findings, *usage, *reports], NOW, SETTINGS.remind_after_h)
    return now.rows


def _run(night, at):
    outcome = {7: "partial", 19: "later"}.get(night, "done")
    calls = 96 if night == 0 else 17 + round(9 * abs(sin(night))) + 40 * (night % 7 == 0)
    waited = 212.0 if outcome == "later" else 0.0
    return {
        "run_id": f"run-{night}",
        "trigger": "schedule",
        "started_at": at,
        "finished_at": at + timedelta(seconds=4 + calls / 9 + waited),
        "outcome": outcome,
        "requests": calls,
        "waited_s": waited,
        "rows": json.dumps({"reports": 31 + night, "report_insights": 44, "usage": 1}),
    }
