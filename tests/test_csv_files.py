"""The CSV destination: what stands in the files, and that a run reads back what it has written."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pytest
from dlt.common.schema.typing import TColumnSchema
from dlt.pipeline.exceptions import PipelineStepFailed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations import csv_files
from destinations.csv_files import CsvFilesConfiguration, CsvFolder, rows_to_crlf
from destinations.errors import ColumnTypeChanged, FileChanged, ManifestBroken, StoreUnusable, TooLittleMemory
from destinations.fold import POSITION, Columns, Table, quoted, sql_type, workbench

TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from(list("=+-@\t\r\n'\",;\\ \x00\ufeff\u2028\x85NULLnull")),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=12,
)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28)
MOMENTS = st.datetimes()
EARLIEST, LATEST = datetime(1700, 1, 1), datetime(2250, 1, 1)  # noqa: DTZ001 - a column without a zone, to the nanosecond
VALUES: list[tuple[TColumnSchema, st.SearchStrategy[Any]]] = [
    ({"data_type": "text"}, TEXTS),
    ({"data_type": "json"}, TEXTS.map(json.dumps)),
    ({"data_type": "bigint"}, st.integers(-(2**63), 2**63 - 1)),
    ({"data_type": "bigint", "precision": 128}, st.integers(-(2**126), 2**126)),
    ({"data_type": "double"}, st.floats(allow_nan=False)),
    ({"data_type": "bool"}, st.booleans()),
    ({"data_type": "decimal", "precision": 38, "scale": 9}, DECIMALS),
    ({"data_type": "wei"}, st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal)),
    ({"data_type": "timestamp"}, MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC))),
    ({"data_type": "timestamp", "timezone": False}, MOMENTS),
    ({"data_type": "timestamp", "timezone": False, "precision": 9}, st.datetimes(EARLIEST, LATEST)),
    ({"data_type": "date"}, st.dates()),
    ({"data_type": "time"}, st.times()),
    ({"data_type": "binary"}, st.binary(max_size=12)),
]
COLUMNS: Columns = {f"c{place}": {"name": f"c{place}", **hints} for place, (hints, _) in enumerate(VALUES)}
ROWS = st.lists(st.tuples(*(st.none() | values for _, values in VALUES)), max_size=6)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.chdir(tmp_path)


def load(data: Any, table: str = "reports", destination: Any = "csv_files", **hints: Any) -> dlt.Pipeline:
    """One night: merge by id unless told otherwise."""
    pipeline = dlt.pipeline("nightly", destination=destination)
    pipeline.run(data, table_name=table, **({"primary_key": "id", "write_disposition": "merge"} | hints))
    return pipeline


def frame(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as the exporter hands them over: typed, and without columns of dlt's own."""
    table = pa.Table.from_pylist(rows)
    return table.cast(table.schema.set(0, table.schema.field(0).with_nullable(False)))


def content(file: str = "exports/reports.csv") -> str:
    return Path(file).read_bytes().decode()


def files() -> dict[str, bytes]:
    """Every file of the folder but the lock."""
    found = (path for path in Path("exports").rglob("*") if path.is_file() and path.name != "lock")
    return {str(path): path.read_bytes() for path in found}


def forget() -> None:
    """A fresh runner: of the last night only the destination is left."""
    shutil.rmtree("dlt")


@contextmanager
def refused(kind: type[Exception]) -> Iterator[Any]:
    """The block ends in one of our errors, however deep in dlt's."""
    with pytest.raises(PipelineStepFailed) as caught:
        yield caught
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__
    assert isinstance(cause, kind)
    caught.ours = cause  # type: ignore[attr-defined]


def store(folder: Path, **options: Any) -> CsvFolder:
    config = CsvFilesConfiguration()
    config.update({"folder": str(folder), **options})
    return CsvFolder(config)


def write(backend: CsvFolder, rows: list[tuple[Any, ...]], columns: Columns, name: str = "t") -> None:
    """Commit rows as one table."""
    with backend.lock(), workbench() as connection:
        types = ", ".join(f"{quoted(column)} {sql_type(hints)}" for column, hints in columns.items())
        connection.execute(f"CREATE TABLE given ({types}, {POSITION} BIGINT)")
        marks = ", ".join("?" * (len(columns) + 1))
        if rows:
            connection.executemany(f"INSERT INTO given VALUES ({marks})", [[*row, at] for at, row in enumerate(rows)])
        backend.commit(connection, {name: Table("given", columns)}, "load")


