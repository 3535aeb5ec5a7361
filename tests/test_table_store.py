"""The dlt part of a store, over the simplest backend there is: tables in memory."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pyarrow as pa
import pytest
from dlt.common.configuration import configspec

from destinations.fold import POSITION, Table, quoted
from destinations.table_store import Backend, TableStore, TableStoreConfiguration


class Memory:
    """A backend that keeps Arrow tables in a dict, replaced as a whole by each commit."""

    def __init__(self) -> None:
        self.facts: dict[str, int] = {}
        self.tables: dict[str, tuple[Table, pa.Table]] = {}
        self.commits: list[str] = []

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def read(self, connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> dict[str, Table]:
        found = {}
        for name in names:
            if name in self.tables:
                table, rows = self.tables[name]
                relation = f"stored {name}"
                connection.register(relation, rows)
                found[name] = Table(quoted(relation), table.columns)
        return found

    def commit(self, connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table | None], load_id: str) -> None:
        after = dict(self.tables)
        for name, table in tables.items():
            after.pop(name, None)
            if table is not None:
                columns = ", ".join(map(quoted, table.columns))
                query = (
                    f"SELECT {columns}, row_number() OVER () AS {POSITION} "
                    f"FROM (FROM {table.relation} ORDER BY {table.order})"
                )
                after[name] = table, connection.sql(query).to_arrow_table()
        self.tables = after
        self.commits.append(load_id)


@configspec
class MemoryConfiguration(TableStoreConfiguration):
    destination_type: str = "memory"


class memory(TableStore[MemoryConfiguration]):
    spec = MemoryConfiguration

    def __init__(self, **settings: Any) -> None:
        self.kept = Memory()
        super().__init__(**settings)

    def backend(self, config: MemoryConfiguration) -> Backend:
        return self.kept


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.chdir(tmp_path)


def load(store: memory, data: Any, table: str = "reports", **hints: Any) -> None:
    """Run one load of a fresh or known pipeline; merge by id unless told otherwise."""
    pipeline = dlt.pipeline("nightly", destination=store, pipelines_dir="pipelines")
    pipeline.run(data, table_name=table, **({"primary_key": "id", "write_disposition": "merge"} | hints))


def rows(store: memory, table: str = "reports") -> list[dict[str, Any]]:
    """The stored rows in order, without dlt's own columns; none when there is no such table."""
    if table not in store.kept.tables:
        return []
    stored = store.kept.tables[table][1].to_pylist()
    return [{name: value for name, value in row.items() if not name.startswith("_dlt_")} for row in stored]


def test_a_merge_keeps_rows_in_their_place_and_puts_new_ones_last() -> None:
    store = memory()
    load(store, [{"id": 1, "title": "a"}, {"id": 2, "title": "b"}, {"id": 3, "title": "c"}])
    for _ in range(2):
        load(store, [{"id": 4, "title": "d"}, {"id": 2, "title": "B"}])
        assert rows(store) == [
            {"id": 1, "title": "a"},
            {"id": 2, "title": "B"},
            {"id": 3, "title": "c"},
            {"id": 4, "title": "d"},
        ]
