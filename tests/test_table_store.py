"""The dlt part of a store, over the simplest backend there is: tables in memory. DuckDB through dlt is the judge."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pyarrow as pa
import pytest
from dlt.common.configuration import configspec
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.helpers import pipeline_drop
from pyarrow import parquet

from destinations import csv_files
from destinations.errors import ColumnTypeChanged, NestedTable, OutOfDate, UnknownSelection
from destinations.fold import POSITION, Table, quoted
from destinations.table_store import COMMIT_TRIES, Backend, TableStore, TableStoreConfiguration, by_table


class Memory:
    """A backend that keeps Arrow tables in a dict, replaced as a whole by each commit."""

    def __init__(self) -> None:
        self.facts: dict[str, int] = {}
        self.tables: dict[str, tuple[Table, pa.Table]] = {}
        self.commits: list[str] = []
        self.before_commit: Callable[[], None] = lambda: None
        self.after_commit: Callable[[], None] = lambda: None

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
        self.before_commit()
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
        self.after_commit()


@configspec
class MemoryConfiguration(TableStoreConfiguration):
    destination_type: str = "memory"


class memory(TableStore[MemoryConfiguration]):
    spec = MemoryConfiguration

    def __init__(self, **settings: Any) -> None:
        self.kept = Memory()
        super().__init__(**settings)

    def backend(self, config: MemoryConfiguration) -> Backend:  # noqa: ARG002 - there is nothing to configure
        return self.kept


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.chdir(tmp_path)


MERGE = {"primary_key": "id", "write_disposition": "merge"}


def pipeline(destination: Any, working_folder: str = "work") -> dlt.Pipeline:
    return dlt.pipeline("nightly", destination=destination, dataset_name="held", pipelines_dir=working_folder)


def load(destination: Any, data: Any, table: str = "reports", refresh: Any = None, **hints: Any) -> None:
    """One load, into the working folder that the last one left."""
    hints = hints or MERGE
    pipeline(destination).run(data, table_name=table, loader_file_format="parquet", refresh=refresh, **hints)


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without dlt's own columns."""
    return [{name: value for name, value in row.items() if not name.startswith("_dlt_")} for row in rows]


def rows(store: memory, table: str = "reports") -> list[dict[str, Any]] | None:
    """The stored rows in order; None when there is no such table."""
    return plain(store.kept.tables[table][1].to_pylist()) if table in store.kept.tables else None


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


def test_rows_state_schema_and_load_row_go_in_with_one_commit() -> None:
    store = memory()
    load(store, [{"id": 1}])
    assert set(store.kept.tables) == {"reports", "_dlt_loads", "_dlt_pipeline_state", "_dlt_version"}
    assert len(store.kept.commits) == 1
    (mark,) = store.kept.tables["_dlt_loads"][1].to_pylist()
    assert (mark["load_id"], mark["schema_name"], mark["status"]) == (store.kept.commits[0], "nightly", 0)


def test_the_state_comes_back_from_the_store_alone() -> None:
    store, asked = memory(), []

    @dlt.resource(**MERGE)
    def reports() -> Iterator[Any]:
        mark = dlt.current.resource_state().setdefault("mark", [0])
        asked.append(mark[0])
        mark[0] += 1
        yield [{"id": mark[0]}]

    for runner in ("first", "second", "third"):
        pipeline(store, working_folder=runner).run(reports())
    assert asked == [0, 1, 2]
    assert rows(store) == [{"id": 1}, {"id": 2}, {"id": 3}]


def test_an_empty_store_says_so_to_dlt() -> None:
    client = pipeline(memory()).destination_client()
    assert not client.is_storage_initialized()
    assert client.get_stored_schema("nightly") is None
    with pytest.raises(DestinationUndefinedEntity):
        client.get_stored_state("nightly")


