"""Reading clariBI: finding the dialect out, one verb, redirects, retries, waits, and a key that stays home."""

import gzip
import logging
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest

from pipelines.claribi.client import Client
from pipelines.claribi.dialect import Dialect
from pipelines.claribi.errors import (
    CallFailed,
    ClaribiError,
    ComeBackLater,
    ForeignOrigin,
    NotFound,
    NotJson,
    Refused,
    ScopeMissing,
    SettingError,
    Unreachable,
)
from pipelines.claribi.wire import proxy_to
from pipelines.sandbox import DIALECTS, KB, Limits, Sandbox, faults
from tests.fake_api import ACCOUNT, KEY, SPOKEN, answer, client_of, how, settings
from tests.fake_clock import FakeClock
from tests.stage import finish_calls

PAGE = answer({"count": 0, "next": None, "results": []})
NO_KEY_SEEN = answer({"detail": "Authentication credentials were not provided."}, 401)
HTML = httpx.Response(200, html="<title>Sign in</title>")


def only(prefix, scheme):
    """A clariBI that accepts the key in one dialect alone."""
    words = {"api-key": "Api-Key", "bearer": "Bearer", "x-api-key": "X-API-Key"}

    def answered(request):
        good = request.url.path.startswith((f"{prefix}auth/", f"{prefix}reports/"))
        if not good:
            return answer({"detail": "Not found."}, 404)
        return answer(ACCOUNT) if how(request) == words[scheme] else NO_KEY_SEEN

    return answered


def problem_of(answers, *, resource="reports", **options):
    """The error that reading a list ends with, the calls that were made, and the clock."""
    clock = FakeClock()
    client, api = client_of(answers, clock=clock, **options)
    with pytest.raises(ClaribiError) as problem:
        client.get(resource=resource)
    return problem.value, api, clock


# Finding the dialect out


@pytest.mark.parametrize("scheme", ["api-key", "x-api-key", "bearer"])
@pytest.mark.parametrize("prefix", ["/api/", "/api/v1/"])
@pytest.mark.parametrize("key", [KEY, "claribi_0123456789"])
def test_every_dialect_is_found_out_in_at_most_six_calls_with_one_header_at_a_time(prefix, scheme, key):
    client, api = client_of(only(prefix, scheme), dialect=None, api_key=key)
    assert client.connect() == Dialect(prefix, scheme)
    assert len(api.requests) <= 6
    assert all(how(request) in ("Api-Key", "Bearer", "X-API-Key") for request in api.requests)
    assert {request.method for request in api.requests} == {"GET"}


def test_the_call_that_found_the_dialect_out_also_names_the_organization():
    client, api = client_of([answer(ACCOUNT)], dialect=None)
    client.connect()
    assert client.identity().body == ACCOUNT
    assert api.paths == ["/api/auth/status/"]


def test_a_remembered_dialect_costs_no_call_and_the_organization_one():
    client, api = client_of([answer(ACCOUNT)])
    assert client.connect() == SPOKEN
    assert api.requests == []
    assert [client.identity().body, client.identity().body] == [ACCOUNT, ACCOUNT]
    assert api.paths == ["/api/auth/status/"]


@pytest.mark.parametrize("missing", [answer({"detail": "Not found."}, 404), httpx.Response(404, html="<h1>no"), HTML])
def test_a_prefix_that_is_not_there_is_asked_once(missing):
    client, api = client_of(
        lambda request: answer(ACCOUNT) if request.url.path.startswith("/api/v1/") else missing, dialect=None
    )
    assert client.connect() == Dialect("/api/v1/", "bearer")
    assert api.paths == ["/api/auth/status/", "/api/v1/auth/verify/"]


@pytest.mark.parametrize("saying_no", [{"valid": False}, {"authenticated": False, "user": None}, {}])
def test_a_200_that_names_nobody_is_a_no(saying_no):
    problem, api, _ = problem_of([answer(saying_no)], dialect=None)
    assert type(problem) is Refused
    assert len(api.requests) == 6


def test_when_every_dialect_is_refused_the_most_telling_reason_is_given():
    def answered(request):
        if request.url.path.startswith("/api/v1/") and how(request) == "X-API-Key":
            return answer({"detail": "Key expired on 1 March."}, 401)
        return NO_KEY_SEEN

    problem, api, clock = problem_of(answered, dialect=None)
    assert "refused the API key (HTTP 401): Key expired on 1 March. Was it rotated" in str(problem)
    assert (len(api.requests), clock.sleeps) == (6, [])


