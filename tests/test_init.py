import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit

from pipelines import setting_up
from pipelines.claribi.errors import SettingError
from pipelines.setting_up import store_settings

KEY = "claribi_sk_live_0123456789abcdef"
PROJECT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from pipelines.cli import main; main()", "init"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def environment(here):
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "HOME": str(here)}


def read(file):
    return tomlkit.parse(Path(file).read_text("utf-8")).unwrap()


def mode(file):
    return stat.S_IMODE(Path(file).stat().st_mode)


def test_the_key_and_the_destination_are_stored_apart(here):
    assert store_settings(f" {KEY}\n", "csv_files") == [Path(".dlt/secrets.toml"), Path(".dlt/config.toml")]
    assert read(".dlt/secrets.toml") == {"sources": {"claribi": {"api_key": KEY}}}
    assert read(".dlt/config.toml") == {"export": {"destination": "csv_files"}}
    assert mode(".dlt/secrets.toml") == 0o600
    assert sorted(file.name for file in (here / ".dlt").iterdir()) == ["config.toml", "secrets.toml"]


def test_the_file_is_private_before_it_holds_the_key(monkeypatch):
    (Path(".dlt")).mkdir()
    Path(".dlt/secrets.toml").write_text("")
    Path(".dlt/secrets.toml").chmod(0o644)
    seen = []
    made = setting_up.mkstemp

    def watched(**where):
        descriptor, name = made(**where)
        seen.append((mode(name), Path(name).stat().st_size))
        return descriptor, name

    monkeypatch.setattr(setting_up, "mkstemp", watched)
    old = os.umask(0)
    try:
        store_settings(KEY, "duckdb")
    finally:
        os.umask(old)
    assert seen == [(0o600, 0), (0o600, 0)]
    assert (mode(".dlt/secrets.toml"), mode(".dlt/config.toml")) == (0o600, 0o644)


def test_what_else_is_in_the_files_stays_letter_by_letter():
    Path(".dlt").mkdir()
    Path(".dlt/secrets.toml").write_text(
        '# mine\n[sources.claribi]\napi_key = "old"  # rotate\nbase_url = "https://x.test"\n\n[notify]\nurls = ["a"]\n'
    )
    Path(".dlt/config.toml").write_text('[runtime]\nlog_level = "ERROR"\n')
    store_settings(KEY, "duckdb")
    assert Path(".dlt/secrets.toml").read_text() == (
        f'# mine\n[sources.claribi]\napi_key = "{KEY}"  # rotate\nbase_url = "https://x.test"\n\n'
        '[notify]\nurls = ["a"]\n'
    )
    assert read(".dlt/config.toml") == {"runtime": {"log_level": "ERROR"}, "export": {"destination": "duckdb"}}


@pytest.mark.parametrize("before", ['sources.claribi.email = "a@b"\n', '[sources]\nclaribi = { email = "a@b" }\n'])
def test_other_ways_to_write_a_table_are_understood(before):
    Path(".dlt").mkdir()
    Path(".dlt/secrets.toml").write_text(before)
    store_settings(KEY, "duckdb")
    assert read(".dlt/secrets.toml") == {"sources": {"claribi": {"email": "a@b", "api_key": KEY}}}


def test_storing_twice_gives_the_same_files():
    store_settings(KEY, "duckdb")
    before = [Path(name).read_bytes() for name in (".dlt/secrets.toml", ".dlt/config.toml")]
    store_settings(KEY, "duckdb")
    assert [Path(name).read_bytes() for name in (".dlt/secrets.toml", ".dlt/config.toml")] == before


@pytest.mark.parametrize("key", ["", " \n", "<configure me>", "changeme", "claribi_sk_live 123", "claribi_sk_é"])
def test_a_key_that_cannot_be_one_is_refused_and_nothing_is_written(here, key):
    with pytest.raises(SettingError) as caught:
        store_settings(key, "duckdb")
    assert caught.value.exit_code == 2
    assert list(here.iterdir()) == []


def test_an_unknown_destination_is_refused_and_any_of_dlts_own_is_taken(here):
    with pytest.raises(SettingError, match="neither this project nor dlt knows"):
        store_settings(KEY, "duckbd")
    assert list(here.iterdir()) == []
    store_settings(KEY, "postgres")
    assert read(".dlt/config.toml") == {"export": {"destination": "postgres"}}


@pytest.mark.parametrize("broken", [f'[sources]\napi_key = "{KEY}\n', "sources = 3\n"])
def test_a_file_that_cannot_be_kept_is_refused_without_its_text(broken):
    Path(".dlt").mkdir()
    Path(".dlt/secrets.toml").write_text(broken)
    with pytest.raises(SettingError) as caught:
        store_settings(KEY, "duckdb")
    assert str(caught.value).startswith(".dlt/secrets.toml ")
    assert KEY not in str(caught.value)
    assert Path(".dlt/secrets.toml").read_text() == broken


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, ".dlt/secrets.toml\n"),
        ("*.pyc", "*.pyc\n.dlt/secrets.toml\n"),
        ("/.dlt/\n", "/.dlt/\n"),
        ("secrets.toml\n", "secrets.toml\n"),
    ],
)
def test_in_a_git_repository_the_key_is_kept_out_of_commits(before, after):
    Path(".git").mkdir()
    if before is not None:
        Path(".gitignore").write_text(before)
    written = store_settings(KEY, "duckdb")
    assert Path(".gitignore").read_text() == after
    assert (Path(".gitignore") in written) == (before != after)


def test_without_a_terminal_the_key_is_the_first_line_of_standard_input(here):
    ended = subprocess.run(
        [*COMMAND, "--destination", "csv_files"],
        input=f"{KEY}\nmore\n",
        env=environment(here),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "wrote .dlt/secrets.toml",
        "wrote .dlt/config.toml",
        "Next: claribi-export doctor",
    ]
    assert read(".dlt/secrets.toml") == {"sources": {"claribi": {"api_key": KEY}}}
    assert read(".dlt/config.toml") == {"export": {"destination": "csv_files"}}


def answer_on_a_terminal(here, answers):
    """Run `init` on a real terminal: each question gets its answer; give the exit code and all that was shown."""
    process, terminal = pty.fork()
    if process == 0:
        # A test that was started in the background ignores Ctrl-C, and its children would do so too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execve(sys.executable, COMMAND, {**environment(here), "TERM": "xterm", "COLUMNS": "80"})
    shown = b""
    waiting = list(answers)
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux's word for the end of a terminal
            break
        if not piece:
            break
        shown += piece
        if waiting and waiting[0][0] in shown:
            os.write(terminal, waiting.pop(0)[1])
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown.decode()


def test_on_a_terminal_the_key_is_asked_for_and_not_echoed(here):
    code, shown = answer_on_a_terminal(
        here, [(b"API key (not shown): ", f"{KEY}\n".encode()), (b"Destination [duckdb]: ", b"csv_files\n")]
    )
    assert code == 0
    assert KEY not in shown
    assert "csv_files" in shown
    assert read(".dlt/secrets.toml") == {"sources": {"claribi": {"api_key": KEY}}}
    assert read(".dlt/config.toml") == {"export": {"destination": "csv_files"}}


def test_control_c_at_the_question_stores_nothing(here):
    code, shown = answer_on_a_terminal(here, [(b"API key (not shown): ", b"\x03")])
    assert code == 1
    assert "Traceback" not in shown
    assert shown.rstrip().endswith("Stopped; nothing was stored.")
    assert not Path(".dlt").exists()