def test_only_the_last_states_and_one_version_of_each_schema_are_kept() -> None:
    store = memory()
    for night in range(8):
        dlt.pipeline("other", destination=store, pipelines_dir="work").run([{"id": night}], table_name=f"t{night}")
    assert len(store.kept.tables["_dlt_loads"][1]) == 8
    (version,) = store.kept.tables["_dlt_version"][1].to_pylist()
    client = dlt.pipeline("other", destination=store, pipelines_dir="work").destination_client()
    assert client.get_stored_schema("other").version_hash == version["version_hash"]
    assert client.get_stored_schema_by_hash(version["version_hash"]).schema_name == "other"
    assert client.get_stored_schema_by_hash("unknown") is None
    assert client.get_stored_state("nightly") is None

    @dlt.resource
    def counting() -> Iterator[Any]:
        state = dlt.current.resource_state()
        state["runs"] = state.get("runs", 0) + 1
        yield {"id": 1}

    for _ in range(8):
        dlt.pipeline("other", destination=store, pipelines_dir="work").run(counting())
    states = store.kept.tables["_dlt_pipeline_state"][1].to_pylist()
    assert [state["version"] for state in states] == [5, 6, 7, 8, 9]
    assert client.get_stored_state("other").version == 9


def test_a_load_that_is_in_already_changes_nothing() -> None:
    store = memory()
    load(store, [{"id": 1}])

    def crash() -> None:
        raise ConnectionResetError("cut off after the commit")

    store.kept.after_commit = crash
    with pytest.raises(PipelineStepFailed):
        load(store, [{"id": 2}], write_disposition="append")
    assert rows(store) == [{"id": 1}, {"id": 2}]
    store.kept.after_commit = lambda: None
    pipeline(store).run()
    assert rows(store) == [{"id": 1}, {"id": 2}]
    assert len(store.kept.commits) == 2


def test_a_rival_between_read_and_commit_is_read_and_built_upon() -> None:
    store, rival = memory(), memory()
    load(store, [{"id": 1, "title": "a"}])
    rivals = iter([2, 3])

    def written_meanwhile() -> None:
        for number in rivals:
            store.kept.before_commit, keep = (lambda: None), store.kept.before_commit
            other = dlt.pipeline("rival", destination=store, pipelines_dir=f"rival{number}")
            other.run([{"id": number, "title": "r"}], table_name="reports", **MERGE)
            store.kept.before_commit = keep
            raise OutOfDate("the store")

    store.kept.before_commit = written_meanwhile
    load(store, [{"id": 4, "title": "d"}])
    assert rival.kept.tables == {}
    assert rows(store) == [
        {"id": 1, "title": "a"},
        {"id": 2, "title": "r"},
        {"id": 3, "title": "r"},
        {"id": 4, "title": "d"},
    ]


def test_endless_rivals_end_the_run_after_a_few_tries() -> None:
    store, tries = memory(), []

    def rival() -> None:
        tries.append(1)
        raise OutOfDate("the store")

    store.kept.before_commit = rival
    with pytest.raises(PipelineStepFailed) as caught:
        load(store, [{"id": 1}])
    assert isinstance(caught.value.__cause__, OutOfDate)
    assert len(tries) == COMMIT_TRIES


