"""Thirty nights of one account in every way in which it may speak: some runs are killed, some are out of calls.

At the end the destination holds what a perfect export would hold. How many calls each night took, beside what reading
everything takes, is printed. The tests of a change try some of the ways, and six nights of one real destination;
`make proof` tries all.
"""

import os
import random
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import product

import pytest

from pipelines.sandbox import KB, OFFSET, V1
from pipelines.sandbox.access import Limits
from tests.command import COMMAND, wait_for
from tests.memory import Memory
from tests.nightly import Nightly, alive, held
from tests.proof import PROOF
from tests.stage import finish_calls

NIGHTS = 30
KILLED, SPENT = {4, 11, 12, 23}, {2, 6, 7, 8, 15, 16, 21, 27}
"""Nights on which the run is killed, and on which it has but a few calls."""
WAYS = {
    f"{spoken.name}, {order}, details {'in the list' if listed else 'apart'}": replace(
        spoken, order=order, details_in_list=listed
    )
    for spoken, order, listed in product((KB, V1, OFFSET), ("newest", "oldest", "none"), (True, False))
    if PROOF or (spoken.name, order, listed) in (("kb", "none", True), ("v1", "newest", False))
}


@pytest.fixture
def nightly(tmp_path, stage, monkeypatch):
    def made(spoken):
        return Nightly(tmp_path, stage, monkeypatch, spoken, reports=230, dashboards=5, sources=4, history_days=400)

    yield made
    finish_calls()


@pytest.mark.parametrize("way", WAYS)
def test_thirty_nights_end_with_the_truth(nightly, way):
    account, draw, memory = nightly(WAYS[way]), random.Random(way), Memory()
    used = []
    for night in range(NIGHTS):
        account.sandbox.limits = Limits(limit=draw.randint(6, 40) if night in SPENT else 5000)
        account.sandbox.calls.clear()
        killed_after = draw.randint(0, 8) if night in KILLED else None
        report = memory.export(account.settings(max_wait=0), killed_after=killed_after)
        finish_calls()
        account.perfect()  # so that what was met is remembered
        used.append(str(len(account.sandbox.calls)) + ("k" if night in KILLED else "s" if night in SPENT else ""))
        assert report is None or report.exit_code in (0, 75), report.notes
        account.organisation.advance()
    account.sandbox.limits = Limits()
    account.sandbox.calls.clear()
    assert memory.export(account.settings(), sweep=True).exit_code == 0
    whole = Memory()
    assert memory.alive() == account.perfect()
    account.sandbox.calls.clear()
    whole.export(account.settings())
    sys.stdout.write(f"\n{way}: {' '.join(used)}; everything anew: {len(account.sandbox.calls)}\n")


@pytest.mark.parametrize("name", ["duckdb", "csv_files", "google_sheets", "postgres"] if PROOF else ["csv_files"])
def test_nights_of_a_destination_end_with_the_truth(nightly, destination, name):
    account, draw, where = nightly(replace(V1, details_in_list=False)), random.Random(name), destination(name)
    for night in range(NIGHTS if PROOF else 6):
        account.sandbox.limits = Limits(limit=draw.randint(6, 40) if night in SPENT else 5000)
        if night in KILLED:
            killed(account, where, after=draw.randint(1, 20))
        else:
            report = account.export(where, settings=account.settings(max_wait=0))
            assert report.exit_code in (0, 75), report.notes
        account.forget()
        account.perfect()  # so that what was met is remembered
        account.organisation.advance()
    account.sandbox.limits = Limits()
    account.good_export(where, sweep=True)
    assert alive(partial(held, where)) == account.perfect()


def killed(account, destination, *, after):
    """A run in a process of its own that is killed, as nothing can be done against, after some calls."""
    account.sandbox.calls.clear()
    told = {"API_KEY": account.sandbox.account.key, "BASE_URL": account.stage.url, "MAX_WAIT": "0"}
    environment = os.environ | {f"SOURCES__CLARIBI__{name}": value for name, value in told.items()}
    process = subprocess.Popen(
        [COMMAND, "run", "--destination", destination],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: len(account.sandbox.calls) >= after, process)
    process.kill()
    process.wait()
    finish_calls()
