"""Walks that prove themselves: every kind of paging, lists that move, and servers that lie."""

import random
import threading
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.claribi.client import Client
from pipelines.claribi.dialect import Page
from pipelines.claribi.errors import (
    ComeBackLater,
    ForeignOrigin,
    NotFound,
    NotJson,
    ScopeMissing,
    UnknownEnvelope,
    Unreachable,
    WalkBroken,
)
from pipelines.claribi.tally import Tally, moment
from pipelines.claribi.walk import Proof, Shape, Walk, in_order
from pipelines.sandbox import DIALECTS, KB, OFFSET, V1, Organisation, Sandbox, faults, serve
from tests.fake_api import answer, client_of, settings
from tests.stage import finish_calls


@pytest.fixture(scope="module", autouse=True)
def no_answer_is_quick():
    """So that several pages are asked for at once, as they are of a server that takes its time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.claribi.walk.QUICK_S", 0.0)
        yield


URL = "https://claribi.test/api/reports/"
START = datetime(2026, 1, 1, tzinfo=UTC)


def rows(count, *, first=1):
    """Reports, the newest first."""
    return [
        {"id": number, "created_at": (START - timedelta(hours=number)).isoformat()}
        for number in range(first, first + count)
    ]


def asked(request):
    """The query of a call, with numbers as such."""
    return {name: int(text) if text.isdecimal() else text for name, text in request.url.params.items()}


def by_page(items, *, cap=100, default=20, total="count", link=True, past=None):
    """A list by page number, as the knowledge base has it; `past` is the answer beyond the end."""

    def answered(request):
        query = asked(request)
        page, size = query.get("page", 1), min(query.get("page_size", default), cap)
        if past and (page - 1) * size >= max(1, len(items)):
            return past
        body = {"results": items[(page - 1) * size : page * size]}
        if total:
            body[total] = len(items)
        if link:
            more = page * size < len(items)
            body["next"] = f"{URL}?{urlencode({**query, 'page': page + 1})}" if more else None
        return answer(body)

    return answered


def by_offset(items, *, cap=100, echo=True, link=False):
    """A list by limit and offset."""

    def answered(request):
        query = asked(request)
        offset, limit = query.get("offset", 0), min(query.get("limit", 20), cap)
        body = {"items": items[offset : offset + limit], "total": len(items)}
        if echo:
            body |= {"limit": limit, "offset": offset}
        if link:
            more = offset + limit < len(items)
            body["next"] = f"/api/reports/?{urlencode({'limit': limit, 'offset': offset + limit})}" if more else None
        return answer(body)

    return answered


def by_cursor(items, *, key="next_cursor", cap=100, link=False, total=False, last=None):
    """A list by an opaque cursor; `last` is what the last page has for one, `...` for no key at all."""

    def answered(request):
        query = asked(request)
        start, size = int(str(query.get("cursor", "c0"))[1:]), min(query.get("page_size", 20), cap)
        body = {"data": items[start : start + size]} | ({"total": len(items)} if total else {})
        if start + size < len(items):
            cursor = f"c{start + size}"
            body[key] = f"?{urlencode({'cursor': cursor, 'page_size': size})}" if link else cursor
        elif last is not ...:
            body[key] = last
        return answer(body)

    return answered


def bare(items, *, cap=100, paged=True):
    """A list without any envelope."""

    def answered(request):
        query = asked(request)
        page, size = query.get("page", 1), min(query.get("page_size", 20), cap)
        return answer(items[(page - 1) * size : page * size] if paged else items)

    return answered


def walked(answers, *, page_size=100, in_flight=4, **options):
    """The ids of each attempt, the proof, and the API."""
    client, api = client_of(answers, **options)
    walk = Walk(client, "reports", page_size=page_size, in_flight=in_flight)
    attempts = {}
    for page in walk:
        attempts.setdefault(page.attempt, []).extend(item["id"] for item in page.items)
    return attempts, walk.proof, api


def ids(items):
    return [item["id"] for item in items]


def broken(answers, **options):
    """The problem that a walk stops with, and how many calls it took."""
    client, api = client_of(answers)
    walk = Walk(client, "reports", **options)
    with pytest.raises(WalkBroken) as problem:
        for _ in walk:
            pass
    assert walk.proof.complete is False
    assert problem.value.exit_code == 4
    return problem.value.problem, len(api.requests)


# Every kind of paging

PAGINGS = {
    "page number with link": by_page,
    "page number with total alone": lambda items, **more: by_page(items, link=False, **more),
    "page number with link alone": lambda items, **more: by_page(items, total=None, **more),
    "offset echoed": by_offset,
    "offset with total alone": lambda items, **more: by_offset(items, echo=False, **more),
    "offset with link": lambda items, **more: by_offset(items, link=True, **more),
    "next_cursor": by_cursor,
    "cursor": lambda items, **more: by_cursor(items, key="cursor", **more),
    "cursor under next": lambda items, **more: by_cursor(items, key="next", **more),
    "cursor with total": lambda items, **more: by_cursor(items, total=True, **more),
    "cursor that is silent at the end": lambda items, **more: by_cursor(items, last=..., **more),
    "link with a cursor": lambda items, **more: by_cursor(items, key="next", link=True, **more),
    "bare list": bare,
}


@pytest.mark.parametrize("cap", [100, 20])
@pytest.mark.parametrize("count", [0, 1, 19, 20, 99, 100, 101, 250, 400])
@pytest.mark.parametrize("paging", PAGINGS)
def test_every_row_comes_once_and_in_order_in_every_paging(paging, count, cap):
    items = rows(count)
    attempts, proof, api = walked(PAGINGS[paging](items, cap=cap))
    assert attempts == ({1: ids(items)} if items else {})
    assert (proof.complete, proof.distinct, proof.rewalked, proof.note) == (True, count, 0, "")
    assert len(api.requests) <= -(-count // cap) + 2


def test_the_first_call_names_the_page_size_in_every_documented_way():
    _, _, api = walked(by_page(rows(5)))
    assert asked(api.requests[0]) == {"page": 1, "page_size": 100, "limit": 100}


def test_later_pages_are_asked_for_as_the_first_one_links_to_them():
    _, _, api = walked(by_page(rows(250)), in_flight=1)
    assert [asked(request)["page"] for request in api.requests] == [1, 2, 3]
    _, _, api = walked(by_offset(rows(250), link=True), in_flight=1)
    assert [asked(request) for request in api.requests[1:]] == [
        {"limit": 100, "offset": 100},
        {"limit": 100, "offset": 200},
    ]


def test_an_offset_that_is_echoed_is_all_that_is_sent():
    _, _, api = walked(by_offset(rows(150), cap=50), in_flight=1)
    assert [asked(request) for request in api.requests[1:]] == [
        {"page_size": 100, "limit": 100, "offset": 50},
        {"page_size": 100, "limit": 100, "offset": 100},
    ]


def test_known_pages_are_asked_for_four_at_a_time():
    together = threading.Barrier(4, timeout=30)
    plain = by_page(rows(900))

    def answered(request):
        if asked(request)["page"] > 1:
            together.wait()
        return plain(request)

    attempts, proof, _ = walked(answered)
    assert (attempts, proof.complete) == ({1: list(range(1, 901))}, True)


def test_a_server_that_is_quick_is_asked_for_one_page_at_a_time(monkeypatch):
    monkeypatch.setattr("pipelines.claribi.walk.QUICK_S", 1000.0)
    callers = set()

    def answered(request):
        callers.add(threading.current_thread())
        return by_page(rows(900))(request)

    attempts, proof, _ = walked(answered)
    assert (attempts, proof.complete, callers) == ({1: list(range(1, 901))}, True, {threading.current_thread()})


def test_cursors_are_asked_for_one_at_a_time():
    lock, inside = threading.Lock(), []

    def answered(request):
        with lock:
            inside.append(threading.current_thread().name)
        return by_cursor(rows(350))(request)

    walked(answered)
    assert set(inside) == {threading.current_thread().name}


def test_a_proof_says_what_was_seen():
    _, proof, _ = walked(by_page(rows(250)))
    assert proof == Proof("reports", 3, "newest", complete=True, rewalked=0, total=250, distinct=250, note="")


def test_an_empty_list_is_complete():
    attempts, proof, api = walked([answer({"count": 0, "next": None, "results": []})])
    assert (attempts, len(api.requests)) == ({}, 1)
    assert proof == Proof("reports", 1, "unknown", complete=True, rewalked=0, total=0, distinct=0, note="")


@pytest.mark.parametrize("past", [answer({"detail": "Invalid page."}, 404), answer({"results": []})])
def test_a_list_that_tells_neither_total_nor_next_ends_with_an_empty_or_a_missing_page(past):
    attempts, proof, api = walked(by_page(rows(200), total=None, link=False, past=past))
    assert (attempts, proof.complete, len(api.requests)) == ({1: list(range(1, 201))}, True, 3)


def test_a_list_that_is_not_paged_at_all_is_complete():
    attempts, proof, api = walked(bare(rows(30), paged=False))
    assert (attempts, proof.complete, len(api.requests)) == ({1: list(range(1, 31))}, True, 2)


def test_a_total_that_only_counts_the_page_is_no_total():
    items = rows(250)

    def answered(request):
        body = by_cursor(items)(request).json()
        return answer(body | {"count": len(body["data"])})

    attempts, proof, _ = walked(answered)
    assert (attempts, proof.complete, proof.total) == ({1: ids(items)}, True, None)


def test_a_next_that_is_always_null_does_not_hide_the_pages_that_the_total_tells_of():
    items = rows(250)
    attempts, proof, _ = walked(lambda request: answer(by_page(items)(request).json() | {"next": None}))
    assert (attempts, proof.complete) == ({1: ids(items)}, True)


def test_a_full_page_that_says_nothing_of_what_follows_is_checked_against_a_shorter_one():
    attempts, proof, api = walked(by_cursor(rows(100), last=...))
    assert (attempts, proof.complete, len(api.requests)) == ({1: list(range(1, 101))}, True, 3)
    assert asked(api.requests[2]) == {"page": 1, "page_size": 99, "limit": 99}


def test_a_first_page_shorter_than_asked_for_loses_nothing():
    items, plain = rows(700), by_offset(rows(700))

    def answered(request):
        body = plain(request).json()
        return answer(body if body["offset"] else body | {"items": items[:60]})

    attempts, proof, _ = walked(answered)
    assert (set(attempts[1]), proof.complete) == (set(range(1, 701)), True)


def test_ids_are_told_apart_whatever_they_are():
    items = [{"id": one} for one in ("550e8400-e29b-41d4-a716-446655440000", "d_7f3a", 7, "8", 2**70)]
    _, proof, _ = walked(by_page(items))
    assert (proof.complete, proof.distinct) == (True, 5)


# Order


@pytest.mark.parametrize(
    ("hours", "order"),
    [
        ([3, 2, 1], "newest"),
        ([1, 2, 3], "oldest"),
        ([3, 3, 1], "newest"),
        ([1, 3, 2], "none"),
        ([2, 2, 2], "unknown"),
        ([1], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_order_is_read_off_the_stamps(hours, order):
    items = [{"id": at, "created_at": (START + timedelta(hours=hour)).isoformat()} for at, hour in enumerate(hours)]
    assert walked(by_page(items))[1].order == order


def test_the_order_is_checked_on_every_page_and_between_them():
    items = rows(100) + rows(100, first=101)
    assert walked(by_page(items))[1].order == "newest"
    items[150], items[151] = items[151], items[150]
    assert walked(by_page(items))[1].order == "none"
    assert walked(by_page(rows(100, first=101) + rows(100)))[1].order == "none"


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10.250000Z", 10.25),
        ("1970-01-01T02:00:10+02:00", 10.0),
        ("1970-01-01T00:00:10", 10.0),
        ("1970-01-02", 86400.0),
        (10, 10.0),
        ("soon", None),
        (None, None),
        (True, None),
        ({}, None),
    ],
)
def test_a_moment_is_read_from_every_shape(stamp, seconds):
    assert moment(stamp) == seconds


# Lists that move


class Moving:
    """A list by page number that changes after certain calls: `changes` maps a call's number to what happens then."""

    def __init__(self, items, changes):
        self.items, self.changes, self.calls = items, changes, 0
        self.lock = threading.Lock()

    def __call__(self, request):
        with self.lock:
            self.calls += 1
            found = by_page(self.items)(request)
            self.changes.get(self.calls, lambda _: None)(self.items)
            return found


