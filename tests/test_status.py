import json
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from pipelines import status
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi_pipeline import export
from pipelines.sandbox import KB, Organisation, Sandbox, serve
from pipelines.status import Status, look_at

RUN = {"run_id": "r", "outcome": "done", "at": "2026-01-01T00:00:00+00:00"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "warehouse.duckdb"))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("SOURCES__CLARIBI__API_KEY", raising=False)
    return tmp_path


def run_once(destination):
    sandbox = Sandbox(KB, Organisation(reports=30))
    with serve(sandbox) as server:
        settings = ClaribiSettings(api_key=sandbox.account.key, base_url=server.url)
        settings.on_resolved()
        return export(settings, destination)


@pytest.mark.parametrize("destination", ["duckdb", "csv_files"])
def test_a_run_is_found_in_the_destination_without_a_key(destination):
    report = run_once(destination)
    found = look_at(destination, max_age_h=1)
    sizes = {name: counts["rows"] for name, counts in report.tables.items()}
    assert found.tables == sizes | {"data_source_events": 0, "alerts": 0}
    assert found.last_run == found.last_good_run
    assert (found.last_run["run_id"], found.last_run["outcome"]) == (report.run_id, "done")
    assert (found.dialect, found.organization["name"]) == (report.dialect, "Morgenrot Coffee Roasters")
    assert 0 <= found.age_h < 1
    assert (found.problem, found.exit_code) == ("", 0)


@pytest.mark.parametrize("destination", ["duckdb", "csv_files"])
def test_looking_where_nothing_is_makes_nothing(here, destination):
    found = look_at(destination)
    assert (found.tables, found.last_run, found.age_h, found.exit_code) == ({}, None, None, 0)
    assert list(here.iterdir()) == []


def test_looking_changes_no_byte_of_the_warehouse_nor_of_the_working_folder(here):
    run_once("duckdb")

    def state():
        return {file: file.read_bytes() for file in here.rglob("*") if file.is_file()}

    before = state()
    look_at("duckdb")
    assert state() == before


def test_a_warehouse_of_somebody_else_has_no_run(here):
    with duckdb.connect(str(here / "warehouse.duckdb")) as db:
        db.execute("CREATE TABLE mine AS SELECT 1 AS one")
    found = look_at("duckdb", max_age_h=24)
    assert (found.tables, found.last_run, found.exit_code) == ({}, None, 6)


def test_never_having_run_is_a_problem_only_for_who_asks_for_an_age():
    assert Status("duckdb", "w").exit_code == 0
    never = Status("duckdb", "w", max_age_h=26)
    assert (never.exit_code, never.problem) == (6, "There never was a good run. Start one: claribi-export run")


@pytest.mark.parametrize(("age_h", "code"), [(25.9, 0), (26.0, 0), (26.1, 6)])
def test_a_run_that_is_too_old_is_a_problem(age_h, code):
    found = Status("duckdb", "w", last_good_run=RUN, age_h=age_h, max_age_h=26)
    assert found.exit_code == code
    assert bool(found.problem) == bool(code)


def test_the_age_is_counted_from_the_last_good_run(monkeypatch):
    run_once("duckdb")
    two_days_on = datetime.now(UTC) + timedelta(days=2)

    class Later(datetime):
        @classmethod
        def now(cls, _):
            return two_days_on

    monkeypatch.setattr(status, "datetime", Later)
    found = look_at("duckdb", max_age_h=26)
    assert 48 <= found.age_h < 49
    assert found.exit_code == 6
    assert "more than 26" in found.problem


def test_the_document_can_be_written_as_json():
    document = json.loads(json.dumps(Status("duckdb", "w", last_good_run=RUN, age_h=30, max_age_h=26).to_json()))
    assert (document["exit_code"], document["age_h"], document["last_good_run"]) == (6, 30, RUN)
    assert document["problem"].startswith("The last good run was 30.0 hours ago")
