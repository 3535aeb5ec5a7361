"""The tables, as data: which field of clariBI's answers lands in which column, under which type.

The dialects spell some fields in several ways, so a column lists the fields it may come from, best first:
`title` or `name`, `report_period_start` or `period_start`. A dotted field is a key inside an object. A column
without fields is ours: no answer fills it.

What is not listed here is not lost: `frames` gives an unknown field a column of its own, or puts it into `extra`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["text", "timestamp", "bigint", "double", "bool", "date", "json"]
"""What a column holds; the words are dlt's `data_type`s. Timestamps are UTC, json is text with sorted keys."""

EXTRA: Final = "extra"
"""The last column of every table of clariBI objects: what fits no column, under its own name."""
DETAIL_READ: Final = "detail_read_at"
"""The column that says whether an object was read whole."""


@dataclass(frozen=True)
class Column:
    """One column; `about` is its sentence in `docs/tables.md`."""

    name: str
    kind: Kind
    about: str
    fields: tuple[str, ...]
    """Where the value comes from, best first; a dot steps into an object; empty for a column of ours."""


@dataclass(frozen=True)
class Table:
    """One table, its key and its columns in the order they are written."""

    name: str
    about: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    children: tuple["Table", ...] = ()
    detail_fields: tuple[str, ...] = ()
    """A list item that has one of these already carries its detail, so the detail need not be asked for."""
    final_statuses: frozenset[str] = frozenset()
    """An object in one of these never changes again."""
    merge_key: str | None = None
    """Of a child: all rows with one value of it are replaced together. It is the parent's id."""
    lists: tuple[str, ...] = ()
    """Of a child: the parent's fields that may hold its rows, best first."""
    name_field: str = ""
    """Of a child: the field that takes an element's name when the rows come as an object and not as a list."""
    bare_field: str = ""
    """Of a child: the field that takes an element, or the value of a name, that is no object."""
    by_day: "Table | None" = None
    """Of a child: where its rows that have a value are kept once a day."""

    def column(self, name: str) -> Column | None:
        """Look a column up by name; None for one that only the destination knows."""
        return next((column for column in self.columns if column.name == name), None)

    def fields(self, name: str) -> tuple[str, ...]:
        """Where a column's values come from; empty for one of ours."""
        column = self.column(name)
        return column.fields if column else ()

    def json_columns(self) -> list[str]:
        """Columns whose text is JSON, which a frame alone cannot tell."""
        return [column.name for column in self.columns if column.kind == "json"]


def _column(name: str, kind: Kind, about: str, *fields: str) -> Column:
    return Column(name, kind, about, fields or (name,))


def ours(name: str, kind: Kind, about: str) -> Column:
    """A column that no answer fills."""
    return Column(name, kind, about, ())


_DELETED = ours("deleted_at", "timestamp", "When the export found it gone from clariBI; null while it is there.")
_DETAIL_READ = ours(
    DETAIL_READ,
    "timestamp",
    "When all there is to know of it was read; null while its detail, which the list leaves out, is still to come.",
)
_EXTRA = ours(EXTRA, "json", "What has no column of its own: misfits, twins and unknown parts, under their own names.")

REPORT_INSIGHTS: Final = Table(
    name="report_insights",
    about="The narrative blocks of each report, in their order.",
    key=("report_id", "position"),
    merge_key="report_id",
    lists=("insights",),
    name_field="kind",
    bare_field="text",
    columns=(
        ours("report_id", "text", "The report, as `reports.id`."),
        ours("position", "bigint", "Place in the report, from 0."),
        _column("kind", "text", "What sort of block it is.", "kind", "type"),
        _column("title", "text", "The block's heading.", "title", "heading", "name"),
        _column("text", "text", "The block's words.", "text", "content", "body"),
        _EXTRA,
    ),
)

