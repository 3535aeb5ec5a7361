"""Small budgets: what matters most is there after the first run, and the next runs go on where it stopped."""

import csv
import json
from dataclasses import replace

import pytest

from pipelines.claribi.settings import DETAILS
from pipelines.sandbox import DIALECTS, KB, OFFSET, V1
from pipelines.sandbox.access import Limits
from tests.memory import Quick
from tests.nightly import Nightly
from tests.stage import finish_calls

APART = {
    "numbers": replace(KB, details_in_list=False),
    "cursors": V1,
    "from the end": replace(OFFSET, details_in_list=False),
    "no order": replace(KB, details_in_list=False, order="none"),
}
SHAPES = APART | {"oldest by cursor": replace(V1, order="oldest"), **DIALECTS}


@pytest.fixture
def nightly(tmp_path, stage, monkeypatch):
    """A machine that forgets, and an account of a few hundred reports; call it with a dialect."""

    def made(spoken=KB, machine=Nightly, **organisation):
        few = {"reports": 730, "dashboards": 12, "sources": 4, "history_days": 2000}
        return machine(tmp_path, stage, monkeypatch, spoken, **(few | organisation))

    yield made
    finish_calls()


def export_within(account, calls, **options):
    """One run of a fresh machine in an hour that has so many calls, of which a tenth is left to others."""
    account.sandbox.limits = Limits(limit=calls)
    report = account.export(settings=account.settings(max_wait=0), **options)
    account.forget()
    assert report.exit_code in (0, 75), report.notes
    assert len(account.sandbox.calls) <= calls
    return report


def export_to_the_end(account, calls, most):
    """Runs, each within so many calls, until one is done; the calls of each."""
    used = []
    for _ in range(most):
        report = export_within(account, calls)
        used.append(report.requests["total"])
        if report.exit_code == 0:
            return used
    raise AssertionError(f"still not done after {used} calls")


@pytest.mark.parametrize("spoken", SHAPES.values(), ids=SHAPES)
def test_runs_of_a_small_budget_come_to_all_there_is_without_asking_twice(nightly, spoken):
    account = nightly(spoken, Quick, reports=330)
    used = export_to_the_end(account, calls=60, most=40)
    assert account.alive() == account.perfect()
    lists, details = 4 + 2, 0 if spoken.details_in_list else 330 + 12
    # Beside the list and the details each run asks whose account it is, what is used of it, the small lists, and one
    # page of reports; a list that cannot be left early is read anew while its details are still to come.
    least = lists + details
    runs = len(used)
    again = 14 * runs if spoken.order == "none" or spoken.name == "v1" else 7 * runs
    assert sum(used) <= least + again


def test_the_list_comes_before_the_details_and_the_dashboards_before_the_reports(nightly):
    account = nightly(APART["numbers"])
    export_within(account, 60)
    assert len(account.rows("reports")) == 730
    assert len(account.rows("report_insights")) > 0
    (read,) = account.query("SELECT count(*) FROM dashboards WHERE detail_read_at IS NOT NULL")
    assert read == (12,)
    due = account.query("SELECT count(*) FROM reports WHERE detail_read_at IS NULL AND status = 'completed'")[0][0]
    assert 500 < due < 730
    oldest_read = account.query("SELECT min(created_at) FROM reports WHERE detail_read_at IS NOT NULL")
    assert oldest_read > account.query(
        "SELECT max(created_at) FROM reports WHERE detail_read_at IS NULL AND status = 'completed'"
    )


def test_a_night_between_two_parts_of_a_first_load_brings_what_is_new(nightly):
    account = nightly(KB, reports=3000)
    assert export_within(account, 20).exit_code == 75
    first = {row["id"] for row in account.rows("reports")}
    added = [account.organisation.add_report() for _ in range(30)]
    report = export_within(account, 20)
    held = {row["id"] for row in account.rows("reports")}
    assert set(added) <= held
    assert len(held) > len(first) + 800  # the first load went on, too
    assert report.walks["reports"]["resumed"]
    while export_within(account, 20).exit_code:
        pass
    assert account.alive() == account.perfect()