def frame(rows: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    return table.cast(table.schema.set(0, table.schema.field(0).with_nullable(False)))


UPSERT = {"primary_key": "id", "write_disposition": {"disposition": "merge", "strategy": "upsert"}}
FLAG = {"gone": {"hard_delete": True}}
NEWEST = {"at": {"dedup_sort": "desc"}}
OLDEST = {"at": {"dedup_sort": "asc"}}
A, B, C = {"id": 1, "k": "x", "at": 1}, {"id": 2, "k": "x", "at": 2}, {"id": 3, "k": "y", "at": 3}
SCENARIOS: dict[str, list[tuple[list[dict[str, Any]], dict[str, Any]]]] = {
    "append": [([A, B], {"write_disposition": "append"}), ([B, C], {"write_disposition": "append"})],
    "replace": [([A, B], {"write_disposition": "replace"}), ([C], {"write_disposition": "replace"})],
    "merge": [([A, B], MERGE), ([B | {"at": 9}, C], MERGE)],
    "merge with new column": [([A, B], MERGE), ([B | {"new": "n"}], MERGE), ([C], MERGE)],
    "two keys": [
        ([A, B], {"primary_key": ["id", "k"], "write_disposition": "merge"}),
        ([A | {"k": "z"}, B | {"at": 9}], {"primary_key": ["id", "k"], "write_disposition": "merge"}),
    ],
    "merge key": [
        ([A, B, C], {"merge_key": "k", "write_disposition": "merge"}),
        (
            [{"id": 9, "k": "x", "at": 9}, {"id": 9, "k": "x", "at": 9}],
            {"merge_key": "k", "write_disposition": "merge"},
        ),
    ],
    "two merge keys": [
        ([A, B, C], {"merge_key": ["k", "at"], "write_disposition": "merge"}),
        ([{"id": 9, "k": "x", "at": 2}], {"merge_key": ["k", "at"], "write_disposition": "merge"}),
    ],
    "primary key and merge key": [
        ([A, B, C], {"primary_key": "id", "merge_key": "k", "write_disposition": "merge"}),
        ([{"id": 3, "k": "x", "at": 9}], {"primary_key": "id", "merge_key": "k", "write_disposition": "merge"}),
    ],
    "merge without a key": [([A], {"write_disposition": "merge"}), ([A], {"write_disposition": "merge"})],
    "hard delete": [
        ([A | {"gone": False}, B | {"gone": None}, C | {"gone": True}], MERGE | {"columns": FLAG}),
        ([A | {"gone": True}, {"id": 7, "k": "q", "at": 1, "gone": True}], MERGE | {"columns": FLAG}),
    ],
    "hard delete by a time": [
        ([A | {"gone": None}, B | {"gone": None}], MERGE | {"columns": FLAG}),
        ([A | {"gone": "2026-11-24"}], MERGE | {"columns": FLAG}),
    ],
    "hard delete by merge key": [
        (
            [A | {"gone": False}, B | {"gone": False}, C | {"gone": False}],
            {"merge_key": "k", "write_disposition": "merge", "columns": FLAG},
        ),
        ([A | {"gone": True}], {"merge_key": "k", "write_disposition": "merge", "columns": FLAG}),
    ],
    "newest of twins": [
        ([A, A | {"at": 5}, A | {"at": 3}], MERGE | {"columns": NEWEST}),
        ([B | {"at": 1}, B | {"at": None}, A | {"at": 2}], MERGE | {"columns": NEWEST}),
    ],
    "oldest of twins": [([A | {"at": 5}, A, A | {"at": None}], MERGE | {"columns": OLDEST})],
    "newest of twins is deleted": [
        ([A | {"gone": False}], MERGE | {"columns": FLAG | NEWEST}),
        ([A | {"at": 3, "gone": True}, A | {"at": 2, "gone": False}], MERGE | {"columns": FLAG | NEWEST}),
    ],
    "upsert": [
        ([A, B], MERGE | {"write_disposition": {"disposition": "merge", "strategy": "upsert"}}),
        ([B | {"at": 9}, C], MERGE | {"write_disposition": {"disposition": "merge", "strategy": "upsert"}}),
    ],
    "upsert with hard delete": [
        (
            [A | {"gone": False}, B | {"gone": False}],
            {"primary_key": "id", "columns": FLAG, "write_disposition": {"disposition": "merge", "strategy": "upsert"}},
        ),
        (
            [A | {"gone": True}, C | {"gone": False}],
            {"primary_key": "id", "columns": FLAG, "write_disposition": {"disposition": "merge", "strategy": "upsert"}},
        ),
    ],
    "insert only": [
        ([A, B], {"primary_key": "id", "write_disposition": {"disposition": "merge", "strategy": "insert-only"}}),
        (
            [B | {"at": 9}, C],
            {"primary_key": "id", "write_disposition": {"disposition": "merge", "strategy": "insert-only"}},
        ),
    ],
    "types": [
        (
            [{"id": 1, "f": 0.1, "t": "2026-11-24T04:05:06.789Z", "d": {"a": [1]}, "l": ["x"], "b": True, "e": ""}],
            MERGE,
        ),
        ([{"id": 2, "f": -5.0, "t": "2026-11-24T05:05:06+01:00", "d": None, "l": [], "b": None, "e": "é"}], MERGE),
    ],
}


Held = dict[tuple[str, int], list[str]]
"""Sorted rows by scenario and step."""


def resources(step: int, made: Callable[[Any], Any]) -> list[Any]:
    """One resource for each scenario that has this step."""
    return [
        dlt.resource(made(steps[step][0]), name=f"t{place}", max_table_nesting=0, **steps[step][1])
        for place, steps in enumerate(SCENARIOS.values())
        if step < len(steps)
    ]


def sorted_rows(found: pa.Table) -> list[str]:
    return sorted(repr({name: row[name] for name in sorted(row)}) for row in plain(found.to_pylist()))


@pytest.fixture(scope="module", params=[list, frame], ids=["dicts", "frames"])
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Held, Held]:
    """What our store and DuckDB hold after each step: all scenarios in one load, each in a table of its own."""
    ours, judged = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLT_DATA_DIR", str(tmp_path_factory.mktemp("dlt")))
        patch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
        patch.chdir(tmp_path_factory.mktemp("judge"))
        store = memory()
        judge = dlt.pipeline("judge", destination=dlt.destinations.duckdb("judge.duckdb"), dataset_name="held")
        for step in range(2):
            pipeline(store).run(resources(step, request.param))
            judge.run(resources(step, request.param), loader_file_format="parquet")
            with duckdb.connect("judge.duckdb") as connection:
                connection.execute("SET TimeZone = 'UTC'")
                for place, name in enumerate(SCENARIOS):
                    ours[name, step] = sorted_rows(store.kept.tables[f"t{place}"][1])
                    judged[name, step] = sorted_rows(connection.sql(f"FROM held.t{place}").to_arrow_table())
    return ours, judged


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_store_holds_what_duckdb_holds_after_the_same_loads(held: tuple[Held, Held], name: str, step: int) -> None:
    ours, judged = held
    assert ours[name, step] == judged[name, step]


