"""How often clariBI is called and how long it is waited for: one account of both for all threads of a run."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

from pipelines.claribi.errors import ComeBackLater

EPOCH_FROM = 1_000_000_000
"""A reset stamp from here on is seconds since 1970 (this one is of 2001); a smaller number is seconds left."""
LONGEST_HINT_S = 2 * 86_400
"""The longest window in the documents is a day; a stamp farther off than two says nothing."""
NAP_S = 1.0
"""A pause is slept in pieces, so that closing the client ends it soon."""


class Clock(Protocol):
    """Time, passed in so that no test has to wait."""

    def now(self) -> datetime:
        """The time of day, in UTC."""

    def monotonic(self) -> float:
        """Seconds since some moment in the past; never goes back."""

    def sleep(self, seconds: float) -> None:
        """Do nothing for so many seconds."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since the machine started."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Do nothing for so many seconds."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


@dataclass
class Calls:
    """The calls of one run so far; it goes on counting while it is looked at."""

    total: int = 0
    by_resource: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    """How many of them were a repetition."""
    waited_s: float = 0.0
    """Seconds paused, for limits and between tries; threads that wait together count once."""
    limit: int | None = None
    """Calls a window, as the last answer put it."""
    left_in_window: int | None = None
    reset_at: datetime | None = None
    """When the window begins anew, UTC."""


class Pace:
    """Holds every thread back while clariBI wants to be left alone, and keeps the waits within the run's budget."""

    def __init__(self, clock: Clock, max_wait_s: float) -> None:
        self.calls = Calls()
        self.on_call: Callable[[Calls], None] = lambda _calls: None
        self._clock, self._max_wait_s = clock, max_wait_s
        self._lock = threading.Lock()
        self._spent_s = 0.0
        self._until = 0.0
        self._closed = False

    def close(self) -> None:
        """Send home whoever still waits."""
        self._closed = True

    def wait_turn(self) -> None:
        """Return once calls may be made."""
        while (left := self._until - self._clock.monotonic()) > 0 and not self._closed:
            self._clock.sleep(min(left, NAP_S))
        if self._closed:
            raise RuntimeError("the client has been closed")

    def count(self, resource: str, *, again: bool) -> None:
        """Put down one call that is about to be made."""
        with self._lock:
            self.calls.total += 1
            self.calls.by_resource[resource] += 1
            self.calls.retried += again

    def note(self, headers: Mapping[str, str]) -> None:
        """Put down what an answer says of the limit."""
        with self._lock:
            for name, header in (("limit", "x-ratelimit-limit"), ("left_in_window", "x-ratelimit-remaining")):
                if header in headers and headers[header].isdecimal():
                    setattr(self.calls, name, int(headers[header]))
            if (wait_s := until_reset(headers, self._clock.now())) is not None:
                self.calls.reset_at = self._clock.now() + timedelta(seconds=wait_s)
        self.on_call(self.calls)

    def pause(self, wait_s: float) -> None:
        """Let nobody call for so many seconds, between two tries."""
        with self._lock:
            self._extend(wait_s)

    def pause_for_limit(self, wait_s: float) -> None:
        """The same because clariBI asks for it; raises `ComeBackLater` at once when the run's budget does not reach."""
        with self._lock:
            if self._spent_s + self._beyond(wait_s) > self._max_wait_s:
                raise self.come_back_later(wait_s)
            self._spent_s += self._extend(wait_s)

    def come_back_later(self, wait_s: float) -> ComeBackLater:
        """The error that says when to run again."""
        return ComeBackLater(self._clock.now() + timedelta(seconds=wait_s), wait_s, self._max_wait_s)

    def _beyond(self, wait_s: float) -> float:
        """How much longer than now the pause becomes: other threads may have asked for most of it already."""
        now = self._clock.monotonic()
        return max(0.0, now + wait_s - max(now, self._until))

    def _extend(self, wait_s: float) -> float:
        more = self._beyond(wait_s)
        if more:
            self._until = self._clock.monotonic() + wait_s
            self.calls.waited_s += more
        return more


def asked_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a 429 asks to wait: `Retry-After`, else the reset of the rate limit, else None. At least 1."""
    wait_s = retry_after(headers, now)
    if wait_s is None:
        wait_s = until_reset(headers, now)
    return None if wait_s is None else max(1.0, wait_s)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that `Retry-After` asks to wait, given as such or as an HTTP date. At least 1."""
    text = headers.get("retry-after", "")
    wait_s = _number(text)
    if wait_s is None:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        wait_s = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    return max(1.0, wait_s) if wait_s <= LONGEST_HINT_S else None


def until_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the rate limit's window begins anew: `X-RateLimit-Reset`, as epoch seconds or as seconds left."""
    wait_s = _number(headers.get("x-ratelimit-reset", ""))
    if wait_s is None:
        return None
    if wait_s >= EPOCH_FROM:
        wait_s -= now.timestamp()
    return wait_s if 0 < wait_s <= LONGEST_HINT_S else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
