"""Whole runs in this process, over real HTTP, into a real DuckDB file."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipelines.claribi.schema import TABLES
from pipelines.sandbox import DIALECTS, KB, OFFSET, V1, Sandbox, faults
from pipelines.watch.tables import WATCHED
from tests.nightly import CHILDREN, LISTS, Nightly
from tests.stage import finish_calls

SNAPSHOTS = {"usage", "export_runs"}
"""Tables that get a row from every run."""


@pytest.fixture
def nightly(tmp_path, stage, monkeypatch):
    """A machine and an account of 60 reports; call it with a dialect to get another one."""

    def made(spoken=KB, **organisation):
        return Nightly(tmp_path, stage, monkeypatch, spoken, **organisation)

    yield made
    finish_calls()


def written(report):
    """By table: its new, changed and deleted rows, where there are any."""
    counts = {name: (found["new"], found["changed"], found["deleted"]) for name, found in report.tables.items()}
    return {name: found for name, found in counts.items() if any(found)}


def whole(rows):
    """By list and id: an object's row with the rows of its child tables."""
    told = {name: {row["id"]: [row] for row in rows[name]} for name in LISTS}
    for name, (main, _) in CHILDREN.items():
        for row in rows[name]:
            told[main][row[TABLES[name].key[0]]].append(row)
    return told


# First loads and nights


@pytest.mark.parametrize("spoken", DIALECTS.values(), ids=DIALECTS)
def test_a_first_load_and_three_nights_are_the_truth_in_every_dialect(nightly, spoken):
    account = nightly(spoken)
    before = {name: {} for name in LISTS}
    gone = {name: set() for name in LISTS}
    for _ in range(4):
        report = account.good_export()
        perfect = account.perfect()
        assert account.alive() == perfect
        assert len(account.sandbox.calls) == report.requests["total"] == sum(report.requests["by_resource"].values())
        assert account.sandbox.spending == []
        now = whole(perfect)
        for name in LISTS:
            still, was_gone = now[name].keys() & before[name].keys(), gone[name]
            gone[name] = account.met[name].keys() - now[name].keys()
            assert account.deleted(name) == gone[name]
            changed = {one for one in still if now[name][one] != before[name][one]} | (now[name].keys() & was_gone)
            counts = report.tables[name]
            assert (counts["new"], counts["changed"], counts["deleted"], counts["rows"]) == (
                len(now[name].keys() - before[name].keys() - was_gone),
                len(changed),
                len(gone[name] - was_gone),
                len(account.met[name]),
            )
        before = now
        account.organisation.advance()


@pytest.mark.parametrize("spoken", [KB, V1], ids=["kb", "v1"])
def test_a_deleted_report_that_returns_unchanged_is_alive_again(nightly, spoken):
    account = nightly(spoken, reports=20)
    account.good_export()
    one = account.perfect()["reports"][0]["id"]
    account.organisation.delete("reports", one)
    assert written(account.good_export())["reports"] == (0, 0, 1)
    assert account.deleted("reports") == {one}
    (row,) = [row for row in account.rows("reports") if row["id"] == one]
    assert {**row, "deleted_at": None} == account.met["reports"][one]
    assert "reports" not in written(account.good_export())
    account.organisation.restore("reports", one)
    assert written(account.good_export())["reports"] == (0, 1, 0)
    assert account.alive() == account.perfect()
    assert account.deleted("reports") == set()


@pytest.mark.parametrize("spoken", DIALECTS.values(), ids=DIALECTS)
def test_a_quiet_night_on_a_fresh_machine_probes_nothing_and_writes_the_run_alone(nightly, spoken):
    account = nightly(spoken)
    first = account.good_export()
    assert account.written() == {*TABLES, *(table.name for table in WATCHED)}
    before = {name: account.query(f"FROM {name}") for name in TABLES.keys() - SNAPSHOTS}
    account.forget()
    report = account.good_export()
    assert account.written() == SNAPSHOTS
    assert written(report) == dict.fromkeys(SNAPSHOTS, (1, 0, 0))
    assert {name: account.query(f"FROM {name}") for name in before} == before
    assert {name: report.tables[name]["rows"] for name in before} == {
        name: first.tables[name]["rows"] for name in before
    }
    identity = "auth/status/" if spoken is KB else "auth/verify/"
    assert account.paths() == [
        f"{spoken.prefix}{path}" for path in (identity, _usage(spoken), "data-sources/", "dashboards/", "reports/")
    ]