def last_attempt(attempts):
    return attempts[max(attempts)]


def test_a_row_that_is_deleted_while_pages_are_turned_makes_the_walk_begin_anew():
    api = Moving(rows(500), {2: lambda items: items.pop(0)})
    attempts, proof, _ = walked(api, in_flight=1)
    assert (proof.complete, proof.rewalked, proof.total) == (True, 1, 499)
    assert last_attempt(attempts) == list(range(2, 501))
    assert api.calls < 10


def test_a_row_that_is_inserted_while_pages_are_turned_makes_the_walk_begin_anew():
    api = Moving(rows(500), {2: lambda items: items.insert(0, {"id": "new"})})
    attempts, proof, _ = walked(api, in_flight=1)
    assert (proof.complete, proof.rewalked, proof.distinct) == (True, 1, 501)
    assert last_attempt(attempts) == ["new", *range(1, 501)]


def test_a_row_inserted_and_another_deleted_is_noticed_by_the_count_of_ids():
    def swap(items):
        items.insert(0, {"id": "new"})
        del items[-1]

    attempts, proof, _ = walked(Moving(rows(500), {2: swap}), in_flight=1)
    assert (proof.complete, proof.rewalked) == (True, 1)
    assert last_attempt(attempts) == ["new", *range(1, 500)]


