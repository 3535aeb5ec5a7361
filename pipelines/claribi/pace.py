"""How often clariBI is called and how long it is waited for: one account of both for all threads of a run."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

from pipelines.claribi.errors import CallsSpent, ComeBackLater, Stopped

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
    unchanged: int = 0
    """Answers that said that nothing has changed since the last run (304)."""
    server_time: datetime | None = None
    """What clariBI's clock showed at the first answer, UTC; None where it does not say."""


class Pace:
    """Holds every thread back while clariBI wants to be left alone, and keeps calls and waits within the run's budget.

    `reserve` is the share of the limit that is left to others, `max_calls` how many calls may be made at most.
    """

    def __init__(self, clock: Clock, max_wait_s: float, *, reserve: float = 0.0, max_calls: int | None = None) -> None:
        self.calls = Calls()
        self.on_call: Callable[[Calls], None] = lambda _calls: None
        self._clock, self._max_wait_s = clock, max_wait_s
        self._reserve, self._max_calls = reserve, max_calls
        self._lock = threading.Lock()
        self._spent_s = 0.0
        self._until = 0.0
        self._under_way = 0
        self._most_left = 0
        self._window: str | None = None
        """The end of the last answer's window, as the answer put it."""
        self._closed = self._stopped = False

    def close(self) -> None:
        """Send home whoever still waits."""
        self._closed = True

    def stop(self) -> None:
        """Let no further call be made: each raises `Stopped`. Calls that are under way come to their end."""
        self._stopped = True

    @contextmanager
    def turn(self, resource: str, *, again: bool) -> Iterator[None]:
        """Wait until a call may be made, and count it; raises `Paused` when it may not be made in this run."""
        self._take_turn(resource, again=again)
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def wait_turn(self) -> None:
        """Return once calls may be made."""
        while (left := self._until - self._clock.monotonic()) > 0 and not (self._closed or self._stopped):
            self._clock.sleep(min(left, NAP_S))
        if self._closed:
            raise RuntimeError("the client has been closed")
        if self._stopped:
            raise Stopped

    def note(self, headers: Mapping[str, str]) -> None:
        """Put down what an answer says of the limit, and of the time."""
        with self._lock:
            if (limit := headers.get("x-ratelimit-limit", "")).isdecimal():
                self.calls.limit = int(limit)
            if (left := headers.get("x-ratelimit-remaining", "")).isdecimal():
                self.calls.left_in_window = self._least_left(int(left), headers.get("x-ratelimit-reset"))
            self._most_left = max(self._most_left, self.calls.left_in_window or 0)
            if (wait_s := until_reset(headers, self._clock.now())) is not None:
                self.calls.reset_at = self._clock.now() + timedelta(seconds=wait_s)
            if self.calls.server_time is None:
                self.calls.server_time = http_date(headers.get("date", ""))
        self.on_call(self.calls)

    def _take_turn(self, resource: str, *, again: bool) -> None:
        while True:
            self.wait_turn()
            with self._lock:
                if self._max_calls is not None and self.calls.total >= self._max_calls:
                    raise CallsSpent(self._max_calls)
                if not self._reserved():
                    self.calls.total += 1
                    self.calls.by_resource[resource] += 1
                    self.calls.retried += again
                    self._under_way += 1
                    return
                wait_s = self._until_new_window()
            self.pause_for_limit(wait_s)
            with self._lock:
                self.calls.left_in_window = None  # until the new window's first answer says what it has

    def _least_left(self, left: int, window: str | None) -> int:
        """What is left after an answer that another one may have overtaken: in one window it only becomes less."""
        known, same = self.calls.left_in_window, window is not None and window == self._window
        self._window = window
        return min(left, known) if same and known is not None else left

    def _reserved(self) -> bool:
        """Whether what is left of the window belongs to others."""
        left = self.calls.left_in_window
        if left is None or not self._until_new_window():
            return False
        # Where clariBI does not tell the limit, the most that was ever left comes closest to it.
        limit = self.calls.limit or self._most_left
        return left - self._under_way <= self._reserve * limit

    def _until_new_window(self) -> float:
        """Seconds until the window begins anew; 0 where that is over, or nobody said when it is."""
        if self.calls.reset_at is None:
            return 0.0
        return max(0.0, (self.calls.reset_at - self._clock.now()).total_seconds())

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

    def come_back_later(self, wait_s: float, window: str = "rate limit") -> ComeBackLater:
        """The error that says when to run again."""
        return ComeBackLater(self._clock.now() + timedelta(seconds=wait_s), wait_s, self._max_wait_s, window)

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
        if (date := http_date(text)) is None:
            return None
        wait_s = (date - now).total_seconds()
    return max(1.0, wait_s) if wait_s <= LONGEST_HINT_S else None


def until_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the rate limit's window begins anew: `X-RateLimit-Reset`, as epoch seconds or as seconds left."""
    wait_s = _number(headers.get("x-ratelimit-reset", ""))
    if wait_s is None:
        return None
    if wait_s >= EPOCH_FROM:
        wait_s -= now.timestamp()
    return wait_s if 0 < wait_s <= LONGEST_HINT_S else None


def until_tomorrow(now: datetime) -> float:
    """Seconds until the next UTC day: no document says when a day of clariBI's begins."""
    tomorrow = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (tomorrow - now).total_seconds()


def http_date(text: str) -> datetime | None:
    """The moment of a `Date` header, UTC; None for anything else."""
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
