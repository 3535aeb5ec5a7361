"""A Google spreadsheet that people can work in: a whole load appears at once, and what they keep beside it stays."""

import dataclasses
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from dlt.common.configuration import configspec
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.schema import Schema

from destinations.cells import MAX_CELLS
from destinations.google_credentials import GoogleCredentials
from destinations.selection import Selection
from destinations.sheets_diff import Rules
from destinations.sheets_errors import SheetsExtraMissing, SheetsRefused, SheetsSetting, SheetsUnreachable
from destinations.table_store import Backend, TableStore, TableStoreClient, TableStoreConfiguration, by_table

if TYPE_CHECKING:
    from destinations.sheets_api import SheetsApi

GROWING = ("widget_history", "data_source_events", "export_runs")
"""Tables that only grow: of these the last rows are read, never the whole tab."""
ON_REQUEST = (*GROWING, "report_insights", "organization")
"""Tables that are written only where `tables` names them."""

ID = re.compile(r"(?:https://docs\.google\.com/spreadsheets/(?:u/\d+/)?d/)?([A-Za-z0-9_-]{20,})(?:[/?#].*)?")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@configspec
class GoogleSheetsConfiguration(TableStoreConfiguration):
    """`[destination.google_sheets]`."""

    destination_type: Final[str] = dataclasses.field(default="google_sheets", init=False, repr=False, compare=False)  # type: ignore[misc]  # as dlt's own
    spreadsheet: str = ""
    """Its id, or the address in the browser."""
    credentials: GoogleCredentials | None = None
    """A service account's JSON or a path to it; without it the machine's own login."""
    api_url: str = "https://sheets.googleapis.com"
    growing: list[str] = dataclasses.field(default_factory=lambda: list(GROWING))
    """Tables of which only the last rows are read; nothing above them is ever changed."""
    long_cells: Literal["refuse", "cut"] = "refuse"
    """What happens to a text of more than 50,000 characters: the load fails, or the text is cut with a visible mark."""
    exact_timestamps: bool = False
    """Write timestamps as ISO text, to the microsecond; else as dates that sort and chart, to the millisecond."""
    overwrite: bool = False
    """Go on although a person deleted a tab: it is made again with this load's rows, a backfill brings the rest."""
    tries: int = 6
    """How often one call is made before it counts as failed."""

    @property
    def spreadsheet_id(self) -> str:
        """The id alone; raise `SheetsSetting` when there is none."""
        if not self.spreadsheet.strip():
            raise SheetsSetting("spreadsheet", "is missing. Set it to the spreadsheet's address in the browser.")
        match = ID.fullmatch(self.spreadsheet.strip())
        if match is None:
            problem = f"is {self.spreadsheet!r}, which is no address of a spreadsheet and no id of one."
            raise SheetsSetting("spreadsheet", problem)
        return match[1]

    @property
    def selection(self) -> Selection:
        """What the user wants written."""
        kind = Selection if self.tables is not None else Defaults
        return kind(self.tables, by_table(self.columns), self.sort or {})

    def on_resolved(self) -> None:
        """Refuse to send a token in clear text."""
        parts = urlsplit(self.api_url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            raise SheetsSetting("api_url", f"is {self.api_url!r}; it must begin with https://.")
        if self.long_cells not in ("refuse", "cut"):
            raise SheetsSetting("long_cells", f"is {self.long_cells!r}; known are refuse and cut.")

    def data_location(self) -> str:
        """The address of the spreadsheet."""
        return f"https://docs.google.com/spreadsheets/d/{self.spreadsheet_id}"

    def __str__(self) -> str:
        return self.data_location()


class Defaults(Selection):
    """The selection of a user who has named no tables."""

    def takes(self, table: str) -> bool:
        """All but those that are written on request."""
        return table not in ON_REQUEST


class google_sheets(TableStore[GoogleSheetsConfiguration]):  # noqa: N801 - the class's name is the destination's name
    """`destination="google_sheets"`, or an instance with settings of its own."""

    spec = GoogleSheetsConfiguration
    pause: Callable[[float], None] = staticmethod(time.sleep)
    """How to wait between tries, seconds; tests let their clock run instead."""

    def __init__(
        self,
        spreadsheet: str | None = None,
        credentials: GoogleCredentials | Mapping[str, Any] | str | None = None,
        overwrite: bool | None = None,
        destination_name: str | None = None,
        environment: str | None = None,
        **settings: Any,
    ) -> None:
        """Arguments that are not given come from `[destination.google_sheets]`, or their defaults."""
        super().__init__(
            spreadsheet=spreadsheet,
            credentials=credentials,
            overwrite=overwrite,
            destination_name=destination_name,
            environment=environment,
            **settings,
        )

    @property
    def client_class(self) -> type["TableStoreClient"]:
        """A client that knows which tables are written by default."""
        return SheetsClient

    def backend(self, config: GoogleSheetsConfiguration) -> Backend:
        """One spreadsheet; nothing is asked of it yet."""
        api = connect(config, self.pause)
        from destinations.sheets_backend import Settings, Spreadsheet  # below it is gspread, an extra

        rules = Rules(config.long_cells == "cut", config.exact_timestamps, config.sort or {})
        takes, order = config.selection.takes, config.tables or ()
        return Spreadsheet(api, Settings(rules, takes, order, frozenset(config.growing), config.overwrite))


class SheetsClient(TableStoreClient):
    """dlt's job client for a spreadsheet."""

    def __init__(
        self, schema: Schema, config: GoogleSheetsConfiguration, capabilities: DestinationCapabilitiesContext
    ) -> None:
        super().__init__(schema, config, capabilities)
        self.selection = config.selection


class Finding(NamedTuple):
    """One thing that `doctor` found out about a spreadsheet."""

    ok: bool
    subject: str
    text: str


def diagnose(config: GoogleSheetsConfiguration) -> list[Finding]:
    """What stands between the export and its spreadsheet, up to the first thing that does. It leaves no trace in it."""
    findings: list[Finding] = []
    try:
        api = connect(config, time.sleep)
        address = f"Share the spreadsheet with {api.address} as Editor, if that is not done yet."
        findings.append(Finding(True, "credentials", address))
        found = api.look()
        sheets = [sheet["properties"]["gridProperties"] for sheet in found["sheets"]]
        cells = sum(grid.get("rowCount", 0) * grid.get("columnCount", 0) for grid in sheets)
        findings.append(Finding(True, "spreadsheet", f"{found['properties']['title']!r} can be read."))
        api.batch(_nothing())
        findings.append(Finding(True, "access", "It can be written to."))
        room = f"{cells:,} of {MAX_CELLS:,} cells are in use, blank ones counted."
        findings.append(Finding(cells < MAX_CELLS, "room", room))
    except (SheetsSetting, SheetsRefused, SheetsUnreachable, SheetsExtraMissing) as error:
        cause = error.cause if isinstance(error, SheetsRefused) else "google_sheets"
        findings.append(Finding(False, cause, str(error)))
    return findings


def connect(config: GoogleSheetsConfiguration, pause: Callable[[float], None]) -> "SheetsApi":
    """The API for the configured spreadsheet; no request is made yet."""
    try:
        from destinations.sheets_api import SheetsApi

        login = (config.credentials or GoogleCredentials()).login()
    except ImportError as error:
        raise SheetsExtraMissing from error
    return SheetsApi(config.spreadsheet_id, login, config.api_url, config.tries, pause=pause)


def _nothing() -> list[dict[str, Any]]:
    """Requests that need the right to write and change nothing."""
    number = secrets.randbelow(2**30) + 1
    note = {"metadataId": number, "metadataKey": "dlt_doctor", "location": {"spreadsheet": True}}
    note["visibility"] = "PROJECT"
    lookup = {"developerMetadataLookup": {"metadataId": number}}
    return [
        {"createDeveloperMetadata": {"developerMetadata": note}},
        {"deleteDeveloperMetadata": {"dataFilter": lookup}},
    ]