def test_a_refusal_that_speaks_of_the_plan_is_the_most_telling():
    def answered(request):
        if how(request) == "Bearer":
            return answer({"message": "API access needs the Professional plan."}, 403)
        return answer({"detail": "Key expired."}, 401)

    problem, _, _ = problem_of(answered, dialect=None)
    assert "needs the Professional plan. Access to the API depends on the plan" in str(problem)


def test_a_key_for_mcp_is_called_one():
    problem, _, _ = problem_of([NO_KEY_SEEN], dialect=None, api_key="claribi_mcp_0123456789")
    assert "It is a key for MCP (claribi_mcp_…), which the REST API does not take" in str(problem)


def test_when_no_prefix_is_there_the_address_is_to_be_checked():
    problem, api, _ = problem_of([answer({}, 404)], dialect=None)
    assert "no API of clariBI's is there; check SOURCES__CLARIBI__BASE_URL." in str(problem)
    assert len(api.requests) == 2


def test_when_only_pages_come_the_address_is_to_be_checked():
    problem, api, _ = problem_of([HTML], dialect=None)
    assert (type(problem), problem.exit_code, len(api.requests)) == (NotJson, 4, 2)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (answer({}, 503), Unreachable),
        (httpx.ConnectError("refused"), Unreachable),
        (answer({}, 429, Retry_After="3600"), ComeBackLater),
    ],
)
def test_an_error_or_a_limit_is_no_reason_to_try_another_dialect(failure, expected):
    problem, api, _ = problem_of([failure], dialect=None)
    assert type(problem) is expected
    assert {(request.url.path, how(request)) for request in api.requests} == {("/api/auth/status/", "Api-Key")}


def test_settings_narrow_what_is_tried():
    client, api = client_of(
        [NO_KEY_SEEN], dialect=None, base_url="https://claribi.test/api/v1/", auth_scheme="x-api-key"
    )
    with pytest.raises(Refused):
        client.connect()
    assert [(request.url.path, how(request)) for request in api.requests] == [("/api/v1/auth/verify/", "X-API-Key")]


def test_threads_find_the_dialect_out_once():
    client, api = client_of([answer(ACCOUNT)], dialect=None)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: client.connect(), range(8))) == {SPOKEN}
    assert len(api.requests) == 1


def test_a_remembered_dialect_that_is_refused_is_not_looked_for_anew():
    problem, api, _ = problem_of([answer({"detail": "Invalid API key."}, 401)])
    assert "refused the API key (HTTP 401): Invalid API key. Was it rotated or revoked" in str(problem)
    assert (problem.exit_code, len(api.requests)) == (3, 1)


# One verb


def test_building_a_client_calls_nothing():
    _, api = client_of([PAGE], dialect=None)
    assert api.requests == []


def test_a_list_an_object_and_what_lies_below_it_are_asked_for_with_a_slash():
    client, api = client_of([PAGE])
    client.get(resource="data_sources")
    client.get("42", resource="reports")
    client.get("42/download", resource="reports")
    client.get("a b/../c?d", resource="reports")
    assert [request.url.raw_path for request in api.requests] == [
        b"/api/data-sources/",
        b"/api/reports/42/",
        b"/api/reports/42/download/",
        b"/api/reports/c%3Fd/",
    ]


def test_parameters_follow_a_path_and_a_link_alike():
    client, api = client_of([PAGE])
    client.get("", {"page": 2, "page_size": 100}, resource="reports")
    client.get("https://claribi.test/api/reports/?status=a%20b", {"page": 2}, resource="reports")
    client.get("/api/reports/?page=3", resource="reports")
    assert [request.url.raw_path for request in api.requests] == [
        b"/api/reports/?page=2&page_size=100",
        b"/api/reports/?status=a%20b&page=2",
        b"/api/reports/?page=3",
    ]


def test_an_answer_carries_its_status_body_headers_and_address_without_the_query():
    client, _ = client_of([answer({"results": [{"id": 2**70}]}, X_Extra="1")])
    found = client.get("", {"page": 2}, resource="reports")
    assert (found.status, found.body, found.url) == (
        200,
        {"results": [{"id": 2**70}]},
        "https://claribi.test/api/reports/",
    )
    assert found.headers["x-extra"] == "1"


