"""When a call is made again, and how long is waited before: the one place that decides it."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import httpx

from pipelines.claribi.answers import Answer, Undecodable, data, error_body, reason
from pipelines.claribi.errors import ClaribiError, Unreachable
from pipelines.claribi.pace import Clock, Pace, asked_wait, retry_after, until_tomorrow
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi.wire import Trouble, Wire

LONGEST_PAUSE_S = 60.0
"""Between two tries, where clariBI asks for none."""
WINDOW_S = 3600.0
"""The window of every documented limit: when to come back if a 429 never says."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it goes out; `headers` hold the credential, and nothing else does."""

    url: str
    resource: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Mapping[str, str] | None = field(default=None, repr=False)
    """What a POST sends; without it the call is a GET."""
    raw: bool = False
    """A download: its body stays bytes."""

    @property
    def method(self) -> str:
        """GET, or POST for a login."""
        return "GET" if self.json is None else "POST"

    def __str__(self) -> str:
        """The call for an error's text: the path, and which page."""
        page = re.search(r"[?&]((?:page|offset)=\d+)", self.url)
        return f"{self.method} {urlsplit(self.url).path}{f'?{page[1]}' if page else ''}"


class Retrying:
    """Makes a call until an answer comes that another try would not change.

    Made again: what got no answer or half an answer, 408, 429 and 5xx. Tries are bounded by `retry_tries`. Waits that
    clariBI asks for cost no try but time, and are bounded by `max_wait` for the whole run; a 503 that asks for one, and
    a 429 that does not, cost both.
    """

    def __init__(
        self, settings: ClaribiSettings, wire: Wire, pace: Pace, clock: Clock, secrets: Callable[[], list[str]]
    ) -> None:
        self._tries, self._first_pause_s = settings.retry_tries, settings.retry_wait
        self._wire, self._pace, self._clock, self._secrets = wire, pace, clock, secrets

    def answer(self, call: Call) -> Answer:
        """The answer; raises `Unreachable` after the last try, `ComeBackLater` when a wait does not fit, `NotJson`."""
        failed = 0
        for number in count(1):
            try:
                with self._pace.turn(call.resource, again=number > 1):
                    return self._try(call)
            except Trouble as one:
                trouble = one
            limited = trouble.status == HTTPStatus.TOO_MANY_REQUESTS
            failed += not (limited and trouble.wait_s)
            if failed >= self._tries:
                raise self._given_up(call, trouble, failed)
            pause_s = max(trouble.wait_s or 0.0, self._backoff_s(number))
            if limited or trouble.wait_s:
                self._pace.pause_for_limit(pause_s)
            else:
                self._pace.pause(pause_s)
        raise AssertionError("the tries and the waits end before count() does")

    def _try(self, call: Call) -> Answer:
        response = self._wire.exchange(call.method, call.url, call.headers, call.json)
        self._pace.note(response.headers)
        url = call.url.partition("?")[0]
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            self._pace.calls.unchanged += 1
            return Answer(response.status_code, None, response.headers, url)
        if response.is_success:
            body = response.content if call.raw else self._data(call, response)
            return Answer(response.status_code, body, response.headers, url)
        answer = Answer(response.status_code, error_body(response.content), response.headers, url)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and self._day_is_spent(response.headers):
            raise self._pace.come_back_later(until_tomorrow(self._clock.now()), "daily limit")
        if answer.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or response.is_server_error:
            raise Trouble(reason(answer, self._secrets()), status=answer.status, wait_s=self._asked_wait(answer))
        return answer

    def _data(self, call: Call, response: httpx.Response) -> Any:
        content_type = response.headers.get("content-type", "")
        try:
            return data(response.content, content_type, f"{call} ({call.resource})", self._secrets())
        except Undecodable as error:
            raise Trouble(str(error)) from None

    def _day_is_spent(self, headers: Mapping[str, str]) -> bool:
        """Whether a 429 is about the day: the hour has calls left, and nothing says how long to wait.

        The headers never name a window; all documents agree that they describe the hour.
        """
        left = headers.get("x-ratelimit-remaining", "")
        return left.isdecimal() and int(left) > 0 and retry_after(headers, self._clock.now()) is None

    def _asked_wait(self, answer: Answer) -> float | None:
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return asked_wait(answer.headers, self._clock.now())
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return retry_after(answer.headers, self._clock.now())
        return None

    def _backoff_s(self, number: int) -> float:
        """Doubles with each try; the jitter keeps runs that failed together from coming back together."""
        longest = min(LONGEST_PAUSE_S, self._first_pause_s * 2.0 ** min(number - 1, 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it guards nothing

    def _given_up(self, call: Call, trouble: Trouble, tries: int) -> ClaribiError:
        if trouble.status == HTTPStatus.TOO_MANY_REQUESTS:
            return self._pace.come_back_later(WINDOW_S)
        status = f"HTTP {trouble.status}, " if trouble.status else ""
        return Unreachable(str(call), f"{status}{trouble.reason}", tries)