def _usage(spoken):
    return "billing/usage/" if spoken is KB else "usage/"


def test_nights_on_fresh_machines_are_as_good_as_on_one(nightly):
    account = nightly(V1, reports=30)
    for _ in range(3):
        account.good_export()
        assert account.alive() == account.perfect()
        account.forget()
        account.organisation.advance()


def test_an_account_with_nothing_at_all_gets_empty_tables(nightly):
    account = nightly(reports=0, dashboards=0, sources=0)
    report = account.good_export()
    sizes = {name: len(account.rows(name)) for name in TABLES}
    assert sizes == {name: int(name in SNAPSHOTS | {"organization"}) for name in TABLES}
    assert {name: found["rows"] for name, found in report.tables.items()} == sizes


def test_the_row_of_a_run_says_what_its_report_says(nightly):
    account = nightly(reports=10)
    report = account.good_export(trigger="schedule")
    (row,) = account.rows("export_runs")
    assert row.pop("finished_at") >= row["started_at"]
    assert row | {"started_at": f"{row['started_at']:%Y-%m-%dT%H:%M:%SZ}"} == {
        "run_id": report.run_id,
        "trigger": "schedule",
        "started_at": report.started_at,
        "outcome": "done",
        "requests": report.requests["total"],
        "waited_s": 0.0,
        "rows": {name: counts["new"] for name, counts in report.tables.items() if name != "export_runs"},
    }


# What a user asks for


def test_only_reads_what_was_named_and_who_the_account_is(nightly):
    account = nightly(reports=10)
    report = account.good_export(only=["data_sources"])
    assert account.paths()[-1] == "/api/data-sources/"
    assert report.requests["by_resource"] == {"organization": 1, "data_sources": 1}
    assert set(report.tables) == {"organization", "data_sources", "export_runs"}
    assert account.rows("data_sources") == account.perfect()["data_sources"]
    refused = account.export(only=["invoices"])
    assert (refused.exit_code, account.sandbox.calls) == (2, [])
    assert "'invoices'" in refused.notes[0]


def test_a_dry_run_tells_what_would_change_and_loads_nothing(nightly):
    account = nightly(reports=30)
    foretold = account.good_export(dry_run=True)
    assert not account.warehouse.exists()
    assert written(foretold) | {"export_runs": (1, 0, 0)} == written(account.good_export())
    before = {name: account.query(f"FROM {name}") for name in TABLES}
    account.organisation.advance()
    foretold = account.good_export(dry_run=True)
    assert {name: account.query(f"FROM {name}") for name in TABLES} == before
    assert written(foretold) | {"export_runs": (1, 0, 0)} == written(account.good_export())
    assert account.alive() == account.perfect()


def test_a_missing_scope_is_named_and_the_other_lists_are_exported(nightly):
    account = nightly(reports=10)
    account.sandbox.account.permissions -= {"dashboards:read"}
    report = account.export()
    assert (report.exit_code, report.outcome) == (3, "refused")
    assert [note for note in report.notes if "dashboards:read" in note] == report.notes
    perfect = account.perfect()
    for name in ("reports", "report_insights", "data_sources"):
        assert account.rows(name) == perfect[name]
    assert [row["outcome"] for row in account.rows("export_runs")] == ["refused"]
    account.sandbox.account.permissions |= {"dashboards:read"}
    account.good_export()
    assert account.alive() == perfect


def test_another_account_is_refused_before_anything_is_loaded(nightly):
    account = nightly(reports=10)
    account.good_export()
    before = {name: account.query(f"FROM {name}") for name in TABLES}
    account.stage.sandbox = Sandbox(replace(KB, ids="short"), account=account.sandbox.account)
    report = account.export()
    assert (report.exit_code, report.outcome) == (2, "failed")
    assert "the organization o_" in report.notes[0]
    assert "holds the organization 1." in report.notes[0]
    assert {name: account.query(f"FROM {name}") for name in TABLES} == before


def test_another_prefix_is_refused_until_it_is_asked_for(nightly):
    account = nightly(reports=10)
    account.good_export()
    perfect = account.perfect()
    account.sandbox = account.stage.sandbox = Sandbox(
        replace(OFFSET, ids="int"), account.organisation, account=account.sandbox.account
    )
    settings = account.settings(base_url=f"{account.stage.url}/api/v1/")
    report = account.export(settings=settings)
    assert (report.exit_code, report.outcome) == (2, "failed")
    assert "--switch-dialect" in report.notes[0]
    assert account.alive() == perfect
    report = account.good_export(settings=settings, switch_dialect=True)
    assert report.dialect["prefix"] == "/api/v1/"
    assert account.alive() == account.perfect()


