"""Email and password instead of a key: login, renewal, a second factor, and threads that share one token."""

import base64
import json
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.claribi.auth import lifetime_s
from pipelines.claribi.client import Client
from pipelines.claribi.dialect import Dialect
from pipelines.claribi.errors import ComeBackLater, MfaRequired, Refused, Unreachable
from pipelines.sandbox import KB, Account, Sandbox, serve
from tests.fake_api import ACCOUNT, PASSWORD, answer, client_of, sent, settings
from tests.fake_clock import FakeClock

LOGIN, REFRESH = "/api/auth/login/", "/api/auth/token/refresh/"
JWT = Dialect("/api/", "jwt")
REFUSED = answer({"detail": "Token is invalid or expired", "code": "token_not_valid"}, 401)


def jwt(claims):
    return f"eyJh.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


class Tokens:
    """A login that gives tokens `access-1`, `access-2` …; `good` says which of them lists accept."""

    def __init__(self, *, good=lambda _: True, refreshes=True):
        self.given = 0
        self.good, self.refreshes = good, refreshes

    def __call__(self, request):
        if request.url.path in (LOGIN, REFRESH):
            if request.url.path == REFRESH and not self.refreshes:
                return REFUSED
            self.given += 1
            body = {"access": f"access-{self.given}"}
            return answer(body | ({"refresh": "refresh-1"} if request.url.path == LOGIN else {}))
        token = request.headers["authorization"].removeprefix("Bearer ")
        return answer(ACCOUNT) if self.good(token) else REFUSED


def logged_in(answers, clock=None, dialect=JWT):
    return client_of(answers, dialect=dialect, clock=clock, api_key=None, email="jana@acme.test", password=PASSWORD)


def test_a_login_gives_the_token_that_reads():
    client, api = logged_in(Tokens())
    client.get(resource="reports")
    client.get(resource="reports")
    assert api.paths == [LOGIN, "/api/reports/", "/api/reports/"]
    assert sent(api.requests[0]) == {"email": "jana@acme.test", "password": PASSWORD}
    assert "authorization" not in api.requests[0].headers
    assert api.requests[1].headers["authorization"] == "Bearer access-1"
    assert dict(client.calls.by_resource) == {"login": 1, "reports": 2}


@pytest.mark.parametrize("prefix", ["/api/", "/api/v1/"])
def test_the_prefix_that_takes_the_token_is_found_out(prefix):
    def answered(request):
        if request.url.path == LOGIN:
            return answer({"access": "a", "refresh": "r", "user": {"organization": "Acme Corp"}})
        return answer(ACCOUNT) if request.url.path.startswith(f"{prefix}auth/") else answer({}, 404)

    client, api = logged_in(answered, dialect=None)
    assert client.connect() == Dialect(prefix, "jwt")
    assert len(api.requests) <= 3


def test_a_token_is_renewed_a_minute_before_its_end():
    clock = FakeClock()
    client, api = logged_in(Tokens(), clock)
    client.get(resource="reports")
    clock.advance(3539)
    client.get(resource="reports")
    assert REFRESH not in api.paths
    clock.advance(1)
    client.get(resource="reports")
    assert api.paths[-2:] == [REFRESH, "/api/reports/"]
    assert sent(api.requests[-2]) == {"refresh": "refresh-1"}
    assert api.requests[-1].headers["authorization"] == "Bearer access-2"


def test_a_refresh_token_that_is_over_leads_to_a_new_login():
    clock = FakeClock()
    client, api = logged_in(Tokens(refreshes=False), clock)
    client.get(resource="reports")
    clock.advance(3600)
    client.get(resource="reports")
    assert api.paths[2:] == [REFRESH, LOGIN, "/api/reports/"]


def test_a_401_in_mid_run_is_mended_by_a_refresh():
    client, api = logged_in(Tokens(good=lambda token: token != "access-1"))
    assert client.get(resource="reports").body == ACCOUNT
    assert api.paths == [LOGIN, "/api/reports/", REFRESH, "/api/reports/"]


