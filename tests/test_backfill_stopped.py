"""A backfill that is stopped again and again reads hardly more than one that is not, and ends with the same."""

import json
import signal
import time
from contextlib import suppress
from dataclasses import replace

import duckdb
import pytest

from pipelines.claribi.backfill import SLICE_CALLS
from pipelines.sandbox import KB, Sandbox
from tests.backfills import Account, Killed, Stopping, stopped_backfill
from tests.command import Customer, organisation
from tests.stage import finish_calls

REPORTS, STOPS = 2_000, 4
"""As dense as the forty stops of 20,000 reports that `python -m benchmarks backfill` makes."""
APART = replace(KB, details_in_list=False)


@pytest.fixture
def account(tmp_path, stage, monkeypatch):
    def made(reports):
        made = Account(tmp_path, stage, monkeypatch, APART, reports=reports, history_days=900)
        made.finish_all()
        return made

    yield made
    finish_calls()


def test_a_backfill_that_is_stopped_at_random_moments_takes_at_most_two_in_a_hundred_calls_more(account):
    made = account(REPORTS)
    told = stopped_backfill(made, STOPS, seed=1)
    assert told.calls <= 1.02 * told.least
    assert made.held() == made.truth()


def test_a_kill_costs_at_most_a_slice(account):
    made = account(900)
    clock, calls = Stopping(), 0
    for at_call in (300, 700):
        clock.arm("kill", at_call=at_call)
        with suppress(Killed):
            made.backfill(details=True, clock=clock)
        finish_calls()
        calls += len(made.sandbox.calls)
    report = made.good_backfill(details=True, clock=clock)
    calls += len(made.sandbox.calls)
    assert report.details < 900
    assert calls <= 909 + 2 * (SLICE_CALLS + 110)
    assert made.held() == made.truth()


def test_after_a_kill_the_details_of_a_load_that_came_in_by_half_are_read_again(account, tmp_path):
    made = account(900)
    clock = Stopping()
    clock.arm("kill", at_call=650)
    with suppress(Killed):
        made.backfill(details=True, clock=clock)
    finish_calls()
    killed, held = made.warehouse.read_bytes(), {row["id"] for row in made.held()["reports"]}
    made.good_backfill(details=True)
    whole = made.warehouse.rename(tmp_path / "whole.duckdb")
    made.warehouse.write_bytes(killed)
    half = next(row["report_id"] for row in made.truth()["report_insights"] if row["report_id"] not in held)
    with duckdb.connect(str(made.warehouse)) as db:  # the report and not its insights: no one step for both
        db.execute(f"ATTACH '{whole}' AS whole (READ_ONLY)")
        db.execute(f"INSERT INTO claribi.reports BY NAME FROM whole.claribi.reports WHERE id = '{half}'")
    assert made.held() != made.truth()
    made.good_backfill(details=True)
    assert half in made.read[1]
    assert made.held() == made.truth()


def test_a_command_that_is_asked_to_stop_loads_what_it_has_and_the_next_goes_on(tmp_path, stage):
    sandbox = stage.sandbox = Sandbox(APART, organisation())
    sandbox.latency_s = 0.02
    customer = Customer(tmp_path, stage.url, api_key=sandbox.account.key)
    words = ("backfill", "--since", "2024-01-01", "--details", "--json")
    process = customer.start(*words)
    try:
        for _ in range(600):
            if len(sandbox.calls) > 150:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    report = json.loads(stdout)
    assert (process.returncode, report["outcome"], "Traceback" in stderr) == (75, "later", False)
    assert report["notes"] == ["Stopped as asked. What was read is kept; the same command goes on from here."]
    assert report["left"][0]["since"] == "2024-01-01T00:00:00Z"
    some = set(customer.ids("reports"))
    assert 50 < len(some) < 720
    sandbox.latency_s = 0.0
    sandbox.calls.clear()
    ended = customer.run(*words)
    assert (ended.code, ended.report["left"], len(customer.ids("reports"))) == (0, [], 720)
    asked = {call.path.split("/")[-2] for call in sandbox.calls if "/reports/" in call.path} - {"reports"}
    assert asked.isdisjoint(some & set(customer.ids("reports", "status = 'completed'")))
    finish_calls()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "yesterday"), "--since is 'yesterday'; it must be a date such as 2026-01-31"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "is not after --since 2026-02-01"),
    ],
)
def test_a_window_that_cannot_be_is_refused_in_a_sentence(tmp_path, stage, words, said):
    sandbox = stage.sandbox = Sandbox(KB, organisation())
    customer = Customer(tmp_path, stage.url, api_key=sandbox.account.key)
    ended = customer.run("backfill", *words)
    assert ended.code == 2
    assert said in ended.stderr + ended.stdout
    assert (sandbox.calls, customer.warehouse.exists()) == ([], False)
