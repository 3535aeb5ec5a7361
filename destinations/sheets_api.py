"""The Sheets API: four calls, bounded tries, Google's refusals in words. gspread is the HTTP layer, nothing more."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import orjson
from google.auth.exceptions import GoogleAuthError, OAuthError, RefreshError
from google.auth.transport.requests import Request as AuthRequest
from gspread.exceptions import APIError
from gspread.http_client import HTTPClient
from requests import PreparedRequest, RequestException, Response, Session
from requests.auth import AuthBase

from destinations.cells import Cell
from destinations.google_credentials import Login
from destinations.sheets_errors import Cause, SheetsRefused, SheetsUnreachable

TIMEOUT_S = (10, 200)
"""To connect and to wait: Google itself gives up after 180 s, and a client that gives up first leaves a twin behind."""
MINUTE_S = 60.0
LONGEST_WAIT_S = 64.0
NOT_FINAL = {408, 429, *range(500, 600)}

LOOK = (
    "properties.title,developerMetadata(metadataId,metadataKey,metadataValue),"
    "sheets(properties(sheetId,title,hidden,gridProperties(rowCount,columnCount)),"
    "developerMetadata(metadataId,metadataKey,metadataValue))"
)

T = TypeVar("T")
Pause = Callable[[float], None]


@dataclass
class Calls:
    """What was asked of Google: requests of either kind, tries repeated, bytes of bodies, seconds waited."""

    reads: int = 0
    writes: int = 0
    retried: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    waited_s: float = 0.0


class Token(AuthBase):
    """Puts the token on each request, and asks for a new one when it has run out.

    google-auth's own session would also look up "allowed locations" at another host, in a thread of its own, each run.
    """

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._session = Session()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Authorise one request."""
        if not self._credentials.valid:
            self._credentials.refresh(AuthRequest(self._session))
        self._credentials.apply(request.headers)
        return request

    def forget(self) -> None:
        """Take a new token for the next request."""
        self._credentials.token = None


class Http(HTTPClient):
    """gspread's client, pointed at one host, with timeouts, compact bodies and a count."""

    def __init__(self, login: Login, api_url: str, timeout_s: tuple[float, float]) -> None:
        session = Session()
        session.auth = self._token = Token(login.credentials)
        super().__init__(login.credentials, session)
        self.set_timeout(timeout_s)
        self.calls = Calls()
        self._host = urlsplit(api_url)[:2]

    def request(
        self,
        method: str,
        endpoint: str,
        params: Any = None,
        data: bytes | None = None,
        json: Mapping[str, Any] | None = None,
        files: Any = None,
        headers: Any = None,
    ) -> Response:
        """Make one request, as gspread does."""
        if json is not None:
            data, headers = orjson.dumps(json), {"Content-Type": "application/json"}
        self.calls.reads += method == "get"
        self.calls.writes += method != "get"
        self.calls.bytes_sent += len(data or b"")
        url = urlunsplit((*self._host, *urlsplit(endpoint)[2:]))
        try:
            response = super().request(method, url, params, data, None, files, headers)
        except APIError as error:
            if error.response.status_code != 401:
                raise
            self._token.forget()
            response = super().request(method, url, params, data, None, files, headers)
        self.calls.bytes_received += len(response.content)
        return response


