"""The two tables that watching adds, and how rows come out of a frame and go into Arrow."""

from typing import Any, Final

import pandas as pd
import pyarrow as pa

from pipelines.claribi.columns import ARROW
from pipelines.claribi.schema import Table, ours

Row = dict[str, Any]
"""One row by column; null is None, a timestamp an aware datetime in UTC."""


DATA_SOURCE_EVENTS: Final = Table(
    name="data_source_events",
    about="What happened to each data source: the history that clariBI does not keep.",
    key=("data_source_id", "at", "event"),
    columns=(
        ours("data_source_id", "text", "The data source, as `data_sources.id`."),
        ours("at", "timestamp", "When it happened, as exactly as the export can tell."),
        ours("event", "text", "appeared, error, recovered, stale, fresh, vanished, returned or paused."),
        ours("name", "text", "The source's name at that time."),
        ours("status", "text", "clariBI's own word for its state at that time."),
        ours("last_synced_at", "timestamp", "When it had last brought data."),
        ours("about", "text", "The event as a sentence."),
    ),
)

ALERTS: Final = Table(
    name="alerts",
    about="What was found wrong, since when, who was told, and when it was over.",
    key=("rule", "subject", "raised_at"),
    columns=(
        ours("rule", "text", "Which rule found it, such as usage or source_error."),
        ours("subject", "text", "What it is about, such as ai_credits or data_sources/12."),
        ours("raised_at", "timestamp", "When it was first found."),
        ours("severity", "text", "warning or critical."),
        ours("title", "text", "The finding in one line."),
        ours("text", "text", "What happened, since when, and the next step."),
        ours("since", "timestamp", "Since when it has been so; null where nobody knows."),
        ours("last_told_at", "timestamp", "When people were last told; null while nobody could be."),
        ours("cleared_at", "timestamp", "When it was no longer found; null while it is open."),
        ours("cleared_told_at", "timestamp", "When people were told of that; null while nobody could be."),
    ),
)

WATCHED: Final = (DATA_SOURCE_EVENTS, ALERTS)
"""Both, as the documentation lists them."""


def arrow(table: Table, rows: list[Row]) -> pa.Table:
    """The rows as Arrow for dlt, every column of the table in its order; key fields say that they are never null."""
    fields = [pa.field(column.name, ARROW[column.kind], column.name not in table.key) for column in table.columns]
    return pa.Table.from_pylist(rows, pa.schema(fields))


def records(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame, however it spells its nulls: None, NaN, NaT or NA."""
    plain = frame.astype(object)
    rows = plain.where(plain.notna(), None).to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