def test_a_list_that_never_rests_is_walked_three_times_and_left_unproven():
    changes = {number: lambda items: items.insert(0, {"id": f"new {len(items)}"}) for number in range(1, 200)}
    attempts, proof, api = walked(Moving(rows(500), changes), in_flight=1)
    assert (set(attempts), proof.complete, proof.rewalked) == ({1, 2, 3}, False, 2)
    assert proof.note == f"its total moved to {proof.total} while it was read."
    assert set(range(1, 401)) <= {one for ids_read in attempts.values() for one in ids_read}
    assert len(api.requests) < 20


def test_a_list_that_shrinks_below_the_pages_asked_for_is_walked_again():
    def shrink(items):
        del items[120:]

    api = Moving(rows(500), {1: shrink})
    attempts, proof, _ = walked(lambda request: past_the_end(api, request), in_flight=1)
    assert (proof.complete, last_attempt(attempts)) == (True, list(range(1, 121)))


def past_the_end(api, request):
    found = api(request)
    return found if found.json()["results"] else answer({"detail": "Invalid page."}, 404)


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 60),
    changes=st.dictionaries(st.integers(1, 30), st.sampled_from(["insert", "delete", "both"]), max_size=6),
    in_flight=st.integers(1, 4),
)
def test_a_proven_walk_has_as_many_different_rows_as_the_list_and_every_walk_ends(seed, count, changes, in_flight):
    draw = random.Random(seed)

    def change(kind):
        def happen(items):
            if kind in ("delete", "both") and items:
                del items[draw.randrange(len(items))]
            if kind in ("insert", "both"):
                items.insert(0, {"id": f"new {draw.random()}"})

        return happen

    api = Moving(rows(count), {number: change(kind) for number, kind in changes.items()})
    try:
        attempts, proof, _ = walked(api, page_size=7, in_flight=in_flight)
    except WalkBroken:
        return  # said aloud
    read = last_attempt(attempts) if attempts else []
    if proof.complete:
        assert len(set(read)) == proof.total
    assert api.calls <= 3 * 30


