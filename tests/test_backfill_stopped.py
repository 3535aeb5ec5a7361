"""A backfill that is stopped again and again reads hardly more than one that is not, and ends with the same."""

import random
from contextlib import suppress
from dataclasses import replace

import pytest

from pipelines.sandbox import KB
from tests.backfills import Account, Killed, Stopping
from tests.stage import finish_calls

REPORTS, STOPS = 2_000, 4
"""As dense as forty stops of 20,000 reports, which `python -m benchmarks.backfill` makes."""


@pytest.fixture
def account(tmp_path, stage, monkeypatch):
    def made(reports):
        spoken = replace(KB, details_in_list=False)
        return Account(tmp_path, stage, monkeypatch, spoken, reports=reports, history_days=900)

    yield made
    finish_calls()


def stopped_backfill(account, stops, seed):
    """Backfill everything under 1,000 calls an hour, stopped so often; the calls that were made."""
    draw = random.Random(seed)
    clock = Stopping()
    account.sandbox.limits.limit, account.sandbox.limits.clock = 1_000, clock.epoch
    least = account.organisation.shelves["reports"].last * 1.01
    hours_s = least / 900 * 3600
    calls, report, begun = 0, None, 0
    kinds = [["stop", "kill", "max"][number % 3] for number in range(stops)]
    while report is None or report.exit_code == 75:
        assert begun < stops + 30
        begun += 1
        kind, limit = (kinds.pop() if kinds else None), None
        if kind == "stop":
            clock.arm("stop", at_call=draw.randrange(20, round(2 * least / stops)))
        elif kind == "kill":
            clock.arm("kill", at_s=clock.slept_s + draw.uniform(0, 2 * hours_s / stops))
        elif kind == "max":
            limit = draw.randrange(10, round(2 * least / stops))
        with suppress(Killed):
            report = account.backfill(
                details=True, max_requests=limit, clock=clock, settings=account.settings(max_wait=1e9)
            )
            assert report.exit_code in (0, 75), report.notes
        calls += len(account.sandbox.calls)
        finish_calls()
        clock.disarm()
    return calls, least


def test_a_backfill_that_is_stopped_at_random_moments_takes_at_most_two_in_a_hundred_calls_more(account):
    made = account(REPORTS)
    made.finish_all()
    calls, least = stopped_backfill(made, STOPS, seed=1)
    assert calls <= 1.02 * least
    assert made.held() == made.truth()
