"""Backfills: what they read, what they load, and what they remember, beside the nightly runs."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines.sandbox import KB, OFFSET, V1
from pipelines.sandbox.faults import zero_rows
from tests.backfills import LONG_AGO, Account
from tests.stage import finish_calls

APART = replace(KB, details_in_list=False)
WAYS = {"kb": KB, "cursor": V1, "offset, newest first": replace(OFFSET, order="newest", details_in_list=False)}
"""Every way is read in `test_backfill_reading`; these are loaded, too."""


@pytest.fixture
def account(tmp_path, stage, monkeypatch):
    """An account with seven pages of reports; call it with a dialect."""

    def made(spoken=KB, **organisation):
        told = {"reports": 650, "history_days": 650} | organisation
        made = Account(tmp_path, stage, monkeypatch, spoken, **told)
        made.finish_all()
        return made

    yield made
    finish_calls()


@pytest.mark.parametrize("spoken", WAYS.values(), ids=WAYS)
def test_a_window_is_read_with_all_details_and_nothing_else_as_a_dry_run_has_said(account, spoken):
    made = account(spoken)
    window = ("2024-08-01", "2024-10-30T12:00:00Z")
    told = made.backfill(*window, details=True, dry_run=True)
    assert (told.exit_code, told.details, made.warehouse.exists()) == (0, 0, False)
    report = made.good_backfill(*window, details=True)
    assert made.held() == made.truth(*window)
    ids = [row["id"] for row in made.held()["reports"]]
    assert report.tables["reports"] == {"seen": 91, "new": 91, "changed": 0, "deleted": 0, "rows": 91}
    _, details = made.read
    assert sorted(details) == ([] if spoken.details_in_list else ids)
    assert {name: told.estimate[name] for name in ("reports", "pages", "details", "calls", "per_hour")} == {
        "reports": len(ids),
        "pages": report.walks["reports"]["pages"],
        "details": report.details,
        "calls": report.walks["reports"]["pages"] + report.details,
        "per_hour": 4500,
    }
    assert told.estimate["hours"] == round(told.estimate["calls"] / 4500, 2)


def test_what_has_been_read_is_not_read_again_unless_it_is_asked_for(account):
    made = account(APART)
    made.good_backfill("2025-03-01", "2025-06-01", details=True)
    for window in (("2025-03-01", "2025-06-01"), ("2025-04-01", "2025-04-02")):
        for details in (True, False):
            made.good_backfill(*window, details=details)
            assert [call.path for call in made.sandbox.calls] == ["/api/auth/status/"]
    made.organisation.set("reports", made.organisation.numbers("reports", "newest")[300], {"description": "edited"})
    report = made.good_backfill("2025-03-01", "2025-06-01", details=True, again=True)
    assert len(made.read[1]) == report.details == report.tables["reports"]["seen"]
    assert report.tables["reports"]["changed"] == 1
    assert made.held() == made.truth("2025-03-01", "2025-06-01")


def test_of_a_larger_window_only_the_rest_is_read(account):
    made = account(APART)
    made.good_backfill("2025-03-01", "2025-06-01", details=True)
    inner = {row["id"] for row in made.held()["reports"]}
    made.good_backfill("2025-02-01", "2025-07-01", details=True)
    outer = {row["id"] for row in made.held()["reports"]}
    assert set(made.read[1]) == outer - inner
    assert len(made.read[1]) == len(outer - inner)
    report = made.good_backfill("2025-02-01", "2025-07-01", details=True)
    assert report.ledger == [{"since": "2025-02-01T00:00:00Z", "until": "2025-07-01T00:00:00Z", "details": True}]
    assert made.held() == made.truth("2025-02-01", "2025-07-01")


def test_without_an_end_a_window_ends_now_and_the_same_command_keeps_to_that(account):
    made = account()
    report = made.backfill("2024-01-01", max_requests=4)
    until = f"{made.organisation.now:%Y-%m-%dT%H:%M:%SZ}"
    assert (report.exit_code, report.window["until"]) == (75, until)
    made.organisation.advance(2)
    report = made.good_backfill("2024-01-01")
    assert report.window["until"] == until
    report = made.good_backfill("2024-01-01")
    assert (report.window["until"], made.read[0]) == (f"{made.organisation.now:%Y-%m-%dT%H:%M:%SZ}", 1)


def test_without_details_the_list_is_taken_and_no_detail_that_is_held_is_lost(account):
    made = account(APART)
    made.good_backfill("2025-03-01", "2025-06-01", details=True)
    before = made.held()
    changed = before["reports"][7]["id"]
    made.organisation.edit_report(changed, title="another title")
    made.good_backfill("2025-02-01", "2025-06-01", again=True)
    assert made.read[1] == []
    assert made.held()["report_insights"] == before["report_insights"]
    held = {row["id"]: row for row in made.held()["reports"]}
    assert [held[row["id"]] | {"title": None} for row in before["reports"]] == [
        row | {"title": None} for row in before["reports"]
    ]
    assert held[changed]["title"] == "another title"
    assert len(held) > len(before["reports"])
    report = made.good_backfill("2025-02-01", "2025-06-01", details=True)
    assert report.details == len(held) - len(before["reports"]) + 1  # that of the changed one may have changed, too
    assert made.held() == made.truth("2025-02-01", "2025-06-01")


def test_nightly_runs_go_on_between_the_slices_and_know_nothing_of_it(account):
    made = account(V1, reports=450, history_days=650)
    made.organisation.advance()
    window = ("2024-06-01", "2025-12-01")
    report = made.backfill(*window, details=True, max_requests=4)
    for night in range(2):
        assert report.exit_code == 75
        made.good_export(sweep=True)
        assert made.alive() == made.perfect()
        made.organisation.advance(1)
        if night == 0:
            made.forget()
        report = made.backfill(*window, details=True, max_requests=3)
    report = made.backfill(*window, details=True)
    assert report.exit_code == 0
    made.good_export(sweep=True)
    assert made.alive() == made.perfect()
    runs = made.query("SELECT trigger, outcome FROM export_runs ORDER BY started_at")
    assert set(runs) == {("backfill", "later"), ("backfill", "done"), ("manual", "done")}
    assert runs.count(("backfill", "done")) == 1


def test_a_quiet_night_after_a_backfill_reads_one_page(account):
    made = account()
    made.good_export()
    made.organisation.advance(1, activity=0)
    made.good_backfill("2024-06-01", "2025-12-01")
    made.forget()
    made.good_export()
    assert made.read[0] == 1


def test_the_first_nightly_run_after_a_backfill_takes_its_rows_as_they_are(account):
    made = account()
    made.good_backfill(LONG_AGO)
    counts = made.good_export().tables["reports"]
    assert (counts["seen"], counts["new"], counts["changed"]) == (650, 0, 0)
    assert made.alive() == made.perfect()


def test_another_accounts_key_is_refused_before_anything_is_read(account):
    made = account()
    made.good_backfill("2025-03-01", "2025-06-01")
    made.sandbox.spoken = replace(KB, ids="uuid")
    made.organisation.ids = "uuid"
    for report in (made.backfill("2025-01-01", "2025-06-01"), made.export()):
        assert (report.exit_code, report.outcome) == (2, "failed")
        assert "Give each account a destination of its own." in report.notes[0]
        assert made.read == (0, [])


def test_a_dry_run_of_what_has_been_read_says_that_nothing_is_left(account):
    made = account(APART)
    made.good_backfill("2025-03-01", "2025-06-01", details=True)
    assert made.backfill("2025-03-01", "2025-06-01", details=True, dry_run=True).estimate["calls"] == 0
    larger = made.backfill("2025-03-01", "2025-06-11", details=True, dry_run=True).estimate
    assert (larger["reports"], larger["details"]) == (11, 11)


def test_a_report_that_a_nightly_run_reads_later_is_not_put_back(account, monkeypatch):
    made = account()
    made.good_export()
    window = ("2025-03-01", "2025-06-01")
    one = made.organisation.numbers("reports", "newest")[300]
    asked = []

    def meanwhile(sofar):
        if not asked:
            asked.append(sofar.seen)
            made.organisation.set("reports", one, {"title": "newer"})
            made.good_export(sweep=True)

    report = made.backfill(*window, on_progress=meanwhile)
    assert report.exit_code == 0
    assert [row["title"] for row in made.held()["reports"] if row["id"] == str(one)] == ["newer"]
    assert made.alive() == made.perfect()


def test_an_account_without_reports_has_nothing_to_read_and_may_get_some(account):
    made = account(reports=0)
    report = made.backfill("2025-03-01", "2027-01-01")
    assert (report.exit_code, report.ledger) == (0, [])
    assert report.notes == ["The list of reports is empty; the window is not remembered as read."]
    made.organisation.add_report()
    made.good_backfill("2025-03-01", "2027-01-01")
    assert len(made.held()["reports"]) == 1


def test_reports_of_one_moment_are_all_read(account):
    made = account(APART, reports=350, history_days=350)
    at = made.organisation.now - timedelta(days=30)
    for place, number in enumerate(made.organisation.numbers("reports", "newest")[:260]):
        made.organisation.set("reports", number, {"created_at": at + timedelta(days=place < 20)})
    for _ in range(3):
        report = made.backfill(at, at + timedelta(hours=1), details=True, max_requests=150)
    assert report.exit_code == 0
    assert len(made.held()["reports"]) == 240
    assert made.held() == made.truth(at, at + timedelta(hours=1))


def test_a_list_that_comes_empty_though_there_are_reports_is_not_believed(account):
    made = account()
    made.good_export()
    made.sandbox.faults.add(zero_rows(path="*/reports/", times=None))
    report = made.backfill("2025-03-01")
    assert (report.exit_code, report.outcome) == (4, "failed")
    assert "650 of the 650 reports in the destination are missing" in report.notes[0]


def test_a_list_in_no_order_that_is_stopped_asks_for_no_detail_twice(account):
    made = account(replace(APART, order="none"), reports=450, history_days=450)
    read = []
    for _ in range(3):
        report = made.backfill("2025-03-01", "2025-08-01", details=True, max_requests=90)
        read += made.read[1]
    assert report.exit_code == 0
    assert len(read) <= len(set(read)) + 8
    assert made.held() == made.truth("2025-03-01", "2025-08-01")