# Servers that lie


def test_a_server_that_ignores_the_page_is_stopped_at_the_second():
    items = rows(500)
    for total, link in (("count", True), ("count", False), (None, True)):

        def answered(request, total=total, link=link):
            body = by_page(items, total=total, link=link)(request).json()
            return answer(body | {"results": items[:100]})

        problem, calls = broken(answered)
        assert problem == "page 2 holds the same objects as one before it, as if none was asked for."
        assert calls <= 6


def test_a_bare_list_that_ignores_the_page_and_may_have_been_cut_is_not_believed():
    problem, calls = broken(bare(rows(100), paged=False))
    assert (problem, calls) == ("page 2 holds the same objects as one before it, as if none was asked for.", 3)


@pytest.mark.parametrize("step", ["c100", "?cursor=c100&page_size=100"])
def test_a_cursor_or_link_that_leads_to_what_was_read_is_stopped(step):
    plain = by_cursor(rows(500), key="next", link=step.startswith("?"))

    def answered(request):
        body = plain(request).json()
        return answer(body | {"next": step} if asked(request).get("cursor") == "c200" else body)

    problem, calls = broken(answered)
    assert problem in (
        "what it calls its next page has been read already.",
        "page 4 holds the same objects as one before it, as if none was asked for.",
    )
    assert calls <= 4


