"""What tests of several modules share: a clariBI, a Google Sheets and a PostgreSQL on loopback."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.postgres import Server, serve_postgres
from tests.sheets_server import ROBOT, SheetsServer
from tests.stage import Stage, serve_stage

IN_THE_SHEET = ("reports", "report_insights", "dashboards", "dashboard_widgets", "data_sources", "alerts")
"""What a spreadsheet of these tests takes."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One server for many sandboxes."""
    with serve_stage() as stage:
        yield stage


@pytest.fixture(scope="module")
def server() -> Iterator[SheetsServer]:
    """A Google Sheets; at the end, no request may have been other than Google describes it."""
    server = SheetsServer()
    yield server
    assert server.problems() == []
    server.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A PostgreSQL."""
    with serve_postgres() as server:
        yield server


@pytest.fixture
def destination(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Set a destination up by its name, in the environment, and give its name; nothing is in it yet."""

    def made(name: str) -> str:
        if name == "google_sheets":
            sheets = request.getfixturevalue("server")
            monkeypatch.setenv("DESTINATION__GOOGLE_SHEETS__SPREADSHEET", sheets.create())
            monkeypatch.setenv("DESTINATION__GOOGLE_SHEETS__API_URL", sheets.url)
            monkeypatch.setenv("DESTINATION__GOOGLE_SHEETS__TABLES", json.dumps(IN_THE_SHEET))
            key = json.dumps(sheets.accounts.service_account(ROBOT))
            monkeypatch.setenv("DESTINATION__GOOGLE_SHEETS__CREDENTIALS", key)
        elif name == "postgres":
            database = request.getfixturevalue("postgres").database()
            monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", database.url)
        return name

    return made