@pytest.mark.parametrize("spoken", [KB, V1, OFFSET], ids=["numbers", "cursors", "from the end"])
def test_a_sweep_that_takes_several_runs_finds_edits_and_deletions(nightly, spoken):
    account = nightly(replace(spoken, details_in_list=True), Quick, reports=3000)
    for number in sorted(account.organisation.open):
        account.organisation.set("reports", number, {"status": "completed"})
    account.good_export()
    numbers = account.organisation.numbers("reports", "newest")
    for at in (700, 1500, 2900):
        account.organisation.set("reports", numbers[at], {"title": "edited"})
    deleted = {account.organisation.item("reports", numbers[at])["id"] for at in (750, 1610, 2210, 2950)}
    for one in deleted:
        account.organisation.delete("reports", one)
    account.organisation.advance(7, activity=0)
    runs = 0
    while export_within(account, 20).exit_code:
        runs += 1
        account.organisation.advance(1, activity=0)
    assert 1 <= runs <= 4
    assert account.alive()["reports"] == account.perfect()["reports"]
    assert account.deleted("reports") == deleted
    assert export_within(account, 20).walks["reports"]["pages"] == 1


def test_dashboards_without_stamps_take_turns_when_the_calls_do_not_reach_for_all(nightly):
    account = nightly(replace(APART["numbers"], stamps_in_list=False), reports=10, dashboards=60)
    export_to_the_end(account, 200, 2)
    for number in account.organisation.numbers("dashboards"):
        account.organisation.set("dashboards", number, {"name": f"Renamed {number}"})
        account.organisation.set("dashboards", number, {"description": "looked at again"})
    for _ in range(3):
        export_within(account, 35)
    assert account.query("SELECT count(*) FROM dashboards WHERE description = 'looked at again'") == [(60,)]


def test_details_never_reads_lists_alone_and_keeps_what_it_had(nightly):
    account = nightly(APART["numbers"], reports=60)
    account.good_export()
    before = account.rows("report_insights")
    edited = account.organisation.numbers("reports", "newest")[20]
    account.organisation.set("reports", edited, {"title": "edited"})
    added = account.organisation.add_report()
    account.good_export(settings=account.settings(details="never"))
    assert [path for path in account.paths() if "/reports/" in path and not path.endswith("/reports/")] == []
    told = {row["id"]: row for row in account.rows("reports")}
    assert told[str(edited)]["title"] == "edited"
    assert told[str(edited)]["description"]
    assert told[added]["description"] is None
    assert account.rows("report_insights") == before
    account.good_export()
    assert account.alive() == account.perfect()


def test_details_always_asks_for_the_new_although_the_list_carries_them(nightly):
    account = nightly(KB, reports=60, dashboards=3)
    account.good_export()
    added = account.organisation.add_report()
    account.good_export(settings=account.settings(details="always"))
    asked = {path.split("/")[-2] for path in account.paths() if "/reports/" in path} - {"reports"}
    assert added in asked
    assert sum("/dashboards/" in path for path in account.paths()) == 4
    assert account.alive() == account.perfect()


def test_where_the_destination_cannot_say_that_a_detail_is_missing_no_row_comes_without_it(nightly, monkeypatch):
    account = nightly(APART["numbers"], reports=260, dashboards=2)
    monkeypatch.setenv("DESTINATION__CSV_FILES__COLUMNS", json.dumps({"reports": ["id", "status", "description"]}))
    said = {row["id"]: row["description"] for row in account.organisation.truth()["reports"]}
    runs = 0
    while export_within(account, 60, destination="csv_files").exit_code:
        runs += 1
        assert runs < 12
        held = csv.DictReader((account.folder / "exports" / "reports.csv").open(newline=""))
        wrong = [row for row in held if row["status"] == "completed" and row["description"] != (said[row["id"]] or "")]
        assert wrong == []
    assert len((account.folder / "exports" / "reports.csv").read_text().splitlines()) == 261


def test_the_words_for_details_are_those_of_the_documentation():
    assert DETAILS == ("auto", "never", "always")