def test_a_cursor_that_leads_to_itself_is_stopped():
    problem, calls = broken(lambda request: answer({"data": rows(2, first=len(request.url.query)), "next_cursor": "x"}))
    assert (problem, calls) == ("what it calls its next page has been read already.", 2)


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_numbered_link_that_does_not_lead_on_is_stopped(number):
    items = rows(500)

    def answered(request):
        body = by_page(items)(request).json()
        if asked(request)["page"] == number:
            body["next"] = f"{URL}?page={number}&page_size=100"
        return answer(body)

    problem, _ = broken(answered)
    assert problem == f"page {number} calls one its next that does not come after it."


def test_cursors_without_end_are_bounded_by_a_known_total():
    problem, calls = broken(
        lambda request: answer(
            {
                "data": [{"id": request.url.query.decode()}],
                "total": 3,
                "next_cursor": f"c{len(request.url.query) * 'x'}",
            }
        )
    )
    assert problem == "it has not ended after 26 more pages."
    assert calls == 27


def test_cursors_without_end_are_bounded_without_one(monkeypatch):
    monkeypatch.setattr("pipelines.claribi.walk.CHAIN_PAGES", 50)
    problem, calls = broken(
        lambda request: answer(
            {"data": [{"id": str(request.url)}], "next_cursor": f"c{request.url.params.get('cursor')}"}
        )
    )
    assert (problem, calls) == ("it has not ended after 50 more pages.", 51)
    problem, calls = broken(lambda request: answer([{"id": str(request.url)}]))
    assert (problem, calls) == ("it has not ended after 50 pages.", 49)


def test_an_absurd_total_does_not_make_an_endless_walk():
    problem, calls = broken(
        lambda request: answer(by_page(rows(150), link=False)(request).json() | {"count": 10**15}), in_flight=1
    )
    assert (problem, calls <= 14) == ("4 of its pages were empty though more should follow.", True)


def test_empty_pages_without_end_are_stopped():
    def answered(request):
        number = int(request.url.params.get("cursor", 0))
        return answer({"data": [] if number else rows(3), "next_cursor": str(number + 1)})

    problem, calls = broken(answered)
    assert (problem, calls) == ("4 of its pages were empty though more should follow.", 9)


def test_a_next_page_that_is_not_there_is_said_aloud():
    plain = by_page(rows(500), total=None)
    problem, calls = broken(lambda request: answer({}, 404) if asked(request)["page"] == 4 else plain(request))
    assert (problem, calls) == ("what it calls its next page is not there (HTTP 404).", 4)


def test_a_total_beside_an_empty_first_page_is_not_believed():
    problem, calls = broken([answer({"count": 250, "results": []})])
    assert (problem, calls) == ("it says that it has 250 objects, but its first page is empty.", 2)


class EmptyPage:
    """A paging whose third page is empty, `times` times."""

    def __init__(self, plain, times):
        self.plain, self.times = plain, times

    def __call__(self, request):
        body = self.plain(request).json()
        place = str(asked(request).get("page", asked(request).get("cursor")))
        if place in ("3", "c200") and self.times:
            self.times -= 1
            body |= {name: [] for name in ("results", "data") if name in body}
        return answer(body)


@pytest.mark.parametrize("paging", [by_page, by_cursor])
def test_a_page_that_is_empty_once_is_asked_for_again(paging):
    attempts, proof, api = walked(EmptyPage(paging(rows(500)), times=1))
    assert (attempts, proof.complete) == ({1: list(range(1, 501))}, True)
    assert len(api.requests) == 6


@pytest.mark.parametrize(
    ("paging", "note"),
    [
        (by_page, "400 different ids came, but it says that it has 500."),
        (by_cursor, "a page in its middle stayed empty."),
    ],
)
def test_a_page_that_stays_empty_leaves_the_walk_unproven_with_all_other_rows(paging, note):
    attempts, proof, api = walked(EmptyPage(paging(rows(500)), times=-1))
    assert (proof.complete, proof.rewalked, proof.note) == (False, 1, note)
    assert attempts[2] == [*range(1, 201), *range(301, 501)]
    assert len(api.requests) == 12


def test_a_list_that_always_says_more_than_it_gives_is_unproven_after_two_walks():
    _, proof, _ = walked(lambda request: answer(by_page(rows(150))(request).json() | {"count": 151}))
    assert (proof.complete, proof.rewalked, proof.total, proof.distinct) == (False, 1, 151, 150)


