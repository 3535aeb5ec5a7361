"""Google Sheets on loopback: a real HTTP server below real gspread, as strict as Google's own description.

Every request is judged by the discovery document, every batch is atomic, every committed state is kept, and any
request can be broken in the ways that networks and services break. What is not implemented answers 501.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests import sheets_discovery as discovery
from tests.google_accounts import Accounts, Identity
from tests.sheets_batch import Batch
from tests.sheets_document import Book, Refused, Tab, parse_a1, resource, value_range, write_values
from tests.sheets_wire import STATUS_NAMES, Answer, google_error, handler, over_quota, without_defaults

ROBOT = "exporter@example-project.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/spreadsheets"
MAX_BODY = 10_485_760

WAYS = (
    "500",
    "503",
    "429",
    "html-502",
    "reset",
    "truncated",
    "cut-json",
    "applied-503",
    "applied-reset",
    "late-1",
    "late-2",
)
"""How one request can be broken. `truncated`, `cut-json` and `applied-…` are carried out before the answer breaks;
`late-n` is reset at once and carried out after n further requests were answered: a twin that outlived its client."""


class Request(NamedTuple):
    """One request to the API, `arguments` being the path's."""

    kind: str
    method: discovery.Method
    arguments: dict[str, str]
    query: dict[str, list[str]]
    authorization: str
    body: bytes

    @property
    def file_id(self) -> str:
        """The spreadsheet it speaks of."""
        return self.arguments["spreadsheetId"]


class Call(NamedTuple):
    """One request as it was counted."""

    kind: str
    method: str
    status: int
    sent: int
    received: int


class Revision(NamedTuple):
    """One committed state of a spreadsheet and who committed it."""

    author: str
    book: Book


@dataclass
class Fault:
    """The `nth` request of this kind from now on breaks this way, and so do the `times - 1` after it."""

    way: str
    kind: str = "any"
    nth: int = 1
    times: int = 1


@dataclass
class Interruption:
    """Something happens just before the `nth` request of this kind from now on is carried out."""

    kind: str
    action: Callable[[], object]
    nth: int = 1


@dataclass
class File:
    """A spreadsheet with its history and the people it is shared with (address -> reader or writer)."""

    revisions: list[Revision]
    shared: dict[str, str] = field(default_factory=dict)

    @property
    def now(self) -> Book:
        """The newest state."""
        return self.revisions[-1].book