def test_a_compressed_answer_is_unpacked():
    packed = httpx.Response(
        200,
        content=gzip.compress(b'{"a": 1}'),
        headers={"content-encoding": "gzip", "content-type": "application/json"},
    )
    transport = httpx.MockTransport(lambda _: packed)
    with Client(settings(), dialect=SPOKEN, transport=transport) as client:
        assert client.get(resource="usage").body == {"a": 1}


def test_a_key_that_cannot_be_one_is_refused_before_any_call():
    for key in ("claribi_sk_ä", "Bearer claribi_1", "claribi\n_1"):
        with pytest.raises(SettingError, match="API_KEY holds a blank or a character"):
            settings(api_key=key)


# Errors


@pytest.mark.parametrize(
    ("status", "body", "expected", "exit_code"),
    [
        (400, {"page_size": ["Too large."]}, CallFailed, 1),
        (401, {"detail": "Invalid."}, Refused, 3),
        (402, {"detail": "Pay."}, Refused, 3),
        (403, {"detail": "Forbidden."}, ScopeMissing, 3),
        (404, {"detail": "Gone."}, NotFound, 1),
        (405, {"detail": "No."}, CallFailed, 1),
        (410, {"detail": "Gone."}, CallFailed, 1),
        (304, None, CallFailed, 1),
    ],
)
def test_an_error_that_stays_is_not_tried_again(status, body, expected, exit_code):
    problem, api, clock = problem_of([answer(body, status)])
    assert (type(problem), problem.exit_code) == (expected, exit_code)
    assert (len(api.requests), clock.sleeps) == (1, [])


def test_a_page_with_status_200_is_not_tried_again():
    problem, api, _ = problem_of([HTML])
    assert (type(problem), problem.exit_code, len(api.requests)) == (NotJson, 4, 1)
    assert "GET /api/reports/ (reports) answered with text/html instead of JSON (it begins: 'Sign in')" in str(problem)


# Retries


@pytest.mark.parametrize(
    "failure",
    [
        answer({}, 408),
        answer({}, 500),
        answer({}, 502),
        httpx.Response(503, html="<title>Maintenance</title>"),
        answer({}, 504),
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout(""),
        httpx.ReadTimeout(""),
        httpx.ReadError(""),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.Response(200, content=b'{"results": [', headers={"content-type": "application/json"}),
        httpx.Response(200, content=b"", headers={"content-type": "application/json"}),
        httpx.Response(200, content=b'{"n": NaN}', headers={"content-type": "application/json"}),
    ],
)
def test_what_another_try_may_mend_is_tried_again(failure):
    clock = FakeClock()
    client, api = client_of([failure, PAGE], clock=clock)
    assert client.get(resource="reports").body["results"] == []
    assert len(api.requests) == 2
    assert 0.5 <= clock.slept_s <= 1.0
    assert (client.calls.total, client.calls.retried, client.calls.waited_s) == (2, 1, clock.slept_s)


def test_tries_are_bounded_and_the_pauses_double():
    problem, api, clock = problem_of([answer({"message": "Boom"}, 500)])
    assert (type(problem), problem.exit_code, len(api.requests)) == (Unreachable, 1, 5)
    assert "GET /api/reports/ failed 5 times, the last time with: HTTP 500, Boom." in str(problem)
    assert 7.5 <= clock.slept_s <= 15


def test_an_error_for_ever_names_the_page():
    client, _ = client_of([answer({}, 500)], retry_tries=2)
    with pytest.raises(Unreachable, match=r"GET /api/reports/\?page=7 failed 2 times"):
        client.get("", {"page_size": 100, "page": 7}, resource="reports")


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (httpx.ConnectTimeout(""), "no connection within 60 s."),
        (httpx.ReadTimeout(""), "silence for 60 s."),
        (httpx.ConnectError("[Errno 111] Connection refused"), "no connection ([Errno 111] Connection refused)."),
        (httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'"), "the request could not be written."),
        (httpx.RemoteProtocolError("Server disconnected."), "the connection broke (Server disconnected)."),
        (httpx.ReadError(""), "the connection broke (ReadError)."),
        (httpx.DecodingError("x"), "its compressed body could not be read."),
        (
            httpx.Response(200, content=b"{", headers={"content-type": "application/json"}),
            "its body is no JSON, or was cut off (1 bytes came)",
        ),
    ],
)
def test_a_broken_connection_is_described(failure, said):
    problem, _, _ = problem_of([failure], retry_tries=1)
    assert f"failed 1 time, the last time with: {said} Nothing was lost" in str(problem)


