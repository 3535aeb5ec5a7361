"""The key, the password and the tokens stay home: nothing that a run prints or leaves behind holds them in any form.

Everything is searched: what was printed, every file of the folder (archives unpacked, parquet read), every row of the
warehouse, and the pipeline's state, which dlt packs before it stores it.
"""

import base64
import gzip
import html
import json
import zlib
from urllib.parse import quote

import duckdb
import pyarrow.parquet as pq
import pytest
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.configuration.utils import get_resolved_traces

from pipelines.claribi.settings import known_secrets, load_settings
from pipelines.sandbox import KB, Account, Organisation, Sandbox, faults
from tests.command import Customer

# They look like nothing that could be struck out by its shape alone, and each form of them differs from the others.
KEY = 'Zq7+Wm"2k/only<for>our&eyes%41'
PASSWORD = 'Tr0ub4dor&3/"of"<course>+%42'
EMAIL = "nightly@example.com"


@pytest.fixture
def account(stage):
    stage.sandbox = Sandbox(KB, Organisation(reports=150), Account(key=KEY, email=EMAIL, password=PASSWORD))
    return stage.sandbox


@pytest.fixture
def customer(tmp_path, stage, account):
    return Customer(tmp_path, stage.url, api_key=KEY, retry_tries=2)


def test_good_runs_of_a_key_leave_no_trace_of_it(customer):
    for words in (("run", "--json"), ("run", "--destination", "csv_files"), ("doctor", "--json")):
        ended = customer.run(*words)
        assert ended.code == 0
        assert_silent(customer, ended, KEY)
    assert "reports.csv" in {file.name for file in customer.folder.rglob("*")}
    assert b'"dialect"' in states(customer)[0]


def test_a_run_by_login_leaves_no_trace_of_password_or_tokens(tmp_path, stage, account):
    account.faults.add(faults.unauthorized(path="*/reports/", page=2))  # so that the token is renewed on the way
    stage.sandbox = overheard = Overheard(account)
    customer = Customer(tmp_path, stage.url, email=EMAIL, password=PASSWORD)
    ended = customer.run()
    assert ended.code == 0
    assert [call.path for call in account.calls if call.method == "POST"] == [
        "/api/auth/login/",
        "/api/auth/token/refresh/",
    ]
    assert len(overheard.tokens) >= 2
    assert_silent(customer, ended, PASSWORD, *overheard.tokens)


def test_dlt_is_told_of_each_secret_that_it_is_one(monkeypatch):
    """What it is not told it keeps in its records on disk, where somebody has them switched on."""
    monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", KEY)
    monkeypatch.setenv("SOURCES__CLARIBI__PASSWORD", PASSWORD)
    traces = get_resolved_traces()
    traces.clear()
    assert load_settings().api_key == KEY
    assert sorted(known_secrets()) == sorted([KEY, PASSWORD])
    told = [trace for trace in traces.resolved_traces if trace.value in (KEY, PASSWORD)]
    assert len(told) == 4
    assert all(is_secret_hint(trace.hint) for trace in told)


ECHOES = {
    "a page of HTML": (4, 200, "text/html", lambda said: f"<html><p>No session for {html.escape(said)}</p></html>"),
    "a refusal": (3, 401, "application/json", lambda said: json.dumps({"detail": f"{said} was revoked."})),
    "an error for ever": (1, 500, "application/json", lambda said: json.dumps({"message": f"{said} broke us"})),
    "names that no document knows": (4, 200, "application/json", lambda said: json.dumps({said: [], "rows": []})),
}
"""How a server answers a list: the exit code that follows, and the answer with the header that it was asked with."""


@pytest.mark.parametrize("echo", ECHOES)
def test_a_server_that_repeats_the_key_is_quoted_without_it(echo, customer, stage, account):
    code, *answer = ECHOES[echo]
    stage.sandbox = Parrot(account, "/api/reports/", *answer)
    ended = customer.run()
    assert ended.code == code
    assert stage.sandbox.heard == [f"Api-Key {KEY}"] * len(stage.sandbox.heard) != []
    assert_silent(customer, ended, KEY)


def test_a_login_that_is_refused_is_quoted_without_the_password(tmp_path, stage, account):
    answer = (401, "application/json", lambda _: json.dumps({"detail": f"{PASSWORD} does not fit {EMAIL}."}))
    stage.sandbox = Parrot(account, "/api/auth/login/", *answer)
    customer = Customer(tmp_path, stage.url, email=EMAIL, password=PASSWORD)
    ended = customer.run()
    assert ended.code == 3
    assert_silent(customer, ended, PASSWORD)


def test_a_link_to_another_host_with_the_key_in_it_is_told_without_it(customer, stage, account):
    link = f"http://127.0.0.1:9/api/reports/?api_key={quote(KEY, safe='')}"
    page = json.dumps({"results": [{"id": 1}], "count": 300, "next": link})
    stage.sandbox = Parrot(account, "/api/reports/", 200, "application/json", lambda _: page)
    ended = customer.run()
    assert ended.code == 4
    assert_silent(customer, ended, KEY)