class SheetsApi:
    """One spreadsheet. Every call is tried `tries` times; what is sent must therefore bear to be sent twice."""

    def __init__(
        self,
        spreadsheet: str,
        login: Login,
        api_url: str = "https://sheets.googleapis.com",
        tries: int = 6,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        pause: Pause | None = None,
    ) -> None:
        self.spreadsheet, self.address, self.tries = spreadsheet, login.address, tries
        self._http = Http(login, api_url, timeout_s)
        self._pause = pause or time.sleep

    def counted(self) -> Calls:
        """What was asked since this was called last."""
        calls, self._http.calls = self._http.calls, Calls()
        return calls

    def look(self) -> dict[str, Any]:
        """Tabs, grid sizes and developer metadata, without a cell: one read."""
        return self._tried(
            "reading its tabs", lambda: dict(self._http.fetch_sheet_metadata(self.spreadsheet, {"fields": LOOK}))
        )

    def values(self, ranges: Sequence[str], by_column: bool = False) -> list[list[list[Cell]]]:
        """The cells of A1 ranges, unformatted, blanks at the end cut off, inner ones as empty text: one read."""
        params = {"valueRenderOption": "UNFORMATTED_VALUE", "majorDimension": "COLUMNS" if by_column else "ROWS"}
        answer = self._tried(
            "reading its cells", lambda: self._http.values_batch_get(self.spreadsheet, list(ranges), dict(params))
        )
        return [part.get("values", []) for part in answer["valueRanges"]]

    def write_values(self, blocks: Mapping[str, Sequence[Sequence[Cell]]]) -> None:
        """Cells for A1 ranges as they are, text never parsed: one write."""
        # A null would leave the old value.
        data = [
            {"range": place, "values": [["" if cell is None else cell for cell in row] for row in rows]}
            for place, rows in blocks.items()
        ]
        body = {"valueInputOption": "RAW", "data": data}
        self._tried("uploading cells", lambda: self._http.values_batch_update(self.spreadsheet, body))

    def batch(self, requests: Iterable[Mapping[str, Any]]) -> None:
        """Carry out all of these requests, or none: one write."""
        body = {"requests": list(requests)}
        self._tried("writing", lambda: self._http.batch_update(self.spreadsheet, body), writing=True)

    def _tried(self, what: str, call: Callable[[], T], writing: bool = False) -> T:
        for number in range(1, self.tries + 1):
            try:
                return call()
            except (APIError, GoogleAuthError, RequestException) as error:
                if refusal := _refusal(error, writing, self.address):
                    raise refusal from error
                if number == self.tries:
                    raise SheetsUnreachable(what, _reason(error), self.tries) from error
                self._wait(number, error)
        raise AssertionError("unreachable: the last try returns or raises")

    def _wait(self, number: int, error: Exception) -> None:
        """Back off: 1, 2, 4 ... 64 s and a little more; a spent quota comes back with the next minute."""
        seconds = min(2.0 ** (number - 1), LONGEST_WAIT_S)
        if isinstance(error, APIError) and error.response.status_code == 429:
            seconds = max(seconds, MINUTE_S)
        seconds += random.uniform(0, 1)  # noqa: S311 - only to keep two runs apart
        self._http.calls.retried += 1
        self._http.calls.waited_s += seconds
        self._pause(seconds)


def _refusal(error: Exception, writing: bool, address: str) -> SheetsRefused | None:
    """Google's final no, in words; None when another try may help."""
    if isinstance(error, RefreshError | OAuthError):
        return None if error.retryable else SheetsRefused("credentials", 401, _reason(error), address)
    if not isinstance(error, APIError) or (status := error.response.status_code) in NOT_FINAL:
        return None
    return SheetsRefused(_cause(status, error, writing), status, _reason(error), address)


def _cause(status: int, error: APIError, writing: bool) -> Cause:
    reasons = {detail.get("reason") for detail in error.error.get("details", [])}
    if "SERVICE_DISABLED" in reasons:
        return "api-disabled"
    if "ACCESS_TOKEN_SCOPE_INSUFFICIENT" in reasons:
        return "scope"
    match status:
        case 401:
            return "credentials"
        case 403:
            return "read-only" if writing else "not-shared"
        case 404:
            return "wrong-id"
        case 400 if "not supported for this document" in _reason(error):
            return "office-file"
        case _:
            return "bad-request"


def _reason(error: Exception) -> str:
    """What went wrong, short. Answers may be HTML pages, and errors of requests may hold whole objects."""
    if isinstance(error, APIError):
        is_json = error.code != -1
        return str(error.error["message"]) if is_json else f"HTTP {error.response.status_code} and no JSON"
    if isinstance(error, RefreshError | OAuthError):
        return str(error.args[0]) if error.args else "the token could not be refreshed"
    return type(error).__name__