# Limits


def test_a_429_is_waited_out_for_as_many_seconds_as_it_says():
    clock = FakeClock()
    client, _ = client_of([answer({}, 429, Retry_After="7"), PAGE], clock=clock)
    client.get(resource="reports")
    assert (clock.slept_s, client.calls.waited_s) == (7.0, 7.0)


def test_a_429_is_waited_out_until_the_date_it_says():
    clock = FakeClock()
    date = format_datetime(clock.now() + timedelta(seconds=42), usegmt=True)
    client, _ = client_of([answer({}, 429, Retry_After=date), PAGE], clock=clock)
    client.get(resource="reports")
    assert clock.slept_s == 42.0


@pytest.mark.parametrize("epoch", [True, False])
def test_a_429_is_waited_out_until_the_reset(epoch):
    clock = FakeClock()
    reset = int(clock.now().timestamp()) + 55 if epoch else 55
    client, _ = client_of([answer({}, 429, X_RateLimit_Reset=str(reset)), PAGE], clock=clock)
    client.get(resource="reports")
    assert clock.slept_s == 55.0


def test_waits_for_a_limit_cost_no_tries():
    clock = FakeClock()
    client, api = client_of([*[answer({}, 429, Retry_After="70")] * 8, PAGE], clock=clock, retry_tries=2)
    client.get(resource="reports")
    assert (len(api.requests), clock.slept_s) == (9, 560.0)


def test_a_429_for_ever_with_an_hour_to_wait_ends_at_once():
    problem, api, clock = problem_of([answer({}, 429, Retry_After="3600")])
    assert (type(problem), problem.exit_code, problem.at) == (ComeBackLater, 75, clock.now() + timedelta(hours=1))
    assert (len(api.requests), clock.sleeps) == (1, [])


def test_a_429_for_ever_with_a_second_to_wait_ends_when_the_budget_is_spent_after_few_calls():
    problem, api, clock = problem_of([answer({}, 429, Retry_After="1")])
    assert type(problem) is ComeBackLater
    assert clock.slept_s <= 900
    assert len(api.requests) < 60


def test_a_429_for_ever_without_a_hint_ends_after_the_tries_and_says_an_hour():
    problem, api, clock = problem_of([answer({}, 429)])
    assert (type(problem), problem.at) == (ComeBackLater, clock.now() + timedelta(hours=1))
    assert (len(api.requests), clock.slept_s <= 15) == (5, True)


def test_a_429_without_a_hint_is_also_bounded_by_the_budget():
    problem, api, clock = problem_of([answer({}, 429)], max_wait=0)
    assert (type(problem), len(api.requests), clock.sleeps) == (ComeBackLater, 1, [])


def test_a_503_that_says_how_long_is_waited_out_and_costs_tries():
    problem, api, clock = problem_of([answer({}, 503, Retry_After="20")], retry_tries=3)
    assert (type(problem), len(api.requests), clock.slept_s) == (Unreachable, 3, 40.0)


def test_a_503_does_not_wait_for_the_rate_limit_to_begin_anew():
    clock = FakeClock()
    client, _ = client_of([answer({}, 503, X_RateLimit_Reset="3000"), PAGE], clock=clock)
    client.get(resource="reports")
    assert clock.slept_s <= 1.0


def test_threads_that_meet_the_limit_together_pay_once():
    limited, sleeping = threading.Barrier(4, timeout=30), threading.Barrier(4, timeout=30)
    seen = threading.local()

    class TogetherClock(FakeClock):
        def sleep(self, seconds):
            if not getattr(seen, "sleep", False):
                seen.sleep = True
                sleeping.wait()  # nobody sleeps the time away before all have asked for it
            super().sleep(seconds)

    def answered(_):
        if not getattr(seen, "limit", False):
            seen.limit = True
            limited.wait()
            return answer({}, 429, Retry_After="500")
        return PAGE

    client, _ = client_of(answered, clock=TogetherClock())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.get(resource="reports"), range(4)))
    assert client.calls.waited_s == 500.0