def test_a_link_to_another_host_is_refused_on_whichever_page_it_comes():
    items = rows(500)
    for number in (1, 4, 5):

        def answered(request, number=number):
            body = by_page(items)(request).json()
            if asked(request)["page"] == number:
                body["next"] = "https://evil.test/api/reports/?page=9"
            return answer(body)

        client, api = client_of(answered)
        with pytest.raises(ForeignOrigin, match=r"evil\.test"):
            list(Walk(client, "reports"))
        assert {request.url.host for request in api.requests} == {"claribi.test"}


def test_an_object_without_an_id_is_no_object():
    for item in ({"uuid": 1, "title": "x"}, {"id": None}, {"id": ""}, {"id": True}, {"id": 1.5}, {"id": []}):
        problem, _ = broken([answer({"count": 1, "results": [item]})])
        assert problem == f"an object has no id; its fields are {', '.join(item)}."


# Walks that are cut short


def test_a_limit_in_mid_walk_keeps_what_was_read():
    plain = by_page(rows(500))

    def answered(request):
        return answer({}, 429, Retry_After="3600") if asked(request)["page"] == 3 else plain(request)

    client, _ = client_of(answered)
    walk, read = Walk(client, "reports"), []
    with pytest.raises(ComeBackLater):
        read.extend(item["id"] for page in walk for item in page.items)
    assert read == list(range(1, 201))
    assert (walk.proof.complete, walk.proof.pages, walk.proof.distinct) == (False, 2, 200)
    assert walk.proof.note == "it was not read to its end."


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (answer({"detail": "No."}, 403), ScopeMissing),
        (answer({"detail": "No."}, 404), NotFound),
        (answer({}, 500), Unreachable),
        (httpx.Response(200, html="<title>Sign in</title>"), NotJson),
        (answer({"records": []}), UnknownEnvelope),
    ],
)
def test_a_first_page_that_fails_is_the_error_of_the_walk(failure, expected):
    client, _ = client_of([failure])
    walk = Walk(client, "reports")
    with pytest.raises(expected):
        next(iter(walk))
    assert (walk.proof.complete, walk.proof.pages) == (False, 0)


def test_a_walk_that_was_not_begun_proves_nothing():
    client, api = client_of([])
    assert (Walk(client, "reports").proof.complete, api.requests) == (False, [])


def test_a_consumer_that_stops_early_leaves_no_call_behind():
    client, api = client_of(by_page(rows(5000)))
    walk = iter(Walk(client, "reports"))
    next(walk)
    next(walk)
    walk.close()
    assert len(api.requests) <= 8


# In order


def test_results_come_in_order_and_as_soon_as_they_can():
    assert list(in_order(lambda number: number * 2, range(50))) == list(range(0, 100, 2))
    assert list(in_order(str, [])) == []


def test_an_error_comes_at_its_own_place_and_ends_it():
    def fail_at_7(number):
        if number == 7:
            raise KeyError(number)
        return number

    done = []
    with pytest.raises(KeyError):
        done.extend(in_order(fail_at_7, range(1000)))
    assert done == list(range(7))


def test_no_more_than_a_few_are_under_way():
    lock, now, most = threading.Lock(), [0], [0]
    rest = threading.Event()

    def count(number):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        rest.wait(0.001)
        with lock:
            now[0] -= 1
        return number

    assert list(in_order(count, range(40), in_flight=3)) == list(range(40))
    assert most[0] <= 3


def test_an_id_is_kept_in_about_eight_bytes():
    tracemalloc.start()
    try:
        tally = Tally("reports")
        for start in range(0, 50_000, 100):
            tally.add(Page([{"id": f"550e8400-e29b-41d4-a716-{start + at:012}"} for at in range(100)], total=None))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tally.distinct == 50_000
    assert kept < 50_000 * 12


# Over a real connection


@contextmanager
def sandbox_client(stage, sandbox, **changes):
    stage.sandbox = sandbox
    read = settings(**{"api_key": sandbox.account.key, "base_url": stage.url, "retry_wait": 0.01, **changes})
    with Client(read) as client:
        try:
            yield client
        finally:
            finish_calls()


def sandbox_walk(stage, sandbox, resource="reports"):
    """The ids of the last attempt as text, and the proof."""
    with sandbox_client(stage, sandbox) as client:
        walk, attempts = Walk(client, resource), {}
        for page in walk:
            attempts.setdefault(page.attempt, []).extend(str(item["id"]) for item in page.items)
        return (last_attempt(attempts) if attempts else []), walk.proof


