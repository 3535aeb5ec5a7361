"""The test server itself: it must refuse what Google refuses, or the tests above it prove nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests import sheets_discovery as discovery
from tests.sheets_document import Book, Formula, Tab, parse_a1
from tests.sheets_server import ROBOT, SCOPE, SheetsServer


@pytest.fixture
def server() -> Iterator[SheetsServer]:
    server = SheetsServer()
    yield server
    server.close()


class Client:
    """Plain HTTP, so that the server can be asked for things that our own client never sends."""

    def __init__(self, server: SheetsServer, scope: str = SCOPE, email: str | None = ROBOT) -> None:
        self.server, self.file = server, server.create()
        self.headers = {"Authorization": f"Bearer {server.accounts.issue(email, scope)}"}

    def get(self, rest: str = "", **query: Any) -> requests.Response:
        url = f"{self.server.url}/v4/spreadsheets/{self.file}{rest}"
        return requests.get(url, params=query, headers=self.headers, timeout=5)

    def post(self, rest: str, body: dict[str, Any]) -> requests.Response:
        url = f"{self.server.url}/v4/spreadsheets/{self.file}{rest}"
        return requests.post(url, json=body, headers=self.headers, timeout=5)

    def batch(self, *items: dict[str, Any]) -> requests.Response:
        return self.post(":batchUpdate", {"requests": list(items)})

    def put(self, text: str, values: list[list[Any]]) -> requests.Response:
        return self.post(
            "/values:batchUpdate", {"valueInputOption": "RAW", "data": [{"range": text, "values": values}]}
        )

    def rows(self, text: str = "'Sheet1'!A:Z") -> Any:
        answer = self.get("/values:batchGet", ranges=text, valueRenderOption="UNFORMATTED_VALUE")
        return answer.json()["valueRanges"][0].get("values")


@pytest.fixture
def client(server: SheetsServer) -> Client:
    return Client(server)


def mark(number: int) -> dict[str, Any]:
    entry = {
        "metadataId": number,
        "metadataKey": "k",
        "location": {"spreadsheet": True},
        "visibility": "DOCUMENT",
    }
    return {"createDeveloperMetadata": {"developerMetadata": entry}}


def cells(*values: str, **where: int) -> dict[str, Any]:
    row = {"values": [{"userEnteredValue": {"stringValue": value}} for value in values]}
    return {"updateCells": {"start": where, "rows": [row], "fields": "userEnteredValue"}}


def test_a_field_mask_is_parsed_with_dots_slashes_and_parentheses() -> None:
    assert discovery.parse_mask("a.b,c(d,e/f)") == {"a": {"b": {}}, "c": {"d": {}, "e": {"f": {}}}}


@pytest.mark.parametrize("mask", ["", "a,,b", "a(b", "a)", "a b", ".a"])
def test_a_malformed_field_mask_is_refused(mask: str) -> None:
    with pytest.raises(ValueError):
        discovery.parse_mask(mask)


def test_a_mask_over_a_field_that_does_not_exist_is_refused(client: Client) -> None:
    assert client.get(fields="sheets.properties.name").status_code == 400
    assert client.server.problems() == ["get='sheets.properties.name': SheetProperties has no field 'name'"]


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"addSheet": {"properties": {"titel": "x"}}}, "unknown name 'titel' in SheetProperties"),
        ({"addSheet": {"properties": {"sheetId": 2**31}}}, "outside int32"),
        ({"addSheet": {"properties": {"sheetType": "PAPER"}}}, "'PAPER' is not one of"),
        ({"addSheet": {}, "deleteSheet": {"sheetId": 0}}, "exactly one kind"),
        ({"updateSheetProperties": {"properties": {}, "fields": "grid.rows"}}, "SheetProperties has no field 'grid'"),
        ({"updateCells": {"start": {}, "range": {}, "fields": "note"}}, "only one of ['range', 'start']"),
        ({"repeatCell": {"cell": {"note": 5}, "fields": "note"}}, "expected string, got 5"),
        ({"repeatCell": {"cell": {}, "fields": "rows.values.note"}}, "CellData has no field 'rows'"),
    ],
)
def test_what_the_discovery_document_does_not_allow_is_refused_and_remembered(
    client: Client, request_: dict[str, Any], problem: str
) -> None:
    answer = client.batch(request_)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]["message"]
    assert problem in client.server.problems()[0]


def test_an_unknown_query_parameter_and_an_unknown_method_are_problems(client: Client) -> None:
    assert client.get(withLink="true").status_code == 400
    assert client.get("/valuez").status_code == 404
    assert len(client.server.problems()) == 2


def test_what_is_not_implemented_answers_501_and_is_a_problem(client: Client) -> None:
    assert client.batch({"mergeCells": {}}).status_code == 501
    assert client.server.problems() == ["This server does not implement mergeCells."]


def test_a_batch_is_all_or_nothing(client: Client) -> None:
    answer = client.batch(cells("lost"), {"deleteSheet": {"sheetId": 99}})
    assert answer.status_code == 400
    assert "requests[1].deleteSheet" in answer.json()["error"]["message"]
    assert client.rows() is None
    assert len(client.server.files[client.file].revisions) == 1


def test_a_metadata_id_is_taken_once(client: Client) -> None:
    assert client.batch(mark(5)).status_code == 200
    assert client.batch(mark(5), cells("twice")).status_code == 400
    assert client.rows() is None


def test_a_sheet_id_and_a_title_are_taken_once(client: Client) -> None:
    add = {"addSheet": {"properties": {"sheetId": 7, "title": "Seven"}}}
    assert client.batch(add).status_code == 200
    assert client.batch(add).status_code == 400
    assert client.batch({"addSheet": {"properties": {"sheetId": 8, "title": "seven"}}}).status_code == 400


def test_answers_leave_out_zero_false_and_empty_fields(client: Client) -> None:
    sheet = client.get(fields="sheets.properties(sheetId,hidden,title,index),developerMetadata").json()
    assert sheet == {"sheets": [{"properties": {"title": "Sheet1"}}]}


def test_trailing_blanks_are_cut_and_inner_ones_are_empty_texts(client: Client) -> None:
    client.put("'Sheet1'!A1:C3", [["a", "", "c"], ["", "", ""], ["x", "", ""]])
    assert client.rows() == [["a", "", "c"], [], ["x"]]
    by_column = client.get("/values/'Sheet1'!A:C", majorDimension="COLUMNS", valueRenderOption="UNFORMATTED_VALUE")
    assert by_column.json()["values"] == [["a", "", "x"], [], ["c"]]


def test_null_leaves_the_old_value_and_an_empty_text_clears_it(client: Client) -> None:
    client.put("'Sheet1'!A1:B1", [["a", "b"]])
    client.put("'Sheet1'!A1:B1", [[None, ""]])
    assert client.rows() == [["a"]]


def test_writing_past_the_grid_is_refused(client: Client) -> None:
    assert client.put("'Sheet1'!A1000:A1001", [["a"], ["b"]]).status_code == 400
    assert client.batch(cells("a", rowIndex=1000)).status_code == 400


def test_a_cell_takes_50_000_characters_and_no_more(client: Client) -> None:
    assert client.batch(cells("x" * 50_000)).status_code == 200
    assert client.batch(cells("x" * 50_001)).status_code == 400


def test_ten_million_cells_count_blank_ones_and_rows_grow_before_columns_shrink(client: Client) -> None:
    def resize(rows: int, columns: int) -> dict[str, Any]:
        properties = {"sheetId": 0, "gridProperties": {"rowCount": rows, "columnCount": columns}}
        fields = "gridProperties.rowCount,gridProperties.columnCount"
        return {"updateSheetProperties": {"properties": properties, "fields": fields}}

    assert client.batch(resize(384_615, 26)).status_code == 200
    assert "above the limit of 10000000 cells" in client.batch(resize(384_616, 26)).json()["error"]["message"]
    assert client.batch(resize(1_000_000, 10)).status_code == 400  # 1,000,000 x 26 in between
    narrow = {"updateSheetProperties": {"properties": {"gridProperties": {"columnCount": 10}}}}
    narrow["updateSheetProperties"]["fields"] = "gridProperties.columnCount"  # type: ignore[assignment]
    assert client.batch(narrow, resize(1_000_000, 10)).status_code == 200


def test_deleting_a_tab_breaks_formulas_and_charts_that_speak_of_it(client: Client) -> None:
    client.batch({"addSheet": {"properties": {"sheetId": 7, "title": "Seven"}}})
    with client.server.person(client.file) as book:
        book.tab("Sheet1").type(0, 0, Formula("=SUM(Seven!A:A)", 3))
        book.tab("Sheet1").charts.append({"source": 7})
    client.batch({"deleteSheet": {"sheetId": 7}})
    tab = client.server.book(client.file).tab("Sheet1")
    assert tab.row(0).at(0) == Formula("=SUM(Seven!A:A)", "#REF!")
    assert tab.charts == [{"source": 7, "broken": True}]


def test_the_quota_counts_reads_and_writes_apart_and_refills_every_minute(client: Client) -> None:
    client.server.quota = {"read": 2, "write": 1}
    assert [client.get().status_code for _ in range(3)] == [200, 200, 429]
    assert [client.batch(mark(i)).status_code for i in (1, 2)] == [200, 429]
    details = client.get().json()["error"]["details"][0]
    assert (details["reason"], details["metadata"]["quota_limit"]) == (
        "RATE_LIMIT_EXCEEDED",
        "ReadRequestsPerMinutePerUser",
    )
    client.server.sleep(60)
    assert client.get().status_code == 200


@pytest.mark.parametrize(("way", "status"), [("500", 500), ("503", 503), ("429", 429), ("html-502", 502)])
def test_a_plain_fault_answers_and_applies_nothing(client: Client, way: str, status: int) -> None:
    client.server.break_next(way, "write")
    assert client.batch(cells("a")).status_code == status
    assert client.rows() is None


@pytest.mark.parametrize("way", ["reset", "truncated", "applied-reset", "late-1"])
def test_a_broken_connection_is_an_error_for_the_client(client: Client, way: str) -> None:
    client.server.break_next(way, "write")
    with pytest.raises(requests.RequestException):
        client.batch(cells("a"))


def test_an_applied_fault_is_carried_out_all_the_same(client: Client) -> None:
    client.server.break_next("applied-503", "write")
    assert client.batch(cells("a")).status_code == 503
    assert client.rows() == [["a"]]


def test_a_late_request_lands_after_the_requests_that_follow_it(client: Client) -> None:
    client.server.break_next("late-1", "write")
    with pytest.raises(requests.RequestException):
        client.batch(cells("late"))
    assert client.rows() is None
    assert client.rows() == [["late"]]


def test_a_fault_hits_the_nth_request_of_its_kind(client: Client) -> None:
    client.server.break_next("503", "read", nth=2, times=2)
    assert [client.get().status_code for _ in range(4)] == [200, 503, 503, 200]


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("'it''s'!A2:C", (1, 50, 0, 3)),
        ("'it''s'", (0, 50, 0, 5)),
        ("'it''s'!B:B", (0, 50, 1, 2)),
        ("'it''s'!C3", (2, 3, 2, 3)),
        ("'it''s'!A1:AB9", (0, 9, 0, 28)),
    ],
)
def test_a1_ranges_are_read_as_google_reads_them(text: str, block: tuple[int, ...]) -> None:
    tab, area = parse_a1(Book("b", [Tab(1, "it's", 50, 5)]), text)
    assert (tab.id, tuple(area)) == (1, block)


def test_who_is_not_shared_with_may_not_read_and_a_reader_may_not_write(client: Client) -> None:
    shared = client.server.files[client.file].shared
    shared[ROBOT] = "reader"
    assert [client.get().status_code, client.batch(mark(1)).status_code] == [200, 403]
    del shared[ROBOT]
    assert client.get().json()["error"]["status"] == "PERMISSION_DENIED"


def test_a_token_without_the_sheets_scope_and_no_token_are_refused(server: SheetsServer) -> None:
    cloud = Client(server, scope="https://www.googleapis.com/auth/cloud-platform")
    reason = cloud.get().json()["error"]["details"][0]["reason"]
    assert reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    cloud.headers = {}
    assert cloud.get().status_code == 401
