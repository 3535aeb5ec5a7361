"""What an account speaks: candidates, headers, paths, and pages in every envelope."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.claribi.dialect import Dialect, Page, auth_headers, candidates, names_an_account, read_page
from pipelines.claribi.errors import UnknownEnvelope

ROWS = [{"id": 1}, {"id": 2}]


def seen_in(body):
    with pytest.raises(UnknownEnvelope) as problem:
        read_page(body, what="the list of reports")
    return problem.value.seen


def test_a_key_that_begins_claribi_sk_is_tried_under_api_as_api_key_first():
    assert candidates("claribi_sk_live_1") == [
        Dialect("/api/", "api-key"),
        Dialect("/api/", "x-api-key"),
        Dialect("/api/", "bearer"),
        Dialect("/api/v1/", "bearer"),
        Dialect("/api/v1/", "x-api-key"),
        Dialect("/api/v1/", "api-key"),
    ]


@pytest.mark.parametrize("key", ["claribi_1", "claribi_key_1", "claribi_mcp_1"])
def test_any_other_key_is_tried_under_v1_as_bearer_first(key):
    tried = candidates(key)
    assert tried[0] == Dialect("/api/v1/", "bearer")
    assert [one.prefix for one in tried] == ["/api/v1/"] * 3 + ["/api/"] * 3


def test_settings_narrow_what_is_tried():
    assert candidates("claribi_1", prefix="/api/", scheme="bearer") == [Dialect("/api/", "bearer")]
    assert candidates("claribi_1", scheme="x-api-key") == [
        Dialect("/api/v1/", "x-api-key"),
        Dialect("/api/", "x-api-key"),
    ]


def test_a_login_is_tried_where_it_is_documented_first():
    assert candidates(None, scheme="jwt") == [Dialect("/api/", "jwt"), Dialect("/api/v1/", "jwt")]
    assert candidates("claribi_1", scheme="jwt")[0] == Dialect("/api/", "jwt")


@pytest.mark.parametrize(
    ("scheme", "header"),
    [
        ("api-key", {"Authorization": "Api-Key k"}),
        ("x-api-key", {"X-API-Key": "k"}),
        ("bearer", {"Authorization": "Bearer k"}),
        ("jwt", {"Authorization": "Bearer k"}),
    ],
)
def test_a_scheme_is_one_header(scheme, header):
    assert auth_headers(scheme, "k") == header


@pytest.mark.parametrize("scheme", ["api-key", "x-api-key", "bearer", "jwt"])
@pytest.mark.parametrize("prefix", ["/api/", "/api/v1/"])
def test_a_dialect_survives_the_state(prefix, scheme):
    dialect = Dialect(prefix, scheme)
    assert Dialect.from_state(dialect.to_state()) == dialect


@pytest.mark.parametrize("state", [{}, {"prefix": "/api/"}, {"prefix": "/api/v2/", "scheme": "bearer"}])
def test_a_state_that_holds_no_dialect_is_refused(state):
    with pytest.raises(ValueError, match="no dialect"):
        Dialect.from_state(state)


def test_each_prefix_has_its_own_paths():
    assert Dialect("/api/", "bearer").path("usage") == "billing/usage/"
    assert Dialect("/api/v1/", "bearer").path("usage") == "usage/"
    assert Dialect("/api/", "bearer").path("organization") == "auth/status/"
    assert Dialect("/api/v1/", "bearer").path("organization") == "auth/verify/"
    assert Dialect("/api/", "bearer").path("data_sources") == "data-sources/"


def test_a_path_below_a_resource_ends_in_a_slash_and_is_quoted():
    dialect = Dialect("/api/v1/", "bearer")
    assert dialect.path("reports", "42") == "reports/42/"
    assert dialect.path("reports", "42/download/") == "reports/42/download/"
    assert dialect.path("dashboards", "d 7?f#ü") == "dashboards/d%207%3Ff%23%C3%BC/"


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ({"valid": True, "api_key": {"name": "n"}}, True),
        ({"user": {"id": 1}, "organization": {"id": 1}}, True),
        ({"organization": "Acme Corp"}, True),
        ({"valid": False, "organization": {"id": 1}}, False),
        ({"authenticated": False, "user": {"id": 1}}, False),
        ({"user": None}, False),
        ({}, False),
        ([], False),
        ("ok", False),
    ],
)
def test_only_an_answer_that_names_somebody_accepts_the_key(body, good):
    assert names_an_account(body) is good


@pytest.mark.parametrize("envelope", ["results", "items", "data"])
@pytest.mark.parametrize("total", ["count", "total"])
def test_rows_and_total_are_read_from_every_documented_envelope(envelope, total):
    assert read_page({envelope: ROWS, total: 8}, what="x") == Page(ROWS, total=8)


def test_a_bare_list_is_a_page_of_unknown_total_and_end():
    assert read_page(ROWS, what="x") == Page(ROWS, total=None)


@pytest.mark.parametrize("link", ["https://claribi.test/api/reports/?page=2", "/api/reports/?page=2", "?page=2"])
def test_a_next_that_is_an_address_is_a_link(link):
    assert read_page({"results": ROWS, "count": 8, "next": link}, what="x") == Page(ROWS, total=8, link=link)


@pytest.mark.parametrize(
    "told",
    [
        {"next_cursor": "b2Zmc2V0"},
        {"cursor": "b2Zmc2V0"},
        {"next": "b2Zmc2V0"},
        {"meta": {"next_cursor": "b2Zmc2V0"}},
        {"pagination": {"cursor": "b2Zmc2V0"}},
    ],
)
def test_a_next_that_is_no_address_is_a_cursor(told):
    assert read_page({"data": ROWS, **told}, what="x") == Page(ROWS, total=None, cursor="b2Zmc2V0")


def test_totals_and_links_may_lie_one_level_deeper():
    body = {"data": ROWS, "meta": {"total": 8}, "links": {"next": "/api/v1/reports/?cursor=x"}}
    assert read_page(body, what="x") == Page(ROWS, total=8, link="/api/v1/reports/?cursor=x")


@pytest.mark.parametrize("end", [{"next": None}, {"next_cursor": None}, {"next": ""}, {"next": None, "cursor": None}])
def test_a_next_that_is_there_and_empty_is_the_end(end):
    assert read_page({"results": ROWS, **end}, what="x").ends is True


@pytest.mark.parametrize("silent", [{}, {"count": 2}, {"has_more": True}, {"next": 2}])
def test_silence_about_what_follows_is_no_end(silent):
    assert read_page({"results": ROWS, **silent}, what="x").ends is False


def test_limit_and_offset_are_read_as_the_place_of_the_page():
    assert read_page({"items": ROWS, "total": 8, "limit": 2, "offset": 4}, what="x") == Page(ROWS, total=8, offset=4)


@pytest.mark.parametrize("total", [True, -1, "8", 8.0, None])
def test_a_total_that_is_no_number_of_things_is_none(total):
    assert read_page({"results": ROWS, "count": total}, what="x").total is None


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ({"records": ROWS, "count": 2}, ["count", "records"]),
        ({"results": None, "count": 2}, ["count", "results"]),
        ({"results": {"1": {}}}, ["results"]),
        ({"error": "not_found", "message": "m", "status": 404}, ["error", "message", "status"]),
        ({"error": "busy", "results": []}, ["error", "results"]),
        ({}, []),
        ("ok", ["a str"]),
        (None, ["a NoneType"]),
        ({"results": [1, 2]}, ["a list of int"]),
        ([{"id": 1}, None], ["a list of NoneType"]),
    ],
)
def test_anything_else_is_refused_with_the_names_that_were_seen(body, seen):
    assert seen_in(body) == seen


def test_the_names_that_were_seen_stay_short():
    assert len(", ".join(seen_in({f"{number}" * 100: 0 for number in range(500)}))) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["results", "items", "data", "count", "total", "next", "cursor", "meta", "error", "offset"])
            | st.text(max_size=5),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@hypothesis_settings(deadline=None)
@given(JSON)
def test_every_body_is_a_page_of_objects_or_an_unknown_envelope(body):
    try:
        page = read_page(body, what="x")
    except UnknownEnvelope:
        return
    assert all(isinstance(item, dict) for item in page.items)
    assert page.total is None or page.total >= 0
    assert not (page.ends and (page.link or page.cursor))