def truth(sandbox, resource="reports"):
    return {item["id"] for item in sandbox.organisation.truth()[resource]}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_of_the_sandbox_is_walked_and_proven(stage, name):
    spoken = replace(DIALECTS[name], sources_listed="all")
    sandbox = Sandbox(spoken, Organisation(reports=730))
    for resource in ("reports", "dashboards", "data_sources"):
        read, proof = sandbox_walk(stage, sandbox, resource)
        assert (len(read), set(read)) == (len(set(read)), truth(sandbox, resource))
        assert (proof.complete, proof.rewalked) == (True, 0)
        assert proof.order == (spoken.order if resource == "reports" else "oldest")
    assert sandbox.spending == []


@pytest.mark.parametrize("envelope", ["results", "items", "data", "list"])
@pytest.mark.parametrize("paging", ["page", "offset", "cursor", "link"])
@pytest.mark.parametrize("counts", [True, False])
def test_every_mixture_of_envelope_and_paging_is_walked(stage, envelope, paging, counts):
    if envelope == "list" and paging in ("cursor", "link"):
        paging = "page"  # a bare list has no room for a cursor
    spoken = replace(KB, envelope=envelope, paging=paging, counts=counts, order="none")
    sandbox = Sandbox(spoken, Organisation(reports=230))
    read, proof = sandbox_walk(stage, sandbox)
    assert (len(read), set(read)) == (230, truth(sandbox))
    assert (proof.complete, proof.order) == (True, "none")


MOVES = [faults.row_deleted, faults.row_inserted]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("spoken", [KB, V1, OFFSET])
def test_a_sandbox_that_moves_while_it_is_read_loses_and_doubles_nothing(stage, spoken, move):
    sandbox = Sandbox(spoken, Organisation(reports=730))
    sandbox.faults.add(move(path="*/reports/", page=3))
    before = truth(sandbox)
    read, proof = sandbox_walk(stage, sandbox)
    assert proof.complete
    assert len(read) == len(set(read))
    assert truth(sandbox) & before <= set(read)


@pytest.mark.parametrize("spoken", [KB, V1, OFFSET])
def test_a_page_of_the_sandbox_that_is_empty_once_costs_one_call(stage, spoken):
    sandbox = Sandbox(spoken, Organisation(reports=730))
    sandbox.faults.add(faults.empty_page(path="*/reports/", page=5))
    read, proof = sandbox_walk(stage, sandbox)
    assert (len(read), proof.complete) == (730, True)
    assert sum(call.path.endswith("/reports/") for call in sandbox.calls) == 9


@pytest.mark.parametrize("spoken", [KB, V1, OFFSET])
def test_a_sandbox_that_ignores_the_page_is_stopped(stage, spoken):
    sandbox = Sandbox(spoken, Organisation(reports=730))
    sandbox.faults.add(faults.page_ignored(path="*/reports/", times=None))
    with pytest.raises(WalkBroken):
        sandbox_walk(stage, sandbox)


@pytest.mark.parametrize("page", [1, 4])
@pytest.mark.parametrize("spoken", [KB, V1])
def test_a_next_of_the_sandbox_that_repeats_is_stopped(stage, spoken, page):
    sandbox = Sandbox(spoken, Organisation(reports=730))
    sandbox.faults.add(faults.repeated_next(path="*/reports/", page=page))
    with pytest.raises(WalkBroken):
        sandbox_walk(stage, sandbox)


@pytest.mark.parametrize("page", [1, 4])
@pytest.mark.parametrize("spoken", [KB, V1, OFFSET])
def test_a_next_of_the_sandbox_on_another_host_is_never_called(stage, spoken, page):
    sandbox, evil = Sandbox(spoken, Organisation(reports=730)), Sandbox(spoken)
    with serve(evil) as elsewhere:
        host = elsewhere.url.removeprefix("http://")
        sandbox.faults.add(faults.foreign_next(host, path="*/reports/", page=page))
        with pytest.raises(ForeignOrigin, match=host):
            sandbox_walk(stage, sandbox)
    assert evil.calls == []


# Left early, gone on with, and begun at the other end

WAYS_ON = {
    "page number": by_page,
    "offset": by_offset,
    "cursor": by_cursor,
    "link with a cursor": lambda items, **more: by_cursor(items, key="next", link=True, **more),
    "page number with link alone": lambda items, **more: by_page(items, total=None, **more),
    "bare list": bare,
}