def test_calls_are_counted_by_resource_and_told():
    told = []
    client, _ = client_of(
        [answer({}, 500), answer(ACCOUNT, X_RateLimit_Limit="1000", X_RateLimit_Remaining="847"), PAGE]
    )
    client.on_call = lambda calls: told.append(calls.total)
    calls = client.calls
    client.identity()
    client.get(resource="reports")
    assert (calls.total, calls.retried, dict(calls.by_resource)) == (3, 1, {"organization": 2, "reports": 1})
    assert (calls.limit, calls.left_in_window, told) == (1000, 847, [1, 2, 3])


def test_a_closed_client_calls_nothing():
    client, api = client_of([PAGE])
    with client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        client.get(resource="reports")
    assert api.requests == []


# Redirects, downloads and the key


def test_a_redirect_on_the_own_origin_is_followed_with_the_key():
    client, api = client_of([httpx.Response(301, headers={"location": "/api/v1/reports/?page=2"}), PAGE])
    client.get(resource="reports")
    assert api.paths == ["/api/reports/", "/api/v1/reports/"]
    assert {how(request) for request in api.requests} == {"Api-Key"}


def test_redirects_in_a_circle_end():
    problem, api, _ = problem_of([httpx.Response(302, headers={"location": "/api/reports/"})])
    assert "HTTP 302: it redirects without an end." in str(problem)
    assert len(api.requests) == 6


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.test/api/reports/",
        "https://claribi.test.evil.test/",
        "https://claribi.test:8443/api/reports/",
        "//evil.test/api/reports/",
        f"https://claribi.test:{KEY}@evil.test/",
        "https://claribi.test\\@evil.test/",
        "ftp://claribi.test/",
        "https://[broken/",
    ],
)
def test_a_redirect_to_another_origin_is_refused_and_never_called(elsewhere):
    problem, api, _ = problem_of([httpx.Response(302, headers={"location": elsewhere})])
    assert (type(problem), problem.exit_code) == (ForeignOrigin, 4)
    assert api.paths == ["/api/reports/"]
    assert KEY not in str(problem)


def test_a_link_to_another_origin_is_refused_and_named():
    client, api = client_of([PAGE])
    with pytest.raises(ForeignOrigin, match=r"reports points to another host \(evil.test:8080\)"):
        client.get("http://evil.test:8080/api/reports/?page=2", resource="reports")
    assert api.requests == []


@pytest.mark.parametrize(
    "link",
    [
        "http://claribi.test/api/reports/?page=2",
        "https://CLARIBI.test:443/api/reports/?page=2#x",
        "https://user:word@claribi.test/api/reports/?page=2",
        "https://evil.test\\@claribi.test/api/reports/?page=2",
    ],
)
def test_a_link_that_means_the_own_origin_is_asked_for_there(link):
    client, api = client_of([PAGE])
    client.get(link, resource="reports")
    assert str(api.requests[0].url) == "https://claribi.test/api/reports/?page=2"
    assert how(api.requests[0]) == "Api-Key"


def test_a_download_is_followed_to_its_storage_without_the_key():
    def answered(request):
        if request.url.host == "claribi.test":
            return httpx.Response(
                302, headers={"location": "https://files.test/42.pdf?signature=abc", "set-cookie": "s=1"}
            )
        return httpx.Response(200, content=b"%PDF-1.7", headers={"content-type": "application/pdf"})

    client, api = client_of(answered)
    found = client.get("42/download", resource="reports", elsewhere=True)
    assert (found.body, found.url) == (b"%PDF-1.7", "https://files.test/42.pdf")
    assert [how(request) for request in api.requests] == ["Api-Key", ""]
    assert KEY not in str(api.requests[1].headers.raw)
    assert "cookie" not in api.requests[1].headers


def test_a_download_may_be_at_home_and_may_be_linked_directly():
    client, api = client_of([httpx.Response(200, content=b"a,b\n")])
    assert client.get("42/download", resource="reports", elsewhere=True).body == b"a,b\n"
    assert client.get("https://files.test/42.csv", resource="reports", elsewhere=True).body == b"a,b\n"
    assert [how(request) for request in api.requests] == ["Api-Key", ""]


