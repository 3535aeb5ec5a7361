"""What can go wrong between the export and a Google spreadsheet, one class for each situation a user can act on.

    DestinationError
    ├── SheetsSetting        exit 2  terminal   a setting is missing or cannot work
    ├── SheetsExtraMissing   exit 2  terminal   gspread is not installed
    ├── SheetsRefused        exit 5  terminal   Google said no; `cause` says why
    ├── SheetsUnreachable    exit 5  transient  no answer, or only errors, until the last try
    ├── SpreadsheetFull      exit 5  terminal   the load does not fit into a spreadsheet
    ├── CellRefused          exit 5  terminal   one value does not fit into a cell
    └── TabChanged           exit 5  terminal   a person removed or rebuilt what the export writes to

What is found out is found out before the first write, or the one write was refused whole: the last load is kept.
"""

from typing import Literal

from dlt.common.destination.exceptions import DestinationTerminalException, DestinationTransientException

from destinations.errors import DestinationError

SETTING = "DESTINATION__GOOGLE_SHEETS__"

Cause = Literal[
    "api-disabled", "not-shared", "read-only", "wrong-id", "office-file", "scope", "credentials", "bad-request"
]
"""Why Google refuses; `bad-request` is everything that no setting can mend."""

NEXT_STEPS: dict[Cause, str] = {
    "api-disabled": "Enable the Google Sheets API in the Google Cloud project of {address}, wait a minute, run again.",
    "not-shared": "Open the spreadsheet, press Share and add {address} as Editor.",
    "read-only": "Open the spreadsheet, press Share and change the role of {address} from Viewer to Editor.",
    "wrong-id": f"Check {SETTING}SPREADSHEET: it is the spreadsheet's address, or the part between /d/ and /edit.",
    "office-file": "It is an Office file on Drive: open it, choose File > Save as Google Sheets, and use the new one.",
    "scope": "The token lacks the scope https://www.googleapis.com/auth/spreadsheets: ask for it where it is made.",
    "credentials": (
        f"Check {SETTING}CREDENTIALS: the key may have been deleted. A login of a person ends by itself, after seven "
        "days while its consent screen is in testing; use a service account, or keyless federation."
    ),
    "bad-request": "Nothing was written. Please report this message.",
}


class SheetsSetting(DestinationError, DestinationTerminalException):
    """A setting is missing or cannot work; `name` is the setting's own name, in lower case."""

    exit_code = 2

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"{SETTING}{name.upper()} {problem}")


class SheetsExtraMissing(DestinationError, DestinationTerminalException):
    """The packages that speak to Google are an extra, and are not installed."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__(
            "The destination google_sheets needs gspread and google-auth. Install them: "
            "pip install 'claribi-export[sheets]'"
        )


class SheetsRefused(DestinationError, DestinationTerminalException):
    """Google said no; `reason` is Google's own sentence, `address` the account that asked."""

    def __init__(self, cause: Cause, status: int, reason: str, address: str) -> None:
        self.cause, self.status, self.reason, self.address = cause, status, reason, address
        next_step = NEXT_STEPS[cause].format(address=address)
        super().__init__(f"Google Sheets refused (HTTP {status}): {reason.rstrip('. ')}. {next_step}")


class SheetsUnreachable(DestinationError, DestinationTransientException):
    """Google did not answer, or answered with errors only, until the last try."""

    def __init__(self, what: str, reason: str, tries: int) -> None:
        self.what, self.reason, self.tries = what, reason, tries
        super().__init__(
            f"Google Sheets could not be reached: {what} failed {tries} time{'s' * (tries != 1)}, the last time with: "
            f"{reason.rstrip('. ')}. The spreadsheet holds the last load or this one, never a mixture: run again later."
        )


class SpreadsheetFull(DestinationError, DestinationTerminalException):
    """The load does not fit; `problem` holds the arithmetic."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"The load does not fit into the spreadsheet: {problem} Nothing was written. Write fewer columns "
            f"({SETTING}COLUMNS) or fewer tables ({SETTING}TABLES), delete tabs that nobody needs, or use another "
            "spreadsheet or destination for the large tables."
        )


class CellRefused(DestinationError, DestinationTerminalException):
    """One value does not fit into a cell; `row` says which row, by its key."""

    def __init__(self, table: str, row: str, column: str, problem: str) -> None:
        self.table, self.row, self.column = table, row, column
        super().__init__(f"{table}, row {row}, column {column}: {problem}")


class TabChanged(DestinationError, DestinationTerminalException):
    """A person removed or rebuilt a tab of the export; `problem` says how, and what to do."""

    def __init__(self, table: str, problem: str) -> None:
        self.table = table
        super().__init__(f"The tab of the table {table} {problem}")