def test_a_401_after_the_refresh_is_mended_by_a_login():
    client, api = logged_in(Tokens(good=lambda token: token == "access-3"))
    assert client.get(resource="reports").body == ACCOUNT
    assert api.paths == [LOGIN, "/api/reports/", REFRESH, "/api/reports/", LOGIN, "/api/reports/"]


def test_a_401_for_ever_is_a_refusal_of_the_login():
    client, api = logged_in(Tokens(good=lambda _: False))
    with pytest.raises(Refused, match=r"refused the login \(HTTP 401\): Token is invalid or expired. Check EMAIL"):
        client.get(resource="reports")
    assert len(api.requests) == 6


def test_threads_share_one_login_and_one_renewal():
    client, api = logged_in(Tokens(good=lambda token: token != "access-1"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.get(resource="reports"), range(8)))
    assert (api.paths.count(LOGIN), api.paths.count(REFRESH)) == (1, 1)


def test_a_second_factor_is_no_job_for_a_machine():
    client, api = logged_in([answer({"mfa_required": True})])
    with pytest.raises(MfaRequired, match="multi-factor authentication") as problem:
        client.get(resource="reports")
    assert (problem.value.exit_code, api.paths) == (3, [LOGIN])


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_wrong_password_is_refused_without_being_repeated(status):
    client, api = logged_in([answer({"detail": f"No account with {PASSWORD}"}, status)])
    with pytest.raises(Refused, match=rf"refused the login \(HTTP {status}\): No account with \*\*\*") as problem:
        client.get(resource="reports")
    assert PASSWORD not in "".join(traceback.format_exception(problem.value))
    assert len(api.requests) == 1


@pytest.mark.parametrize("body", [{}, {"access": ""}, {"access": 7}, []])
def test_a_login_without_a_token_is_refused(body):
    client, _ = logged_in([answer(body)])
    with pytest.raises(Refused, match="its answer holds no access token"):
        client.get(resource="reports")


def test_a_login_that_redirects_does_not_take_the_password_along():
    client, api = logged_in([answer({}, 302, Location="https://evil.test/login")])
    with pytest.raises(Refused):
        client.get(resource="reports")
    assert [request.url.host for request in api.requests] == ["claribi.test"]


def test_a_login_is_retried_and_limited_like_any_call():
    client, _ = logged_in([answer({}, 500)])
    with pytest.raises(Unreachable, match="POST /api/auth/login/ failed 5 times"):
        client.get(resource="reports")
    client, _ = logged_in([answer({}, 429, Retry_After="3600")])
    with pytest.raises(ComeBackLater):
        client.get(resource="reports")


def test_tokens_count_as_secrets():
    client, _ = logged_in(Tokens())
    client.get(resource="reports")
    assert client.secrets() == [PASSWORD, "access-1", "refresh-1"]


@pytest.mark.parametrize(
    ("token", "left_s"),
    [
        (jwt({"exp": 1000}), 400.0),
        (jwt({"exp": 1000, "iat": 100}), 900.0),
        (jwt({"exp": 10}), 0.0),
        (jwt({}), 3600.0),
        (jwt([]), 3600.0),
        (jwt({"exp": "soon"}), 3600.0),
        ("opaque", 3600.0),
        ("a.!!!.c", 3600.0),
        ("ü.ü.ü", 3600.0),
    ],
)
def test_the_lifetime_is_read_from_the_token_or_taken_for_an_hour(token, left_s):
    assert lifetime_s(token, now=600.0) == left_s


def test_the_sandbox_takes_a_login_and_its_renewals():
    clock = FakeClock()
    sandbox = Sandbox(KB, account=Account(key="k", access_lifetime_s=300))
    sandbox.limits.clock = lambda: clock.now().timestamp()
    with serve(sandbox) as server:
        read = settings(
            api_key=None, email=sandbox.account.email, password=sandbox.account.password, base_url=server.url
        )
        with Client(read, clock=clock) as client:
            assert client.connect() == JWT
            for _ in range(4):
                clock.advance(100)
                client.get(resource="reports")
    shapes = [call.auth for call in sandbox.calls]
    assert shapes == ["none", "jwt", "jwt", "jwt", "none", "jwt", "jwt"]
    assert {call.status for call in sandbox.calls} == {200}
    assert sandbox.spending == []