def test_a_storage_that_redirects_back_home_gets_no_key_along():
    def answered(request):
        if request.url.host == "files.test":
            return httpx.Response(302, headers={"location": "https://claribi.test/api/reports/"})
        return httpx.Response(200, content=b"x")

    client, api = client_of(answered)
    client.get("https://files.test/42.pdf", resource="reports", elsewhere=True)
    assert [how(request) for request in api.requests] == ["", ""]


def test_a_download_in_clear_text_is_refused():
    client, api = client_of([PAGE])
    with pytest.raises(ForeignOrigin):
        client.get("http://files.test/42.pdf", resource="reports", elsewhere=True)
    assert api.requests == []


def test_a_refusal_of_the_storage_says_nothing_of_the_key():
    client, _ = client_of([httpx.Response(403, content=b"<Error><Code>AccessDenied</Code></Error>")])
    with pytest.raises(CallFailed, match=r"https://files.test/42.pdf \(reports\) with HTTP 403: AccessDenied."):
        client.get("https://files.test/42.pdf?signature=abc", resource="reports", elsewhere=True)


def test_no_cookie_is_kept():
    client, api = client_of([answer({}, Set_Cookie="session=1; Path=/")])
    client.get(resource="reports")
    client.get(resource="reports")
    assert "cookie" not in api.requests[1].headers


def test_nothing_but_reads_is_sent_for_a_key():
    client, api = client_of(only("/api/", "bearer"), dialect=None)
    client.identity()
    client.get(resource="reports")
    assert {request.method for request in api.requests} == {"GET"}


def test_the_proxy_of_the_environment_is_used_but_not_for_this_machine(monkeypatch):
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    assert proxy_to("https://claribi.com/api/") is None
    monkeypatch.setenv("https_proxy", "proxy.test:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.test:80")
    monkeypatch.setenv("no_proxy", "inside.test")
    assert proxy_to("https://claribi.com/api/") == "http://proxy.test:3128"
    assert proxy_to("https://inside.test/api/") is None
    assert proxy_to("http://127.0.0.1:8000/api/") is None


# Secrets

ECHO = f"You sent {KEY}, twice: {KEY}"


@pytest.mark.parametrize(
    "failure",
    [
        answer({"detail": ECHO}, 400),
        answer({"detail": ECHO}, 401),
        answer({"message": ECHO + " on this plan"}, 403),
        answer({"error": ECHO}, 403),
        answer({"detail": ECHO}, 404),
        answer({"field": [ECHO]}, 422),
        answer({"detail": ECHO}, 500),
        answer({"detail": ECHO}, 429, Retry_After="3600"),
        httpx.Response(200, html=f"<title>{ECHO}</title>"),
        httpx.Response(502, html=f"<p>{ECHO}</p>"),
        httpx.Response(302, headers={"location": f"https://{KEY}@evil.test/{KEY}?key={KEY}"}),
        httpx.LocalProtocolError(f"Illegal header value b'{KEY}'"),
        httpx.ReadError(""),
    ],
)
def test_no_error_and_no_traceback_shows_the_key(failure, caplog):
    caplog.set_level(logging.DEBUG)
    for dialect in (SPOKEN, None):
        problem, _, _ = problem_of([failure], dialect=dialect)
        shown = "".join(traceback.format_exception(problem))
        assert KEY not in shown
        assert KEY not in repr(problem)
        assert_nothing_holds_a_request(problem)
    assert KEY not in caplog.text


def assert_nothing_holds_a_request(problem):
    """A request holds the key in its headers; whoever pickles or inspects the chain must not find it."""
    while problem is not None:
        assert not isinstance(problem, httpx.RequestError)
        problem = problem.__cause__ or problem.__context__


def test_the_client_itself_shows_no_key():
    client, _ = client_of([PAGE])
    assert repr(client) == "Client(https://claribi.test, /api/ with api-key)"


# Over a real connection