def read(answers, pages=None, **options):
    """The pages of a walk that is left after so many, the walk itself and its API."""
    client, api = client_of(answers)
    walk = Walk(client, "reports", in_flight=1, **options)
    found = []
    for page in walk:
        found.append(page)
        if len(found) == pages:
            break
    return found, walk, api


@pytest.mark.parametrize("came", [0, 1, 30, 250])
@pytest.mark.parametrize("way", WAYS_ON)
def test_a_walk_that_was_left_goes_on_where_it_was_whatever_came_since(way, came):
    items = rows(930, first=1000)
    left, walk, _ = read(WAYS_ON[way](items), 3)
    if way in ("cursor", "link with a cursor"):
        came = 0  # the cursors of these lists are positions, which those of a real one are not
    now = rows(came, first=1000 - came) + items
    rest, _, api = read(WAYS_ON[way](now), start=left[-1].place, shape=walk.shape)
    seen = {item["id"] for page in (*left, *rest) for item in page.items}
    assert seen >= set(ids(items))
    most = 7 if way not in ("bare list", "page number with link alone") else 8 + -(-came // 100)
    assert len(api.requests) <= most + (came > 0)


def test_a_place_that_is_no_longer_there_begins_the_walk_anew():
    def gone(request):
        return answer({}, 404) if "cursor" in request.url.params else by_page(rows(250))(request)

    found, walk, _ = read(gone, start={"next": "c100"})
    assert [item["id"] for page in found for item in page.items] == ids(rows(250))
    assert walk.ended


def oldest(count):
    return rows(count)[::-1]


@pytest.mark.parametrize("count", [101, 199, 200, 1000])
@pytest.mark.parametrize("came", [0, 1, 50, 230])
@pytest.mark.parametrize("way", ["page number", "offset"])
def test_a_list_with_the_oldest_first_is_read_from_its_end(way, came, count):
    _, walk, _ = read(WAYS_ON[way](oldest(count)))
    now = oldest(count) + rows(came, first=-came)[::-1]
    found, again, api = read(WAYS_ON[way](now), shape=replace(walk.shape, order="oldest"), newest_first=True)
    assert [item["id"] for page in found for item in page.items] == ids(now[::-1])
    assert again.proof.complete
    assert again.proof.order in ("oldest", "unknown")
    assert len(api.requests) <= -(-len(now) // 100) + 1
    first, _, api = read(WAYS_ON[way](now), 1, shape=replace(walk.shape, order="oldest"), newest_first=True)
    assert first[0].items[0]["id"] == now[-1]["id"]
    here = {"shape": replace(again.shape, order="oldest"), "newest_first": True, "start": first[0].place}
    rest, _, _ = read(WAYS_ON[way](now), **here)
    assert [item["id"] for page in (*first, *rest) for item in page.items] == ids(now[::-1])


def test_a_list_that_is_no_longer_what_was_remembered_is_read_from_its_beginning():
    shape = Shape("oldest", 1000, 100, numbered=True, echoes=False)
    found, walk, api = read(by_page(oldest(130), past=answer({}, 404)), shape=shape, newest_first=True)
    assert sorted(item["id"] for page in found for item in page.items) == sorted(ids(rows(130)))
    assert (walk.proof.complete, len(api.requests)) == (True, 3)


def etags(answers):
    """The same list with an ETag on each page, which is honoured."""

    def answered(request):
        told = answers(request)
        etag = f'"{hash(told.content)}"'
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304)
        return httpx.Response(200, content=told.content, headers={**told.headers, "etag": etag})

    return answered


def test_a_list_none_of_whose_pages_has_changed_is_not_read_again():
    _, walk, _ = read(etags(by_page(rows(250))))
    found, again, api = read(etags(by_page(rows(250))), remembered=walk.pages_read)
    assert (found, again.unchanged, again.ended, len(api.requests)) == ([], True, True, 3)


@pytest.mark.parametrize(("changed", "calls"), [(0, 3), (150, 5)])
def test_a_list_with_a_changed_page_is_read_whole(changed, calls):
    items = rows(250)
    _, walk, _ = read(etags(by_page(items)))
    items[changed] = items[changed] | {"title": "new"}
    found, again, api = read(etags(by_page(items)), remembered=walk.pages_read)
    assert [item for page in found for item in page.items] == items
    assert (again.unchanged, again.proof.complete, len(api.requests)) == (False, True, calls)


def test_without_validators_nothing_is_remembered():
    assert read(by_page(rows(250)))[1].pages_read == []