REPORTS: Final = Table(
    name="reports",
    about="Every report clariBI has generated or is about to generate.",
    key=("id",),
    children=(REPORT_INSIGHTS,),
    detail_fields=("insights",),
    final_statuses=frozenset({"completed", "failed", "cancelled"}),
    columns=(
        _column("id", "text", "clariBI's id, as text in every dialect."),
        _column("title", "text", "The report's title.", "title", "name"),
        _column("status", "text", "pending, generating, completed, failed or cancelled."),
        _column("description", "text", "What the report is about."),
        _column("output_format", "text", "The file's format, such as pdf."),
        _column("created_at", "timestamp", "When it was asked for."),
        _column("completed_at", "timestamp", "When it was finished."),
        _column("period_start", "timestamp", "Start of the time it reports on.", "report_period_start", "period_start"),
        _column("period_end", "timestamp", "End of the time it reports on.", "report_period_end", "period_end"),
        _column("data_quality_metrics", "json", "Quality of each data source when it was generated."),
        _column("web_url", "text", "Where to read it in clariBI."),
        _column("download_url", "text", "Where its file is; without the signature, so it needs a login."),
        _DELETED,
        _column("output_file_path", "text", "Where clariBI keeps its file."),
        _DETAIL_READ,
        _EXTRA,
    ),
)

WIDGET_HISTORY: Final = Table(
    name="widget_history",
    about="The value of each single-number widget, one row a day: the series that clariBI does not keep.",
    key=("dashboard_id", "widget_id", "captured_on"),
    columns=(
        ours("dashboard_id", "text", "The dashboard, as `dashboards.id`."),
        ours("widget_id", "text", "The widget, as `dashboard_widgets.widget_id`."),
        ours("captured_on", "date", "The day of the run that read it, UTC."),
        ours("value", "double", "The value on that day."),
        ours("target", "double", "The target on that day."),
    ),
)

DASHBOARD_WIDGETS: Final = Table(
    name="dashboard_widgets",
    about="The widgets of each dashboard with their latest numbers.",
    key=("dashboard_id", "widget_id"),
    merge_key="dashboard_id",
    lists=("widgets", "configuration.widgets"),
    name_field="id",
    bare_field="value",
    by_day=WIDGET_HISTORY,
    columns=(
        ours("dashboard_id", "text", "The dashboard, as `dashboards.id`."),
        _column("widget_id", "text", "clariBI's id; `#` and the position for a widget without one.", "id", "widget_id"),
        ours("position", "bigint", "Place on the dashboard, from 0."),
        _column("type", "text", "kpi, line_chart and so on.", "type", "widget_type", "kind"),
        _column("title", "text", "The widget's heading.", "title", "name"),
        _column("value", "double", "The number of a single-number widget."),
        _column("target", "double", "The number it should reach."),
        _column("series", "json", "The points of a chart."),
        _EXTRA,
    ),
)

DASHBOARDS: Final = Table(
    name="dashboards",
    about="Every dashboard.",
    key=("id",),
    children=(DASHBOARD_WIDGETS,),
    detail_fields=("widgets", "configuration"),
    columns=(
        _column("id", "text", "clariBI's id, as text in every dialect."),
        _column("name", "text", "The dashboard's name.", "name", "title"),
        _column("status", "text", "clariBI's own word for its state."),
        _column("is_public", "bool", "Whether anyone with the link can see it."),
        _column("created_at", "timestamp", "When it was made."),
        _column("updated_at", "timestamp", "When it was last edited."),
        _column(
            "last_refresh",
            "timestamp",
            "How old its numbers are: when they were last computed.",
            "last_refresh",
            "last_refreshed_at",
        ),
        _DELETED,
        _column("description", "text", "What the dashboard is about."),
        _column("web_url", "text", "Where to see it in clariBI."),
        _column("configuration", "json", "Layout and settings, without the widgets."),
        _column("analysis_metadata", "json", "What clariBI noted when it was made."),
        _DETAIL_READ,
        _EXTRA,
    ),
)

DATA_SOURCES: Final = Table(
    name="data_sources",
    about="Every data source and how fresh it is.",
    key=("id",),
    columns=(
        _column("id", "text", "clariBI's id, as text in every dialect."),
        _column("name", "text", "The source's name.", "name", "title"),
        _column(
            "type",
            "text",
            "database, api, file or cloud; where clariBI does not say, the same as `source_type`.",
            "type",
            "source_type",
        ),
        _column("engine", "text", "What it runs on: postgresql, google_analytics and so on."),
        _column("source_type", "text", "The newer dialect's word for the kind of source."),
        _column("status", "text", "active, paused, error or another word of clariBI's."),
        _column(
            "last_synced_at", "timestamp", "When it last brought data.", "last_synced_at", "last_sync_at", "last_sync"
        ),
        _column("created_at", "timestamp", "When it was connected."),
        _column("row_count", "bigint", "How many rows it holds, where clariBI knows."),
        _DELETED,
        _EXTRA,
    ),
)

