"""What one answer says: exact data, and clariBI's reason in one sentence without secrets."""

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.claribi.answers import (
    API_KEY,
    LOGIN,
    MCP_KEY,
    Answer,
    Undecodable,
    data,
    decode,
    error_body,
    error_for,
    reason,
    redact,
)
from pipelines.claribi.errors import CallFailed, NotFound, NotJson, Refused, ScopeMissing


def refusal(status, body):
    return Answer(status, body, httpx.Headers(), "https://claribi.test/api/reports/42/")


@pytest.mark.parametrize(
    "number",
    [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, -(10**30), 0, -1],
)
def test_integers_of_any_size_stay_exact(number):
    assert decode(b'{"n": %d, "s": "x"}' % number) == {"n": number, "s": "x"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


@hypothesis_settings(deadline=None)
@given(JSON)
def test_what_was_written_is_read(value):
    assert decode(json.dumps(value).encode()) == value
    assert decode(json.dumps(value, ensure_ascii=False).encode()) == value


def test_half_an_emoji_becomes_a_question_mark_rather_than_the_end_of_the_export():
    assert decode(b'{"title": "Q2 \\ud83d", "other": "\\ud83d\\ude00 \\\\ud83d"}') == {
        "title": "Q2 ?",
        "other": "😀 \\ud83d",
    }


def test_a_byte_order_mark_is_no_harm():
    assert decode(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"results": [{"id": 1}, {"id"',
        b'{"n": NaN}',
        b'{"n": Infinity}',
        b'{"n": 1e400}',
        b'{"n": 1e400, "long": 12345678901234567890}',
        b'{"n": NaN, "long": 12345678901234567890}',
        b'{"s": "\xff"}',
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_what_is_no_json_is_undecodable(body):
    with pytest.raises(Undecodable):
        decode(body)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/problem+json; charset=utf-8", "", "text/plain"]
)
def test_data_is_data_whatever_it_is_called(content_type):
    assert data(b' {"a": 1}', content_type, "x") == {"a": 1}


@pytest.mark.parametrize("content_type", ["application/json", "text/html", ""])
def test_json_that_was_cut_is_undecodable_rather_than_a_page(content_type):
    with pytest.raises(Undecodable):
        data(b'{"a": [1, 2', content_type, "x")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!doctype html><title>Sign in &amp; out</title><p>x", "text/html; charset=utf-8"),
        (b"\n <html><head></head><body><h1>Sign in &amp; out</h1></body>", "application/json"),
        (b"Sign in & out", "text/plain"),
    ],
)
def test_a_page_with_status_200_is_named_by_its_title(body, content_type):
    with pytest.raises(NotJson, match=r"the list of reports answered with .*it begins: 'Sign in & out'") as problem:
        data(body, content_type, "the list of reports")
    assert problem.value.exit_code == 4


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"error": "not_found", "message": "Report with ID 42 not found", "status": 404},
            "Report with ID 42 not found.",
        ),
        ({"detail": "Not found."}, "Not found."),
        ({"detail": "Key has expired", "code": "key_expired"}, "Key has expired."),
        ({"detail": {"message": "Deep"}}, "Deep."),
        ({"detail": [{"loc": ["query", "page"], "msg": "must be a number"}]}, "must be a number."),
        ({"error": {"code": -32000, "message": "Busy"}}, "Busy."),
        ({"error": "forbidden"}, "forbidden."),
        ({"non_field_errors": ["Unable to log in."]}, "Unable to log in."),
        ({"page_size": ["Must be at most 100."], "page": ["No."]}, "page_size: Must be at most 100."),
        (["One", "Two"], "One."),
        ("<html><head><title>502 Bad Gateway</title></head><body>nginx", "502 Bad Gateway."),
        ("<html><style>p {}</style><body><p>Down for <b>maintenance</b></p>", "Down for maintenance."),
        ("plain\n  words", "plain words."),
        ({}, "Not Found."),
        ({"message": "", "detail": "  "}, "Not Found."),
        ("", "Not Found."),
        (None, "Not Found."),
        (42, "Not Found."),
    ],
)
def test_the_reason_is_read_from_every_shape(body, said):
    assert reason(refusal(404, body)) == said


