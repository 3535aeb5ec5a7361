"""What starts a run every night: the texts are used as a system would use them."""

import re
import shlex
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from pipelines import schedule_files
from pipelines.claribi.errors import SettingError
from pipelines.sandbox import KB, Organisation, Sandbox
from pipelines.schedule import (
    CONSTRAINTS,
    EXTRAS,
    WORKFLOW,
    Installed,
    Place,
    crontab,
    minute_of,
    service,
    timer,
    workflow,
)
from pipelines.schedule_files import TEMPLATE, texts, write_units, write_workflow
from pipelines.status_screens import schedule_screen
from tests.command import COMMAND, ENDS_WITHIN_S
from tests.test_workflow import NIGHTLY, Account
from tests.workflow import faults, read

HERE = Place("/srv/clari bi/50%", "/srv/v$/bin/claribi-export", "loader")


@pytest.fixture
def folder(tmp_path):
    """A folder with a name that shells and units have to be told with care."""
    folder = tmp_path / 'it\'s 50% "done"'
    folder.mkdir()
    return folder


def run(folder, *words):
    return subprocess.run(
        [COMMAND, "schedule", *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )


def test_the_line_of_a_crontab_is_silent_when_all_is_well_and_shows_the_output_when_not(folder, stage):
    ended = run(folder, "cron")
    assert (ended.returncode, ended.stderr) == (0, "")
    comment, mail, line = ended.stdout.splitlines()
    assert (comment[0], mail.partition("=")[0]) == ("#", "MAILTO")
    minute, hour, day, month, weekday, command = line.split(" ", 5)
    assert (int(minute) % 2, hour, day, month, weekday) == (1, "3", "*", "*", "*")
    sandbox = stage.sandbox = Sandbox(KB, Organisation(reports=30))
    for key, mailed in ((sandbox.account.key, ""), ("claribi_sk_wrong", "clariBI refused")):
        printed = subprocess.run(
            ["/bin/sh", "-c", cron_reads(command)],
            cwd="/",
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(folder),
                "SOURCES__CLARIBI__BASE_URL": stage.url,
                "SOURCES__CLARIBI__API_KEY": key,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ENDS_WITHIN_S,
        ).stdout
        assert (mailed in printed) if mailed else printed == ""
    assert (folder / "warehouse.duckdb").exists()


def cron_reads(command):
    """What cron hands to the shell: it ends at the first percent sign that has no backslash before it."""
    return re.split(r"(?<!\\)%", command)[0].replace("\\%", "%")


def test_the_units_are_what_systemd_understands(folder, tmp_path):
    ended = run(folder, "systemd", "--output", str(tmp_path / "units"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "systemctl enable --now claribi-export.timer" in ended.stdout
    files = sorted((tmp_path / "units").iterdir())
    assert [file.name for file in files] == ["claribi-export.service", "claribi-export.timer"]
    if verify := shutil.which("systemd-analyze"):
        judged = subprocess.run(
            [verify, "verify", "--man=no", *files], capture_output=True, text=True, timeout=ENDS_WITHIN_S
        )
        assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


def test_the_units_are_printed_where_no_folder_is_named(folder, monkeypatch):
    monkeypatch.chdir(folder)
    printed = schedule_screen("systemd", [], texts("systemd"))
    assert [line for line in printed.splitlines() if line.startswith(("# claribi", "ExecStart=", "Persistent="))] == [
        "# claribi-export.service",
        f'ExecStart="{COMMAND}" run',
        "# claribi-export.timer",
        "Persistent=true",
    ]


def test_a_unit_runs_as_the_folder_s_owner_takes_75_for_success_and_has_no_secret_in_it():
    lines = service(HERE).splitlines()
    assert "User=loader" in lines
    assert "WorkingDirectory=/srv/clari bi/50%%" in lines
    assert 'ExecStart="/srv/v$$/bin/claribi-export" run' in lines
    assert "SuccessExitStatus=75" in lines
    assert "EnvironmentFile=-/etc/claribi-export.env" in lines
    assert f"OnCalendar=*-*-* 03:{minute_of(HERE.folder):02}:00" in timer(HERE)
    assert "Persistent=true" in timer(HERE)


def test_folders_spread_over_odd_minutes_and_each_keeps_its_own():
    minutes = {minute_of(f"/srv/{number}") for number in range(500)}
    assert len(minutes) == 24
    assert all(minute % 2 and minute % 5 for minute in minutes)
    assert minute_of("/srv/1") == minute_of("/srv/1")
    assert crontab(HERE) == crontab(HERE)


def test_the_template_is_the_project_s_own_workflow():
    assert TEMPLATE.read_text() == NIGHTLY.read_text()


def test_a_workflow_of_one_s_own_exports(tmp_path, stage):
    repository = tmp_path / "repository"
    repository.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    ended = run(repository, "github")
    assert ended.returncode == 0
    assert "This claribi-export came from files of this machine." in ended.stderr
    assert ended.stdout.splitlines()[:2] == [f"wrote {WORKFLOW}", f"wrote {CONSTRAINTS}"]
    account = Account(tmp_path, stage)
    night = account.night(repository / WORKFLOW, repository=repository)
    assert (night.succeeded, night.outputs) == (True, {"code": "0"})
    assert "| reports | 60 | 60 | · | · | 60 |" in night.summary


def test_a_workflow_of_one_s_own_differs_from_the_project_s_in_how_it_is_installed():
    installed = Installed("1.2.3", "claribi-export[all]==1.2.3", "3.12")
    own = read(workflow(TEMPLATE.read_text(), installed, 41))
    ours = read(TEMPLATE.read_text())
    assert own["on"].pop("schedule") == [{"cron": "41 3 * * *"}]
    ours["on"].pop("schedule")
    steps, others = own["jobs"]["export"].pop("steps"), ours["jobs"]["export"].pop("steps")
    assert own == ours
    names = [step["name"] for step in others]
    names.remove("Check out claribi-export, as of this workflow")
    assert [step["name"] for step in steps] == names
    changed = [step for step in steps if step not in others]
    assert [step["name"] for step in changed] == ["Set up Python", "Install"]
    assert changed[0]["with"] == {
        "python-version": "3.12",
        "cache": "pip",
        "cache-dependency-path": CONSTRAINTS,
    }
    assert changed[1]["run"] == (f"python -m pip install --constraint {CONSTRAINTS} 'claribi-export[all]==1.2.3'")


@pytest.mark.parametrize(
    ("origin", "package"),
    [
        ({}, f"claribi-export[{EXTRAS}]=={version('claribi-export')}"),
        ({"url": "file:///src", "dir_info": {}}, f"claribi-export[{EXTRAS}]=={version('claribi-export')}"),
        (
            {"url": "https://example.com/us/it", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            f"claribi-export[{EXTRAS}] @ git+https://example.com/us/it@abc",
        ),
        (
            {"url": "https://example.com/it.whl", "archive_info": {}},
            f"claribi-export[{EXTRAS}] @ https://example.com/it.whl",
        ),
    ],
)
def test_the_workflow_installs_what_is_installed_here_from_where_it_came(tmp_path, monkeypatch, origin, package):
    monkeypatch.chdir(tmp_path)
    Path(".git").mkdir()
    monkeypatch.setattr(schedule_files, "_origin", lambda: origin)
    write_workflow(overwrite=False)
    steps = read(Path(WORKFLOW).read_text())["jobs"]["export"]["steps"]
    (install,) = (step["run"] for step in steps if step["name"] == "Install")
    assert install.endswith(shlex.quote(package))
    assert schedule_files.is_of_this_machine() is origin.get("url", "").startswith("file:")


def test_one_says_where_the_workflow_gets_it_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".git").mkdir()
    here = "claribi-export[sheets] @ git+https://example.com/us/it@abc"
    write_workflow(here, overwrite=False)
    assert f" '{here}'" in Path(WORKFLOW).read_text()


def test_an_edited_workflow_is_left_alone_until_one_says_overwrite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match="belongs into the top folder of a git repository"):
        write_workflow(overwrite=False)
    Path(".git").mkdir()
    assert write_workflow(overwrite=False) == [Path(WORKFLOW), Path(CONSTRAINTS)]
    assert write_workflow(overwrite=False) == [Path(WORKFLOW), Path(CONSTRAINTS)]
    written = Path(WORKFLOW).read_text()
    Path(WORKFLOW).write_text(written.replace("3 * * *", "4 * * *"))
    with pytest.raises(SettingError) as caught:
        write_workflow(overwrite=False)
    assert str(caught.value) == (
        f"{WORKFLOW} was edited, or is somebody else's. Nothing was written; --overwrite replaces it."
    )
    assert "4 * * *" in Path(WORKFLOW).read_text()
    write_workflow(overwrite=True)
    assert Path(WORKFLOW).read_text() == written


def test_other_units_are_left_alone_until_one_says_overwrite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_units(tmp_path, overwrite=False)
    write_units(tmp_path, overwrite=False)
    (tmp_path / "claribi-export.timer").write_text("[Timer]\n")
    with pytest.raises(SettingError, match=r"claribi-export\.timer is there with another content"):
        write_units(tmp_path, overwrite=False)
    write_units(tmp_path, overwrite=True)


def test_the_workflow_is_as_safe_as_the_project_s_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".git").mkdir()
    write_workflow(overwrite=False)
    assert faults(tmp_path / WORKFLOW) == ""
