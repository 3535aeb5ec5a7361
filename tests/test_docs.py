"""Every page of the documentation is done as it says: its commands run, in order, in a clean copy of the project.

What stands in: the sandbox for clariBI; the tests' own Google Sheets, PostgreSQL, mail server and receiver of web calls
for those; the environment that the tests run in for what `make setup` installs. What cannot be done here is named below
with its reason, and at least read by bash.
"""

import ast
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import tomllib
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import typer
import yaml

from destinations import errors as destination_errors
from destinations import sheets_errors
from pipelines.claribi import errors as claribi_errors
from pipelines.cli import app
from pipelines.sandbox import KB, Account, Organisation, Sandbox
from tests.installed import PROJECT, clean_copy
from tests.notify_servers import post_office, receiver
from tests.pages import PAGES, anchors, blocks, commands, mentioned
from tests.postgres import serve_postgres
from tests.sheets_server import ROBOT

NOT_HERE = {
    r"\b(pip|uv tool|pipx) install\b": "fetches packages",
    r"\bgit (clone|pull|push)\b": "fetches or sends commits",
    r"\bmake (test|proof|check|lint|format|bench|lock|audit)\b": "runs the tests, or minutes, or fetches packages",
    r"\b(podman|docker) ": "needs a container engine",
    r"\bcrontab\b": "changes what this machine does at night",
    r"\bsystemctl\b": "changes what this machine does at night",
    r"\bgcloud\b": "needs an account with Google",
    r"\bgh ": "needs an account with GitHub",
}
"""Commands that no test can run on loopback, and why."""

SHEET = "https://docs.google.com/spreadsheets/d/…/edit"
CHAT = "https://hooks.slack.com/services/T…/B…/…"
MAIL = "mailtos://user:password@smtp.example.com?from=nightly@example.com&to=ops@example.com"
POSTGRES = "postgresql://loader:secret@localhost:5432/claribi"
ASK = (
    "import duckdb, sys\n"
    "with duckdb.connect('warehouse.duckdb', read_only=True) as db:\n"
    "    assert db.execute(sys.stdin.read()).fetchall(), 'the query found nothing'\n"
)


def runs_here(command):
    return not any(re.search(pattern, command.text) for pattern in NOT_HERE)


KEYS = {"reader": 60, "north": 40, "south": 20}
"""The accounts of these tests, by the end of their keys, and how many reports each has."""


class Accounts:
    """Several accounts at one address; who calls is told by the key."""

    def __init__(self):
        self._of = {
            key(name).encode(): Sandbox(KB, Organisation(reports=reports), Account(key=key(name)))
            for name, reports in KEYS.items()
        }

    async def __call__(self, scope, receive, send):
        sent = b" ".join(value for _, value in scope["headers"])
        await next((one for key, one in self._of.items() if key in sent), self._of[key("reader").encode()])(
            scope, receive, send
        )


def key(name):
    return f"claribi_sk_of_the_{name}"


@pytest.fixture(autouse=True)
def _accounts(stage):
    stage.sandbox = Accounts()


@pytest.fixture
def stand_ins(request, tmp_path):
    """What a page names and only its reader has, with what stands in for it; servers start for pages that need one."""
    with ExitStack() as servers:

        def of(page):
            text = PAGES[page]
            found = {"/path/to/the-key.json": str(tmp_path / "the-key.json"), "8765": str(_free_port())}
            found["make demo"] = "make demo NIGHTS=1"  # thirty take a minute, and show the same commands
            if SHEET in text:
                sheets = request.getfixturevalue("server")
                (tmp_path / "the-key.json").write_text(json.dumps(sheets.accounts.service_account(ROBOT)))
                found |= {SHEET: SHEET.replace("…", sheets.create()), "api_url": sheets.url}
            if POSTGRES in text:
                found[POSTGRES] = servers.enter_context(serve_postgres()).database().url
            if CHAT in text:
                found[CHAT] = f"json://{servers.enter_context(receiver()).host}/"
            if MAIL in text:
                found[MAIL] = servers.enter_context(post_office()).url()
            return found

        yield of


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def environment(page, clone, stage, stand_ins):
    """A new user's: an empty home, nothing of the caller's but the path. After the README, `.venv` is active."""
    home = clone.parent / "home"
    home.mkdir()
    activated = "" if page == "README.md" else f"{clone}/.venv/bin:"
    return {
        "PATH": activated + os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(clone),
        "SOURCES__CLARIBI__BASE_URL": stage.url,
        "DESTINATION__GOOGLE_SHEETS__API_URL": stand_ins.pop("api_url", ""),
    }


def set_up(clone):
    """Let `make setup` find its work done: the environment of the tests, and a stamp that is newer than the lock.

    Keys that a page speaks of lie in files, as it says.
    """
    venv = clone / ".venv"
    venv.mkdir()
    for part in Path(sys.prefix).iterdir():
        (venv / part.name).symlink_to(part)
    (venv / "installed").unlink(missing_ok=True)
    (venv / "installed").touch()
    for name in KEYS:
        (clone / f"key-of-{name}.txt").write_text(f"{key(name)}\n")