@contextmanager
def sandbox_client(stage, sandbox, clock=None, **changes):
    stage.sandbox = sandbox
    read = settings(**{"api_key": sandbox.account.key, "base_url": stage.url, "retry_wait": 0.01, **changes})
    with Client(read, **({"clock": clock} if clock else {})) as client:
        try:
            yield client
        finally:
            finish_calls()


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_of_the_sandbox_is_found_out(stage, name):
    spoken = DIALECTS[name]
    sandbox = Sandbox(spoken)
    with sandbox_client(stage, sandbox) as client:
        assert client.connect() == Dialect(spoken.prefix, spoken.key_scheme)
        assert client.identity().body["organization"]["name"] == "Morgenrot Coffee Roasters"
        assert client.get(resource="usage").body["ai_credits_remaining"] == 5000
        assert client.calls.total == len(sandbox.calls) <= 7
        assert client.calls.left_in_window == 5000 - client.calls.total
    assert sandbox.spending == []


@pytest.mark.parametrize(
    "fault", [faults.reset, faults.truncated, faults.cut_json, faults.stalled, faults.server_error]
)
def test_a_broken_answer_is_asked_for_again_over_http(stage, fault):
    sandbox = Sandbox(KB)
    sandbox.faults.add(fault(path="*/reports/"))
    with sandbox_client(stage, sandbox, timeout=1.0 if fault is faults.stalled else 60.0) as client:
        assert client.get(resource="reports").body["count"] == 1240
        assert client.calls.retried == 1


def test_a_server_that_stays_silent_is_given_up(stage):
    sandbox = Sandbox(KB)
    sandbox.faults.add(faults.stalled(path="*/reports/", times=None))
    with (
        sandbox_client(stage, sandbox, timeout=1.0, retry_tries=1) as client,
        pytest.raises(Unreachable, match=r"failed 1 time, the last time with: silence for 1 s"),
    ):
        client.get(resource="reports")


def test_nobody_at_the_address_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    read = settings(base_url=f"http://127.0.0.1:{port}", retry_wait=0.0)
    with Client(read) as client, pytest.raises(Unreachable, match="no connection"):
        client.connect()


@pytest.mark.parametrize("tells", ["seconds", "date", "reset", "nothing"])
def test_a_spent_limit_of_the_sandbox_is_waited_out(stage, tells):
    clock = FakeClock()
    sandbox = Sandbox(KB, limits=Limits(limit=3, window_s=60, retry_after=tells, clock=lambda: clock.now().timestamp()))
    with sandbox_client(stage, sandbox, clock=clock, retry_tries=10, retry_wait=1.0) as client:
        for _ in range(7):
            client.get(resource="reports")
    assert 120 <= clock.slept_s < 300


def test_a_429_while_calls_are_left_means_that_the_day_is_spent():
    spent = answer({}, 429, X_RateLimit_Remaining="700", X_RateLimit_Reset="600")
    problem, api, clock = problem_of([spent])
    assert (type(problem), len(api.requests), clock.sleeps) == (ComeBackLater, 1, [])
    assert problem.at == clock.now().replace(hour=0) + timedelta(days=1)
    assert "daily limit" in str(problem)


def test_an_answer_that_still_holds_comes_as_304():
    def answered(request):
        asked = request.headers.get("if-none-match"), request.headers.get("if-modified-since")
        return httpx.Response(304) if asked in (('"a"', None), (None, "then")) else answer({}, ETag='"a"')

    client, api = client_of(answered)
    first = client.get(resource="reports")
    assert (first.status, first.validator) == (200, 'etag "a"')
    for validator in (first.validator, "since then"):
        again = client.get(resource="reports", unless=validator)
        assert (again.status, again.body) == (304, None)
    assert (client.calls.unchanged, len(api.requests)) == (2, 3)
    assert all("authorization" in request.headers for request in api.requests)


def test_a_missing_scope_of_the_sandbox_is_named(stage):
    sandbox = Sandbox(KB)
    sandbox.account.permissions = frozenset({"reports:read"})
    with sandbox_client(stage, sandbox) as client:
        client.get(resource="reports")
        with pytest.raises(ScopeMissing, match="Give the key the permission dashboards:read"):
            client.get(resource="dashboards")


def test_a_plan_without_the_api_is_named(stage):
    sandbox = Sandbox(KB)
    sandbox.account.plan_has_api = False
    with (
        sandbox_client(stage, sandbox) as client,
        pytest.raises(Refused, match="API access needs the Professional plan or higher"),
    ):
        client.connect()
