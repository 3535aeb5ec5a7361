"""What tests of several modules share: a clariBI and a Google Sheets on loopback."""

from collections.abc import Iterator

import pytest

from tests.sheets_server import SheetsServer
from tests.stage import Stage, serve_stage


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
