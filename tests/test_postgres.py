"""Another of dlt's destinations for real: PostgreSQL, which keeps JSON and time in ways of its own."""

import json
from functools import partial

import pytest

from pipelines.claribi.schema import TABLES
from pipelines.sandbox import KB, V1
from tests.nightly import CHILDREN, LISTS, OWN, Nightly, alive, in_order
from tests.stage import finish_calls


@pytest.fixture
def nightly(tmp_path, stage, monkeypatch):
    def made(database, spoken=KB, **organisation):
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", database.url)
        return Nightly(tmp_path, stage, monkeypatch, spoken, **organisation)

    yield made
    finish_calls()


def rows(database, table):
    """All rows of a table as `Nightly.rows` gives DuckDB's."""
    names, found = database.query(f"SELECT * FROM claribi.{table}")
    told = [dict(zip(names, row, strict=True)) for row in found]
    ours = [name for name in names if not name.startswith("_") and name not in OWN]
    return in_order(table, [{name: row[name] for name in ours} for row in told])


@pytest.mark.parametrize("spoken", [KB, V1], ids=["kb", "v1"])
def test_postgres_holds_what_duckdb_holds_though_its_runner_remembers_nothing(nightly, postgres, spoken):
    database = postgres.database()
    account = nightly(database, spoken)
    for _ in range(3):
        for destination in ("postgres", "duckdb"):
            report = account.good_export(destination)
            assert account.sandbox.spending == []
        assert alive(partial(rows, database)) == account.perfect()
        for name in (*LISTS, *CHILDREN):
            theirs = [row | {"deleted_at": None} if "deleted_at" in row else row for row in rows(database, name)]
            ours = [row | {"deleted_at": None} if "deleted_at" in row else row for row in account.rows(name)]
            assert theirs == ours
            assert report.tables[name]["rows"] == len(theirs)
        assert {row["id"] for row in rows(database, "reports") if row["deleted_at"]} == account.deleted("reports")
        account.forget()
        account.organisation.advance()


def test_a_quiet_night_writes_the_run_alone_though_postgres_rewrites_json(nightly, postgres):
    database = postgres.database()
    account = nightly(database, reports=20)
    odd = {"z": 1.50, "a": {"b c": [1, None, "é"]}, "10": 1e-9, "2": 2**53 + 1, "nested": {"y": 0.1, "x": []}}
    account.organisation.put_raw("reports", {"id": 900, "title": "a", "status": "completed", "details": odd})
    account.organisation.put_raw("reports", {"id": 901, "status": "completed", "data_quality_metrics": odd})
    account.good_export("postgres")
    before = {name: rows(database, name) for name in TABLES}
    (found,) = [row["details"] for row in before["reports"] if row["id"] == "900"]
    assert found == odd
    account.forget()
    report = account.good_export("postgres")
    assert account.written() == {"usage", "export_runs"}
    assert {name: counts for name, counts in report.tables.items() if counts["changed"] or counts["deleted"]} == {}
    assert {name: rows(database, name) for name in TABLES.keys() - {"usage", "export_runs"}} == {
        name: before[name] for name in TABLES.keys() - {"usage", "export_runs"}
    }


def test_a_server_that_is_down_is_named_without_its_password(nightly, postgres):
    up = postgres.database()
    down = up._replace(port=1)
    account = nightly(down, reports=3)
    report = account.export("postgres")
    assert (report.exit_code, report.outcome, account.sandbox.calls) == (5, "failed", [])
    assert "postgres" in report.notes[0]
    assert "onnection refused" in report.notes[0]
    assert down.password not in json.dumps(report.to_json())


def test_a_wrong_password_is_told_without_it(nightly, postgres):
    wrong = postgres.database()._replace(password="not-the-password")
    report = nightly(wrong, reports=3).export("postgres")
    assert (report.exit_code, report.outcome) == (5, "failed")
    assert "password authentication failed" in report.notes[0]
    assert wrong.password not in json.dumps(report.to_json())


def test_missing_credentials_are_a_setting_to_be_made(nightly, postgres, monkeypatch):
    account = nightly(postgres.database(), reports=3)
    monkeypatch.delenv("DESTINATION__POSTGRES__CREDENTIALS")
    report = account.export("postgres")
    assert (report.exit_code, report.outcome, account.sandbox.calls) == (2, "failed", [])
    assert "DESTINATION__POSTGRES__CREDENTIALS" in report.notes[0]