@pytest.mark.parametrize("bug", [False, True])
def test_neither_the_addresses_of_people_nor_that_of_a_monitor_are_shown_or_kept(customer, tmp_path, bug):
    if bug:
        (tmp_path / "sitecustomize.py").write_text(BUG_WITH_ADDRESSES)
        customer.folder = tmp_path / "work"
        customer.folder.mkdir()
    secrets = ("sesame-opens-4711", "whispered-path-0815")
    ended = customer.run(
        "run",
        PYTHONPATH=tmp_path,
        NOTIFY__URLS=f"mailto://nightly:{secrets[0]}@127.0.0.1:9/?from=a@example.com&to=ops@example.com",
        NOTIFY__HEARTBEAT_URL=f"http://127.0.0.1:9/{secrets[1]}",
    )
    assert ended.code == 1
    assert ("This is a bug" in ended.stderr) == bug
    assert ("did not reach NOTIFY__URLS, number 1: E-Mail (mailto://127.0.0.1)" in ended.stdout) != bug
    assert_silent(customer, ended, KEY, *secrets)


def test_the_traceback_of_a_bug_is_whole_but_for_the_secrets(customer, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BUG)
    customer.folder = tmp_path / "work"
    customer.folder.mkdir()
    ended = customer.run(PYTHONPATH=tmp_path, password=PASSWORD)
    assert ended.code == 1
    assert "RuntimeError: the headers were" in ended.stderr
    assert "This is a bug" in ended.stderr
    assert_silent(customer, ended, KEY, PASSWORD, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmVk")


BUG = """
from pipelines.claribi.walk import Walk

def broken(walk):
    settings = walk._client._settings
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmVk"
    raise RuntimeError(f"the headers were {settings.api_key} {settings.password} Bearer {token}")
    yield

Walk.__iter__ = broken
"""


BUG_WITH_ADDRESSES = """
import os
from pipelines.claribi.walk import Walk

def broken(walk):
    raise RuntimeError(f"told {os.environ['NOTIFY__URLS']} and {os.environ['NOTIFY__HEARTBEAT_URL']}")
    yield

Walk.__iter__ = broken
"""


class Overheard:
    """Passes calls on and keeps every token that goes to and fro."""

    def __init__(self, sandbox):
        self._sandbox = sandbox
        self.tokens = set()

    async def __call__(self, scope, receive, send):
        sent = dict(scope["headers"]).get(b"authorization", b"").decode()
        if sent.startswith("Bearer "):
            self.tokens.add(sent.removeprefix("Bearer "))

        async def overheard(message):
            if scope["path"].startswith("/api/auth/") and message.get("body"):
                told = json.loads(message["body"])
                self.tokens |= {told[name] for name in ("access", "refresh") if name in told}
            await send(message)

        await self._sandbox(scope, receive, overheard)


class Parrot:
    """Answers one path with what it was asked with, and passes all other calls on."""

    def __init__(self, sandbox, path, status, content_type, body):
        self._sandbox, self._path = sandbox, path
        self._status, self._type, self._body = status, content_type, body
        self.heard = []

    async def __call__(self, scope, receive, send):
        if scope["path"] != self._path:
            await self._sandbox(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"authorization", b"").decode()
        self.heard.append(said)
        headers = [(b"content-type", self._type.encode())]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body(said).encode()})


def assert_silent(customer, ended, *secrets):
    """No secret, in no form, in anything that was printed or stored."""
    found = {
        (place, form)
        for place, content in everything(customer, ended)
        for secret in secrets
        for form in forms(secret)
        if form in content
    }
    assert found == set()


def forms(secret):
    """A secret as it might be spelled; base64 in each of the three ways in which it may begin in a longer text."""
    raw = secret.encode()
    yield raw
    yield quote(secret).encode()
    yield quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].encode()
    yield html.escape(secret).encode()
    yield raw.hex().encode()
    for shift in range(3):
        code = base64.b64encode(b"\0" * shift + raw)
        yield code[4 if shift else 0 : -4]
        yield base64.urlsafe_b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4]


def everything(customer, ended):
    """All that a run printed and left, as pairs of where and bytes."""
    yield "stdout", ended.stdout.encode()
    yield "stderr", ended.stderr.encode()
    for file in customer.folder.rglob("*"):
        if not file.is_file():
            continue
        place, content = str(file.relative_to(customer.folder)), file.read_bytes()
        yield place, place.encode()
        yield place, content
        if file.suffix == ".gz":
            yield place, gzip.decompress(content)
        if file.suffix == ".parquet":
            yield place, repr(pq.read_table(file).to_pylist()).encode()
    if customer.warehouse.exists():
        for name, rows in customer.tables().items():
            yield name, "\n".join(rows).encode()
        yield from ((f"state {number}", state) for number, state in enumerate(states(customer)))


def states(customer):
    """The pipeline's state of each load, unpacked."""
    with duckdb.connect(str(customer.warehouse), read_only=True) as db:
        if not db.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = '_dlt_pipeline_state'").fetchall():
            return []
        packed = db.execute("SELECT state FROM claribi._dlt_pipeline_state").fetchall()
    return [zlib.decompress(base64.b64decode(state)) for (state,) in packed]


def test_the_search_finds_what_is_there(customer):
    """So that silence means something."""
    ended = customer.run("status", "--json")
    (customer.folder / "left.gz").write_bytes(gzip.compress(f"x{quote(KEY, safe='')}".encode()))
    (customer.folder / "left.txt").write_bytes(base64.b64encode(f"user:{KEY}".encode()))
    with pytest.raises(AssertionError) as told:
        assert_silent(customer, ended, KEY)
    assert "left.gz" in str(told.value)
    assert "left.txt" in str(told.value)