_PLAN = ("subscription_tier", "plan", "tier")

USAGE: Final = Table(
    name="usage",
    about="What the plan allows and what is used of it, one row a run.",
    key=("captured_at",),
    columns=(
        ours("captured_at", "timestamp", "When the run read it."),
        _column("ai_credits_used", "bigint", "Credits spent in this billing month."),
        _column("ai_credits_limit", "bigint", "Credits the plan gives a month."),
        _column(
            "ai_credits_remaining",
            "bigint",
            "Credits left in this billing month.",
            "ai_credits_remaining",
            "organization.ai_credits_remaining",
        ),
        _column(
            "subscription_tier",
            "text",
            "The plan's name.",
            *_PLAN,
            *(f"organization.{name}" for name in _PLAN),
        ),
        _column("subscription_status", "text", "clariBI's own word for the subscription's state."),
        _column("max_users", "bigint", "Users the plan allows."),
        _column("data_sources_used", "bigint", "Data sources connected."),
        _column("data_sources_limit", "bigint", "Data sources the plan allows."),
        _column("storage_gb_limit", "double", "Storage the plan allows, GB."),
        _column("trial_ends_at", "timestamp", "When the trial ends; null without one."),
        _EXTRA,
    ),
)

ORGANIZATION: Final = Table(
    name="organization",
    about="Whose account it is, its plan, and the key that reads it.",
    key=("id",),
    columns=(
        _column("id", "text", "clariBI's id, as text in every dialect.", "organization.id", "organization_id", "id"),
        _column("name", "text", "The organisation's name.", "organization.name", "organization", "name"),
        _column(
            "plan",
            "text",
            "The plan's name.",
            "organization.plan",
            "organization.tier",
            "organization.subscription_tier",
            "plan",
            "tier",
            "subscription_tier",
        ),
        _column("key_name", "text", "The name the API key was given.", "api_key.name"),
        _column("permissions", "json", "What the key may read.", "api_key.permissions", "permissions"),
        _column("key_expires_at", "timestamp", "When the key stops working; null for never.", "api_key.expires_at"),
        _column("key_id", "text", "The key's id (not the key).", "api_key.id"),
        _column("key_created_at", "timestamp", "When the key was made.", "api_key.created_at"),
        _column("user__id", "text", "Who made the key.", "user.id"),
        _column("user__email", "text", "That user's address.", "user.email"),
        _column("user__first_name", "text", "That user's first name.", "user.first_name"),
        _column("user__last_name", "text", "That user's last name.", "user.last_name"),
        _column("user__role", "text", "That user's role, which bounds what the key can see.", "user.role"),
        _EXTRA,
    ),
)

EXPORT_RUNS: Final = Table(
    name="export_runs",
    about="One row for each run that was loaded whole.",
    key=("run_id",),
    columns=(
        _column("run_id", "text", "The run's id, as in its report."),
        _column("trigger", "text", "What started it: schedule, hand, backfill."),
        _column("started_at", "timestamp", "When it began."),
        _column("finished_at", "timestamp", "When its last page had been read."),
        _column("outcome", "text", "done, partial, refused, or later (ended early by a limit or by hand)."),
        _column("requests", "bigint", "Calls made to clariBI."),
        _column("waited_s", "double", "Seconds spent waiting for rate limits."),
        _column("rows", "json", "Rows per table."),
    ),
)


def family(table: Table) -> Iterator[Table]:
    """Give a table and those that are filled from the same answers."""
    yield table
    for child in table.children:
        yield child
        if child.by_day:
            yield child.by_day


TABLES: Final = {
    table.name: table
    for parent in (REPORTS, DASHBOARDS, DATA_SOURCES, USAGE, ORGANIZATION, EXPORT_RUNS)
    for table in family(parent)
}
"""Every table by name, in the order the documentation lists them."""