class SheetsServer:
    """The server. `url` is its address; `quota` are requests a minute of each kind, None for no limit."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.interruptions: list[Interruption] = []
        self.quota: dict[str, int | None] = {"read": None, "write": None}
        self.digits = 17
        self.strict_metadata = False
        self.api_enabled = True
        self._problems: list[str] = []
        self._stragglers: list[list[Any]] = []
        self._used: Counter[tuple[str, int]] = Counter()
        self._slept = 0.0
        self._lock = threading.RLock()
        self.released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler(self.handle))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.accounts = Accounts(self.url)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self.released.set()
        self._http.shutdown()
        self._http.server_close()

    # For tests

    def create(self, title: str = "Numbers", email: str | None = ROBOT, role: str = "writer") -> str:
        """A spreadsheet as a person makes it, with one blank tab; returns its id."""
        number = f"1Sheet{len(self.files):038d}"
        file = File([Revision("person", Book(title, [Tab(0, "Sheet1")]))])
        if email:
            file.shared[email] = role
        self.files[number] = file
        return number

    def create_from(self, book: Book) -> str:
        """A spreadsheet in a state that another one was in; returns its id."""
        number = self.create()
        self.files[number].revisions = [Revision("person", book)]
        return number

    def book(self, file_id: str) -> Book:
        """The newest state of a spreadsheet."""
        return self.files[file_id].now

    def problems(self) -> list[str]:
        """Requests that Google's description does not allow."""
        return self._problems

    def break_next(self, way: str, kind: str = "any", nth: int = 1, times: int = 1) -> None:
        """Break the nth request of a kind (read, write, token, any) from now on."""
        self.faults.append(Fault(way, kind, nth, times))

    def before(self, kind: str, action: Callable[[], object], nth: int = 1) -> None:
        """Let something happen just before the nth request of a kind: what a person does while a load runs."""
        self.interruptions.append(Interruption(kind, action, nth))

    def sleep(self, seconds: float) -> None:
        """Let time pass for the quota: what a client under test sleeps with."""
        self._slept += seconds

    def count(self, kind: str) -> int:
        """How many requests of a kind were answered since `calls` was last cleared."""
        return sum(call.kind == kind for call in self.calls)

    def wait_for(self, writes: int) -> None:
        """Wait, ten seconds at most, until so many writes were answered."""
        for _ in range(1_000):
            if self.count("write") >= writes:
                return
            time.sleep(0.01)
        raise TimeoutError(f"{self.count('write')} of {writes} writes")

    @contextmanager
    def person(self, file_id: str) -> Iterator[Book]:
        """A person edits: change the book within; it is committed as one revision."""
        with self._lock:
            book = self.book(file_id).copied()
            yield book
            self.files[file_id].revisions.append(Revision("person", book))

    # Answering

    def handle(self, verb: str, target: str, headers: Any, body: bytes) -> Answer | None:
        """The answer to one request; None when the connection is to be reset."""
        parts = urlsplit(target)
        if parts.path in ("/token", "/sts/v1/token") or parts.path.endswith(":generateAccessToken"):
            return self._broken_or("token", partial(self._token, parts.path, headers, body))
        found = discovery.find(verb, parts.path)
        if found is None:
            self._problems.append(f"unknown: {verb} {target}")
            return google_error(404, "Not found", "NOT_FOUND")
        method, arguments = found
        kind = "read" if verb == "GET" else "write"
        request = Request(kind, method, arguments, parse_qs(parts.query), headers.get("Authorization", ""), body)
        return self._broken_or(kind, partial(self._api, request))

    def _broken_or(self, kind: str, call: Callable[[], Answer]) -> Answer | None:
        with self._lock:
            actions = self._due(kind)
        for action in actions:
            action()
        with self._lock:
            way = self._fault(kind)
        if way == "stall":  # the client gives up first; then the request is carried out after all
            self.released.wait(30)
            way = None
        with self._lock:
            answer = self._broken(way, call) if way else call()
            self._let_stragglers_land()
        return answer

    def _due(self, kind: str) -> list[Callable[[], object]]:
        """What is to happen before this request."""
        for interruption in self.interruptions:
            interruption.nth -= interruption.kind == kind
        due = [interruption for interruption in self.interruptions if interruption.nth <= 0]
        self.interruptions = [interruption for interruption in self.interruptions if interruption.nth > 0]
        return [interruption.action for interruption in due]

    def _fault(self, kind: str) -> str | None:
        for fault in self.faults:
            if fault.kind in (kind, "any"):
                fault.nth -= 1
                if fault.nth <= 0:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                    return fault.way
        return None

    def _broken(self, way: str, call: Callable[[], Answer]) -> Answer | None:
        unavailable = google_error(503, "The service is currently unavailable.", "UNAVAILABLE")
        match way:
            case "500":
                return google_error(500, "Internal error encountered.", "INTERNAL")
            case "503":
                return unavailable
            case "429":
                return over_quota("write")
            case "html-502":
                page = b"<!DOCTYPE html><title>Error 502 (Server Error)!!1</title>"
                return Answer(502, page, "text/html; charset=UTF-8")
            case "reset":
                return None
            case "truncated":
                return call()._replace(content_type="truncated")
            case "cut-json":
                answer = call()
                return answer._replace(body=answer.body[: len(answer.body) // 2])
            case "applied-503":
                call()
                return unavailable
            case "applied-reset":
                call()
                return None
            case _ if way.startswith("late-"):
                self._stragglers.append([int(way.removeprefix("late-")) + 1, call])
                return None
            case _:
                raise ValueError(way)

    def _let_stragglers_land(self) -> None:
        for straggler in list(self._stragglers):
            straggler[0] -= 1
            if straggler[0] <= 0:
                self._stragglers.remove(straggler)
                straggler[1]()

    def _token(self, path: str, headers: Any, body: bytes) -> Answer:
        status, answer = self.accounts.token(path, headers.get("Authorization", ""), body)
        self.calls.append(Call("token", path, status, len(body), 0))
        return Answer(status, json.dumps(answer).encode())

    def _api(self, request: Request) -> Answer:
        identity, size = self.accounts.known(request.authorization), len(request.body)
        answer = self._refusal(identity, request.kind, request.file_id, size) or self._carried_out(request)
        self.calls.append(Call(request.kind, request.method.id, answer.status, size, len(answer.body)))
        return answer

    def _carried_out(self, request: Request) -> Answer:
        try:
            answer = self._judged(request)
        except Refused as refused:
            if refused.status == 501:
                self._problems.append(refused.message)
            return google_error(refused.status, refused.message, STATUS_NAMES[refused.status])
        answer["spreadsheetId"] = request.file_id
        if "fields" in request.query:
            answer = discovery.masked(answer, discovery.parse_mask(request.query["fields"][0]))
        return Answer(200, json.dumps(without_defaults(answer), ensure_ascii=False).encode())

    def _judged(self, request: Request) -> dict[str, Any]:
        method, content = request.method, json.loads(request.body) if request.body else {}
        wrong = [*discovery.query_problems(method, request.query)]
        wrong += discovery.problems(method.body, content) if method.body else []
        if wrong:
            self._problems += wrong
            raise Refused(400, f"Invalid JSON payload received. {wrong[0]}")
        handler = getattr(self, "on_" + method.id.replace(".", "_"), None)
        if handler is None:
            raise Refused(501, f"This server does not implement {method.id}.")
        answer: dict[str, Any] = handler(self.files[request.file_id], request.arguments, request.query, content)
        return answer

    def _refusal(self, identity: Identity | None, kind: str, file_id: str, size: int) -> Answer | None:
        if identity is None:
            return google_error(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
        if not self.api_enabled:
            page = "https://console.developers.google.com/apis/api/sheets.googleapis.com/overview?project=123"
            message = (
                "Google Sheets API has not been used in project 123 before or it is disabled. "
                f"Enable it by visiting {page} then retry."
            )
            return google_error(403, message, "PERMISSION_DENIED", "SERVICE_DISABLED", activationUrl=page)
        if SCOPE not in identity.scopes:
            message = "Request had insufficient authentication scopes."
            return google_error(403, message, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        if self._spent(kind):
            return over_quota(kind)
        if file_id not in self.files:
            return google_error(404, "Requested entity was not found.", "NOT_FOUND")
        role = self.files[file_id].shared.get(identity.email)
        if role is None or (kind == "write" and role != "writer"):
            return google_error(403, "The caller does not have permission", "PERMISSION_DENIED")
        if size > MAX_BODY:
            return google_error(400, f"Request payload size exceeds the limit: {MAX_BODY} bytes.", "INVALID_ARGUMENT")
        return None

    def _spent(self, kind: str) -> bool:
        minute = int((time.monotonic() + self._slept) // 60)
        limit = self.quota[kind]
        if limit is not None and self._used[kind, minute] >= limit:
            return True
        self._used[kind, minute] += 1
        return False

    # Methods of the API

    def on_get(self, file: File, _arguments: Any, query: Any, _request: Any) -> dict[str, Any]:
        if query.get("includeGridData", ["false"]) != ["false"] or "ranges" in query:
            raise Refused(501, "This server gives the cells by values.get only.")
        return resource(file.now)

    def on_values_get(self, file: File, arguments: Any, query: Any, _request: Any) -> dict[str, Any]:
        return value_range(file.now, unquote(arguments["range"]), query)

    def on_values_batchGet(self, file: File, _arguments: Any, query: Any, _request: Any) -> dict[str, Any]:
        return {"valueRanges": [value_range(file.now, text, query) for text in query["ranges"]]}

    def on_values_batchUpdate(self, file: File, _arguments: Any, _query: Any, request: Any) -> dict[str, Any]:
        if request.get("valueInputOption") != "RAW":
            raise Refused(501, "This server takes RAW values only.")
        book = file.now.copied()
        for part in request["data"]:
            tab, area = parse_a1(book, part["range"])
            write_values(tab, area, part["values"], self.digits)
        file.revisions.append(Revision("api", book))
        return {"totalUpdatedCells": sum(len(row) for part in request["data"] for row in part["values"])}

    def on_batchUpdate(self, file: File, _arguments: Any, _query: Any, request: Any) -> dict[str, Any]:
        if request.keys() != {"requests"}:
            raise Refused(501, "This server answers a batch with replies only.")
        batch = Batch(file.now, self.digits, self.strict_metadata)
        replies = batch.run(request["requests"])
        file.revisions.append(Revision("api", batch.book))
        return {"replies": replies}