def test_a_column_may_have_any_name() -> None:
    names = [
        "position",
        "place",
        "arrival",
        "alive",
        "b",
        "d",
        "s",
        "held",
        "winners",
        "incoming",
        "before",
        "rows",
        "select",
    ]
    store = memory(sort={"reports": ["position"]})
    row = dict.fromkeys(names, '{"id":1}') | {"id": 1}
    hints = {"primary_key": ["id", "position"], "merge_key": "b", "write_disposition": "merge"}
    for title in ("first", "second"):
        reports = dlt.resource(
            [row | {"title": title}],
            name="reports",
            columns={name: {"data_type": "json"} for name in names[4:]},
            **hints,
        )
        pipeline(store).run(reports)
        assert [sorted(held.items()) for held in rows(store) or []] == [sorted((row | {"title": title}).items())]


def test_the_last_of_twins_stays_when_nothing_says_which_is_newer() -> None:
    store = memory()
    for _ in range(2):
        load(store, [{"id": 1, "title": "first"}, {"id": 1, "title": "last"}])
        assert rows(store) == [{"id": 1, "title": "last"}]
        load(store, [{"id": 1, "title": "x"}, {"id": 1, "title": "y"}], **UPSERT)
        assert rows(store) == [{"id": 1, "title": "y"}]


def test_files_of_one_load_are_folded_in_the_order_in_which_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_WRITER__FILE_MAX_ITEMS", "1")
    monkeypatch.setenv("DATA_WRITER__BUFFER_MAX_ITEMS", "1")
    store = memory()

    @dlt.resource(**MERGE)
    def reports() -> Iterator[Any]:
        for number in range(12):
            yield frame([{"id": number % 3, "title": f"answer {number}"}])

    night = pipeline(store)
    night.extract(reports())
    night.normalize()
    files = list(Path("work").glob("nightly/load/normalized/*/new_jobs/reports.*.parquet"))
    assert len(files) == 12
    for file in files:  # A file system's clock may be too coarse to tell files of such size apart.
        written = int(parquet.read_table(file)["title"][0].as_py().removeprefix("answer "))
        os.utime(file, ns=(written, written))
    night.load()
    assert rows(store) == [
        {"id": 0, "title": "answer 9"},
        {"id": 1, "title": "answer 10"},
        {"id": 2, "title": "answer 11"},
    ]


def test_replace_with_nothing_empties_the_table() -> None:
    store = memory()

    @dlt.resource(write_disposition="replace")
    def reports(given: list[Any]) -> Iterator[Any]:
        yield given

    pipeline(store).run(reports([{"id": 1}]))
    for _ in range(2):
        pipeline(store).run(reports([]))
        assert rows(store) == []
    pipeline(store).run(reports([{"id": 2}]))
    assert rows(store) == [{"id": 2}]