def test_a_status_that_has_no_name_still_gives_a_sentence():
    assert reason(refusal(599, None)) == "no reason given."


def test_a_reason_is_one_short_printable_line():
    text = reason(refusal(400, {"message": "\x1b[31mred\x07\n" + "long " * 200}))
    assert len(text) <= 200
    assert text.isprintable()


def test_a_reason_never_repeats_a_secret():
    token = "eyJhbGciOi.eyJzdWIi.c2ln"
    body = {"message": f"Key claribi_key_zzzz99999 and s3cr3t! and {token} are no good"}
    assert reason(refusal(401, body), ["s3cr3t!"]) == "Key *** and *** and *** are no good."


def test_the_longer_of_two_secrets_is_struck_out_first():
    assert redact("abcdef abc", ["abc", "abcdef"]) == "*** ***"


def test_our_own_words_about_keys_are_left_alone():
    text = "A key begins with claribi_sk_ or claribi_mcp_…; import claribi_source."
    assert redact(text) == text


def test_an_error_without_json_keeps_its_text():
    assert error_body(b"<h1>no</h1>") == "<h1>no</h1>"
    assert error_body(b'{"detail": "no"}') == {"detail": "no"}


def test_401_names_the_credential_and_the_next_step():
    body = {"detail": "Key expired."}
    by_key, by_mcp, by_login = (error_for(refusal(401, body), "reports", one) for one in (API_KEY, MCP_KEY, LOGIN))
    assert str(by_key) == (
        "clariBI refused the API key (HTTP 401): Key expired. Was it rotated or revoked, or has it expired? Check it, "
        "or make an API key under Settings > Developer > API Keys and store it with `claribi-export init`."
    )
    assert "It is a key for MCP (claribi_mcp_…), which the REST API does not take" in str(by_mcp)
    assert "refused the login" in str(by_login)
    assert [type(one) for one in (by_key, by_mcp, by_login)] == [Refused] * 3


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "API access needs the Professional plan or higher."),
        (403, "Not available on your tier"),
        (403, "Please upgrade to use the API"),
        (402, "Payment required"),
    ],
)
def test_a_refusal_that_speaks_of_the_plan_is_about_the_plan(status, words):
    problem = error_for(refusal(status, {"message": words}), "reports", API_KEY)
    assert type(problem) is Refused
    assert "see Settings > Billing" in str(problem)
    assert words in str(problem)


@pytest.mark.parametrize(
    ("resource", "body", "scope"),
    [
        ("reports", {"detail": "You do not have permission to perform this action."}, "reports:read"),
        ("data_sources", {"detail": "Forbidden"}, "data_sources:read"),
        ("data_sources", {"detail": "Scope data-sources:read is missing"}, "data_sources:read"),
        ("usage", {"error": "forbidden", "required": ["billing:read"]}, "billing:read"),
        ("dashboards", "<html><title>403 Forbidden</title>", "dashboards:read"),
    ],
)
def test_any_other_403_names_the_missing_scope(resource, body, scope):
    problem = error_for(refusal(403, body), resource, API_KEY)
    assert isinstance(problem, ScopeMissing)
    assert (problem.resource, problem.scope, problem.exit_code) == (resource, scope, 3)
    assert f"Give the key the permission {scope}" in str(problem)


def test_a_403_for_something_without_a_scope_is_about_the_key():
    problem = error_for(refusal(403, {"detail": "Forbidden"}), "organization", API_KEY)
    assert type(problem) is Refused
    assert problem.exit_code == 3


def test_404_can_be_told_from_other_errors():
    problem = error_for(refusal(404, {"message": "Report with ID 42 not found"}), "reports", API_KEY)
    assert isinstance(problem, NotFound)
    assert (problem.resource, problem.path, problem.exit_code) == ("reports", "/api/reports/42/", 1)


def test_other_errors_name_the_call_and_the_reason():
    problem = error_for(refusal(400, {"page_size": ["Too large."]}), "reports", API_KEY)
    assert type(problem) is CallFailed
    assert "/api/reports/42/ (reports) with HTTP 400: page_size: Too large." in str(problem)
