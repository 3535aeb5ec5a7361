import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import typer

from pipelines.cli import app
from pipelines.sandbox import KB, Organisation, Sandbox, serve

PROJECT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from pipelines.cli import main; main()"]
HEAVY = ("dlt", "pandas", "pyarrow", "duckdb", "httpx", "starlette", "rich.table")


@pytest.fixture
def sandbox():
    sandbox = Sandbox(KB, Organisation(reports=30))
    with serve(sandbox) as server:
        sandbox.url = server.url
        yield sandbox


@pytest.fixture
def command(tmp_path):
    """Run the command in a folder of its own with an environment of its own."""

    def run(*words, **settings):
        return subprocess.run(
            [*COMMAND, *words],
            cwd=tmp_path,
            env=environment(tmp_path) | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def environment(folder):
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "HOME": str(folder), "DLT_DATA_DIR": str(folder)}


def settings(sandbox):
    return {"SOURCES__CLARIBI__BASE_URL": sandbox.url, "SOURCES__CLARIBI__API_KEY": sandbox.account.key}


def test_the_morning_after_in_json_and_in_words(command, sandbox):
    told = settings(sandbox)
    doctor = command("doctor", "--json", **told)
    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert {check["result"] for check in json.loads(doctor.stdout)["checks"]} == {"ok"}
    run = command("run", "--json", **told)
    assert (run.returncode, run.stderr) == (0, "")
    status = command("status", "--json", "--max-age", "26")
    assert (status.returncode, status.stderr) == (0, "")
    found = json.loads(status.stdout)
    assert found["last_good_run"]["run_id"] == json.loads(run.stdout)["run_id"]
    assert found["tables"]["reports"] == 30
    words = command("status", "--max-age", "0")
    assert (words.returncode, words.stderr) == (6, "")
    assert "which is more than 0" in words.stdout
    everything = "".join(ended.stdout + ended.stderr for ended in (doctor, run, status, words))
    assert sandbox.account.key not in everything


def test_doctor_says_ready_and_shows_fields(command, sandbox):
    ended = command("doctor", **settings(sandbox))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Ready to run: claribi-export run" in ended.stdout
    assert "id integer, title string" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_a_doctor_that_finds_a_failure_still_prints_one_document(command):
    ended = command("doctor", "--json")
    assert (ended.returncode, ended.stderr) == (2, "")
    document = json.loads(ended.stdout)
    assert (document["exit_code"], document["checks"][0]["result"]) == (2, "fail")


def test_status_of_nothing_is_no_failure_and_makes_no_file(command, tmp_path):
    ended = command("status", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["last_run"]) == (0, None)
    assert not (tmp_path / "warehouse.duckdb").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("status", "--destination", "nowhere"), "error: --destination is 'nowhere'"),
        (("run",), "error: SOURCES__CLARIBI__API_KEY is missing."),
        (("status", "--max-age", "soon"), "--max-age"),
        (("sandbox", "--dialect", "latin"), "--dialect"),
        (("dance",), "dance"),
    ],
)
def test_wrong_usage_and_wrong_settings_end_with_2_and_one_sentence_on_stderr(command, words, says):
    ended = command(*words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_error_is_one_line_where_there_is_no_terminal(command):
    ended = command("run", COLUMNS="40")
    assert len(ended.stderr.splitlines()) == 1


def test_it_says_which_version_it_is(command):
    assert command("--version").stdout == f"claribi-export {version('claribi-export')}\n"


@pytest.mark.parametrize("name", ["", *typer.main.get_command(app).commands])
def test_help_loads_nothing_heavy(tmp_path, name):
    code = (
        "import sys\nfrom pipelines.cli import app\n"
        f"try: app({[*([name] if name else []), '--help']!r})\nexcept SystemExit as end: code = end.code\n"
        f"print(code, [one for one in {HEAVY!r} if one in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert ended.stderr.strip() == "0 []"
    assert "Usage:" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


@contextmanager
def served(folder, *words):
    """The variables that `sandbox` prints, while it runs; Ctrl-C ends it."""
    words = [*COMMAND, "sandbox", "--port", "0", "--reports", "20", *words]
    with subprocess.Popen(words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True) as server:
        try:
            printed = []
            for line in server.stdout:
                printed.append(line.strip())
                if line.startswith("Ctrl-C"):
                    break
            yield dict(line.removeprefix("export ").split("=") for line in printed if line.startswith("export "))
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0


def test_the_sandbox_prints_the_lines_that_lead_to_it(command, tmp_path):
    with served(tmp_path, "--dialect", "v1") as lines:
        assert list(lines) == ["SOURCES__CLARIBI__BASE_URL", "SOURCES__CLARIBI__API_KEY"]
        doctor = command("doctor", "--json", **lines)
        assert (doctor.returncode, doctor.stderr) == (0, "")


def test_the_sandbox_speaks_and_limits_as_its_options_say(tmp_path):
    words = ("--daily", "2", "--validators", "etag", "--no-details-in-list", "--latency-s", "0.05")
    with served(tmp_path, *words) as lines, httpx.Client(base_url=lines["SOURCES__CLARIBI__BASE_URL"]) as client:
        key = {"Authorization": f"Api-Key {lines['SOURCES__CLARIBI__API_KEY']}"}
        first = client.get("/api/reports/", headers=key)
        assert "insights" not in first.json()["results"][0]
        assert first.elapsed.total_seconds() >= 0.05
        again = client.get("/api/reports/", headers=key | {"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304
        assert client.get("/api/reports/", headers=key).status_code == 429


def test_a_taken_port_is_a_wrong_setting(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = command("sandbox", "--port", port)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: --port {port} cannot be used: Address already in use. Choose another one.\n"
