"""The sandbox over HTTP: a Starlette application for one organisation in one dialect."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from pipelines.sandbox.access import Account, Charge, Limits, credential
from pipelines.sandbox.control import PREFIX, control_app
from pipelines.sandbox.faults import Fault, Faults
from pipelines.sandbox.gate import LOGIN, REFRESH, Gate
from pipelines.sandbox.listing import UnknownChoice, list_body, to_json
from pipelines.sandbox.organisation import Kind, Organisation
from pipelines.sandbox.paging import NoSuchPage, asked
from pipelines.sandbox.spoken import KB, Spoken, signed
from pipelines.sandbox.validators import Validators, validated
from pipelines.sandbox.wire import BREAKS_OFF, disturbed

Endpoint = Callable[[Request], Awaitable[Response]]

RESOURCES: dict[str, Kind] = {"reports": "reports", "dashboards": "dashboards", "data-sources": "data_sources"}
"""What lists are called in an address."""
FREE_METHODS = ("GET", "HEAD", "OPTIONS")
_KEPT_BYTES = 200_000_000
"""Most memory for pages that are kept ready."""
_ERRORS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "not_ready",
    429: "rate_limited",
    503: "unavailable",
}
_WORDS = {
    401: "This API key has been revoked.",
    403: "You do not have permission to perform this action.",
    500: "Something went wrong on our side.",
    503: "clariBI is being maintained and will be back in a moment.",
}
_HTML = "<!doctype html><html><head><title>{title} · clariBI</title></head><body><h1>{title}</h1></body></html>"


class Call(NamedTuple):
    """One call that was answered; the key is never kept, only how it was sent."""

    method: str
    path: str
    query: str
    auth: str
    """`api-key`, `x-api-key`, `bearer`, `jwt`, `none`, or several joined by `+`."""
    status: int
    """0 when the answer was broken off."""


class Sandbox:
    """An ASGI application; everything on it may be looked at and changed from another thread while it is served.

    `spoken` decides how ids are spelled: an organisation that is handed in takes to it, so that two sandboxes over one
    organisation are one account that changes its dialect (not at the same time).
    """

    def __init__(
        self,
        spoken: Spoken = KB,
        organisation: Organisation | None = None,
        account: Account | None = None,
        limits: Limits | None = None,
        download_origin: str = "https://files.claribi.example",
    ) -> None:
        self.spoken = spoken
        self.organisation = organisation or Organisation()
        self.organisation.ids = spoken.ids
        self.account = account or Account(key=spoken.default_key)
        self.limits = limits or Limits()
        self.download_origin = download_origin
        """Where a report's download redirects to."""
        self.latency_s = 0.0
        """How long every answer takes at least."""
        self.date: Literal["organisation", "machine", "none"] = "organisation"
        """Whose time the `Date` of every answer is."""
        self.validators: Validators = "none"
        """What reads carry to be asked for anew: lists and details either of both, usage and identity an ETag alone."""
        self.faults = Faults()
        self.calls: list[Call] = []
        """Every call but those to /_sandbox/, in the order in which their answers began."""
        self._kept = _Kept()
        self._gate = Gate(self)
        self._app = Starlette(routes=self._routes(), exception_handlers={HTTPException: self._explain})
        self._app.router.redirect_slashes = False
        self._app.router.default = self._no_such_path
        self._control = control_app(self)

    @property
    def spending(self) -> list[Call]:
        """Calls that on the real clariBI could cost money: everything but reads and the login."""
        return [call for call in self.calls if call.method not in FREE_METHODS and call.path not in (LOGIN, REFRESH)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].startswith(PREFIX):
            await self._control(scope, receive, send)
        else:
            await self._call(Request(scope, receive), receive, send)

    async def _call(self, request: Request, receive: Receive, send: Send) -> None:
        """Charge the call, let a fault have it, answer it, and write it down."""
        brought = credential(request.headers)
        charged = self.limits.charge(brought.secret)
        path, query = request.url.path, request.query_params
        fault = None
        if charged.refusal is None:
            fault = self.faults.due(request.method, path, lambda: _asked(self.spoken, query))
        request.state.credential, request.state.fault = brought, fault
        answer = self._instead(fault, charged)
        deliver = disturbed(fault, receive, send) if fault and fault.kind in (*BREAKS_OFF, "cut_json") else send

        async def written_down(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = 0 if fault and fault.kind in BREAKS_OFF else message["status"]
                self.calls.append(Call(request.method, path, request.url.query, brought.shape, status))
                more = self._dated() | ({} if answer else charged.headers)
                encoded = [(name.encode(), value.encode()) for name, value in more.items()]
                message = {**message, "headers": [*message["headers"], *encoded]}
            await deliver(message)

        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        await (answer or self._app)(request.scope, receive, written_down)

    def _dated(self) -> dict[str, str]:
        if self.date == "none":
            return {}
        now_s = time.time() if self.date == "machine" else self.organisation.now.timestamp()
        return {"date": formatdate(now_s, usegmt=True)}

    def _instead(self, fault: Fault | None, charged: Charge) -> Response | None:
        """The answer of a spent limit, or of a fault that does not let the call through."""
        if charged.refusal is not None:
            return self._too_many(charged.refusal)
        if fault is None:
            return None
        if fault.kind == "too_many":
            return self._too_many(self.limits.refusal(fault.retry_after, fault.wait_s, charged.headers))
        if fault.kind == "status":
            return self._error(fault.status, _WORDS.get(fault.status, f"Status {fault.status}."), charged.headers)
        if fault.kind == "html":
            return HTMLResponse(_HTML.format(title="Sign in"), fault.status)
        return None

    def _too_many(self, headers: dict[str, str]) -> Response:
        return self._error(429, "Rate limit exceeded.", headers)

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
        body = self.spoken.error(status, _ERRORS.get(status, "server_error"), message)
        return _json(body, status, headers)

    async def _explain(self, request: Request, refusal: Exception) -> Response:
        refused = cast("HTTPException", refusal)
        message = f"Method {request.method} is not allowed here." if refused.status_code == 405 else refused.detail
        return self._error(refused.status_code, message, dict(refused.headers or {}))

    async def _no_such_path(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect a read that lacks its slash, refuse what is not a read, else say so in HTML, as Django does."""
        path, query = scope["path"], scope["query_string"].decode()
        known = any(route.matches({**scope, "path": f"{path}/"})[0] is Match.FULL for route in self._app.routes)
        answer: Response = HTMLResponse(_HTML.format(title="Not found"), 404)
        if scope["method"] not in FREE_METHODS:
            answer = self._error(405, "Method not allowed.") if path.endswith("/") else answer
        elif known:
            answer = RedirectResponse(f"{path}/?{query}" if query else f"{path}/", 301)
        await answer(scope, receive, send)

    def _routes(self) -> list[Route]:
        prefix, gate = self.spoken.prefix, self._gate
        routes = [
            Route(LOGIN, gate.login, methods=["POST"]),
            Route(REFRESH, gate.refresh, methods=["POST"]),
            Route(f"{prefix}reports/{{id}}/download/", self._download),
        ]
        reads: dict[str, tuple[Endpoint, Kind | None]] = {}
        if prefix == "/api/":
            reads |= {"auth/status/": (gate.status, None), "billing/usage/": (gate.usage, None)}
        else:
            reads |= {"auth/verify/": (gate.verify, None), "usage/": (gate.usage, None)}
        for word, kind in RESOURCES.items():
            reads |= {f"{word}/": (self._list(kind), kind), f"{word}/{{id}}/": (self._detail(kind), kind)}
        return routes + [Route(prefix + path, self._conditional(*read)) for path, read in reads.items()]

    def _conditional(self, endpoint: Endpoint, kind: Kind | None) -> Endpoint:
        async def answer(request: Request) -> Response:
            # Before the answer is made: a change meanwhile may be told twice, but never missed.
            changed_at = self.organisation.shelves[kind].changed_at if kind else None
            told = await endpoint(request)
            # A fault needs a body that it can spoil.
            asked = Headers() if request.state.fault else request.headers
            return validated(told, asked, self.validators, changed_at)

        return answer

    def _list(self, kind: Kind) -> Endpoint:
        async def answer(request: Request) -> Response:
            self._gate.admit(request, f"{kind}:read")
            url, fault = str(request.url.replace(query=None)), request.state.fault
            now = (self.organisation.version, self.organisation.ids, self.spoken)
            key = f"{url}?{request.url.query}"
            body = None if fault else self._kept.find(now, key)
            if body is None:
                try:
                    body = list_body(self.spoken, self.organisation, kind, url, request.query_params, fault)
                except NoSuchPage as refused:
                    raise HTTPException(404, str(refused)) from None
                except UnknownChoice as refused:
                    return _json(refused.fields, 400)
                if not fault:
                    self._kept.keep(now, key, body)
            return Response(body, media_type="application/json")

        return answer

    def _detail(self, kind: Kind) -> Endpoint:
        async def answer(request: Request) -> Response:
            self._gate.admit(request, f"{kind}:read")
            with self.organisation.lock:
                number = self._number(kind, request)
                raw = self.organisation.raw(kind, number)
                if raw is not None:
                    return _json(raw)
                item = self.organisation.item(kind, number)
                return _json(self.spoken.words(kind, item, self.organisation.now, in_list=False))

        return answer

    async def _download(self, request: Request) -> Response:
        self._gate.admit(request, "reports:read")
        with self.organisation.lock:
            item = self.organisation.item("reports", self._number("reports", request))
            if not item["download_url"]:
                raise HTTPException(409, f"Report with ID {item['id']} has no file: it is {item['status']}.")
            path = urlsplit(item["download_url"]).path
            return RedirectResponse(signed(self.download_origin + path, self.organisation.now), 302)

    def _number(self, kind: Kind, request: Request) -> int:
        object_id = request.path_params["id"]
        number = self.organisation.find(kind, object_id)
        if number is None:
            what = kind.removesuffix("s").replace("_", " ").capitalize()
            raise HTTPException(404, f"{what} with ID {object_id} not found")
        return number


class _Kept:
    """Pages that are kept ready until anything changes."""

    def __init__(self) -> None:
        self._state: Any = None
        self._pages: dict[str, bytes] = {}
        self._bytes = 0

    def find(self, state: Any, key: str) -> bytes | None:
        if state != self._state:
            self._state, self._pages, self._bytes = state, {}, 0
        return self._pages.get(key)

    def keep(self, state: Any, key: str, body: bytes) -> None:
        if state == self._state and self._bytes + len(body) <= _KEPT_BYTES:
            self._pages[key] = body
            self._bytes += len(body)


def _asked(spoken: Spoken, query: Any) -> int:
    try:
        return asked(spoken, query)
    except NoSuchPage:
        return 1


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(value), status, headers, media_type="application/json")