def script(page, stand_ins):
    """The page as one script; each command is announced on stderr by its line."""
    lines = ["set -euo pipefail", f'ask_the_warehouse() {{ {sys.executable} -c "{ASK}"; }}']
    if page != "README.md":
        lines.append("claribi-export init < key-of-reader.txt")  # who reads on has been there
    for command in filter(runs_here, commands(page)):
        text = command.text
        for said, meant in stand_ins.items():
            text = text.replace(said, meant)
        text = re.sub(r"claribi-export sandbox(?! --port)", f"claribi-export sandbox --port {stand_ins['8765']}", text)
        lines += [f"echo '--- {command.place}' >&2", text]
    return "\n".join(lines)


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(runs_here, commands(page)))])
def test_the_commands_of_a_page_work_in_their_order(page, stage, stand_ins, tmp_path):
    clone = clean_copy(tmp_path / "clone")
    set_up(clone)
    found = stand_ins(page)
    variables = environment(page, clone, stage, found)
    process = subprocess.Popen(
        ["bash", "-c", script(page, found)],
        cwd=clone,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=(tmp_path / "stdout").open("w"),
        stderr=(tmp_path / "stderr").open("w"),
        text=True,
        start_new_session=True,
    )
    try:
        process.communicate(f"{key('reader')}\n", timeout=150)  # what `init` asks for
    finally:
        _end(process.pid)
    told = (tmp_path / "stdout").read_text() + (tmp_path / "stderr").read_text()
    assert process.returncode == 0, told
    assert [name for name in KEYS if key(name) in told] == []


def _end(group):
    """End what a page left running, such as a sandbox in the background."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def loop_over_accounts():
    """The script of the page on operations that goes through all accounts."""
    written = next(block.text for block in blocks("docs/operations.md", "sh") if "export-all" in block.text)
    return written.partition("<<'EOF'\n")[2].partition("EOF\n")[0]


def go_through(folder, accounts, command):
    """Run the loop over accounts of these names, with a `claribi-export` that is two lines of shell."""
    (folder / "bin").mkdir()
    (folder / "bin/claribi-export").write_text(f"#!/bin/bash\n{command}\n")
    (folder / "bin/claribi-export").chmod(0o755)
    for name in accounts:
        (folder / "accounts" / name).mkdir(parents=True)
    variables = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", loop_over_accounts()], cwd=folder, env=variables, capture_output=True, text=True, timeout=60
    )


def test_one_account_of_many_that_fails_is_named_and_keeps_no_other_from_being_read(tmp_path):
    ended = go_through(tmp_path, ["a", "b", "c"], "echo read; case $PWD in */b) exit 3;; */c) exit 75;; esac")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "accounts/b/: exit 3\n", "")
    assert [(tmp_path / "accounts" / name / "last-run.txt").read_text() for name in "abc"] == ["read\n"] * 3


def test_five_accounts_in_a_row_that_fail_end_the_loop(tmp_path):
    ended = go_through(tmp_path, "abcdefg", "case $PWD in */a) ;; *) exit 1;; esac")
    failed = [*(f"accounts/{name}/: exit 1" for name in "bcdef"), "five in a row: the others were not tried"]
    assert (ended.returncode, ended.stdout.splitlines()) == (1, failed)
    assert not (tmp_path / "accounts/g/last-run.txt").exists()


def said_by(one):
    """What an error says, as its code has it: `…` stands for what is filled in."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("__init__")
    ]
    parts = [part for call in calls for argument in call.args for part in getattr(argument, "values", [argument])]
    return "".join(
        part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "…" for part in parts
    )


def errors():
    """Every error with words of its own; `SettingError` and the like say what they are told."""
    found = [
        one
        for module in (claribi_errors, destination_errors, sheets_errors)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Exception) and one.__module__ == module.__name__
    ]
    return [(one.exit_code, said_by(one)) for one in found if re.search(r"[a-z]{3}", said_by(one))]


def test_every_error_has_its_cause_and_its_cure():
    table = PAGES["docs/operations.md"].partition("<!-- codes -->")[2].partition("<!-- /codes -->")[0]
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines() if row[2:3].isdigit()]
    told = [(int(row[0]), row[1].strip("`")) for row in rows]
    assert [row for row in rows if len(row) != 4 or not all(row)] == []
    untold = [text for code, text in errors() if not any(code == one and part in text for one, part in told)]
    assert untold == ["…, row …, column …: …"]


def test_what_cannot_run_here_is_read_by_bash_at_least():
    for page in PAGES:
        for command in commands(page):
            if not runs_here(command):
                read = subprocess.run(["bash", "-n"], input=command.text, capture_output=True, text=True, timeout=20)
                assert (read.returncode, read.stderr) == (0, ""), command.place


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_commands_and_options_that_exist(page):
    known = {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in typer.main.get_command(app).commands.items()
    }
    for words in mentioned(page):
        if re.fullmatch(r"[a-z]+", words[0]):
            options = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
            assert words[0] in known, words
            assert options <= known[words[0]] | {"--help"}, words


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if not target.startswith(("https://", "mailto:")):
            path, _, anchor = target.partition("#")
            name = str(((PROJECT / page).parent / path).resolve().relative_to(PROJECT)) if path else page
            assert (PROJECT / name).exists(), target
            assert not anchor or anchor in anchors(name), target


@pytest.mark.parametrize("page", PAGES)
def test_the_settings_files_of_a_page_can_be_read(page):
    for block in blocks(page, "toml", "json", "yaml"):
        {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}[block.kind](block.text)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_are_of_a_kind_that_is_tested_or_shows_output(page):
    kinds = {"console", "sh", "sql", "toml", "json", "yaml", "text", "ini", "python"}
    plain = {"docs/design.md": {""}}
    assert {block.kind for block in blocks(page)} <= kinds | plain.get(page, set())
