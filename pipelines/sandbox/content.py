"""What the organisation's objects say: made from their number alone, in neutral names. Pure."""

from datetime import datetime, timedelta
from typing import Any

from pipelines.sandbox.draw import Draw

Item = dict[str, Any]
SITE = "https://claribi.example"
FILES = "https://files.claribi.example"

OPEN = ("pending", "generating")
"""States of a report that is not finished."""
FINAL = ("completed",) * 17 + ("failed",) * 2 + ("cancelled",)
"""States in which reports end, as often as they do."""

SERIES = (("Daily sales", 1), ("Weekly review", 7))
"""Titles of scheduled reports, and every how many nights they come."""

_RHYTHMS = (("Daily", 1), ("Weekly", 7), ("Weekly", 7), ("Monthly", 30), ("Quarterly", 91))
_TOPICS = (
    ("revenue", "Where the money came from, and where it went missing.", "EUR"),
    ("churn", "Who left, and what they had asked support for before they did.", "%"),
    ("pipeline", "Deals that moved, deals that only pretended to.", "deals"),
    ("ad spend", "Which campaigns paid for themselves.", "EUR"),
    ("support load", "Tickets by hour; bring coffee on Mondays.", "tickets"),
    ("stock cover", "Days until each shelf is empty.", "days"),
    ("sign-ups", "New accounts by channel, bots removed.", "accounts"),
    ("returns", "What came back, and the reasons people gave.", "parcels"),
    ("cash flow", "In, out, and the gap between the two.", "EUR"),
    ("page speed", "How long visitors waited, by country.", "ms"),
    ("NPS", "What customers would tell a friend, and why.", "points"),
    ("hiring", "Open roles, days open, and offers accepted.", "roles"),
)
_REGIONS = ("EMEA", "DACH", "Nordics", "North America", "LATAM", "APAC", "Iberia", "all regions")
_SPECIALS = (
    "Board pack – {quarter}",
    "Did the price change in March cost us customers?",
    "Why was {region} so quiet last week? 🤔",
    "{quarter} forecast: optimistic, likely, gulp",
    "Café & bakery chain: opening hours vs. sales",
    'Everything tagged "urgent" – {region}',
)
_FORMATS = ("pdf", "pdf", "pdf", "xlsx", "pptx")
_MOVES = ("rose", "fell", "was flat, moving", "recovered", "slipped")
_ADVICE = (
    "Move a tenth of the budget to the channel that already pays for itself.",
    "Ask the ten customers who left last what would have kept them.",
    "Check the import of the 14th: 312 rows carry no country.",
    "Do nothing this week; the dip is the public holiday.",
    "Raise the reorder level before the spring campaign starts.",
)

_SOURCES = (
    ("Production PostgreSQL", "database", "postgresql", "database"),
    ("Google Analytics", "api", "google_analytics", "google_analytics"),
    ("Stripe payments", "api", "stripe", "api"),
    ("Budget 2026.xlsx", "file", "xlsx", "file"),
    ("Warehouse (BigQuery)", "cloud", "bigquery", "bigquery_query"),
    ("HubSpot", "api", "hubspot", "api"),
    ("Google Ads", "api", "google_ads", "google_ads"),
    ("Returns log – Łódź", "file", "csv", "file"),
    ("Support desk", "api", "jira", "jira"),
    ("Meta Ads", "api", "meta_ads", "meta_ads"),
    ("ERP replica", "database", "mysql", "database"),
    ("Team wiki", "api", "confluence", "confluence"),
    ("Shared drive", "cloud", "google_drive", "google_drive"),
)
_FIRST_STATUS = {6: "error", 8: "paused"}
_NEVER_SYNCED = 4

_DASHBOARDS = (
    "Executive overview",
    "Revenue",
    "Support desk",
    "Warehouse & shipping",
    "Marketing: what works",
    "Customer health",
    "Cash & runway",
    "People",
    "Web performance",
    "Lobby screen",
)
_KPIS = (
    ("Net revenue", 2_000_000),
    ("New customers", 900),
    ("Open tickets", 400),
    ("Days of stock", 90),
    ("Orders shipped", 20_000),
    ("Refunds", 30_000),
    ("Active users", 60_000),
)


def source_name(number: int) -> str:
    """The name of data source `number`; the quality metrics of reports use it as their key."""
    name = _SOURCES[(number - 1) % len(_SOURCES)][0]
    turn = (number - 1) // len(_SOURCES)
    return f"{name} {turn + 1}" if turn else name


def report(draw: Draw, object_id: str, created_at: datetime, sources: int, known: Item) -> Item:
    """One report; what is `known` about it (neutral names) wins over what is drawn."""
    topic, question, unit = draw.pick(_TOPICS)
    region = draw.pick(_REGIONS)
    status = known.get("status") or draw.pick(FINAL)
    output_format = draw.pick(_FORMATS)
    day = created_at.date()
    rhythm, days = draw.pick(_RHYTHMS)
    title = f"{rhythm} {topic} – {region}"
    if draw.below(12) == 0:
        title = draw.pick(_SPECIALS).format(region=region, quarter=f"Q{(day.month + 2) // 3} {day.year}")
    done = status not in OPEN
    completed = status == "completed"
    made = {
        "id": object_id,
        "title": title,
        "status": status,
        "description": question,
        "output_format": output_format,
        "created_at": created_at,
        "completed_at": created_at + timedelta(seconds=20 + draw.below(600)) if done else None,
        "period_start": day - timedelta(days=days),
        "period_end": day - timedelta(days=1),
        "insights": _insights(draw, topic, region, unit) if completed else [],
        "data_quality_metrics": _quality(draw, sources) if completed else {} if done else None,
        "web_url": f"{SITE}/reports/{object_id}",
        "download_url": f"{FILES}/reports/{object_id}.{output_format}" if completed else None,
    }
    return made | known if known else made