def read(backend: CsvFolder, name: str = "t") -> list[tuple[Any, ...]]:
    with backend.lock(), workbench() as connection:
        table = backend.read(connection, [name])[name]
        columns = ", ".join(map(quoted, table.columns))
        return connection.execute(f"SELECT {columns} FROM {table.relation} ORDER BY {POSITION}").fetchall()


@pytest.mark.parametrize("excel", [False, True])
@given(rows=ROWS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_type_comes_back_as_it_was_written(tmp_path: Path, excel: bool, rows: list[tuple[Any, ...]]) -> None:
    backend = store(tmp_path, excel=excel)
    write(backend, rows, COLUMNS)
    assert read(backend) == rows


def test_floats_that_are_no_numbers_come_back(tmp_path: Path) -> None:
    backend = store(tmp_path)
    column: Columns = {"f": {"name": "f", "data_type": "double"}}
    write(backend, [(float("nan"),), (float("inf"),), (-0.0,), (5e-324,)], column)
    assert repr(read(backend)) == "[(nan,), (inf,), (-0.0,), (5e-324,)]"


@pytest.mark.parametrize("excel", [False, True])
def test_long_texts_and_line_breaks_in_cells_come_back(tmp_path: Path, excel: bool) -> None:
    backend = store(tmp_path, excel=excel)
    columns: Columns = {"a": {"name": "a", "data_type": "text"}, "b": {"name": "b", "data_type": "text"}}
    rows = [("x" * 60_000, 'line\r\nline\n"quoted"\r'), ("\n" * 300_000, "=" + "y" * 5_000_000), ("", None)]
    rows += [(f"\r\n{number}", "😀" * (number % 50)) for number in range(4_000)]
    write(backend, rows, columns)
    assert read(backend) == rows


@given(st.lists(st.text(alphabet='a"\n,', max_size=6)), st.integers(1, 4))
def test_line_ends_are_found_however_the_file_is_cut_into_pieces(cells: list[str], size: int) -> None:
    text = "".join(f'"{cell.replace(chr(34), chr(34) * 2)}",b\n' for cell in cells)
    pieces = [text[start : start + size].encode() for start in range(0, len(text), size)]
    expected = "".join(f'"{cell.replace(chr(34), chr(34) * 2)}",b\r\n' for cell in cells)
    assert b"".join(rows_to_crlf(iter(pieces))).decode() == expected


def test_a_file_stands_as_the_documentation_says() -> None:
    rows = [
        {"id": 1, "title": "plain", "at": datetime(2026, 11, 24, 4, 5, 6, tzinfo=UTC), "day": date(2026, 11, 24)},
        {"id": 2, "title": "", "at": datetime(2026, 11, 24, 4, 5, 6, 7, tzinfo=UTC), "paid": True},
        {"id": 3, "title": 'a "b", c\nd', "share": 0.1, "big": 2**62, "price": Decimal("1.50")},
        {"id": 4, "title": "=1+1", "paid": False, "share": -5.0},
        {"id": 5, "title": None, "raw": b"\x00\xff"},
    ]
    every = {name: None for row in rows for name in row}
    load(frame([every | row for row in rows]))
    assert content() == (
        "id,title,at,day,paid,share,big,price,raw\n"
        "1,plain,2026-11-24T04:05:06Z,2026-11-24,,,,,\n"
        '2,"",2026-11-24T04:05:06.000007Z,,true,,,,\n'
        '3,"a ""b"", c\nd",,,,0.1,4611686018427387904,1.50,\n'
        "4,=1+1,,,false,-5.0,,,\n"
        "5,,,,,,,,AP8=\n"
    )


def test_dicts_and_lists_become_compact_json() -> None:
    pipeline = load([{"id": 1, "meta": {"a": [1, None]}, "tags": ["x", "y"]}])
    assert pipeline.destination_client().read_table("reports").read_all().select(["meta", "tags"]).to_pylist() == [
        {"meta": '{"a":[1,null]}', "tags": '["x","y"]'}
    ]


def test_excel_gets_a_mark_crlf_and_guarded_texts_but_untouched_numbers() -> None:
    rows = [
        {"id": 1, "title": "=HYPERLINK(1)", "value": -5},
        {"id": 2, "title": "'=quoted", "value": -6},
        {"id": 3, "title": "'t was", "value": None},
        {"id": 4, "title": "@cmd\nnext", "value": 7},
    ]
    pipeline = load(frame(rows), destination=csv_files(excel=True))
    assert content() == (
        "\ufeffid,title,value\r\n1,'=HYPERLINK(1),-5\r\n2,''=quoted,-6\r\n3,'t was,\r\n4,\"'@cmd\nnext\",7\r\n"
    )
    client = pipeline.destination_client()
    assert client.facts()["cells_guarded"] == 3
    assert client.read_table("reports").read_all().to_pylist() == rows


def test_a_night_reads_its_own_guarded_file_back_right() -> None:
    load(frame([{"id": 1, "title": "=1"}, {"id": 2, "title": "'=2"}]), destination=csv_files(excel=True))
    forget()
    for _ in range(2):
        load(frame([{"id": 3, "title": "-3"}]), destination=csv_files(excel=True))
        assert content() == "\ufeffid,title\r\n1,'=1\r\n2,''=2\r\n3,'-3\r\n"


def test_the_excel_setting_may_change_from_one_night_to_the_next() -> None:
    load(frame([{"id": 1, "title": "=1"}]), destination=csv_files(excel=True))
    load(frame([{"id": 2, "title": "=2"}]), destination=csv_files(excel=False))
    assert content() == "id,title\n1,=1\n2,=2\n"


def test_a_night_changes_rows_in_place_and_leaves_other_tables_alone() -> None:
    load(frame([{"id": 1, "title": "a"}, {"id": 2, "title": "b"}]))
    load(frame([{"id": 1, "name": "other"}]), table="dashboards")
    untouched = Path("exports/dashboards.csv").stat()
    forget()
    for _ in range(2):
        load(frame([{"id": 3, "title": "c"}, {"id": 1, "title": "A"}]))
        assert content() == "id,title\n1,A\n2,b\n3,c\n"
    assert Path("exports/dashboards.csv").stat() == untouched
    assert sorted(file.name for file in Path("exports").iterdir()) == [".claribi", "dashboards.csv", "reports.csv"]


def test_a_new_column_comes_last_and_is_empty_in_old_rows() -> None:
    load(frame([{"id": 1, "title": "a"}]))
    load(frame([{"id": 2, "pages": 5, "title": "b"}]))
    assert content() == "id,title,pages\n1,a,\n2,b,5\n"


def test_a_table_without_rows_has_a_header() -> None:
    empty = pa.schema([pa.field("id", pa.int64(), nullable=False), ("title", pa.string())]).empty_table()
    load(empty, write_disposition="replace")
    assert content() == "id,title\n"


def test_the_cursor_goes_on_from_the_folder_alone() -> None:
    asked = []

    @dlt.resource(primary_key="id", write_disposition="merge")
    def reports() -> Iterator[Any]:
        mark = dlt.current.resource_state().setdefault("mark", [0])
        asked.append(mark[0])
        mark[0] += 1
        yield [{"id": mark[0]}]

    for _ in range(3):
        dlt.pipeline("nightly", destination="csv_files").run(reports())
        forget()
    assert asked == [0, 1, 2]
    assert [line.split(",")[0] for line in content().splitlines()] == ["id", "1", "2", "3"]


def test_the_manifest_tells_a_person_what_is_there() -> None:
    load(frame([{"id": 1, "title": "a"}]))
    manifest = json.loads(content("exports/.claribi/manifest.json"))
    entry = manifest["tables"]["reports"]
    assert datetime.now(UTC) - datetime.fromisoformat(entry.pop("written_at")) < timedelta(minutes=10)
    assert entry == {
        "file": "reports.csv",
        "rows": 1,
        "columns": {
            "id": {"name": "id", "data_type": "bigint"},
            "title": {"name": "title", "data_type": "text"},
        },
        "excel": False,
        "size": 13,
        "sha256": hashlib.sha256(b"id,title\n1,a\n").hexdigest(),
    }


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_text("id,title\n1,mine\n"), "was changed by another program since"),
        (lambda file: file.write_text("id,titel\n1,a\n"), "was changed by another program since"),
        (lambda file: file.unlink(), "is missing; it was there since"),
    ],
    ids=["edited", "same size", "removed"],
)
def test_a_file_that_someone_else_changed_is_named_and_left_alone(damage: Any, said: str) -> None:
    load(frame([{"id": 1, "title": "a"}]))
    file = Path("exports/reports.csv").absolute()
    damage(file)
    before = files()
    for _ in range(2):
        with refused(FileChanged) as caught:
            load(frame([{"id": 2, "title": "b"}]))
        assert str(caught.ours).startswith(f"{file} {said}")
        assert "--overwrite" in str(caught.ours)
        assert files() == before


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (b"id,title,pages\n1,mine,3\n2,b,4\n", "id,title,pages\n1,mine,3\n2,B,5\n"),
        (b"\xef\xbb\xbfid,title,pages\r\n1,mine,3\r\n", "id,title,pages\n1,mine,3\n2,B,5\n"),
        (b"id;title;pages\n1;mine;3\n", "id,title,pages\n2,B,5\n"),
        (b"id,title,pages\n1,mine,many\n", "id,title,pages\n2,B,5\n"),
        (b"title,id,pages\n1,2,3\n", "id,title,pages\n2,B,5\n"),
        (b"id,title,pages\n1,m\xff,3\n", "id,title,pages\n2,B,5\n"),
        (b"", "id,title,pages\n2,B,5\n"),
        (None, "id,title,pages\n2,B,5\n"),
    ],
    ids=["edited", "line ends", "other separator", "no number", "columns swapped", "no UTF-8", "emptied", "removed"],
)
def test_overwrite_goes_on_from_what_can_still_be_read(found: bytes | None, expected: str) -> None:
    load(frame([{"id": 1, "title": "a", "pages": 3}, {"id": 2, "title": "b", "pages": 4}]))
    file = Path("exports/reports.csv")
    file.unlink() if found is None else file.write_bytes(found)
    load(frame([{"id": 2, "title": "B", "pages": 5}]), destination=csv_files(overwrite=True))
    assert content() == expected
    load(frame([{"id": 3, "title": "c", "pages": 6}]))
    assert content() == expected + "3,c,6\n"


