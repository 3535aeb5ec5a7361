import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from pipelines.claribi.schema import DASHBOARDS, REPORTS, USAGE
from pipelines.destination_check import check_destination
from pipelines.doctor import examine
from pipelines.sandbox import DIALECTS, KB, V1, Account, Organisation, Sandbox, faults
from pipelines.shapes import fields_of
from pipelines.status_screens import doctor_screen
from tests.sheets_server import ROBOT, SheetsServer

NAMES = [
    "settings",
    "dialect",
    "account",
    "permissions",
    "key expiry",
    "limits",
    "reports",
    "dashboards",
    "data_sources",
    "usage",
    "destination",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "warehouse.duckdb"))
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture
def account(stage, monkeypatch):
    """Puts a sandbox on the stage and the settings that lead to it into the environment."""

    def enter(spoken=KB, **changes):
        stage.sandbox = Sandbox(spoken, Organisation(reports=30), Account(key=spoken.default_key, **changes))
        monkeypatch.setenv("SOURCES__CLARIBI__BASE_URL", stage.url)
        monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", stage.sandbox.account.key)
        monkeypatch.setenv("SOURCES__CLARIBI__RETRY_WAIT", "0.01")
        return stage.sandbox

    return enter


def results(diagnosis):
    return {check.name: check.result for check in diagnosis.checks if check.result != "ok"}


def found(diagnosis, name):
    return next(check for check in diagnosis.checks if check.name == name)


@pytest.mark.parametrize("spoken", DIALECTS.values(), ids=DIALECTS)
def test_a_good_account_passes_every_check_in_order(account, spoken):
    sandbox = account(spoken)
    diagnosis = examine("duckdb")
    assert [check.name for check in diagnosis.checks] == NAMES
    assert (results(diagnosis), diagnosis.exit_code) == ({}, 0)
    facts = found(diagnosis, "dialect").facts
    assert (facts["prefix"], facts["scheme"]) == (spoken.prefix, spoken.key_scheme)
    assert facts["calls"] <= 6
    assert diagnosis.calls == len(sandbox.calls)
    assert sandbox.spending == []


def test_examining_leaves_nothing_behind(account, here):
    account()
    examine("duckdb")
    examine("csv_files")
    assert list(here.iterdir()) == []


def test_neither_the_key_nor_any_value_of_an_object_is_told(account):
    sandbox = account()
    diagnosis = examine("duckdb")
    told = json.dumps(diagnosis.to_json()) + repr(doctor_screen(diagnosis))
    truth = sandbox.organisation.truth()
    values = [item.get("title") or item["name"] for name in ("reports", "data_sources") for item in truth[name]]
    assert [value for value in (sandbox.account.key, *values) if value in told] == []


def test_the_detail_shows_what_the_list_leaves_out(account):
    account(V1)
    facts = found(examine("duckdb"), "dashboards").facts
    assert "widgets" not in facts["fields"]
    assert facts["detail_fields"]["widgets[].type"] == "string"
    assert (facts["total"], facts["paging"]) == (None, "paged by cursor")


def test_a_missing_permission_is_a_warning_and_its_list_a_failure(account):
    account(V1, permissions=frozenset({"reports:read", "dashboards:read", "usage:read"}))
    diagnosis = examine("duckdb")
    assert results(diagnosis) == {"permissions": "warn", "data_sources": "fail"}
    assert found(diagnosis, "permissions").facts["missing"] == ["data_sources:read"]
    assert diagnosis.exit_code == 3


def test_a_hyphen_in_a_permission_is_as_good_as_an_underscore(account):
    account(V1, permissions=frozenset({"reports:read", "dashboards:read", "data-sources:read", "usage:read"}))
    assert found(examine("duckdb"), "permissions").result == "ok"


@pytest.mark.parametrize(("days", "result"), [(29, "warn"), (32, "ok")])
def test_a_key_that_ends_within_a_month_is_a_warning(account, days, result):
    account(V1, expires_at=datetime.now(UTC) + timedelta(days=days, hours=1))
    diagnosis = examine("duckdb")
    assert found(diagnosis, "key expiry").result == result
    assert diagnosis.exit_code == 0


def test_a_spent_limit_ends_the_calls_but_not_the_look_at_the_destination(account):
    sandbox = account()
    sandbox.faults.add(faults.too_many(path="*/reports/", wait_s=3600, times=None))
    diagnosis = examine("duckdb")
    assert results(diagnosis) == {"reports": "fail", "dashboards": "skip", "data_sources": "skip", "usage": "skip"}
    assert diagnosis.exit_code == 75


def test_a_list_that_fails_does_not_stop_the_others(account):
    sandbox = account()
    sandbox.faults.add(faults.server_error(path="*/reports/", times=None))
    sandbox.faults.add(faults.renamed_envelope(path="*/dashboards/", times=None))
    diagnosis = examine("duckdb")
    assert results(diagnosis) == {"reports": "fail", "dashboards": "fail"}
    assert [found(diagnosis, name).exit_code for name in ("reports", "dashboards")] == [1, 4]
    assert diagnosis.exit_code == 1


def test_a_detail_that_fails_is_a_warning(account):
    sandbox = account()
    sandbox.faults.add(faults.forbidden(path="*/reports/*/", times=None))
    diagnosis = examine("duckdb")
    assert (results(diagnosis), diagnosis.exit_code) == ({"reports": "warn"}, 0)


