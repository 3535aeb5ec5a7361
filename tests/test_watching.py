"""Watching after a run, in this process: what is remembered, what is left alone, and what no trouble undoes."""

import json

import pytest

from pipelines import watching
from pipelines.nightly import look_again, run_nightly
from pipelines.sandbox import faults
from tests.nightly import Nightly
from tests.notify_servers import receiver
from tests.stage import finish_calls


@pytest.fixture
def account(tmp_path, stage, monkeypatch):
    """An account in which nothing goes wrong by itself, and the machine that exports it."""
    made = Nightly(tmp_path, stage, monkeypatch, reports=20)
    monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", made.sandbox.account.key)
    monkeypatch.setenv("SOURCES__CLARIBI__BASE_URL", stage.url)
    monkeypatch.setenv("SOURCES__CLARIBI__RETRY_TRIES", "1")
    monkeypatch.setenv("WATCH__STALE_AFTER_H_BY", '{"*": "never"}')
    for source in made.organisation.truth()["data_sources"]:
        made.organisation.edit("data_sources", source["id"], status="active")
    yield made
    finish_calls()


@pytest.fixture
def chat(monkeypatch):
    with receiver() as opened:
        monkeypatch.setenv("NOTIFY__URLS", f"json://{opened.host}")
        yield opened


def broken(account):
    """Break a source; gives its id."""
    one = account.organisation.truth()["data_sources"][0]["id"]
    account.organisation.edit("data_sources", one, status="error")
    return one


def night(account, destination="duckdb", **options):
    account.organisation.advance(1, activity=0)
    if account.dlt_folder.exists():
        account.forget()
    return run_nightly(destination, **options)


def rules(report):
    return [problem.rule for problem in report.watch.problems]


def told(chat):
    return [call.json["message"].partition(":")[0] for call in chat.calls]


@pytest.mark.parametrize("name", ["duckdb", "csv_files", "google_sheets"])
def test_the_destination_alone_remembers_what_was_told(account, chat, destination, name):
    where, one = destination(name), broken(account)
    assert rules(night(account, where)) == rules(night(account, where)) == ["source_error"]
    assert told(chat) == ["New"]
    account.organisation.edit("data_sources", one, status="active")
    over = night(account, where)
    assert [problem.rule for problem in over.watch.cleared] == ["source_error"]
    assert rules(night(account, where)) == []
    assert told(chat) == ["New", "No longer so"]


def test_a_quiet_night_writes_neither_alerts_nor_events(account):
    night(account)
    before = account.query("FROM alerts"), account.query("FROM data_source_events ORDER BY ALL")
    assert len(before[1]) == 9
    night(account)
    assert (account.query("FROM alerts"), account.query("FROM data_source_events ORDER BY ALL")) == before
    assert not account.written() & {"alerts", "data_source_events"}


def test_a_destination_that_is_told_to_take_alerts_takes_them_from_the_first_run_on(account, chat, monkeypatch):
    monkeypatch.setenv("DESTINATION__CSV_FILES__TABLES", '["data_sources", "alerts"]')
    broken(account)
    for _ in range(2):
        assert night(account, "csv_files").exit_code == 0
    assert told(chat) == ["New"]
    assert sorted(file.name for file in (account.folder / "exports").glob("*.csv")) == [
        "alerts.csv",
        "data_sources.csv",
    ]


def test_a_destination_that_cannot_remember_tells_nobody_and_says_so(account, chat, monkeypatch):
    monkeypatch.setenv("DESTINATION__CSV_FILES__TABLES", '["data_sources"]')
    broken(account)
    report = night(account, "csv_files")
    assert (report.exit_code, rules(report), chat.calls) == (0, ["source_error"], [])
    assert report.notes[-1] == watching.NO_MEMORY


def test_what_was_not_read_stays_as_it_was(account, chat):
    one = broken(account)
    night(account)
    account.organisation.edit("data_sources", one, status="active")
    left_out = night(account, only=["usage"])
    assert rules(left_out) == ["source_error"]
    assert left_out.watch.left_out == ["data_sources", "dashboards", "reports"]
    account.sandbox.faults.add(faults.forbidden(path="*/data-sources/", times=None))
    refused = night(account)
    assert (refused.exit_code, rules(refused), refused.watch.not_read) == (3, ["source_error"], ["data_sources"])
    account.sandbox.faults.clear()
    assert rules(night(account)) == []
    assert told(chat) == ["New", "The export", "No longer so"]


def test_a_list_that_cannot_be_believed_raises_and_clears_nothing(account, monkeypatch):
    monkeypatch.setenv("WATCH__DASHBOARD_AFTER_H", "1")
    old = rules(night(account))
    assert set(old) == {"dashboard_old"}
    monkeypatch.setenv("WATCH__DASHBOARD_AFTER_H", "9000")
    account.sandbox.faults.add(faults.zero_rows(path="*/dashboards/", times=None))
    partial = night(account)
    assert (partial.exit_code, rules(partial), partial.watch.not_read) == (4, old, ["dashboards"])


def test_a_run_of_some_resources_alone_is_no_good_run_for_status(account):
    from pipelines.status import look_at

    night(account)
    whole = look_at("duckdb").last_good_run
    part = night(account, only=["usage"])
    found = look_at("duckdb")
    assert (found.last_good_run, found.last_run["run_id"]) == (whole, part.run_id)


def test_a_bug_in_a_rule_undoes_no_load_and_is_said(account, monkeypatch):
    def wrong(*_):
        raise ZeroDivisionError("by a rule")

    monkeypatch.setattr(watching, "look_at_usage", wrong)
    report = night(account)
    assert (report.exit_code, report.outcome, report.watch) == (1, "done", None)
    assert "The run is loaded, but looking for problems failed." in report.notes[-1]
    assert "ZeroDivisionError: by a rule (test_watching.py, line" in report.notes[-1]
    assert len(account.rows("reports")) == 20


def test_a_destination_that_refuses_the_alerts_has_the_run_all_the_same(account):
    night(account, "csv_files")
    (account.folder / "exports" / "alerts.csv").write_text("mine now\n")
    account.organisation.add_report(title="One more")
    broken(account)
    report = night(account, "csv_files")
    assert (report.exit_code, report.outcome) == (5, "done")
    assert "alerts.csv" in report.notes[-1]
    assert report.tables["reports"]["rows"] == 21
    assert night(account, "csv_files", overwrite=True).exit_code == 0


def test_without_an_address_the_problems_are_in_the_report_and_told_once_there_is_one(account, stage, monkeypatch):
    broken(account)
    assert rules(night(account)) == ["source_error"]
    with receiver() as chat:
        monkeypatch.setenv("NOTIFY__URLS", f"json://{chat.host}")
        seen = look_again("duckdb")
        assert (seen.told, seen.exit_code, told(chat)) == (True, 6, ["New"])
        assert not look_again("duckdb").told


def test_a_title_of_the_api_is_text_in_the_report(account):
    one = broken(account)
    account.organisation.edit("data_sources", one, name="[bold]<script>&\n")
    document = json.loads(json.dumps(night(account).to_json()))
    assert document["watch"]["problems"][0]["title"] == 'Data source "[bold]<script>&" is broken'
    assert document["watch"]["exit_code"] == 6
