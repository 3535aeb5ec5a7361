"""The Sheets destination through dlt, gspread and HTTP: what readers see, what people keep, what is refused."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import pandas as pd
import pytest
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import DestinationTerminalException
from dlt.pipeline.exceptions import PipelineStepFailed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from singer_sdk.testing import target_test_streams

from destinations import sheets_reader, sheets_writer
from destinations.errors import DestinationError, UnknownSelection
from destinations.fold import Columns
from destinations.google_credentials import GoogleCredentials
from destinations.google_sheets import Finding, GoogleSheetsConfiguration, diagnose, google_sheets
from destinations.sheets_diff import Rules
from destinations.sheets_errors import (
    CellRefused,
    SheetsExtraMissing,
    SheetsRefused,
    SheetsSetting,
    SpreadsheetFull,
    TabChanged,
)
from destinations.sheets_reader import see
from destinations.table_store import TableStoreClient
from tests.nightly import Nightly
from tests.sheets_document import Formula, Tab
from tests.sheets_lab import REPORTS, Lab, person
from tests.sheets_server import ROBOT, SheetsServer
from tests.stage import finish_calls, serve_stage

MOMENT = datetime(2026, 7, 1, 12, tzinfo=UTC)
ADDRESS = "https://docs.google.com/spreadsheets/d/"


@pytest.fixture
def lab(server: SheetsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    server.calls.clear()
    server.faults.clear()
    server.quota = {"read": None, "write": None}
    server.digits, server.api_enabled = 17, True
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return Lab(server, tmp_path)


def reports(*rows: dict[str, Any], **hints: Any) -> Any:
    """The resource `reports`, merged by id, with a cursor in its state."""

    @dlt.resource(name="reports", primary_key="id", write_disposition="merge", **hints)
    def resource() -> Iterator[Any]:
        state = dlt.current.resource_state()
        state["runs"] = state.get("runs", 0) + 1
        yield pd.DataFrame(list(rows)).convert_dtypes(dtype_backend="pyarrow")

    return resource()


def table(name: str, *rows: dict[str, Any], key: str = "id", **hints: Any) -> Any:
    """A merged resource of any name."""
    frame = pd.DataFrame(list(rows)).convert_dtypes(dtype_backend="pyarrow")
    hints = {"write_disposition": "merge", **hints}
    return dlt.resource([frame], name=name, primary_key=key, **hints)


def report(number: int, **values: Any) -> dict[str, Any]:
    return {"id": f"r{number}", "title": f"Report {number}", "pages": number, "created_at": MOMENT, **values}


def cause(error: BaseException) -> BaseException:
    """The first of ours in a chain of exceptions."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, DestinationError):
            return link
        link = link.__cause__ or link.__context__
    raise error


# What readers see


