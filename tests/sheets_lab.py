"""One Google Sheets on loopback, and jobs that load into its spreadsheets: what the tests of the destination share."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.common.pipeline import LoadInfo
from google.oauth2.credentials import Credentials

from destinations.errors import OutOfDate
from destinations.fold import Columns, Plan, Way, fold, quoted, workbench
from destinations.google_credentials import Login
from destinations.google_sheets import google_sheets
from destinations.sheets_api import SheetsApi
from destinations.sheets_backend import Settings, Spreadsheet
from destinations.sheets_diff import Rules
from tests.sheets_document import Book, Tab, Value
from tests.sheets_server import ROBOT, SCOPE, SheetsServer

Rows = Sequence[dict[str, Any]]

REPORTS: Columns = {
    "id": {"name": "id", "data_type": "text"},
    "title": {"name": "title", "data_type": "text"},
    "pages": {"name": "pages", "data_type": "bigint"},
    "created_at": {"name": "created_at", "data_type": "timestamp"},
}
LOADS: Columns = {"load_id": {"name": "load_id", "data_type": "text"}}


class Lab:
    """A server, a spreadsheet on it, and fresh folders for every run: a runner that remembers nothing."""

    def __init__(self, server: SheetsServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.file = server.create()
        self._numbers = count()

    @property
    def book(self) -> Book:
        """The spreadsheet as it is now."""
        return self.server.book(self.file)

    def tab(self, title: str) -> Tab:
        """One tab of it."""
        return self.book.tab(title)

    def rows(self, title: str) -> list[list[Value]]:
        """What a reader sees in a tab, below the header."""
        return self.tab(title).shown()[1:]

    def environment(self) -> dict[str, str]:
        """The settings of the destination, as variables without their prefix."""
        credentials = json.dumps(self.server.accounts.service_account(ROBOT))
        return {"SPREADSHEET": self.file, "API_URL": self.server.url, "CREDENTIALS": credentials}

    def destination(self, **settings: Any) -> google_sheets:
        """The destination as a user configures it."""
        own = {name.lower(): value for name, value in self.environment().items()}
        destination = google_sheets(**own, **settings)
        destination.pause = self.server.sleep
        return destination

    def pipeline(self, **settings: Any) -> dlt.Pipeline:
        """A pipeline in an empty folder."""
        folder = self.folder / f"run {next(self._numbers)}"
        return dlt.pipeline("claribi", destination=self.destination(**settings), pipelines_dir=str(folder))

    def load(self, *data: Any, refresh: Any = None, **settings: Any) -> LoadInfo:
        """One run of a pipeline in an empty folder."""
        return self.pipeline(**settings).run(list(data), loader_file_format="parquet", refresh=refresh)

    def api(self, tries: int = 1) -> SheetsApi:
        """The API without a way to get a token: it has one."""
        token = self.server.accounts.issue(ROBOT, SCOPE)
        login = Login(Credentials(token), ROBOT)
        return SheetsApi(self.file, login, self.server.url, tries, (2, 20), self.server.sleep)

    def backend(self, tries: int = 1, rules: Rules | None = None) -> Spreadsheet:
        """The backend below dlt."""
        settings = Settings(rules or Rules(), lambda _: True, (), frozenset(), overwrite=False)
        return Spreadsheet(self.api(tries), settings)

    def job(
        self,
        load_id: str,
        rows: Rows,
        *,
        tries: int = 1,
        columns: Columns = REPORTS,
        key: tuple[str, ...] = ("id",),
        way: Way = "upsert",
        backend: Spreadsheet | None = None,
    ) -> None:
        """One load into `reports` with its load row, as dlt's `complete_load` makes it, without dlt's half second."""
        backend = backend or self.backend(tries)
        file = self.folder / f"{next(self._numbers)}.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
        loads = self.folder / f"{next(self._numbers)}.parquet"
        pq.write_table(pa.Table.from_pylist([{"load_id": load_id}]), loads)
        for _ in range(5):
            try:
                self._committed(backend, load_id, Plan(columns, way, columns, key), file, loads)
            except OutOfDate:
                continue
            return
        raise OutOfDate("the lab's spreadsheet")

    @staticmethod
    def _committed(backend: Spreadsheet, load_id: str, plan: Plan, file: Path, loads: Path) -> None:
        with backend.lock(), workbench() as connection:
            stored = backend.read(connection, ["reports", "_dlt_loads"])
            if held := stored.get("_dlt_loads"):
                query = f"SELECT load_id FROM {held.relation}"
                if load_id in {row[0] for row in connection.execute(query).fetchall()}:
                    return
            append = Plan(LOADS, "append", LOADS, ("load_id",))
            tables = {
                "reports": fold(connection, "reports", stored.get("reports"), [file], plan),
                "_dlt_loads": fold(connection, "_dlt_loads", held, [loads], append),
            }
            backend.commit(connection, tables, load_id)

    def read_back(self, table: str = "reports") -> list[dict[str, Any]]:
        """The typed rows of a table, as the next load would read them."""
        backend = self.backend()
        with backend.lock(), workbench() as connection:
            stored = backend.read(connection, [table])[table]
            names = ", ".join(map(quoted, stored.columns))
            query = f"SELECT {names} FROM {stored.relation} ORDER BY {stored.order}"
            return [row for batch in connection.sql(query).to_arrow_reader(1000) for row in batch.to_pylist()]


def state(book: Book) -> dict[str, Any]:
    """What a load commits, as readers see it: every tab but blank ones and uploads in progress."""
    return {tab.title: tab.shown() for tab in book.tabs if tab.shown() and not tab.title.startswith("upload ")}


def states(server: SheetsServer, file: str) -> Iterator[dict[str, Any]]:
    """Every state that was ever committed."""
    return (state(revision.book) for revision in server.files[file].revisions)


def person(lab: Lab, title: str, act: Callable[[Tab], object]) -> Callable[[], None]:
    """A person who does something to a tab, as a function to call later."""

    def acts() -> None:
        with lab.server.person(lab.file) as book:
            act(book.tab(title))

    return acts