def test_an_account_that_speaks_otherwise_with_other_ids_is_read_anew_when_asked_to(nightly):
    account = nightly(reports=60)
    account.good_export()
    before = {name: [row["id"] for row in account.rows(name)] for name in LISTS}
    account.sandbox = account.stage.sandbox = Sandbox(OFFSET, account.organisation)
    report = account.export()
    assert report.exit_code == 1
    assert "/api/auth/status/" in report.notes[0]
    assert "--switch-dialect" in report.notes[0]
    account.good_export(switch_dialect=True)
    for name in LISTS:
        assert account.deleted(name) == set(before[name])
        assert len(account.alive()[name]) == len(before[name])
    assert written(account.good_export()).keys() <= SNAPSHOTS


def test_what_runs_leave_in_dlts_folder_goes_after_a_day(nightly):
    account = nightly(reports=3)
    account.sandbox.faults.add(faults.html(path="*/dashboards/"))
    assert account.export().exit_code == 4
    account.good_export()
    (kept,) = account.dlt_folder.glob("pipelines/*/*")
    left = [*kept.glob("load/loaded/*"), *kept.glob("normalize/[0-9a-f]*[0-9a-f]")]
    left = [one for one in left if one.name != "extracted"]
    assert len(left) == 2
    for one in left:
        os.utime(one, (0, 0))
    account.good_export()
    assert [one for one in left if one.exists()] == []
    assert len([*kept.glob("load/loaded/*")]) == 1


# Deletions


def test_a_report_that_loses_its_last_insight_loses_the_old_rows(nightly):
    account = nightly(reports=10)
    one = account.organisation.add_report(insights=[{"type": "summary", "title": "a", "text": "b"}] * 2)
    account.good_export()
    assert len([row for row in account.rows("report_insights") if row["report_id"] == one]) == 2
    account.organisation.edit_report(one, insights=[])
    report = account.good_export()
    assert written(report)["report_insights"] == (0, 0, 2)
    assert account.alive() == account.perfect()
    assert account.query("SELECT count(*) FROM report_insights WHERE _removed OR report_id IS NULL") == [(0,)]


def test_a_source_that_left_the_list_of_active_ones_is_read_by_its_detail(nightly):
    account = nightly(V1, reports=5)
    account.good_export()
    one = account.perfect()["data_sources"][0]["id"]
    account.organisation.edit("data_sources", one, status="error")
    report = account.good_export()
    assert f"/api/v1/data-sources/{one}/" in account.paths()
    assert written(report)["data_sources"] == (0, 1, 0)
    (row,) = [row for row in account.rows("data_sources") if row["id"] == one]
    assert (row["status"], row["deleted_at"]) == ("error", None)
    assert account.alive() == account.perfect()
    assert "data_sources" not in written(account.good_export())


def test_a_list_that_has_shrunk_ends_the_run_and_deletes_nothing(nightly):
    account = nightly(reports=60)
    account.good_export()
    before = {name: account.query(f"FROM {name}") for name in TABLES}
    for report in account.perfect()["reports"][:13]:
        account.organisation.delete("reports", report["id"])
    report = account.export()
    assert (report.exit_code, report.outcome) == (4, "failed")
    assert "--allow-shrink" in report.notes[-1]
    assert {name: account.query(f"FROM {name}") for name in TABLES} == before
    account.good_export(allow_shrink=True)
    assert account.alive() == account.perfect()
    assert len(account.deleted("reports")) == 13


def test_a_list_without_a_row_ends_the_run_and_deletes_nothing(nightly):
    account = nightly(reports=60)
    account.good_export()
    before = {name: account.query(f"FROM {name}") for name in TABLES}
    account.sandbox.faults.add(faults.zero_rows(path="*/reports/", times=None))
    report = account.export()
    assert (report.exit_code, report.outcome) == (4, "failed")
    assert report.notes[-1].startswith("60 of the 60 reports in the destination are missing")
    assert {name: account.query(f"FROM {name}") for name in TABLES} == before


# What nobody documents


