"""Every request of a load broken in every way: a reader sees the load before or the one after, and the job ends."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from destinations import sheets_look, sheets_writer
from destinations.errors import DestinationError
from tests.proof import PROOF
from tests.sheets_document import Book, Formula, Tab
from tests.sheets_lab import Lab, person, state, states
from tests.sheets_server import WAYS, SheetsServer

NIGHTFALL = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)
FIRST = [
    {"id": f"r{n:03}", "title": f"=Report {n}", "pages": n, "created_at": NIGHTFALL + timedelta(hours=n)}
    for n in range(60)
]
NIGHT = [{**FIRST[n], "title": "changed"} for n in (3, 4, 41)] + [
    {"id": f"n{n}", "title": "new", "pages": None, "created_at": NIGHTFALL} for n in range(5)
]
JOBS = 3
MOST_REQUESTS = 12


@pytest.fixture
def lab(server: SheetsServer, tmp_path: Path) -> Lab:
    server.faults.clear()
    server.interruptions.clear()
    server.calls.clear()
    server.strict_metadata = False
    return Lab(server, tmp_path)


@pytest.fixture(scope="module")
def books(server: SheetsServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Book, Book, Book]:
    """The spreadsheet before anything, after the first load and after the night's."""
    lab = Lab(server, tmp_path_factory.mktemp("books"))
    found = [lab.book]
    for load, rows in (("1", FIRST), ("2", NIGHT)):
        lab.job(load, rows)
        found.append(lab.book)
    return found[0], found[1], found[2]


def until_done(lab: Lab, load: str, rows: list[dict[str, Any]], tries: int = 1) -> int:
    """Repeat a job as a scheduler would; returns how often it ran."""
    for number in range(1, JOBS + 1):
        try:
            lab.job(load, rows, tries=tries)
        except DestinationError:
            continue
        return number
    raise AssertionError(f"stuck: {JOBS} jobs failed")


@pytest.mark.parametrize(
    ("tries", "way"), [(1, way) for way in WAYS] + [(3, "applied-503"), (3, "truncated"), (3, "late-1")]
)
@pytest.mark.parametrize(
    ("load", "size"),
    list(product(["first", "night"], ["inline", "staged"])) if PROOF else [("first", "inline"), ("night", "staged")],
)
def test_whatever_request_breaks_every_revision_is_the_state_before_or_after(
    server: SheetsServer,
    tmp_path: Path,
    books: tuple[Book, Book, Book],
    monkeypatch: pytest.MonkeyPatch,
    load: str,
    size: str,
    tries: int,
    way: str,
) -> None:
    before, after = books[:2] if load == "first" else books[1:]
    rows = FIRST if load == "first" else NIGHT
    if size == "staged":
        monkeypatch.setattr(sheets_writer, "BATCH_BYTES", 2_000 if load == "first" else 200)
    number = "1" if load == "first" else "2"
    for kind in ("read", "write"):
        for nth in range(1, MOST_REQUESTS):
            lab = Lab(server, tmp_path)
            lab.file = server.create_from(before)
            server.break_next(way, kind, nth)
            until_done(lab, number, rows, tries)
            legal = [state(before), state(after)]
            assert [seen for seen in states(server, lab.file) if seen not in legal] == []
            assert state(lab.book) == state(after)
            if server.faults:  # the load makes fewer requests: all of them have been broken
                server.faults.clear()
                break
        assert nth > 1
        server.calls.clear()
        lab.job(number, rows)
        assert server.count("write") == 0


def test_a_large_load_is_uploaded_first_and_appears_at_once(
    lab: Lab, books: tuple[Book, Book, Book], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets_writer, "BATCH_BYTES", 1_000)
    lab.job("1", FIRST)
    lab.job("2", NIGHT)
    methods = [call.method for call in lab.server.calls if call.kind == "write"]
    assert methods.count("values.batchUpdate") >= 3
    assert methods.count("batchUpdate") == 4
    assert state(lab.book) == state(books[2])
    assert [tab.title for tab in lab.book.tabs if tab.title.startswith("upload")] == []


@pytest.mark.parametrize("way", ["503", "applied-503", "reset"])
def test_an_outage_of_an_hour_fails_the_job_and_the_next_one_goes_on(lab: Lab, way: str) -> None:
    lab.server.break_next(way, times=1_000)
    with pytest.raises(DestinationError, match="Google Sheets could not be reached"):
        lab.job("1", FIRST, tries=6)
    lab.server.faults.clear()
    lab.job("1", FIRST)
    assert len(lab.rows("reports")) == len(FIRST)


def test_a_request_that_its_client_has_given_up_lands_later_and_is_refused(lab: Lab) -> None:
    lab.job("1", FIRST)
    lab.server.break_next("stall", "write")
    backend = lab.backend(tries=2)
    backend._api._http.set_timeout((2, 0.5))
    lab.job("2", NIGHT, backend=backend)
    done = state(lab.book)
    answered = lab.server.count("write")
    lab.server.released.set()
    lab.server.wait_for(answered + 1)
    assert state(lab.book) == done