def test_a_file_of_someone_else_in_the_way_is_named_and_left_alone() -> None:
    Path("exports").mkdir()
    Path("exports/reports.csv").write_text("mine\n")
    with refused(FileChanged) as caught:
        load(frame([{"id": 1, "title": "a"}]))
    assert "is not one of the export's files but has the name of one" in str(caught.ours)
    assert content() == "mine\n"
    load(frame([{"id": 1, "title": "a"}]), destination=csv_files(overwrite=True))
    assert content() == "id,title\n1,a\n"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "load_id": "", "tables": {"t": {}}}'])
def test_a_broken_manifest_stops_everything(text: str) -> None:
    load(frame([{"id": 1, "title": "a"}]))
    Path("exports/.claribi/manifest.json").write_text(text)
    with refused(ManifestBroken):
        load(frame([{"id": 2, "title": "b"}]))
    assert content() == "id,title\n1,a\n"


def test_a_manifest_of_a_later_version_is_not_guessed_at() -> None:
    load(frame([{"id": 1, "title": "a"}]))
    file = Path("exports/.claribi/manifest.json")
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with refused(ManifestBroken) as caught:
        load(frame([{"id": 2, "title": "b"}]))
    assert "format 2" in str(caught.ours)


def test_a_folder_that_is_a_file_is_said_so() -> None:
    Path("exports").write_text("mine")
    with refused(StoreUnusable) as caught:
        load(frame([{"id": 1, "title": "a"}]))
    assert str(Path("exports").absolute()) in str(caught.ours)
    assert content("exports") == "mine"


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    for options in ([], ["--night"]):
        command = [
            "--tool",
            "csv_files",
            "--folder",
            str(tmp_path),
            "--reports",
            "200000",
            "--changes",
            "2000",
            *options,
        ]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.csv_merge", *command],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        megabytes = int(re.search(r"(\d+) MB of memory", done.stdout)[1])  # type: ignore[index]  # it is printed always
        assert megabytes <= 600, "what is promised for a table of any size"


