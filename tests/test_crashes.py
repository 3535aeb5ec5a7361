"""A run that is killed at any moment, and the run after it: nothing is lost, nothing is there twice."""

import random
import shutil
import time
from contextlib import contextmanager

import duckdb
import pytest

from pipelines.sandbox import KB, Sandbox
from tests.command import COLUMNS, ENDS_WITHIN_S, Customer, organisation, truth, wait_for
from tests.proof import PROOF
from tests.stage import serve_stage

LOAD_JOBS = "pipelines/*/*/load/normalized/*/{}_jobs/*"
"""In dlt's folder, the files of a load that is not finished."""
FINISHED_FIRST = "An earlier run had ended before its load did; its load was finished first."


@pytest.fixture
def account(stage):
    """The account after its first night."""
    stage.sandbox = Sandbox(KB, organisation(nights=1))
    return stage.sandbox


@pytest.fixture
def customer(tmp_path, stage, account):
    return Customer(tmp_path, stage.url, api_key=account.account.key)


@pytest.fixture(scope="module")
def run_s(tmp_path_factory):
    """How long a run takes from its first call to its end, seconds; measured by one that may end."""
    sandbox = Sandbox(KB, organisation(nights=1))
    with serve_stage() as stage:
        stage.sandbox = sandbox
        measured = Customer(tmp_path_factory.mktemp("measured"), stage.url, api_key=sandbox.account.key)
        process = measured.holds_the_first_night().start("run", "--json")
        with ended(process):
            wait_for(lambda: sandbox.calls, process)
            began = time.monotonic()
            process.communicate(timeout=ENDS_WITHIN_S)
            assert process.returncode == 0
            return time.monotonic() - began


@pytest.mark.parametrize("number", range(0, 20, 1 if PROOF else 5))
def test_killed_at_a_random_moment_and_run_again(number, customer, account, run_s):
    """Half of them begin with an empty warehouse; half of the machines that follow remember nothing."""
    if number % 2:
        customer.holds_the_first_night()
    moment_s = random.Random(number).uniform(number % 10, number % 10 + 1) / 10 * run_s
    process = customer.start("run", "--json")
    with ended(process):
        wait_for(lambda: account.calls, process)
        time.sleep(moment_s)
    again(customer, account, forgets=number % 4 < 2)


@pytest.mark.parametrize("number", range(2))
def test_killed_while_it_loads_and_run_again(number, customer, account):
    if number % 2:
        customer.holds_the_first_night()
    process = customer.start("run", "--json")
    with ended(process):
        wait_for(lambda: pending(customer, "started") or pending(customer, "completed"), process)
        time.sleep(number * 0.1)
    again(customer, account, forgets=number == 1)


@contextmanager
def ended(process):
    """Kill the process at the end of the block, as nothing can be done against (`kill -9`)."""
    try:
        yield
    finally:
        process.kill()
        process.communicate(timeout=ENDS_WITHIN_S)


def pending(customer, state):
    """Files of a load in a state: new, started, completed."""
    return sorted(customer.dlt_folder.glob(LOAD_JOBS.format(state)))


def extracted(customer):
    """Packages that were read and are not ready to be loaded."""
    return sorted(customer.dlt_folder.glob("pipelines/*/*/normalize/extracted/*"))


def again(customer, account, *, forgets):
    """Run to a good end, on the same machine or on one that `forgets`, and compare."""
    if forgets:
        shutil.rmtree(customer.dlt_folder, ignore_errors=True)
    second = customer.run()
    assert (second.code, second.report["outcome"]) == (0, "done")
    assert_agrees(customer, account)


def assert_agrees(customer, account):
    assert customer.exported() == truth(account.organisation)
    for name in COLUMNS:
        ids = customer.ids(name)
        assert ids == sorted(set(ids))
    assert pending(customer, "*") == []


# A load that a crash left behind


def test_a_load_that_was_left_behind_is_finished_first_and_the_run_still_reads(customer, stage, account):
    killed_before_its_load(customer, stage)
    doomed = account.organisation.truth()["reports"][300]["id"]
    account.organisation.delete("reports", doomed)
    added = account.organisation.add_report(title="Written after the crash")
    second = customer.run("run", "--json", "--sweep")
    assert (second.code, second.report["notes"]) == (0, [FINISHED_FIRST])
    assert_agrees(customer, account)
    assert added in customer.ids("reports")
    assert customer.ids("reports", "deleted_at IS NOT NULL") == [doomed]  # only the first load ever saw it
    assert len(customer.tables()["export_runs"]) == 2


def test_a_load_that_can_never_succeed_is_dropped_and_read_again(customer, stage, account):
    killed_before_its_load(customer, stage)
    for file in pending(customer, "new"):
        if file.suffix == ".parquet":
            file.write_bytes(b"not parquet at all")
    second = customer.run(LOAD__RAISE_ON_MAX_RETRIES=2)  # dlt takes it for what a moment may mend, five times
    assert second.code == 0
    assert "a load that can never succeed; it was dropped and read again." in second.notes
    assert_agrees(customer, account)
    assert len(customer.tables()["export_runs"]) == 1


def test_a_kill_between_two_steps_of_making_a_load_ready_does_not_block_the_runs_that_follow(customer, stage, account):
    killed_before_its_load(customer, stage)
    (ready,) = customer.dlt_folder.glob("pipelines/*/*/load/normalized/*")
    shutil.copytree(ready, ready.parents[2] / "normalize" / "extracted" / ready.name)  # dlt removes it a moment later
    second = customer.run()
    assert second.code == 0
    assert "An earlier run" in second.notes
    assert extracted(customer) == []
    assert_agrees(customer, account)


def test_a_file_that_is_copied_once_more_after_a_kill_doubles_no_row(customer, stage, account):
    killed_before_its_load(customer, stage)
    for file in pending(customer, "new"):
        table, _, rest = file.name.split(".", 2)
        if file.suffix == ".parquet":  # as if its copy had been committed, and the kill had come before dlt's note
            shutil.copy(file, file.with_name(f"{table}.0123456789.{rest}"))
    assert customer.run().code == 0
    assert_agrees(customer, account)
    assert len(customer.tables()["export_runs"]) == 2


def killed_before_its_load(customer, stage):
    """Kill a first run that has read everything and cannot load it yet, as we hold the warehouse meanwhile."""
    held = []

    async def takes_the_warehouse(scope, receive, send):
        if not held:  # on the first call, after the run has found it free
            held.append(duckdb.connect(str(customer.warehouse)))
        await sandbox(scope, receive, send)

    sandbox, stage.sandbox = stage.sandbox, takes_the_warehouse
    process = customer.start("run", "--json")
    with ended(process):
        wait_for(lambda: pending(customer, "new") and not extracted(customer), process)
        assert process.poll() is None
    stage.sandbox = sandbox
    for one in held:
        one.close()