def test_an_upload_that_a_dead_run_left_is_swept_after_an_hour(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets_writer, "BATCH_BYTES", 1_000)
    lab.server.break_next("reset", "write", nth=2)
    with pytest.raises(DestinationError):
        lab.job("dead", FIRST)
    assert [tab.hidden for tab in lab.book.tabs] == [False, True]
    lab.job("1", NIGHT)
    assert sum(tab.title.startswith("upload") for tab in lab.book.tabs) == 1
    with lab.server.person(lab.file) as book:
        (left,) = [tab for tab in book.tabs if tab.title.startswith("upload")]
        (number,) = left.metadata
        left.metadata[number] = left.metadata[number] | {"metadataValue": '{"load":"dead","at":1}'}
    lab.job("2", NIGHT[:1])
    assert [tab.title for tab in lab.book.tabs] == ["Sheet1", "reports", "_dlt_loads"]


@pytest.mark.parametrize("strict", [False, True])
def test_two_writers_at_once_lose_nothing(lab: Lab, strict: bool) -> None:
    """Ten rounds each way; `strict`: metadata that does not exist is an error to delete, which Google does not say."""
    lab.server.strict_metadata = strict
    lab.job("0", FIRST)
    with ThreadPoolExecutor(2) as pool:
        for number in range(10):
            start = threading.Barrier(2)

            def write(writer: str, number: int = number, start: threading.Barrier = start) -> None:
                start.wait()
                new = {**FIRST[0], "id": f"{number}-{writer}"}
                lab.job(f"{number}-{writer}", [new, {**FIRST[number], "title": f"{number}"}], tries=6)

            assert list(pool.map(write, "ab")) == [None, None]
    keys = [row[0] for row in lab.rows("reports")]
    assert sorted(keys) == sorted({row["id"] for row in FIRST} | {f"{n}-{w}" for n in range(10) for w in "ab"})
    assert [row[1] for row in lab.rows("reports")[:10]] == [str(number) for number in range(10)]
    assert len(lab.rows("_dlt_loads")) == 21


def test_a_run_that_comes_second_is_refused_and_plans_again_on_top_of_the_first(lab: Lab) -> None:
    lab.job("0", FIRST)
    lab.server.before("write", lambda: lab.job("faster", [{**FIRST[0], "title": "faster", "id": "new"}]))
    lab.server.calls.clear()
    lab.job("slower", [{**FIRST[0], "title": "slower", "id": "newer"}])
    assert [call.status for call in lab.server.calls if call.kind == "write"] == [200, 400, 200]
    assert [row[:2] for row in lab.rows("reports")[-2:]] == [["new", "faster"], ["newer", "slower"]]


def test_the_newest_marks_are_kept_and_the_oldest_goes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets_look, "MARKS_KEPT", 5)
    for number in range(8):
        lab.job(str(number), FIRST[number : number + 1])
    marks = [entry["metadataValue"] for entry in lab.book.metadata.values()]
    assert marks == [
        '{"load":"3"}',
        '{"load":"4"}',
        '{"load":"5"}',
        '{"load":"6"}',
        '{"load":"7","rows":{"_dlt_loads":8,"reports":8}}',
    ]


def descending(tab: Tab) -> None:
    tab.sort(0, descending=True)


def delete_the_fifth(tab: Tab) -> None:
    tab.delete_row(5)


def rename(tab: Tab) -> None:
    tab.title = "it's A1!"


def insert_a_row(tab: Tab) -> None:
    tab.insert_row(7)


def own_columns(tab: Tab) -> None:
    tab.column_count += 2
    for number in range(1, 20):
        tab.type(number, 5, Formula(f'=A{number + 1}&"!"', f"{tab.row(number).at(0)}!"))


def a_chart(tab: Tab) -> None:
    tab.charts.append({"source": tab.id, "range": "A2:C61"})


def hide(tab: Tab) -> None:
    tab.hidden = True


def delete_many(tab: Tab) -> None:
    del tab.rows[10:]
    tab.row_count = 10


def nothing(tab: Tab) -> None:
    """A quiet night."""


PEOPLE = [descending, delete_the_fifth, rename, insert_a_row, own_columns, a_chart, hide, delete_many, nothing]


@pytest.mark.parametrize("when", [("read", 2), ("write", 1), ("read", 3)])
@pytest.mark.parametrize("act", PEOPLE)
def test_whatever_a_person_does_meanwhile_no_row_is_lost_or_doubled(
    lab: Lab, books: tuple[Book, Book, Book], act: Callable[[Tab], None], when: tuple[str, int]
) -> None:
    lab.file = lab.server.create_from(books[1])
    tab_id = lab.tab("reports").id
    lab.server.before(when[0], person(lab, "reports", act), when[1])
    lab.job("2", NIGHT)
    assert lab.server.interruptions == []
    after = {str(row[0]): row for row in books[2].tab("reports").shown()[1:]}
    lab.job("3", NIGHT[:1])
    if when == ("read", 2) or (act, when) == (delete_many, ("write", 1)):
        # What a person deleted before we read, or read again, is theirs to delete, unless the load brings it.
        revisions = lab.server.files[lab.file].revisions
        left = [revision.book for revision in revisions if revision.author == "person"][-1].by_id(tab_id)
        keys = {row[0] for row in left.shown(1) if row} | {row["id"] for row in NIGHT}
        after = {key: row for key, row in after.items() if key in keys}
    found = [row for row in lab.book.by_id(tab_id).shown(4)[1:] if row]
    assert {str(row[0]): row for row in found} == after
    assert len(found) == len(after)