def test_too_little_memory_is_an_error_that_names_the_setting() -> None:
    wide = frame([{"id": number, "title": f"{number} " * 5_000} for number in range(3_000)])
    with refused(TooLittleMemory) as caught:
        load(wide, destination=csv_files(memory="20MB"))
    assert "within 20MB of memory" in str(caught.ours)
    assert "setting `memory`" in str(caught.ours)
    assert not Path("exports/reports.csv").exists()
    load(wide, destination=csv_files(memory="1GB"))
    assert len(content().splitlines()) == 3_001


def test_a_value_that_does_not_fit_is_named_and_nothing_is_written() -> None:
    load(frame([{"id": 1, "pages": 3}]))
    with refused(ColumnTypeChanged) as caught:
        load(frame([{"id": 2, "pages": 1.5}]))
    assert "reports: pages is BIGINT, the load brings 1.5" in str(caught.ours)
    assert content() == "id,pages\n1,3\n"


@pytest.mark.parametrize(
    "destination",
    ["csv_files", "destinations.csv_files", csv_files(), csv_files(folder="exports")],
    ids=["name", "module", "instance", "folder"],
)
def test_dlt_finds_the_destination(destination: Any) -> None:
    pipeline = load(frame([{"id": 1, "title": "a"}]), destination=destination)
    assert pipeline.destination.destination_name == "csv_files"
    assert content() == "id,title\n1,a\n"


