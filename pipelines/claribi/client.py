"""Reads clariBI: one verb, `get`. Authentication, redirects, retries and waits happen below it.

The key goes to the origin of BASE_URL and nowhere else. Nothing is ever sent but GET, and POST for a login.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Self
from urllib.parse import urlencode, urlsplit

import httpx

from pipelines.claribi.answers import (
    API_KEY,
    LOGIN,
    MCP_KEY,
    Answer,
    Credential,
    about_plan,
    condition,
    error_for,
    reason,
)
from pipelines.claribi.auth import Login
from pipelines.claribi.dialect import IDENTITY, Dialect, auth_headers, candidates, names_an_account
from pipelines.claribi.errors import ENV_PREFIX, CallFailed, ClaribiError, ForeignOrigin, NotFound, NotJson
from pipelines.claribi.origin import Origin, host_of, joined, safe_elsewhere
from pipelines.claribi.pace import SYSTEM_CLOCK, Calls, Clock, Pace
from pipelines.claribi.retry import Call, Retrying
from pipelines.claribi.settings import ClaribiSettings, Scheme
from pipelines.claribi.wire import Wire

__all__ = ["SYSTEM_CLOCK", "Answer", "Calls", "Client", "Clock", "Params"]

MAX_REDIRECTS = 5
REDIRECTS = {301, 302, 303, 307, 308}
NO_API = f"no API of clariBI's is there; check {ENV_PREFIX}BASE_URL."

Params = Mapping[str, str | int]


class Client:
    """One account, read by any number of threads; closing it ends their waits. Building it calls nothing."""

    def __init__(
        self,
        settings: ClaribiSettings,
        *,
        dialect: Dialect | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Clock = SYSTEM_CLOCK,
        max_calls: int | None = None,
    ) -> None:
        self._settings, self._dialect = settings, dialect
        self._origin = Origin(settings.origin)
        self._pace = Pace(clock, settings.max_wait, reserve=settings.reserve, max_calls=max_calls)
        self._wire = Wire(settings.timeout, transport)
        self._retrying = Retrying(settings, self._wire, self._pace, clock, self.secrets)
        self._login = Login(settings.email or "", settings.password or "", self._post, clock)
        self._identity: Answer | None = None
        self._finding_out = threading.Lock()

    def __repr__(self) -> str:
        return f"Client({self._origin}, {self._dialect or 'dialect not yet known'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and send home threads that still wait."""
        self._pace.close()
        self._wire.close()

    def stop(self) -> None:
        """Make no further call: whoever wants to gets `Stopped`. May be called from a signal's handler."""
        self._pace.stop()

    def wait(self, seconds: float) -> None:
        """Let so many seconds pass without a call; raises `Stopped` when somebody asks for it."""
        self._pace.pause(seconds)
        self._pace.wait_turn()

    @property
    def calls(self) -> Calls:
        """The calls so far; the object stays the same and goes on counting."""
        return self._pace.calls

    @property
    def on_call(self) -> Callable[[Calls], None]:
        """Called with the calls so far after each answer, from any thread."""
        return self._pace.on_call

    @on_call.setter
    def on_call(self, told: Callable[[Calls], None]) -> None:
        self._pace.on_call = told

    def secrets(self) -> list[str]:
        """What must never be printed or stored: the key, the password, the tokens of this run."""
        return [*self._settings.secrets(), *self._login.secrets()]

    def connect(self) -> Dialect:
        """The account's dialect: the one passed in, or the first of at most six that clariBI accepts the key in.

        Raises `Refused` with clariBI's most telling reason when it accepts none.
        """
        with self._finding_out:
            if self._dialect is None:
                self._dialect, self._identity = self._find_out()
            return self._dialect

    def identity(self) -> Answer:
        """Whose key it is; costs a call only where the dialect was passed in, and only once."""
        if self._identity is None:
            self.connect()
            self._identity = self._identity or self.get(resource=IDENTITY)
        return self._identity

    def get(
        self,
        path: str = "",
        params: Params | None = None,
        *,
        resource: str,
        elsewhere: bool = False,
        unless: str | None = None,
    ) -> Answer:
        """Read one answer.

        `path` is what follows the resource's own path, such as the id of a report or `42/download`, or an absolute
        link of clariBI's. With `elsewhere` it is a download: it may lead to another host, which never sees the key,
        and its body is bytes. `unless` is the `validator` of an earlier answer: where it still holds, the answer
        comes with status 304 and without a body.

        Raises:
            NotFound, ScopeMissing, Refused, CallFailed: clariBI's answer of 400 and more.
            Unreachable, ComeBackLater: after the last try; when the limit's wait does not fit into the run.
            NotJson, ForeignOrigin: what came must not be taken for data.

        """
        dialect = self.connect()
        url = self._url(dialect, resource, path)
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params)
        answer = self._follow(url, resource, dialect.scheme, elsewhere=elsewhere, unless=unless)
        if answer.status < HTTPStatus.MULTIPLE_CHOICES or (unless and answer.status == HTTPStatus.NOT_MODIFIED):
            return answer
        raise self._error(answer, resource, dialect.scheme)

    def own_url(self, url: str, *, what: str) -> str:
        """The address on clariBI's own origin; raises `ForeignOrigin` when it leads elsewhere."""
        own = self._origin.own(url)
        if own is None:
            raise ForeignOrigin(what, host_of(url))
        return own

    def _url(self, dialect: Dialect, resource: str, path: str = "") -> str:
        if "://" in path or path.startswith("/"):
            return joined(str(self._origin), path)
        return f"{self._origin}{dialect.prefix}{dialect.path(resource, path)}"

    def _find_out(self) -> tuple[Dialect, Answer]:
        """Try one dialect after the other; an error of the server's or a limit ends it, as it would say nothing."""
        settings = self._settings
        refusals: list[tuple[Answer, Scheme]] = []
        missing: dict[str, ClaribiError] = {}
        for dialect in candidates(settings.api_key, prefix=settings.prefix, scheme=settings.scheme):
            if dialect.prefix in missing:
                continue
            url = self._url(dialect, IDENTITY)
            try:
                answer = self._follow(url, IDENTITY, dialect.scheme)
            except NotJson as page:
                missing[dialect.prefix] = page
                continue
            if answer.status == HTTPStatus.NOT_FOUND:
                missing[dialect.prefix] = NotFound(IDENTITY, urlsplit(url).path, NO_API)
            elif answer.status < HTTPStatus.MULTIPLE_CHOICES and names_an_account(answer.body):
                return dialect, answer
            else:
                refusals.append((answer, dialect.scheme))
        if refusals:
            answer, scheme = max(refusals, key=lambda one: self._telling(one[0]))
            raise self._error(answer, IDENTITY, scheme)
        raise next(iter(missing.values()))

    def _telling(self, answer: Answer) -> tuple[bool, bool, bool]:
        """How much a refusal says; that no key was seen only means that it was sent another way than expected."""
        why = reason(answer)
        unseen = re.search(r"not provided|required|missing", why, re.IGNORECASE) is not None
        return about_plan(why), not unseen, answer.status == HTTPStatus.FORBIDDEN

    def _error(self, answer: Answer, resource: str, scheme: Scheme) -> ClaribiError:
        if self._origin.own(answer.url) is None:  # the storage of a download: its 403 says nothing of our key
            return CallFailed(resource, answer.url, answer.status, reason(answer, self.secrets()))
        return error_for(answer, resource, self._credential(scheme), self.secrets())

    def _credential(self, scheme: Scheme) -> Credential:
        if scheme == "jwt":
            return LOGIN
        return MCP_KEY if (self._settings.api_key or "").startswith("claribi_mcp_") else API_KEY

    def _follow(
        self, url: str, resource: str, scheme: Scheme, *, elsewhere: bool = False, unless: str | None = None
    ) -> Answer:
        """Follow redirects by hand: on the own origin with the key, elsewhere only for downloads and without it."""
        call, trusted = Call(url, resource, headers=condition(unless), raw=elsewhere), True
        for _ in range(MAX_REDIRECTS + 1):
            own = self._origin.own(url)
            if own is None and not (elsewhere and safe_elsewhere(url)):
                raise ForeignOrigin(resource, host_of(url))
            trusted = trusted and own is not None  # nor does the key go along when another host sends us back home
            call = replace(call, url=own or url)
            answer = self._authorised(call, scheme) if trusted else self._retrying.answer(call)
            target = answer.headers.get("location")
            if answer.status not in REDIRECTS or not target:
                return answer
            url = joined(call.url, target)
        raise CallFailed(resource, urlsplit(call.url).path, answer.status, "it redirects without an end.")

    def _authorised(self, call: Call, scheme: Scheme) -> Answer:
        """Call with the key, or with a token that is renewed once and got anew once when clariBI refuses it."""
        if scheme != "jwt":
            return self._retrying.answer(_with(call, auth_headers(scheme, self._settings.api_key or "")))
        for by_login in (False, True):
            token = self._login.token()
            answer = self._retrying.answer(_with(call, auth_headers(scheme, token)))
            if answer.status != HTTPStatus.UNAUTHORIZED:
                return answer
            self._login.renew(token, by_login=by_login)
        return self._retrying.answer(_with(call, auth_headers(scheme, self._login.token())))

    def _post(self, path: str, body: Mapping[str, str]) -> Answer:
        return self._retrying.answer(Call(f"{self._origin}{path}", "login", json=body))


def _with(call: Call, credential: Mapping[str, str]) -> Call:
    return replace(call, headers={**call.headers, **credential})
