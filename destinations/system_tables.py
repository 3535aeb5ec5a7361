"""dlt's three technical tables in a store: which loads are in, the pipelines' states, the schemas."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
from dlt.common.destination.client import StateInfo, StorageSchemaInfo
from dlt.common.json import json
from dlt.common.schema import Schema

from destinations.fold import POSITION, Columns, Table, quoted, sql_type, type_of

STATES_KEPT = 5
"""States kept for each pipeline; only the newest is ever read, the others are for a person who must look back."""

Stored = Mapping[str, Table]


class SystemTables:
    """`_dlt_loads`, `_dlt_pipeline_state` and `_dlt_version`, under the names that the schema's naming gives them."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.loads = schema.loads_table_name
        self.states = schema.state_table_name
        self.versions = schema.version_table_name
        self.names = frozenset((self.loads, self.states, self.versions))

    def load_ids(self, connection: duckdb.DuckDBPyConnection, stored: Stored) -> set[str]:
        """The loads that are in."""
        return {row[self._name("load_id")] for row in _rows(connection, stored.get(self.loads))}

    def newest_state(
        self, connection: duckdb.DuckDBPyConnection, stored: Stored, pipeline_name: str
    ) -> StateInfo | None:
        """The newest state of a pipeline whose load is in."""
        loads = self.load_ids(connection, stored)
        states = [
            StateInfo.from_normalized_mapping(row, self._schema.naming)
            for row in _rows(connection, stored.get(self.states))
        ]
        ours = [state for state in states if state.pipeline_name == pipeline_name and state._dlt_load_id in loads]
        return max(ours, key=lambda state: str(state._dlt_load_id), default=None)

    def stored_schemas(self, connection: duckdb.DuckDBPyConnection, stored: Stored) -> list[StorageSchemaInfo]:
        """Every stored schema, one version each."""
        return [
            StorageSchemaInfo.from_normalized_mapping(row, self._schema.naming)
            for row in _rows(connection, stored.get(self.versions))
        ]

    def changes(
        self, connection: duckdb.DuckDBPyConnection, stored: Stored, folded: Mapping[str, Table | None], load_id: str
    ) -> dict[str, Table]:
        """The technical tables as they are to be once the load is in; `folded` has the states that it brings."""
        changes = {self.loads: self._with_load(connection, stored, load_id)}
        if not self._is_stored(connection, stored):
            changes[self.versions] = self._with_schema(connection, stored)
        if states := folded.get(self.states):
            changes[self.states] = self._trimmed(connection, states)
        return changes

    def _with_load(self, connection: duckdb.DuckDBPyConnection, stored: Stored, load_id: str) -> Table:
        row = {
            "load_id": load_id,
            "schema_name": self._schema.name,
            "status": 0,
            "inserted_at": datetime.now(UTC),
            "schema_version_hash": self._schema.version_hash,
        }
        rows = _rows(connection, stored.get(self.loads))
        return self._table(connection, self.loads, [*rows, self._named(row)], "load_id")

    def _with_schema(self, connection: duckdb.DuckDBPyConnection, stored: Stored) -> Table:
        """The newest version of each schema: all that dlt ever asks for."""
        row = {
            "version": self._schema.version,
            "engine_version": self._schema.ENGINE_VERSION,
            "inserted_at": datetime.now(UTC),
            "schema_name": self._schema.name,
            "version_hash": self._schema.stored_version_hash,
            "schema": json.dumps(self._schema.to_dict()),
        }
        name = self._name("schema_name")
        others = [old for old in _rows(connection, stored.get(self.versions)) if old[name] != self._schema.name]
        return self._table(connection, self.versions, [*others, self._named(row)], "version_hash")

    def _is_stored(self, connection: duckdb.DuckDBPyConnection, stored: Stored) -> bool:
        hashes = [info.version_hash for info in self.stored_schemas(connection, stored)]
        return self._schema.stored_version_hash in hashes

    def _trimmed(self, connection: duckdb.DuckDBPyConnection, states: Table) -> Table:
        view, pipeline, load = quoted("trimmed states"), self._name("pipeline_name"), self._name("_dlt_load_id")
        connection.execute(
            f"""CREATE VIEW {view} AS SELECT * FROM {states.relation} QUALIFY row_number() OVER
            (PARTITION BY {quoted(pipeline)} ORDER BY {quoted(load)} DESC) <= {STATES_KEPT}"""
        )
        return Table(view, states.columns, (pipeline, load))

    def _table(self, connection: duckdb.DuckDBPyConnection, name: str, rows: list[dict[str, Any]], key: str) -> Table:
        """A few rows as a relation."""
        columns: Columns = {column: type_of(hints) for column, hints in self._schema.tables[name]["columns"].items()}
        relation = quoted(f"after {name}")
        typed = ", ".join(f"{quoted(column)} {sql_type(hints)}" for column, hints in columns.items())
        connection.execute(f"CREATE TEMP TABLE {relation} ({typed}, {POSITION} BIGINT)")
        values = [[*(row.get(column) for column in columns), place] for place, row in enumerate(rows, start=1)]
        connection.executemany(f"INSERT INTO {relation} VALUES ({', '.join('?' * (len(columns) + 1))})", values)
        return Table(relation, columns, (self._name(key),))

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        return {self._name(column): value for column, value in row.items()}

    def _name(self, identifier: str) -> str:
        return self._schema.naming.normalize_identifier(identifier)


def _rows(connection: duckdb.DuckDBPyConnection, table: Table | None) -> list[dict[str, Any]]:
    """The rows of a small table as dicts, in order."""
    if table is None:
        return []
    columns = ", ".join(map(quoted, table.columns))
    found = connection.execute(f"SELECT {columns} FROM {table.relation} ORDER BY {table.order}").fetchall()
    return [dict(zip(table.columns, row, strict=True)) for row in found]
