"""Reads back what a destination holds, whatever kind it is, so that a run can be compared with it."""

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import dlt
import pandas as pd
import pyarrow as pa

from destinations.table_store import TableStoreClient
from pipelines.claribi.columns import json_bytes

CHUNK_ROWS = 50_000

ARROW_TYPES = {
    "text": pa.string(),
    "json": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}

DUCKDBS = {"duckdb", "motherduck"}
"""Destinations that stream Arrow, and give JSON back letter by letter; others write it in an order of their own."""


class DestinationRows:
    """The `Held` of the source, over a dlt pipeline that has been synchronised."""

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self._pipeline = pipeline
        self._client = pipeline.destination_client()
        # As it is now: dlt reads it from disk each time, and a run is compared with what was there before it.
        self._tables: dict[str, Any] = pipeline.default_schema.tables if pipeline.default_schema_name else {}

    def kinds(self, table: str) -> dict[str, str]:
        """The columns that the destination has already and their kinds, dlt's `data_type`s."""
        columns = self._tables.get(table, {}).get("columns", {})
        return {
            name: column["data_type"]
            for name, column in columns.items()
            if "data_type" in column and not name.startswith("_")
        }

    def takes(self, table: str) -> frozenset[str] | None:
        """The columns that the destination was told to take; None: all of them; an empty set: not this table."""
        return self._client.takes(table) if isinstance(self._client, TableStoreClient) else None

    def read(self, table: str, columns: Sequence[str] = ()) -> pa.RecordBatchReader | None:
        """All rows of a table, typed, in pieces; None when the destination has no such table yet.

        `columns` leaves out all others; those that the destination was told not to take are missing.
        """
        kinds = self.kinds(table)
        kinds = {name: kinds[name] for name in columns} if columns else kinds
        if not kinds:
            return None
        if isinstance(self._client, TableStoreClient):
            rows = self._client.read_table(table)
            return _chosen(rows, columns) if rows and columns else rows
        schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in kinds.items()])
        return pa.RecordBatchReader.from_batches(schema, self._pieces(table, kinds, schema))

    def frame(self, table: str, columns: Sequence[str] = ()) -> pd.DataFrame:
        """A table, or some of its columns, as pandas; an empty frame when the destination has no such table."""
        there = self.kinds(table)
        names = [name for name in columns or there if name in there]
        rows = self.read(table, names) if names else None
        return pd.DataFrame() if rows is None else rows.read_all().to_pandas()

    def counts(self, tables: Collection[str]) -> dict[str, int | None]:
        """How many rows each table has; None where there is no such table."""
        found: dict[str, int | None] = dict.fromkeys(tables)
        there = [table for table in tables if self.kinds(table)]
        if isinstance(self._client, TableStoreClient):
            for table in there:
                rows = self._client.read_table(table)
                found[table] = None if rows is None else sum(len(piece) for piece in rows)
        elif there:
            with self._pipeline.sql_client() as client:
                for table in there:
                    query = f"SELECT count(*) FROM {client.make_qualified_table_name(table)}"
                    (row,) = client.execute_sql(query) or [(0,)]
                    found[table] = int(row[0])
        return found

    def facts(self) -> list[str]:
        """What the last load did that only the destination can tell, as a sentence for the run report."""
        facts: dict[str, int] = self._client.facts() if isinstance(self._client, TableStoreClient) else {}
        told = [f"{count:,} {name.replace('_', ' ')}" for name, count in facts.items() if count]
        return [f"{self._pipeline.destination.destination_name}: {', '.join(told)}."] if told else []

    def _pieces(self, table: str, kinds: dict[str, str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._pipeline.sql_client() as client:
            names = ", ".join(client.escape_column_name(name) for name in kinds)
            query = f"SELECT {names} FROM {client.make_qualified_table_name(table)}"
            if self._pipeline.destination.destination_name in DUCKDBS:
                # Not through dlt's cursor, which holds the whole result in memory.
                for piece in client.native_connection.sql(query).to_arrow_reader(CHUNK_ROWS):
                    yield from pa.Table.from_batches([piece]).cast(schema).to_batches()
                return
            with client.execute_query(query) as cursor:
                while found := cursor.fetchmany(CHUNK_ROWS):
                    columns = zip(zip(*found, strict=True), kinds.values(), strict=True)
                    yield pa.record_batch([_array(values, kind) for values, kind in columns], schema=schema)


def _chosen(rows: pa.RecordBatchReader, columns: Sequence[str]) -> pa.RecordBatchReader:
    there = [name for name in columns if name in rows.schema.names]
    schema = pa.schema([rows.schema.field(name) for name in there])
    return pa.RecordBatchReader.from_batches(schema, (piece.select(there) for piece in rows))


def _array(values: Sequence[Any], kind: str) -> pa.Array:
    """A column of a driver's own values; JSON, parsed or not, as our frames write it: compact, with sorted keys."""
    if kind == "json":
        parsed = (json.loads(value) if isinstance(value, str) else value for value in values)
        values = [None if value is None else json_bytes(value).decode() for value in parsed]
    return pa.array(values, ARROW_TYPES[kind])