def test_a_refused_key_leaves_only_the_destination_to_check(account, monkeypatch):
    account()
    monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", "claribi_sk_another")
    diagnosis = examine("duckdb")
    assert results(diagnosis) == {"dialect": "fail"} | dict.fromkeys(NAMES[2:-1], "skip")
    assert diagnosis.exit_code == 3
    assert diagnosis.calls <= 6
    assert "claribi_sk_another" not in json.dumps(diagnosis.to_json())


def test_settings_that_cannot_work_make_no_call(account, monkeypatch):
    sandbox = account()
    monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", "")
    diagnosis = examine("duckdb")
    assert results(diagnosis) == {"settings": "fail"} | dict.fromkeys(NAMES[1:-1], "skip")
    assert (diagnosis.exit_code, sandbox.calls) == (2, [])


@pytest.mark.parametrize(
    ("destination", "settings", "code", "says"),
    [
        ("duckdb", {"DESTINATION__DUCKDB__CREDENTIALS": "absent/w.duckdb"}, 5, "there is no folder"),
        ("duckdb", {"DESTINATION__DUCKDB__CREDENTIALS": "claribi.duckdb"}, 2, "the name of the dataset"),
        ("csv_files", {"DESTINATION__CSV_FILES__FOLDER": "file/exports"}, 5, "Not a directory"),
        ("postgres", {"DESTINATION__POSTGRES__CREDENTIALS": "postgresql://u:pw@127.0.0.1:1/d"}, 5, "refused"),
        ("nowhere", {}, 2, "neither this project nor dlt knows"),
    ],
)
def test_a_destination_that_cannot_be_written_to_is_named(
    account, here, monkeypatch, destination, settings, code, says
):
    account()
    (here / "file").touch()
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    diagnosis = examine(destination)
    assert (results(diagnosis), diagnosis.exit_code) == ({"destination": "fail"}, code)
    assert says in found(diagnosis, "destination").says
    assert ":pw@" not in json.dumps(diagnosis.to_json())


@pytest.fixture
def google(monkeypatch):
    server = SheetsServer()
    file = server.create()
    for name, value in {
        "SPREADSHEET": file,
        "CREDENTIALS": json.dumps(server.accounts.service_account(ROBOT)),
        "API_URL": server.url,
    }.items():
        monkeypatch.setenv(f"DESTINATION__GOOGLE_SHEETS__{name}", value)
    yield server
    server.close()


def test_a_spreadsheet_is_looked_at_by_its_own_destination(google):
    check = check_destination("google_sheets")
    assert (check.result, [finding["subject"] for finding in check.facts["findings"]]) == (
        "ok",
        ["credentials", "spreadsheet", "access", "room"],
    )


def test_a_spreadsheet_that_is_not_there_is_a_failure(google, monkeypatch):
    monkeypatch.setenv("DESTINATION__GOOGLE_SHEETS__SPREADSHEET", "x" * 44)
    check = check_destination("google_sheets")
    assert (check.result, check.exit_code) == ("fail", 5)
    assert "PRIVATE KEY" not in repr(check)


def test_a_warehouse_that_is_there_stays_as_it_is(account, here):
    account()
    file = here / "warehouse.duckdb"
    with duckdb.connect(str(file)) as db:
        db.execute("CREATE TABLE mine AS SELECT 1 AS one")
    before = file.read_bytes()
    assert found(examine("duckdb"), "destination").says == f"{file} can be written to."
    assert file.read_bytes() == before


def test_the_first_failure_decides_the_exit_code(account, monkeypatch):
    account(V1, permissions=frozenset({"reports:read", "dashboards:read", "usage:read"}))
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "absent/w.duckdb")
    diagnosis = examine("duckdb")
    assert results(diagnosis) == {"permissions": "warn", "data_sources": "fail", "destination": "fail"}
    assert diagnosis.exit_code == 3


def test_keys_that_are_data_are_counted_and_not_told():
    quality = {"Production PostgreSQL": {"score": 1}, "Payroll": {"score": 2}}
    told = fields_of({"id": 7, "data_quality_metrics": quality, "Jane Doe": 1.5, "insights": {"Payroll": "x"}}, REPORTS)
    assert told == {
        "id": "integer",
        "data_quality_metrics": "object (2 keys)",
        "(masked)": "number",
        "insights": "object (1 key)",
    }


def test_objects_and_lists_that_the_schema_knows_are_opened():
    item = {"configuration": {"widgets": [{"id": "w", "value": None}], "Payroll": 1}, "is_public": False}
    assert fields_of(item, DASHBOARDS) == {
        "configuration": "object (2 keys)",
        "configuration.widgets": "array (1 object)",
        "configuration.widgets[].id": "string",
        "configuration.widgets[].value": "null",
        "is_public": "boolean",
    }
    assert fields_of({"organization": {"tier": "pro", "Acme": 1}, "ends": "2026-01-31T00:00:00Z"}, USAGE) == {
        "organization": "object (2 keys)",
        "organization.tier": "string",
        "ends": "string (timestamp)",
    }


def test_every_dialect_that_pages_is_described(account):
    account(replace(KB, envelope="list", paging="page", counts=False))
    facts = found(examine("duckdb"), "reports").facts
    assert (facts["envelope"], facts["paging"], facts["total"]) == ("a bare list", "paging not told", None)