def both(first: int) -> list[Any]:
    """Two resources of one source."""
    return [
        dlt.resource([{"id": first}], name="reports", **MERGE),
        dlt.resource([{"id": first}], name="dashboards", **MERGE),
    ]


@pytest.mark.parametrize(
    ("refresh", "given", "reports", "dashboards"),
    [
        ("drop_sources", ["reports"], [{"id": 2}], None),
        ("drop_resources", ["reports"], [{"id": 2}], [{"id": 1}]),
        ("drop_data", ["reports"], [{"id": 2}], [{"id": 1}]),
        ("drop_data", ["reports", "dashboards"], [{"id": 2}], [{"id": 2}]),
    ],
)
def test_a_refresh_drops_or_empties_in_the_commit_of_the_load(
    refresh: Any, given: list[str], reports: Any, dashboards: Any
) -> None:
    store = memory()

    @dlt.source(name="given")
    def source(first: int) -> Any:
        return both(first)

    pipeline(store).run(source(1))
    seen: list[Any] = []
    store.kept.before_commit = lambda: seen.append((rows(store), rows(store, "dashboards")))
    pipeline(store).run(source(2).with_resources(*given), refresh=refresh)
    assert seen == [([{"id": 1}], [{"id": 1}])]
    assert (rows(store), rows(store, "dashboards")) == (reports, dashboards)
    store.kept.before_commit = lambda: None
    pipeline(store).run(source(3))
    assert rows(store) == [{"id": 2}, {"id": 3}]


def test_dlts_drop_command_takes_a_table_away() -> None:
    store = memory()

    @dlt.source(name="given")
    def source() -> Any:
        return both(1)

    pipeline(store).run(source())
    pipeline_drop(pipeline(store), resources=["dashboards"])()
    assert (rows(store), rows(store, "dashboards")) == ([{"id": 1}], None)


def test_drop_storage_leaves_nothing() -> None:
    store = memory()
    pipeline(store).run(both(1))
    pipeline(store).destination_client().drop_storage()
    assert store.kept.tables == {}
    load(store, [{"id": 1}])
    assert rows(store) == [{"id": 1}]