def test_a_destination_of_another_name_is_told_its_type_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__MARKETING__DESTINATION_TYPE", "csv_files")
    monkeypatch.setenv("DESTINATION__MARKETING__FOLDER", "marketing")
    load(frame([{"id": 1, "title": "a"}]), destination="marketing")
    assert content("marketing/reports.csv") == "id,title\n1,a\n"


def test_dlt_destination_finds_it_with_settings() -> None:
    load(frame([{"id": 1, "title": "a"}]), destination=dlt.destination("csv_files", folder="elsewhere", excel=True))
    assert content("elsewhere/reports.csv") == "\ufeffid,title\r\n1,a\r\n"


def test_settings_in_the_environment_choose_tables_columns_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__CSV_FILES__FOLDER", "set")
    monkeypatch.setenv("DESTINATION__CSV_FILES__TABLES", '["reports"]')
    monkeypatch.setenv("DESTINATION__CSV_FILES__COLUMNS", '{"reports": ["title", "at"]}')
    monkeypatch.setenv("DESTINATION__CSV_FILES__SORT", '{"reports": ["at desc", "title"]}')
    load(
        frame(
            [
                {"id": 1, "at": 5, "title": "b", "secret": "x"},
                {"id": 2, "at": 5, "title": "a", "secret": "x"},
                {"id": 3, "at": None, "title": "c", "secret": "x"},
                {"id": 4, "at": 6, "title": "d", "secret": "x"},
            ]
        )
    )
    assert content("set/reports.csv") == "id,title,at\n4,d,6\n2,a,5\n1,b,5\n3,c,\n"


def test_rows_are_sorted_by_the_values_and_not_by_their_text() -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    rows = [
        {"id": 1, "at": noon + timedelta(milliseconds=500), "pages": 9, "title": "=b"},
        {"id": 2, "at": noon, "pages": 10, "title": "'a"},
        {"id": 3, "at": noon, "pages": 10, "title": "+c"},
    ]
    for column, expected in (("at", [2, 3, 1]), ("pages desc", [2, 3, 1]), ("title", [2, 3, 1])):
        load(frame(rows), destination=csv_files(excel=True, sort={"reports": [column]}))
        assert [int(line.split(",")[0]) for line in content().splitlines()[1:]] == expected


def test_odd_names_of_tables_and_columns_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA__NAMING", "direct")
    for value in (2, 3):
        load(frame([{"id": 1, "a, b": value}]), table="Nights, seen")
        assert content("exports/Nights, seen.csv") == f'id,"a, b"\n1,{value}\n'
