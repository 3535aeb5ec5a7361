"""Backfills into other destinations than DuckDB, beside nightly runs, each on a machine that remembers nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines.sandbox import KB
from tests.backfills import Account
from tests.nightly import held
from tests.stage import finish_calls

WINDOW = ("2025-02-01", "2025-11-01")


@pytest.fixture
def account(tmp_path, stage, monkeypatch):
    made = Account(
        tmp_path, stage, monkeypatch, replace(KB, details_in_list=False), reports=250, history_days=365, dashboards=2
    )
    made.finish_all()
    yield made
    finish_calls()


def exported(destination):
    """The reports and insights that a destination holds: id and title, report and text."""
    return (
        [(row["id"], row["title"], row["description"]) for row in held(destination, "reports")],
        [(row["report_id"], row["position"], row["text"]) for row in held(destination, "report_insights")],
    )


def truth(account, *window):
    perfect = account.truth(*window)
    return (
        [(row["id"], row["title"], row["description"]) for row in perfect["reports"]],
        [(row["report_id"], row["position"], row["text"]) for row in perfect["report_insights"]],
    )


@pytest.mark.parametrize("name", ["csv_files", "google_sheets", "postgres"])
def test_a_stopped_backfill_and_the_nightly_runs_share_a_destination(account, destination, name):
    where = destination(name)
    first = account.backfill(*WINDOW, where, details=True, max_requests=90)
    assert (first.exit_code, first.outcome) == (75, "later")
    account.forget()
    rest = account.good_backfill(*WINDOW, where, details=True)
    assert account.read[1]
    assert first.details + rest.details == rest.tables["reports"]["rows"] == len(truth(account, *WINDOW)[0])
    assert exported(where) == truth(account, *WINDOW)
    account.forget()
    night = account.good_export(where)
    assert (night.tables["reports"]["seen"], night.tables["reports"]["changed"]) == (250, 0)
    assert exported(where) == truth(account)
    account.organisation.add_report(created_at=account.organisation.now - timedelta(hours=1))
    account.forget()
    account.good_backfill("2025-01-01", None, where, details=True)
    assert len(account.read[1]) == 1
    assert account.good_export(where).tables["reports"]["changed"] == 0
    assert exported(where) == truth(account)


def test_columns_that_a_backfill_finds_are_known_to_a_nightly_run_whose_machine_has_a_memory(account):
    account.good_export()
    for number in account.organisation.numbers("reports", "newest")[100:110]:
        account.organisation.set("reports", number, {"colour": "red", "stars": 3})
    report = account.good_backfill(*WINDOW, details=True, again=True)
    assert report.tables["reports"]["changed"] == 10
    assert account.good_export(sweep=True).tables["reports"]["changed"] == 0
    assert account.query("SELECT DISTINCT colour, stars FROM reports WHERE colour IS NOT NULL") == [("red", 3)]


def test_a_backfill_that_runs_already_is_named_and_nothing_is_read(account, monkeypatch):
    monkeypatch.setattr("pipelines.alone.WAIT_S", 0.1)
    inside = []

    def meanwhile(_sofar):
        if not inside:
            inside.append(None)
            inside[0] = account.backfill(*WINDOW)

    report = account.backfill(*WINDOW, on_progress=meanwhile)
    assert report.exit_code == 0
    assert (inside[0].outcome, "backfill" in inside[0].notes[0], inside[0].requests["total"]) == ("failed", True, 0)