def test_a_first_load_makes_a_tab_a_person_can_use_at_once(lab: Lab) -> None:
    lab.load(reports(report(1), report(2, title="=1+1", pages=None)))
    tab = lab.tab("reports")
    assert tab.shown() == [
        ["id", "title", "pages", "created_at"],
        ["r1", "Report 1", 1, 46204.5],
        ["r2", "=1+1", "", 46204.5],
    ]
    assert (tab.row_count, tab.column_count, tab.frozen, tab.hidden) == (3, 4, 1, False)
    assert [tab.row(0).formats[n]["textFormat"] for n in range(4)] == [{"bold": True}] * 4
    assert tab.row(0).notes == {0: "text", 1: "text", 2: "bigint", 3: "timestamp, UTC"}
    assert tab.row(2).formats[3] == {"numberFormat": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"}}
    assert {tab.title for tab in lab.book.tabs if tab.hidden} == {"_dlt_loads", "_dlt_version", "_dlt_pipeline_state"}


def test_a_night_takes_three_reads_and_one_write_for_all_tables_on_an_empty_machine(lab: Lab) -> None:
    def night(number: int) -> list[Any]:
        return [
            reports(report(1), report(number)),
            table("dashboards", {"id": "d", "name": f"{number}"}),
            table("usage", {"captured_at": f"2026-07-0{number}", "used": number}, key="captured_at"),
        ]

    lab.load(*night(1))
    lab.server.calls.clear()
    lab.load(*night(2))
    assert [(call.kind, call.method) for call in lab.server.calls if call.kind != "token"] == [
        ("read", "get"),
        ("read", "values.batchGet"),
        ("write", "batchUpdate"),
        ("read", "values.batchGet"),
    ]
    assert [row[0] for row in lab.rows("reports")] == ["r1", "r2"]
    assert lab.rows("dashboards") == [["d", "2"]]
    assert len(lab.rows("usage")) == len(lab.rows("_dlt_loads")) == 2


def test_only_what_changed_is_sent_again(lab: Lab) -> None:
    rows = [report(number, title="x" * 50) for number in range(300)]
    lab.load(reports(*rows))
    lab.server.calls.clear()
    lab.load(reports(*rows[:299], {**rows[299], "title": "changed"}))
    (write,) = [call for call in lab.server.calls if call.kind == "write"]
    assert write.sent < 4_000


def test_fifteen_digits_make_no_row_look_changed(lab: Lab) -> None:
    lab.server.digits = 15
    rows = [report(n, created_at=MOMENT + timedelta(seconds=n * 7.777), share=n / 7) for n in range(50)]
    lab.load(reports(*rows))
    before = lab.rows("reports")
    lab.server.calls.clear()
    lab.load(reports(*rows))
    (write,) = [call for call in lab.server.calls if call.kind == "write"]
    assert write.sent < 3_000
    assert lab.rows("reports") == before


def test_the_cursor_comes_back_from_the_spreadsheet_alone(lab: Lab) -> None:
    for _ in range(3):
        lab.load(reports(report(1)))
    pipeline = lab.pipeline()
    pipeline.sync_destination()
    assert pipeline.state["sources"]["claribi"]["resources"]["reports"]["runs"] == 3


def test_a_schema_that_fits_no_cell_comes_back_whole(lab: Lab) -> None:
    wide = {f"column_{n:04}": str(n) for n in range(400)}
    lab.load(reports(report(1, **wide)))
    assert lab.tab("_dlt_version").column_count >= 6
    lab.load(reports(report(2)))
    pipeline = lab.pipeline()
    pipeline.sync_destination()
    assert len(pipeline.default_schema.tables["reports"]["columns"]) == 404


def test_the_same_load_completed_twice_writes_once(lab: Lab) -> None:
    pipeline = lab.pipeline(tries=1)
    lab.server.break_next("applied-503", "write")
    lab.server.break_next("503", "read", nth=2)
    with pytest.raises(Exception, match="Google Sheets could not be reached"):
        pipeline.run(reports(report(1)), loader_file_format="parquet")
    lab.server.calls.clear()
    pipeline.load()
    assert lab.server.count("write") == 0
    assert (len(lab.rows("reports")), len(lab.rows("_dlt_loads"))) == (1, 1)


def test_a_run_of_many_loads_reads_once_and_remembers_what_a_look_would_say(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backfill commits slice after slice: each needs its one write and the proof."""
    wide = REPORTS | {"grade": {"name": "grade", "data_type": "text"}}
    narrow = {name: wide[name] for name in ("id", "grade", "title")}
    backend = lab.backend()
    slices: list[tuple[Columns, Any, list[dict[str, Any]]]] = [
        (REPORTS, "upsert", [report(n) for n in range(30)]),
        (REPORTS, "upsert", [report(n, title="new") for n in range(20, 50)]),
        (wide, "upsert", [report(n, grade="A") for n in range(3)]),
        (narrow, "upsert", [{"id": "r7", "grade": "B", "title": "x"}]),
        (narrow, "replace", [{"id": f"r{n}", "grade": "C", "title": "y"} for n in (2, 40, 99)]),
        (narrow, "upsert", [{"id": "r100", "grade": "D", "title": "z" * 300}]),
    ]
    for number, (columns, way, rows) in enumerate(slices):
        monkeypatch.setattr(sheets_writer, "BATCH_BYTES", 1_000 if number in (0, 5) else 2_000_000)
        lab.server.calls.clear()
        lab.job(str(number), rows, columns=columns, way=way, backend=backend)
        assert lab.server.count("read") == (1 if number else 2)
        told, asked = backend._seen, see(lab.api(), lambda _: True, ())
        assert told is not None
        assert (set(told.look.sheets), told.look.tabs) == (set(asked.look.sheets), asked.look.tabs)
        assert (told.look.marks, told.look.taken) == (asked.look.marks, asked.look.taken)
        for name in ("reports", "_dlt_loads"):
            assert told.rows[name].data == asked.rows[name].data
            assert told.rows[name].end == asked.rows[name].end


def test_null_clears_an_old_value_and_a_long_number_is_never_rounded(lab: Lab) -> None:
    lab.load(reports(report(1, account=1234567890123456), report(2, account=5)))
    assert [row[4] for row in lab.rows("reports")] == ["1234567890123456", "5"]
    assert lab.tab("reports").row(1).formats[4] == {"numberFormat": {"type": "TEXT"}}
    lab.load(reports(report(1, account=None, title=None), report(3, account=7)))
    assert lab.rows("reports") == [
        ["r1", "", 1, 46204.5],
        ["r2", "Report 2", 2, 46204.5, "5"],
        ["r3", "Report 3", 3, 46204.5, "7"],
    ]


def test_a_column_of_short_numbers_becomes_text_as_a_whole_when_a_long_one_arrives(lab: Lab) -> None:
    lab.load(reports(report(1, account=1), report(2, account=2)))
    assert [row[4] for row in lab.rows("reports")] == [1, 2]
    lab.load(reports(report(3, account=10**15)))
    assert [row[4] for row in lab.rows("reports")] == ["1", "2", "1000000000000000"]
    lab.load(reports(report(3, account=3)))
    assert [row[4] for row in lab.rows("reports")] == ["1", "2", "3"]


@pytest.mark.parametrize("disposition", ["replace", "append"])
def test_a_table_without_a_key_is_replaced_or_appended_to(lab: Lab, disposition: Any) -> None:
    def load(*names: str) -> list[Any]:
        rows = [{"name": name} for name in names]
        lab.load(dlt.resource([pd.DataFrame(rows)], name="events", write_disposition=disposition))
        return [row[0] for row in lab.rows("events")]

    assert load("a", "b", "b") == ["a", "b", "b"]
    assert load("b", "c") == (["b", "c"] if disposition == "replace" else ["a", "b", "b", "b", "c"])


def test_a_replaced_table_keeps_the_notes_beside_the_rows_that_stay(lab: Lab) -> None:
    def dashboards(*rows: dict[str, Any]) -> Any:
        return table("dashboards", *rows, write_disposition="replace")

    lab.load(dashboards({"id": "a", "n": 1}, {"id": "b", "n": 2}, {"id": "c", "n": 3}))

    def annotate(tab: Tab) -> None:
        tab.column_count += 1
        tab.type(2, 2, "my b")

    person(lab, "dashboards", annotate)()
    lab.load(dashboards({"id": "d", "n": 4}, {"id": "b", "n": 20}))
    assert lab.rows("dashboards") == [["b", 20, "my b"], ["d", 4]]
    lab.load(dlt.resource([], name="dashboards", write_disposition="replace", primary_key="id"))
    assert lab.rows("dashboards") == []


def test_rows_are_deleted_from_the_middle_and_the_last_one_too(lab: Lab) -> None:
    def load(*rows: tuple[str, bool]) -> list[Any]:
        frame = pd.DataFrame([{"id": key, "gone": gone} for key, gone in rows])
        hints = {"gone": {"hard_delete": True}}
        lab.load(dlt.resource([frame], name="t", primary_key="id", write_disposition="merge", columns=hints))
        return [row[0] for row in lab.rows("t")]

    assert load(*((key, False) for key in "abcde")) == ["a", "b", "c", "d", "e"]
    assert load(("b", True), ("d", True), ("f", False)) == ["a", "c", "e", "f"]
    assert load(*((key, True) for key in "acef")) == []
    assert load(("g", False)) == ["g"]


def test_child_rows_of_one_parent_are_replaced_together(lab: Lab) -> None:
    def load(*rows: tuple[str, int]) -> list[Any]:
        frame = pd.DataFrame([{"report_id": parent, "position": place} for parent, place in rows])
        hints = {"primary_key": ["report_id", "position"], "merge_key": "report_id"}
        lab.load(dlt.resource([frame], name="blocks", write_disposition="merge", **hints))
        return lab.rows("blocks")

    assert load(("a", 0), ("a", 1), ("b", 0)) == [["a", 0], ["a", 1], ["b", 0]]
    assert load(("a", 1)) == [["a", 1], ["b", 0]]


def test_a_refresh_makes_the_table_anew_in_the_same_tab(lab: Lab) -> None:
    lab.load(reports(report(1), report(2)))
    tab = lab.tab("reports")
    lab.load(reports({"id": 5, "name": "other"}), refresh="drop_resources")
    assert (lab.tab("reports").id, lab.tab("reports").shown()) == (tab.id, [["id", "name"], [5, "other"]])


def test_a_table_that_a_refresh_drops_and_nothing_fills_loses_its_tab(lab: Lab) -> None:
    lab.load(reports(report(1)), table("dashboards", {"id": "d"}))
    empty = dlt.resource([], name="dashboards", primary_key="id", write_disposition="merge")
    lab.load(reports(report(2)), empty, refresh="drop_resources")
    assert [tab.title for tab in lab.book.tabs if not tab.hidden] == ["Sheet1", "reports"]


def test_sorted_rows_take_the_cells_beside_them_along(lab: Lab) -> None:
    sort = {"reports": ["pages desc", "id"]}
    lab.load(reports(report(1), report(3)), sort=sort)
    assert [row[0] for row in lab.rows("reports")] == ["r3", "r1"]

    def annotate(tab: Tab) -> None:
        tab.column_count += 1
        tab.type(2, 4, "mine, r1")

    person(lab, "reports", annotate)()
    lab.load(reports(report(2), report(4)), sort=sort)
    assert [[row[0], *row[4:]] for row in lab.rows("reports")] == [["r4"], ["r3"], ["r2"], ["r1", "mine, r1"]]


# Columns come and go; what is a person's stays


def own(tab: Tab, column: int) -> None:
    """A person keeps a formula, a note, a format and a chart beside the table."""
    tab.column_count += 1
    tab.type(0, column, "Mine")
    tab.type(1, column, Formula("=A2", "r1"))
    tab.rows[1].notes[column] = "my note"
    tab.rows[1].formats[column] = {"backgroundColor": {"red": 1}}
    tab.charts.append({"source": tab.id})


def test_a_column_added_or_dropped_moves_a_persons_columns_and_changes_nothing_in_them(lab: Lab) -> None:
    lab.load(reports(report(1), report(2)))
    person(lab, "reports", lambda tab: own(tab, 4))()
    lab.load(reports(report(2, grade="A"), report(3, grade="B")))
    tab = lab.tab("reports")
    assert tab.shown() == [
        ["id", "title", "pages", "created_at", "grade", "Mine"],
        ["r1", "Report 1", 1, 46204.5, "", "r1"],
        ["r2", "Report 2", 2, 46204.5, "A"],
        ["r3", "Report 3", 3, 46204.5, "B"],
    ]
    assert (tab.row(1).at(5), tab.row(1).notes[5]) == (Formula("=A2", "r1"), "my note")
    lab.load(reports(report(4)), columns={"reports": ["id", "pages", "grade"]})
    tab = lab.tab("reports")
    assert tab.shown()[:2] == [["id", "pages", "grade", "Mine"], ["r1", 1, "", "r1"]]
    assert tab.shown()[4] == ["r4", 4]
    assert tab.row(1).formats[3] == {"backgroundColor": {"red": 1}}
    assert tab.charts == [{"source": tab.id}]


def test_columns_put_in_another_order_keep_their_rows(lab: Lab) -> None:
    lab.load(reports(report(1), report(2)))
    person(lab, "reports", lambda tab: own(tab, 4))()
    lab.load(reports(report(3)), columns={"reports": ["pages", "id", "created_at"]})
    assert lab.tab("reports").shown() == [
        ["pages", "id", "created_at", "Mine"],
        [1, "r1", 46204.5, "r1"],
        [2, "r2", 46204.5],
        [3, "r3", 46204.5],
    ]


def test_a_renamed_tab_is_found_again_whatever_it_is_called(lab: Lab) -> None:
    lab.load(reports(report(1)))
    for title in ("P1", "it's 'mine'!", "A1:B2", "Übersicht"):
        tab_id = next(tab.id for tab in lab.book.tabs if tab.title not in ("Sheet1",) and not tab.hidden)
        with lab.server.person(lab.file) as book:
            book.by_id(tab_id).title = title
        lab.load(reports(report(2, title=title)))
        assert lab.rows(title)[1][:2] == ["r2", title]


def test_a_persons_tab_of_the_same_name_is_left_alone(lab: Lab) -> None:
    person(lab, "Sheet1", lambda tab: setattr(tab, "title", "Reports"))()
    lab.load(reports(report(1)))
    assert [tab.title for tab in lab.book.tabs if not tab.hidden] == ["Reports", "reports (2)"]
    assert lab.tab("Reports").shown() == []


def test_a_duplicate_of_a_tab_is_a_persons_own(lab: Lab) -> None:
    lab.load(reports(report(1)))
    with lab.server.person(lab.file) as book:
        original = book.tab("reports")
        notes = {number + 1: {**note, "metadataId": number + 1} for number, note in original.metadata.items()}
        book.tabs.insert(0, Tab(99, "Copy of reports", 3, 4, rows=list(original.rows), metadata=notes))
    lab.load(reports(report(2)))
    assert (len(lab.rows("Copy of reports")), len(lab.rows("reports"))) == (1, 2)


def test_a_header_that_a_person_renamed_stays_renamed(lab: Lab) -> None:
    lab.load(reports(report(1)))
    person(lab, "reports", lambda tab: tab.type(0, 1, "Title of the report"))()
    lab.load(reports(report(1, title="new")))
    assert lab.tab("reports").shown() == [
        ["id", "Title of the report", "pages", "created_at"],
        ["r1", "new", 1, 46204.5],
    ]


def test_a_deleted_header_comes_back_and_rows_above_it_are_respected(lab: Lab) -> None:
    lab.load(reports(report(1), report(2)))
    person(lab, "reports", lambda tab: tab.delete_row(0))()
    lab.load(reports(report(2, title="new"), report(3)))
    assert [row[:2] for row in lab.tab("reports").shown()] == [
        ["id", "title"],
        ["r1", "Report 1"],
        ["r2", "new"],
        ["r3", "Report 3"],
    ]

    def title(tab: Tab) -> None:
        tab.insert_row(0)
        tab.type(0, 0, "Our reports")

    person(lab, "reports", title)()
    lab.load(reports(report(1, title="newer"), report(4)))
    assert [row[:2] for row in lab.tab("reports").shown()] == [
        ["Our reports"],
        ["id", "title"],
        ["r1", "newer"],
        ["r2", "new"],
        ["r3", "Report 3"],
        ["r4", "Report 4"],
    ]


def test_a_total_below_the_table_stays_and_is_no_data(lab: Lab) -> None:
    lab.load(reports(report(1), report(2)))

    def total(tab: Tab) -> None:
        tab.row_count += 2
        tab.type(4, 2, Formula("=SUM(C2:C3)", 3))

    person(lab, "reports", total)()
    lab.load(reports(report(3)))
    lab.load(reports(report(3)))
    tab = lab.tab("reports")
    assert tab.row(4).at(2) == Formula("=SUM(C2:C3)", 3)
    assert [row[0] for row in tab.shown(1)[1:] if row] == ["r1", "r2", "r3"]


def test_what_a_person_typed_into_a_cell_stays_until_the_source_brings_the_row(lab: Lab) -> None:
    lab.load(reports(report(1), report(2)))
    person(lab, "reports", lambda tab: (tab.type(1, 2, "many"), tab.type(2, 3, "some day")))()
    lab.load(reports(report(3)))
    assert lab.rows("reports")[0][2] == "many"
    lab.load(reports(report(1), report(2)))
    assert [row[2:] for row in lab.rows("reports")] == [[1, 46204.5], [2, 46204.5], [3, 46204.5]]


def test_rows_that_people_deleted_are_counted(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.load(reports(report(1), report(2), report(3)))
    person(lab, "reports", lambda tab: tab.delete_row(2))()
    pipeline = lab.pipeline()
    pipeline.run(reports(report(4)), loader_file_format="parquet")
    client = pipeline.destination_client()
    assert isinstance(client, TableStoreClient)
    assert client.facts()["rows_removed_by_people"] == 1
    assert "1 row of reports were deleted in the spreadsheet" in caplog.text
    assert [row[0] for row in lab.rows("reports")] == ["r1", "r3", "r4"]


# What is refused, before anything is written


def refused(lab: Lab, *data: Any, **settings: Any) -> BaseException:
    """The error of a load that must not have written."""
    before = len(lab.server.files[lab.file].revisions)
    with pytest.raises(PipelineStepFailed) as caught:
        lab.load(*data, **settings)
    assert len(lab.server.files[lab.file].revisions) == before
    return cause(caught.value)


def test_a_cell_too_long_is_refused_with_its_row_and_column_or_cut_visibly(lab: Lab) -> None:
    rows = reports(report(1), report(2, title="x" * 50_001))
    error = refused(lab, rows)
    assert isinstance(error, CellRefused)
    assert isinstance(error, DestinationTerminalException)
    assert (error.table, error.row, error.column, error.exit_code) == ("reports", "r2", "title", 5)
    assert "50,001 characters" in str(error)
    lab.load(rows, long_cells="cut")
    text = lab.rows("reports")[1][1]
    assert isinstance(text, str)
    assert "… [cut, sha256:" in text
    lab.server.calls.clear()
    lab.load(rows, long_cells="cut")
    assert max(call.sent for call in lab.server.calls) < 3_000


def test_a_load_that_fits_no_spreadsheet_is_refused_with_the_arithmetic(lab: Lab) -> None:
    def enlarge(tab: Tab) -> None:
        tab.row_count, tab.column_count = 384_614, 26

    person(lab, "Sheet1", enlarge)()
    error = refused(lab, reports(*(report(n) for n in range(30))))
    assert isinstance(error, SpreadsheetFull)
    assert "reports alone needs 31 rows × 4 columns = 124 cells" in str(error)
    assert "9,999,964 are in use now" in str(error)


def test_an_uploaded_load_needs_room_for_both_copies(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.job("1", [report(n) for n in range(60)])
    monkeypatch.setattr(sheets_writer, "BATCH_BYTES", 1_000)

    def enlarge(tab: Tab) -> None:
        tab.row_count, tab.column_count = 384_601, 26

    person(lab, "Sheet1", enlarge)()
    with pytest.raises(SpreadsheetFull):
        lab.job("2", [report(n, title="changed") for n in range(40)])
    lab.job("3", [report(n, title="changed") for n in range(3)])


def test_more_columns_than_a_tab_can_remember_are_refused(lab: Lab) -> None:
    columns = REPORTS | {f"column_{n:04}": {"name": f"column_{n:04}", "data_type": "text"} for n in range(2_000)}
    with pytest.raises(SpreadsheetFull, match="the names of the 2,004 columns of reports take"):
        lab.job("1", [report(1)], columns=columns)
    assert len(lab.server.files[lab.file].revisions) == 1


def test_a_row_without_a_key_is_refused(lab: Lab) -> None:
    error = refused(lab, reports(report(1), report(2, id="")))
    assert isinstance(error, CellRefused)
    assert "could not be found again" in str(error)


def test_a_column_inserted_inside_the_table_is_refused_with_its_name(lab: Lab) -> None:
    lab.load(reports(report(1)))

    def insert(tab: Tab) -> None:
        tab.column_count += 1
        for number, row in enumerate(list(tab.rows)):
            values = [*row.values[:2], "Comment" if not number else None, *row.values[2:]]
            tab.rows[number] = type(row)(tuple(values), row.formats, row.notes)

    person(lab, "reports", insert)()
    error = refused(lab, reports(report(2)))
    assert isinstance(error, TabChanged)
    assert "no longer has its columns A to D as the export left them: pages has moved" in str(error)


def test_a_tab_that_a_person_deleted_is_named_and_made_again_on_request(lab: Lab) -> None:
    lab.load(reports(report(1)))
    with lab.server.person(lab.file) as book:
        book.tabs.remove(book.tab("reports"))
    error = refused(lab, reports(report(2)))
    assert isinstance(error, TabChanged)
    assert "--overwrite" in str(error)
    lab.load(reports(report(2)), overwrite=True)
    assert [row[0] for row in lab.rows("reports")] == ["r2"]
    lab.load(reports(report(3)))
    assert [row[0] for row in lab.rows("reports")] == ["r2", "r3"]


def test_unknown_tables_and_columns_are_refused_with_the_known_ones(lab: Lab) -> None:
    error = refused(lab, reports(report(1)), tables=["reports", "raports"])
    assert isinstance(error, UnknownSelection)
    assert isinstance(refused(lab, reports(report(1)), columns={"reports": ["titel"]}), UnknownSelection)
    assert isinstance(refused(lab, reports(report(1)), sort={"reports": ["made"]}), UnknownSelection)


def test_tables_are_chosen_and_the_growing_ones_come_on_request(lab: Lab) -> None:
    data = [reports(report(1)), table("dashboards", {"id": "d"}), table("widget_history", {"id": "w"})]
    lab.load(*data)
    assert [tab.title for tab in lab.book.tabs if not tab.hidden] == ["Sheet1", "dashboards", "reports"]
    lab.load(*data, tables=["widget_history"])
    assert lab.rows("widget_history") == [["w"]]


def test_of_a_growing_table_the_last_rows_are_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets_reader, "TAIL", 10)

    def load(first: int, last: int) -> None:
        rows = [{"id": f"{n:04}", "value": n} for n in range(first, last)]
        lab.load(table("widget_history", *rows), tables=["widget_history"])

    load(0, 200)
    lab.server.calls.clear()
    load(195, 205)
    assert [row[0] for row in lab.rows("widget_history")] == [f"{n:04}" for n in range(205)]
    assert max(call.received for call in lab.server.calls if call.method == "values.batchGet") < 4_000


# Limits and waits


def test_three_requests_a_minute_are_enough_with_patience(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets_writer, "BATCH_BYTES", 1_000)
    lab.server.quota = {"read": 3, "write": 3}
    pipeline = lab.pipeline()
    pipeline.run(reports(*(report(n) for n in range(80))), loader_file_format="parquet")
    assert len(lab.rows("reports")) == 80
    client = pipeline.destination_client()
    assert isinstance(client, TableStoreClient)
    facts = client.facts()
    assert facts["writes"] - facts["retried"] >= 4
    assert facts["waited_s"] >= 60


def test_a_token_that_cannot_be_refreshed_for_a_moment_is_asked_for_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lab.server.sleep)
    lab.server.break_next("reset", "token")
    lab.load(reports(report(1)))
    assert len(lab.rows("reports")) == 1


# Who may, and what doctor says


def findings(lab: Lab, **changes: Any) -> list[Finding]:
    values = {"spreadsheet": lab.file, "api_url": lab.server.url, "tries": 1, **changes}
    config = GoogleSheetsConfiguration(**values)
    credentials = GoogleCredentials()
    credentials.parse_native_representation(lab.server.accounts.service_account(ROBOT))
    config.credentials = changes.get("credentials", credentials)
    return diagnose(config)


def test_doctor_names_the_address_to_share_with_and_leaves_no_trace(lab: Lab) -> None:
    found = findings(lab)
    assert [(finding.ok, finding.subject) for finding in found] == [
        (True, "credentials"),
        (True, "spreadsheet"),
        (True, "access"),
        (True, "room"),
    ]
    assert f"with {ROBOT} as Editor" in found[0].text
    assert found[3].text == "26,000 of 10,000,000 cells are in use, blank ones counted."
    assert lab.book == lab.server.files[lab.file].revisions[0].book


def test_doctor_tells_apart_why_google_refuses(lab: Lab) -> None:
    def last(**changes: Any) -> tuple[bool, str, str]:
        finding = findings(lab, **changes)[-1]
        return finding.ok, finding.subject, finding.text

    shared = lab.server.files[lab.file].shared
    shared[ROBOT] = "reader"
    ok, subject, text = last()
    assert (ok, subject) == (False, "read-only")
    assert f"change the role of {ROBOT} from Viewer to Editor" in text
    del shared[ROBOT]
    assert last()[1] == "not-shared"
    assert f"add {ROBOT} as Editor" in last()[2]
    assert last(spreadsheet="1" * 44)[1] == "wrong-id"
    lab.server.api_enabled = False
    assert last()[1] == "api-disabled"
    assert "Enable it by visiting https://console.developers.google.com" in last()[2]
    lab.server.api_enabled = True
    lab.server.accounts.revoked.add(ROBOT)
    assert last()[1] == "credentials"
    lab.server.accounts.revoked.clear()
    assert last(spreadsheet="")[1] == "google_sheets"


def test_a_refused_load_says_which_of_them_it_is(lab: Lab) -> None:
    lab.server.files[lab.file].shared[ROBOT] = "reader"
    error = refused(lab, reports(report(1)))
    assert isinstance(error, SheetsRefused)
    assert (error.cause, error.exit_code) == ("read-only", 5)


def test_keyless_federation_works_through_the_service_account(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = tmp_path / "subject"
    subject.write_text(lab.server.accounts.subject_token)
    config = tmp_path / "federation.json"
    config.write_text(json.dumps(lab.server.accounts.federation(str(subject), ROBOT)))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(config))
    destination = google_sheets(spreadsheet=ADDRESS + lab.file + "/edit#gid=0", api_url=lab.server.url)
    pipeline = dlt.pipeline("claribi", destination=destination, pipelines_dir=str(tmp_path / "p"))
    pipeline.run(reports(report(1)), loader_file_format="parquet")
    assert len(lab.rows("reports")) == 1
    tokens = [call.method for call in lab.server.calls if call.kind == "token"]
    assert tokens == ["/sts/v1/token", f"/v1/projects/-/serviceAccounts/{ROBOT}:generateAccessToken"]


def test_federation_without_a_service_account_is_refused_with_the_way_out(lab: Lab, tmp_path: Path) -> None:
    credentials = GoogleCredentials()
    credentials.parse_native_representation(lab.server.accounts.federation("x", None))
    with pytest.raises(SheetsSetting, match="the input service_account as well"):
        credentials.login()


@pytest.mark.parametrize("way", ["json", "path", "fields"])
def test_credentials_come_from_the_environment_in_three_ways(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    info = lab.server.accounts.service_account(ROBOT)
    prefix = "DESTINATION__GOOGLE_SHEETS__"
    monkeypatch.setenv(prefix + "SPREADSHEET", lab.file)
    monkeypatch.setenv(prefix + "API_URL", lab.server.url)
    if way == "json":
        monkeypatch.setenv(prefix + "CREDENTIALS", json.dumps(info))
    elif way == "path":
        (tmp_path / "key.json").write_text(json.dumps(info))
        monkeypatch.setenv(prefix + "CREDENTIALS", str(tmp_path / "key.json"))
    else:
        for name in ("client_email", "private_key", "token_uri"):
            monkeypatch.setenv(f"{prefix}CREDENTIALS__{name.upper()}", info[name])
    pipeline = dlt.pipeline("claribi", destination="google_sheets", pipelines_dir=str(tmp_path / "p"))
    pipeline.run(reports(report(1)), loader_file_format="parquet")
    assert len(lab.rows("reports")) == 1


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        ("", "is set but empty"),
        ("/no/such/file.json", "is no JSON and no readable file"),
        ('{"private_key": "SECRET"', "is no valid JSON"),
        ('{"type": "service_account", "client_email": "a@b", "private_key": "SECRET"}', "that cannot be used"),
        ('{"type": "gopher", "private_key": "SECRET"}', "JSON of type 'gopher', which is not known"),
    ],
)
def test_credentials_that_cannot_work_are_named_without_their_secret(given_: str, problem: str) -> None:
    def login() -> None:
        credentials = GoogleCredentials()
        credentials.parse_native_representation(given_)
        credentials.login()

    with pytest.raises(SheetsSetting, match=problem) as caught:
        login()
    assert "SECRET" not in repr(caught.value) + repr(caught.value.__cause__)
    assert caught.value.exit_code == 2


def test_no_secret_is_in_a_representation_of_the_settings(lab: Lab) -> None:
    credentials = GoogleCredentials(private_key="SECRET")
    credentials.parse_native_representation('{"private_key": "SECRET"}')
    config = GoogleSheetsConfiguration(spreadsheet="1" * 44, credentials=credentials)
    assert "SECRET" not in repr(config) + str(config) + repr(credentials) + str(credentials)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("spreadsheet", "", "is missing"),
        ("spreadsheet", "https://docs.google.com/document/d/" + "1" * 44, "no address of a spreadsheet"),
        ("api_url", "http://example.com", "must begin with https"),
        ("long_cells", "wrap", "known are refuse and cut"),
    ],
)
def test_settings_that_cannot_work_are_refused(lab: Lab, name: str, value: str, problem: str) -> None:
    settings = {"spreadsheet": "1" * 44, "api_url": lab.server.url, name: value}
    with pytest.raises(Exception, match=problem) as caught:
        dlt.pipeline("claribi", destination=google_sheets(**settings)).run(reports(report(1)))
    assert isinstance(cause(caught.value), SheetsSetting)


def test_an_address_of_the_browser_is_as_good_as_an_id() -> None:
    number = "1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvWxYz-_abcdef"
    addresses = [
        number,
        ADDRESS + number,
        f"{ADDRESS}{number}/edit?gid=5#gid=5",
        ADDRESS.replace("/d/", "/u/1/d/") + number,
    ]
    assert {GoogleSheetsConfiguration(spreadsheet=address).spreadsheet_id for address in addresses} == {number}


def test_without_gspread_the_error_says_what_to_install(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gspread.http_client", None)
    monkeypatch.delitem(sys.modules, "destinations.sheets_api", raising=False)
    error = refused(lab, reports(report(1)))
    assert isinstance(error, SheetsExtraMissing)
    assert "pip install 'claribi-export[sheets]'" in str(error)


def test_the_destination_is_found_by_name_and_imports_nothing_of_google() -> None:
    assert isinstance(Destination.from_reference("google_sheets"), google_sheets)
    code = "import sys, destinations.google_sheets; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if name.startswith(("gspread", "google.auth"))} == set()


# The exporter itself


def test_an_account_exported_night_after_night_from_empty_machines(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in lab.environment().items():
        monkeypatch.setenv(f"DESTINATION__GOOGLE_SHEETS__{name}", value)
    with serve_stage() as stage:
        account = Nightly(lab.folder, stage, monkeypatch)
        for night in range(3):
            lab.server.calls.clear()
            account.good_export("google_sheets")
            assert lab.server.count("read") <= 3
            assert lab.server.count("write") == 1
            account.forget()
            account.organisation.advance()
            assert len(lab.rows("usage")) == night + 1
        finish_calls()
    shown = {tab.title for tab in lab.book.tabs if not tab.hidden}
    assert shown == {"Sheet1", "reports", "dashboards", "dashboard_widgets", "data_sources", "usage", "alerts"}


# Judged from outside


def singer_streams() -> dict[str, tuple[list[str], list[dict[str, Any]]]]:
    """The streams of Singer's target tests that are valid: name -> key and records."""
    streams: dict[str, tuple[list[str], list[dict[str, Any]]]] = {}
    for file in sorted(Path(target_test_streams.__file__).parent.glob("*.singer")):
        for line in file.read_text().splitlines():
            message = json.loads(line) if line.strip() else {}
            name = f"{file.stem}__{message.get('stream')}"
            if message.get("type") == "SCHEMA":
                streams.setdefault(name, (message.get("key_properties") or [], []))
            elif message.get("type") == "RECORD" and name in streams:
                streams[name][1].append(message["record"])
    return {
        name: (key, records)
        for name, (key, records) in streams.items()
        if records and all(field in record for field in key for record in records)
    }


def singer_source(*, merged: bool) -> Any:
    """The streams as resources: all records, for a destination to merge, or only the last one of each key."""

    @dlt.source(name="singer", max_table_nesting=0)
    def source() -> Iterator[Any]:
        for name, (key, records) in singer_streams().items():
            last = {repr([record[field] for field in key]): record for record in records} if key else {}
            if merged and key:
                yield dlt.resource(records, name=name, primary_key=key, write_disposition="merge")
            else:
                yield dlt.resource(list(last.values()) or records, name=name, write_disposition="replace")

    return source()


def test_singers_target_streams_loaded_twice_leave_the_last_record_of_each_key(lab: Lab) -> None:
    judge = dlt.pipeline("judge", destination=dlt.destinations.duckdb("judge.duckdb"), dataset_name="d")
    judge.run(singer_source(merged=False), loader_file_format="parquet")
    for _ in range(2):
        lab.load(singer_source(merged=True))
    names = judge.default_schema.data_table_names()
    assert len(names) >= 15
    with judge.sql_client() as client:
        for name in names:
            columns = [column for column in judge.default_schema.tables[name]["columns"] if column[:4] != "_dlt"]
            rows = client.execute_sql(f"SELECT {', '.join(map(client.escape_column_name, columns))} FROM {name}")
            wanted = sorted(repr([plain(value) for value in row]) for row in rows or [])
            found = [[plain(row[column]) for column in columns] for row in lab.read_back(name)]
            assert sorted(map(repr, found)) == wanted, name


def plain(value: Any) -> Any:
    """A value as Sheets keeps it: JSON in one form, milliseconds, no empty text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.dumps(json.loads(value), sort_keys=True)
    return None if value == "" else value


KINDS: dict[str, Any] = {
    "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "bigint": st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    "double": st.floats(-1e300, 1e300) | st.sampled_from([float("nan"), float("inf"), 0.1 + 0.2]),
    "decimal": st.decimals(-(10**20), 10**20, places=9),
    "bool": st.booleans(),
    "timestamp": st.datetimes(datetime.fromisoformat("1800-01-01"), datetime.fromisoformat("2200-01-01")),
    "date": st.dates(date(1800, 1, 1)),
    "time": st.times(),
    "json": st.lists(st.integers()).map(json.dumps),
    "binary": st.binary(max_size=10),
}
TYPED: Columns = {"id": REPORTS["id"]} | {
    name: {"name": name, "data_type": name, **({"precision": 38, "scale": 9} if name == "decimal" else {})}  # type: ignore[typeddict-item]
    for name in KINDS
}


def expected(name: str, value: Any, exact: bool) -> Any:
    """A value after its way to the spreadsheet and back."""
    if value is None or value in ("", b"") or (name == "double" and not abs(value) < 1e301):
        return None
    if name == "timestamp":
        moment = value.replace(tzinfo=UTC)
        early = moment < datetime(1899, 12, 30, tzinfo=UTC)
        return moment if exact or early else moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return json.dumps(json.loads(value), separators=(",", ":")) if name == "json" else value


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries({name: st.none() | kind for name, kind in KINDS.items()}), min_size=1, max_size=6
    ),
    digits=st.sampled_from([15, 17]),
    exact=st.booleans(),
)
def test_a_frame_of_every_type_comes_back_from_the_sheet_and_loaded_again_changes_nothing(
    lab: Lab, rows: list[dict[str, Any]], digits: int, exact: bool
) -> None:
    lab.file = lab.server.create()
    lab.server.digits = digits
    for number, row in enumerate(rows):
        row["id"] = str(number)
    typed = [{**row, "timestamp": row["timestamp"] and row["timestamp"].replace(tzinfo=UTC)} for row in rows]
    rules = Rules(exact_timestamps=exact)
    lab.job("1", typed, columns=TYPED, backend=lab.backend(rules=rules))
    back = lab.read_back()
    for row, found in zip(rows, back, strict=True):
        wanted = {name: expected(name, row[name], exact) for name in KINDS}
        if digits == 15 and wanted["double"] is not None:
            wanted["double"] = float(f"{wanted['double']:.15g}")
        assert {name: found[name] for name in KINDS} == wanted
    before = lab.tab("reports").shown()
    lab.job("2", typed, columns=TYPED, backend=lab.backend(rules=rules))
    assert lab.tab("reports").shown() == before