@pytest.mark.parametrize(
    ("hints", "said"),
    [
        (
            {"primary_key": "id", "write_disposition": {"disposition": "merge", "strategy": "scd2"}},
            "`scd2` merge strategy",
        ),
        ({"write_disposition": {"disposition": "merge", "strategy": "upsert"}}, "No primary key defined"),
        (
            {"primary_key": "id", "write_disposition": {"disposition": "merge", "source_filter": "id > 1"}},
            "does not support `source_filter`",
        ),
    ],
    ids=["scd2", "upsert without a key", "source filter"],
)
def test_what_cannot_be_done_is_refused_and_not_done_otherwise(hints: Any, said: str) -> None:
    store = memory()
    with pytest.raises(PipelineStepFailed) as caught:
        load(store, [{"id": 1}], **hints)
    assert said in str(caught.value)
    assert store.kept.tables == {}


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (1, 1.5, "pages is BIGINT, the load brings 1.5"),
        (1, "abc", "pages is BIGINT, the load brings abc"),
        (1.5, "abc", "pages is DOUBLE, the load brings abc"),
        (True, "abc", "pages is BOOLEAN, the load brings abc"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_never_rounded(first: Any, second: Any, said: str) -> None:
    store = memory()
    load(store, frame([{"id": 1, "pages": first}]))
    with pytest.raises(PipelineStepFailed) as caught:
        load(store, frame([{"id": 2, "pages": second}]))
    assert isinstance(caught.value.__cause__, ColumnTypeChanged)
    assert said in str(caught.value)
    assert rows(store) == [{"id": 1, "pages": first}]


@pytest.mark.parametrize(("first", "second"), [(1, 2.0), (1.5, 2), ("a", "b"), (1, "12"), ("a", 5), (0.5, "1.5")])
def test_a_value_of_another_type_that_fits_exactly_is_taken(first: Any, second: Any) -> None:
    store = memory()
    load(store, frame([{"id": 1, "v": first}]))
    load(store, frame([{"id": 2, "v": second}]))
    assert rows(store) == [{"id": 1, "v": first}, {"id": 2, "v": type(first)(second)}]


def test_tables_that_hang_on_others_are_refused() -> None:
    store = memory()
    reports = dlt.resource([{"id": 1, "tags": [{"name": "a"}]}], name="reports", max_table_nesting=2, **MERGE)
    with pytest.raises(PipelineStepFailed) as caught:
        pipeline(store).run(reports)
    assert isinstance(caught.value.__cause__, NestedTable)
    assert "reports__tags is nested in reports" in str(caught.value)
    assert store.kept.tables == {}


def test_only_the_chosen_tables_and_columns_are_written_and_the_state_always() -> None:
    store = memory(tables=["reports"], columns={"reports": ["title", "at"]}, sort={"reports": ["at desc", "title"]})
    for _ in range(2):
        load(
            store,
            [
                {"id": 1, "at": 5, "title": "b", "secret": "x"},
                {"id": 2, "at": 5, "title": "a", "secret": "x"},
                {"id": 3, "at": 6, "title": "d", "secret": "x"},
            ],
        )
        pipeline(store).run([{"id": 1}], table_name="dashboards")
        assert rows(store) == [
            {"id": 3, "title": "d", "at": 6},
            {"id": 2, "title": "a", "at": 5},
            {"id": 1, "title": "b", "at": 5},
        ]
    assert set(store.kept.tables) == {"reports", "_dlt_loads", "_dlt_pipeline_state", "_dlt_version"}
    client = pipeline(store).destination_client()
    assert client.takes("reports") == {"title", "at"}
    assert client.takes("dashboards") == frozenset()
    assert pipeline(memory()).destination_client().takes("reports") is None


def test_columns_may_be_chosen_otherwise_later() -> None:
    store = memory(columns={"reports": ["a"]})
    load(store, [{"id": 1, "a": 1, "b": 1}])
    store.config_params["columns"] = {"reports": ["b", "id"]}
    load(store, [{"id": 2, "a": 2, "b": 2}])
    assert rows(store) == [{"b": None, "id": 1}, {"b": 2, "id": 2}]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tables": ["reprots"]}, "tables names reprots, which does not exist. Known are: reports."),
        ({"columns": {"reprots": ["id"]}}, "columns names reprots, which does not exist. Known are: reports."),
        ({"columns": {"reports": ["titel"]}}, "columns.reports names titel, which does not exist. Known are: "),
        ({"sort": {"reports": ["titel"]}}, "sort.reports names titel, which does not exist. Known are: "),
        ({"sort": {"reports": ["id down"]}}, "sort.reports names down, which does not exist. Known are: asc, desc."),
        (
            {"columns": {"reports": ["id"]}, "sort": {"reports": ["title"]}},
            "sort.reports names title, which does not exist. Known are: id.",
        ),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(settings: Any, said: str) -> None:
    store = memory(**settings)
    with pytest.raises(PipelineStepFailed) as caught:
        load(store, [{"id": 1, "title": "a"}])
    assert isinstance(caught.value.__cause__, UnknownSelection)
    assert said in str(caught.value)
    assert store.kept.tables == {}


def test_a_table_reads_back_typed_and_in_pieces() -> None:
    store = memory()
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    load(
        store, frame([{"id": number, "at": moment, "share": 0.5, "ok": True, "title": "a"} for number in range(60_000)])
    )
    client = pipeline(store).destination_client()
    reader = client.read_table("reports")
    assert reader.schema == pa.schema(
        [
            ("id", pa.int64()),
            ("at", pa.timestamp("us", "UTC")),
            ("share", pa.float64()),
            ("ok", pa.bool_()),
            ("title", pa.string()),
        ]
    )
    sizes = [len(piece) for piece in reader]
    assert (sum(sizes), len(sizes) > 1) == (60_000, True)
    assert client.read_table("unknown") is None


def test_the_width_of_a_terminal_is_not_taken_for_the_setting_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    destination = csv_files(folder=str(tmp_path / "exports"))
    pipeline = dlt.pipeline("width", destination=destination, pipelines_dir=str(tmp_path / "p"))
    pipeline.run([{"id": 1}], table_name="reports", loader_file_format="parquet")
    assert (tmp_path / "exports" / "reports.csv").read_text().startswith("id,")


def test_the_setting_columns_may_come_from_the_environment_as_json():
    assert by_table('{"reports": ["id", "title"]}') == {"reports": ["id", "title"]}
    assert by_table(None) == {}