def scheduled(title: str, at: datetime, days: int) -> Item:
    """What sets a scheduled report apart: its title, and the `days` before `at` that it is about."""
    day = at.date()
    return {"title": title, "period_start": day - timedelta(days=days), "period_end": day - timedelta(days=1)}


def _insights(draw: Draw, topic: str, region: str, unit: str) -> list[Item]:
    change, value = draw.below(230) / 10, draw.below(2_000_000)
    blocks: list[Item] = [
        {
            "type": "summary",
            "title": "Executive summary",
            "text": f"In {region}, {topic} {draw.pick(_MOVES)} {change} % against the period before.",
            "confidence": (70 + draw.below(30)) / 100,
        },
        {"type": "metric", "title": topic, "text": f"{value:,} {unit}", "value": value, "unit": unit},
        {"type": "recommendation", "title": "What to do", "text": draw.pick(_ADVICE)},
    ]
    return blocks[: 1 + draw.below(3)]


def _quality(draw: Draw, sources: int) -> Item:
    used = {1 + draw.below(sources) for _ in range(2)} if sources else set()
    return {
        source_name(number): {"completeness": (900 + draw.below(100)) / 1000, "rows": draw.below(900_000)}
        for number in sorted(used)
    }


def dashboard(draw: Draw, object_id: str, created_at: datetime, refreshed_at: datetime, known: Item) -> Item:
    """One dashboard with its widgets as of `refreshed_at`; one in nine was never refreshed and shows nothing."""
    number = draw.below(900)
    name = f"{draw.pick(_DASHBOARDS)} – {draw.pick(_REGIONS)}"
    blank = number % 9 == 0
    made = {
        "id": object_id,
        "name": name,
        "description": f"{name}, refreshed by hand" if number % 2 else None,
        "status": "draft" if blank else "active",
        "is_public": number % 5 == 0,
        "created_at": created_at,
        "updated_at": refreshed_at,
        "last_refresh": None if blank else refreshed_at,
        "web_url": f"{SITE}/dashboards/{object_id}",
        "widgets": [] if blank else widgets(draw, refreshed_at),
    }
    return made | known


def widgets(draw: Draw, at: datetime) -> list[Item]:
    """Two or three single numbers with targets, a line over a week, and a small table."""
    first = draw.below(len(_KPIS))
    shown: list[Item] = []
    for place in range(1, 3 + draw.below(2)):
        title, high = _KPIS[(first + place) % len(_KPIS)]
        value = 1 + draw.below(high)
        target = None if place == 3 else round(value * draw.between(0.8, 1.5))
        shown.append({"id": f"w_{place}", "type": "kpi", "title": title, "value": value, "target": target})
    series = [{"x": (at - timedelta(days=6 - day)).date(), "y": draw.below(9_000)} for day in range(7)]
    shown.append({"id": f"w_{len(shown) + 1}", "type": "line_chart", "title": "The last seven days", "series": series})
    rows = [[region, draw.below(9_000)] for region in _REGIONS[:3]]
    shown.append(
        {
            "id": f"w_{len(shown) + 1}",
            "type": "table",
            "title": "By region",
            "columns": ["region", "value"],
            "rows": rows,
        }
    )
    return shown


def moved(draw: Draw, shown: list[Item], at: datetime) -> list[Item]:
    """The same widgets after a refresh: numbers drift a little, the line goes on to `at`."""
    after = []
    for widget in shown:
        new = dict(widget)
        if widget["type"] == "kpi":
            new["value"] = round(widget["value"] * draw.between(0.93, 1.08))
        elif "series" in widget:
            new["series"] = [*widget["series"][1:], {"x": at.date(), "y": draw.below(9_000)}]
        after.append(new)
    return after


def data_source(
    draw: Draw, object_id: str, number: int, created_at: datetime, synced_at: datetime, known: Item
) -> Item:
    """One data source; of the first nine, one is broken, one paused and one was never synced."""
    _, type_, engine, source_type = _SOURCES[(number - 1) % len(_SOURCES)]
    status = _FIRST_STATUS.get(number, "active")
    stale = timedelta(days=0 if status == "active" else 3 + draw.below(30))
    made = {
        "id": object_id,
        "name": source_name(number),
        "type": type_,
        "engine": engine,
        "source_type": source_type,
        "status": status,
        "last_synced_at": None if number == _NEVER_SYNCED else synced_at - stale - timedelta(minutes=draw.below(600)),
        "created_at": created_at,
        "row_count": None if type_ == "api" else draw.below(5_000_000),
    }
    return made | known
