"""Two runs of one destination on one machine: real processes, and holders that are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from destinations.file_lock import Taken, take
from pipelines import alone as module
from pipelines.alone import alone
from pipelines.claribi.errors import AlreadyRunning
from pipelines.sandbox import KB, Organisation, Sandbox
from tests.command import Customer

HOLD = "import sys, time; from destinations.file_lock import take; take(__import__('pathlib').Path(sys.argv[1]), 0)\n"
HOLD += "print('held', flush=True); time.sleep(600)"


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds the lock of a file, and wait until it does."""
    started = []

    def hold(file):
        words = [sys.executable, "-c", HOLD, str(file.absolute())]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setattr(module, "WAIT_S", 0.1)


def test_a_second_holder_hears_who_the_first_one_is_and_since_when(tmp_path, holder):
    process = holder(tmp_path / "lock")
    with pytest.raises(Taken, match=rf"^process {process.pid} on .+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00$"):
        take(tmp_path / "lock", 0)


def test_a_killed_holder_leaves_a_file_but_no_lock(tmp_path, holder):
    process = holder(tmp_path / "lock")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert f"process {process.pid} " in (tmp_path / "lock").read_text()
    os.close(take(tmp_path / "lock", 0))
    assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()


def test_a_second_run_of_a_destination_is_told_to_come_back(here, holder):
    with alone("csv_files"):
        (lock,) = Path("dlt").rglob("run.lock")
    process = holder(lock)
    with pytest.raises(AlreadyRunning) as caught, alone("csv_files"):
        pass
    assert caught.value.exit_code == 75
    assert str(caught.value) == (
        f"Another run into csv_files is under way: {lock.read_text()}; waited 0 s. "
        "Nothing was read or written. Run again when that one has ended."
    )
    assert f"process {process.pid} on " in lock.read_text()


def test_other_places_other_destinations_and_a_backfill_are_not_kept_waiting(here, monkeypatch):
    with alone("csv_files"), alone("duckdb"), alone("csv_files", "backfill"):
        monkeypatch.setenv("DESTINATION__CSV_FILES__FOLDER", "elsewhere")
        with alone("csv_files"):
            pass


def test_a_run_that_is_started_during_another_waits_for_it_and_reads_nothing_twice(tmp_path, stage):
    sandbox = stage.sandbox = Sandbox(KB, Organisation(reports=60))
    sandbox.latency_s = 0.1
    customer = Customer(tmp_path, stage.url, api_key=sandbox.account.key, sweep_days=7)
    first = customer.start("run", "--json")
    try:
        for _ in range(600):
            if sandbox.calls:
                break
            time.sleep(0.05)
        second = customer.run()
        assert first.wait(timeout=60) == 0
    finally:
        first.kill()
        first.communicate()
    assert (second.code, second.report["notes"]) == (0, [])
    assert second.report["tables"]["reports"]["new"] == 0
    assert customer.ids("reports") == sorted(report["id"] for report in sandbox.organisation.truth()["reports"])