def test_unknown_fields_become_columns_and_later_ones_too(nightly):
    account = nightly(reports=5)
    born = "2025-12-31T10:00:00Z"
    account.organisation.put_raw("reports", {"id": 9001, "title": "a", "created_at": born, "score": 3, "tags": ["x"]})
    account.good_export()
    account.organisation.put_raw(
        "reports",
        {"id": 9002, "title": "b", "created_at": born, "score": "high", "owner": "Ada", "links": {"b.c": 1, "a": [{}]}},
    )
    account.forget()
    report = account.export()
    assert (report.exit_code, report.outcome) == (0, "done")
    first, second = [row for row in account.rows("reports") if row["id"] in ("9001", "9002")]
    assert (first["score"], first["tags"], first["owner"], first["links"], first["extra"]) == (
        3,
        ["x"],
        None,
        None,
        None,
    )
    assert (second["score"], second["tags"], second["owner"]) == (None, None, "Ada")
    assert second["links"] == {"a": [{}], "b.c": 1}
    assert second["extra"] == {"score": "high"}
    kinds = dict(account.query("SELECT column_name, column_type FROM (DESCRIBE reports)"))
    assert [kinds[name] for name in ("score", "tags", "owner", "links")] == ["BIGINT", "JSON", "VARCHAR", "JSON"]
    assert "reports" not in written(account.export())


NASTY = {
    "id": "=1+1",
    "title": '=HYPERLINK("http://x","y") \U0001f914',
    "status": "completed",
    "description": "line one\nline 'two'\r\n\"three\"\t\\ " + "x" * 60_000,
    "created_at": "2025-12-31T23:59:59.123456+02:00",
    "completed_at": "2025-12-31T23:59:59",
    "insights": [],
    "data_quality_metrics": {"@a.b c": {"rows": 2**64 + 1}, "": []},
    "big": 2**53 + 1,
    "huge": 2**64 + 1,
    "Total Rows": 1,
    "total_rows": 2,
    "total-rows": 3,
    "plus": "+1",
    "minus": "-1",
    "at": "@SUM(1)",
    "empty": [],
}


def test_nasty_but_legal_input_arrives_as_it_was(nightly):
    account = nightly(reports=3)
    account.organisation.put_raw("reports", NASTY)
    account.export()
    (row,) = [row for row in account.rows("reports") if row["id"] == "=1+1"]
    for name in ("title", "description", "big", "plus", "minus", "at", "empty", "data_quality_metrics"):
        assert row[name] == NASTY[name], name
    assert row["created_at"] == datetime(2025, 12, 31, 21, 59, 59, 123456, tzinfo=UTC)
    assert row["completed_at"] == datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
    kept = json.dumps(row, default=str)
    assert str(2**64 + 1) in kept
    spelled = {row["total_rows"], *(value for name, value in row["extra"].items() if "otal" in name)}
    assert spelled == {1, 2, 3}
    assert "reports" not in written(account.export())


def test_what_only_the_destination_can_tell_is_in_the_report(nightly, monkeypatch):
    monkeypatch.setenv("DESTINATION__CSV_FILES__EXCEL", "true")
    account = nightly(reports=2)
    account.organisation.put_raw("reports", {"id": 9001, "title": "=1+1", "status": "completed", "insights": []})
    report = account.export("csv_files")
    assert (report.exit_code, len(report.notes)) == (0, 1)
    assert report.notes[0].startswith("csv_files: ")
    assert report.notes[0].endswith(", 1 cells guarded.")
    assert "'=1+1" in (account.folder / "exports" / "reports.csv").read_text()


def test_a_destination_may_be_told_of_tables_and_columns_that_its_first_run_does_not_read(nightly, monkeypatch):
    told = {
        "TABLES": ["reports", "dashboards", "alerts"],
        "COLUMNS": {"dashboards": ["id", "name"]},
        "SORT": {"dashboards": ["name desc"]},
    }
    for name, value in told.items():
        monkeypatch.setenv(f"DESTINATION__CSV_FILES__{name}", json.dumps(value))
    account = nightly()
    files = account.folder / "exports"
    account.good_export("csv_files", only=["reports"])
    assert sorted(file.name for file in files.glob("*.csv")) == ["alerts.csv", "reports.csv"]
    account.good_export("csv_files")
    assert (files / "dashboards.csv").read_text().startswith("id,name\n")
    monkeypatch.setenv("DESTINATION__CSV_FILES__TABLES", '["reprots"]')
    report = account.export("csv_files")
    assert (report.exit_code, "reprots" in report.notes[0]) == (2, True)
