"""Cheap nights: the list of reports is left where it reaches what is known, and nothing is missed for it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines.sandbox import DIALECTS, KB, OFFSET, V1
from tests.memory import Quick
from tests.nightly import Nightly
from tests.proof import PROOF
from tests.stage import finish_calls


@pytest.fixture
def nightly(tmp_path, stage, monkeypatch):
    """A machine and an account with eleven pages of reports; call it with a dialect."""

    def made(spoken=KB, machine=Quick, **organisation):
        return machine(tmp_path, stage, monkeypatch, spoken, **({"reports": 1050, "history_days": 2000} | organisation))

    yield made
    finish_calls()


def list_pages(account):
    return sum(path.endswith("/reports/") for path in account.paths())


def details(account):
    return [path for path in account.paths() if "/reports/" in path and not path.endswith("/reports/")]


def finish_all(account):
    """No report is left unfinished."""
    for number in sorted(account.organisation.open):
        account.organisation.set("reports", number, {"status": "completed"})


def row(account, one):
    (found,) = [row for row in account.rows("reports") if row["id"] == str(one)]
    return found


@pytest.mark.parametrize("spoken", DIALECTS.values(), ids=DIALECTS)
def test_a_quiet_night_reads_one_page_of_reports(nightly, spoken):
    account = nightly(spoken)
    account.good_export()
    account.organisation.advance(1, activity=0)
    account.forget()
    report = account.good_export()
    assert list_pages(account) == 1
    walk = report.walks["reports"]
    assert (walk["pages"], walk["complete"], walk["known_before"]) == (1, False, "2025-12-29T00:00:00Z")
    assert account.alive() == account.perfect()


@pytest.mark.parametrize("spoken", DIALECTS.values(), ids=DIALECTS)
def test_what_is_new_finished_or_edited_of_late_is_caught_the_same_night(nightly, spoken):
    account = nightly(spoken)
    finish_all(account)
    account.good_export()
    account.perfect()
    account.organisation.advance(1, activity=0)
    edited = account.organisation.numbers("reports", "newest")[0]
    account.organisation.set("reports", edited, {"title": "edited"})
    for _ in range(130):
        account.organisation.add_report()
    account.forget()
    report = account.good_export()
    assert list_pages(account) <= 3
    assert (report.tables["reports"]["new"], report.tables["reports"]["changed"]) == (130, 1)
    assert account.alive() == account.perfect()


@pytest.mark.parametrize("spoken", [KB, V1, replace(OFFSET, order="newest")], ids=["kb", "v1", "offset"])
def test_an_unfinished_report_is_followed_until_it_is_final(nightly, spoken):
    account = nightly(spoken)
    finish_all(account)
    old = account.organisation.numbers("reports", "newest")[700]
    account.organisation.set("reports", old, {"status": "generating", "completed_at": None})
    account.good_export()
    for _ in range(2):
        account.organisation.advance(1, activity=0)
        account.forget()
        account.good_export()
        assert (list_pages(account), len(details(account))) == (1, 1)
    account.organisation.set("reports", old, {"status": "completed", "completed_at": account.organisation.now})
    account.good_export()
    assert account.alive() == account.perfect()
    account.good_export()
    assert (list_pages(account), details(account)) == (1, [])


def test_an_unfinished_report_that_is_deleted_is_marked_so(nightly):
    account = nightly()
    finish_all(account)
    old = account.organisation.numbers("reports", "newest")[700]
    account.organisation.set("reports", old, {"status": "pending"})
    account.good_export()
    account.organisation.delete("reports", old)
    account.good_export()
    assert account.deleted("reports") == {str(old)}
    account.good_export()
    assert details(account) == []


def test_edits_and_deletions_of_old_reports_are_found_by_the_sweep_of_the_seventh_day(nightly):
    account = nightly()
    finish_all(account)
    account.good_export()
    numbers = account.organisation.numbers("reports", "newest")
    edited, deleted = numbers[700], numbers[800]
    account.organisation.set("reports", edited, {"title": "edited"})
    account.organisation.delete("reports", deleted)
    for _ in range(6):
        account.organisation.advance(1, activity=0)
        account.forget()
        assert account.good_export().walks["reports"]["pages"] == 1
    assert (row(account, edited)["title"], account.deleted("reports")) != ("edited", {str(deleted)})
    account.organisation.advance(1, activity=0)
    assert account.good_export().walks["reports"]["complete"]
    assert (row(account, edited)["title"], account.deleted("reports")) == ("edited", {str(deleted)})
    account.organisation.restore("reports", deleted)
    account.organisation.advance(1, activity=0)
    account.good_export()
    assert account.deleted("reports") == {str(deleted)}
    account.good_export(sweep=True)
    assert account.deleted("reports") == set()


@pytest.mark.parametrize("spoken", [replace(KB, order="none"), replace(V1, order="oldest")], ids=["none", "cursor"])
def test_a_list_that_cannot_be_left_early_is_read_whole(nightly, spoken):
    account = nightly(spoken)
    account.good_export()
    account.organisation.advance()
    account.forget()
    assert account.good_export().walks["reports"]["complete"]
    assert account.alive() == account.perfect()


def test_a_night_that_ran_out_of_calls_does_not_move_the_mark(nightly):
    account = nightly(V1)
    finish_all(account)
    account.good_export()
    account.organisation.advance(1, activity=0)
    for _ in range(40):
        account.organisation.add_report()
    spent = account.export(settings=account.settings(max_wait=0, reserve=0.99))
    assert (spent.exit_code, spent.outcome) == (75, "later")
    account.good_export()
    assert account.alive() == account.perfect()


def test_a_clock_that_is_days_wrong_loses_nothing(nightly):
    account = nightly()
    finish_all(account)
    account.good_export()
    account.organisation.advance(1, activity=0)
    account.organisation.add_report(created_at=account.organisation.now - timedelta(hours=20))
    account.good_export()
    assert account.alive() == account.perfect()


@pytest.mark.parametrize("validators", ["etag", "last-modified"])
@pytest.mark.parametrize("spoken", DIALECTS.values(), ids=DIALECTS)
def test_a_list_that_says_it_is_unchanged_is_believed(nightly, spoken, validators):
    account = nightly(replace(spoken, details_in_list=True))
    account.sandbox.validators = validators
    finish_all(account)
    account.good_export()
    account.organisation.advance(1, activity=0)
    account.good_export()  # leaves the list early for the first time, and remembers that page
    if validators == "last-modified":  # a day later links are signed anew, and by its ETag the page is another one
        account.organisation.advance(1, activity=0)
    account.forget()
    report = account.good_export()
    assert (report.requests["unchanged"], report.walks["reports"]["pages"]) == (1, 0)
    assert account.alive() == account.perfect()
    account.organisation.add_report()
    assert account.good_export().tables["reports"]["new"] == 1
    assert account.alive() == account.perfect()


def test_a_report_says_for_what_the_calls_were_made(nightly):
    account = nightly(V1, Nightly, reports=130, dashboards=3)
    finish_all(account)
    account.good_export()
    account.organisation.add_report()
    why = account.good_export(dry_run=True).requests["why"]
    assert why["reports"] == {
        "pages of the list, as far as new objects reach": 1,
        "details of what is new or changed": 1,
    }


@pytest.mark.parametrize(
    ("spoken", "reports"), [(KB, 100_000 if PROOF else 20_000), (V1, 4_000), (OFFSET, 4_000)], ids=DIALECTS
)
def test_a_quiet_night_of_a_large_account_takes_six_calls(nightly, spoken, reports):
    account = nightly(spoken, Nightly, reports=reports, dashboards=200, sources=20, history_days=4_000)
    account.sandbox.spoken = replace(spoken, details_in_list=True)  # or the first load asks for thousands of details
    account.sandbox.limits.limit = 100_000
    finish_all(account)
    account.good_export()
    account.organisation.advance(1, activity=0)
    account.forget()
    assert account.good_export().requests["total"] <= 6
    for _ in range(50):
        account.organisation.add_report()
    account.forget()
    assert account.good_export().requests["total"] <= 6
    assert account.alive()["reports"] == account.perfect()["reports"]


def test_columns_that_the_destination_is_to_take_from_now_on_are_filled_for_old_reports(nightly, monkeypatch):
    account = nightly(machine=Nightly)
    monkeypatch.setenv("DESTINATION__CSV_FILES__COLUMNS", '{"reports": ["id", "status"]}')
    account.export("csv_files")
    monkeypatch.setenv("DESTINATION__CSV_FILES__COLUMNS", '{"reports": ["id", "status", "title"]}')
    assert account.export("csv_files").tables["reports"]["changed"] == 1050
    assert account.export("csv_files").walks["reports"]["pages"] == 1
