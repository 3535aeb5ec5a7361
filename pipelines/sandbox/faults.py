"""What can go wrong on a server, as data: which calls it meets, and what happens to them.

    sandbox.faults.add(server_error(500, path="*/reports/", page=7, times=None))   # for ever
    sandbox.faults.add(too_many("date", wait_s=2, path="*/reports/", hit=3))       # the third call, once

Every fault takes the same words about when it strikes (`When`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from threading import Lock
from typing import Literal, TypedDict, Unpack, get_args

from pipelines.sandbox.access import RetryAfter

FaultKind = Literal[
    "status",
    "too_many",
    "html",
    "reset",
    "truncated",
    "cut_json",
    "stalled",
    "empty_page",
    "zero_rows",
    "row_deleted",
    "row_inserted",
    "page_ignored",
    "renamed_envelope",
    "foreign_next",
    "repeated_next",
]


class When(TypedDict, total=False):
    """On which calls a fault strikes; a word that is left out does not narrow it."""

    method: str
    path: str
    """A glob over the path, such as `*/reports/`."""
    page: int
    """Only on this page of a list, counted from 1, in every kind of paging."""
    hit: int
    """From which matching call on, counted from 1; without it, the first."""
    times: int | None
    """On how many matching calls in a row; without it once, None is for ever."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault; the functions below make them, and so does the JSON of POST /_sandbox/faults, by the same names."""

    kind: FaultKind
    method: str = "*"
    path: str = "*"
    page: int | None = None
    hit: int = 1
    times: int | None = 1
    status: int = 500
    """Of `status` and `html`."""
    retry_after: RetryAfter = "seconds"
    """Of `too_many`: how the wait is told."""
    wait_s: float = 1.0
    """Of `too_many`."""
    name: str = "records"
    """Of `renamed_envelope`: the key that the rows are under."""
    host: str = "elsewhere.example"
    """Of `foreign_next`: where it leads, `name:port`."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"no fault is called {self.kind!r}; known are {', '.join(get_args(FaultKind))}")

    def meets(self, method: str, path: str, page: Callable[[], int]) -> bool:
        """Whether it looks at a call like this; `page` is asked only when it matters."""
        return (
            self.method in ("*", method) and fnmatchcase(path, self.path) and (self.page is None or self.page == page())
        )

    def strikes(self, met: int) -> bool:
        """Whether the `met`th matching call, from 1, is struck."""
        return met >= self.hit and (self.times is None or met < self.hit + self.times)


def server_error(status: int = 500, **when: Unpack[When]) -> Fault:
    """An error status with a JSON body in the dialect's shape."""
    return Fault(kind="status", status=status, **when)


def too_many(retry_after: RetryAfter = "seconds", wait_s: float = 1.0, **when: Unpack[When]) -> Fault:
    """429, telling the wait as seconds, as an HTTP date, by `X-RateLimit-Reset` alone, or not at all.

    With seconds or a date, `X-RateLimit-Remaining` stays as it is: what a spent daily limit looks like.
    """
    return Fault(kind="too_many", retry_after=retry_after, wait_s=wait_s, **when)


def unauthorized(**when: Unpack[When]) -> Fault:
    """401, as for a key that has just been revoked."""
    return Fault(kind="status", status=401, **when)


def forbidden(**when: Unpack[When]) -> Fault:
    """403 without a word about which permission is missing."""
    return Fault(kind="status", status=403, **when)


def html(status: int = 200, **when: Unpack[When]) -> Fault:
    """A login page instead of data."""
    return Fault(kind="html", status=status, **when)


def reset(**when: Unpack[When]) -> Fault:
    """The headers go out, then the connection is reset before the body."""
    return Fault(kind="reset", **when)


def truncated(**when: Unpack[When]) -> Fault:
    """Half of the body, then the connection closes, though the headers promised all of it."""
    return Fault(kind="truncated", **when)


def cut_json(**when: Unpack[When]) -> Fault:
    """An answer that is whole for HTTP, but whose JSON ends in the middle."""
    return Fault(kind="cut_json", **when)


def stalled(**when: Unpack[When]) -> Fault:
    """The headers go out, then silence until the caller gives up."""
    return Fault(kind="stalled", **when)


def empty_page(**when: Unpack[When]) -> Fault:
    """A page without rows whose envelope says that more follow."""
    return Fault(kind="empty_page", **when)


def zero_rows(**when: Unpack[When]) -> Fault:
    """An empty list: no rows, a total of 0, nothing that follows."""
    return Fault(kind="zero_rows", **when)


def row_deleted(**when: Unpack[When]) -> Fault:
    """Once the page has been made, its first row is deleted, so that later rows move up."""
    return Fault(kind="row_deleted", **when)


def row_inserted(**when: Unpack[When]) -> Fault:
    """Once the page has been made, an object is added; where the newest come first, all rows move down."""
    return Fault(kind="row_inserted", **when)


def page_ignored(**when: Unpack[When]) -> Fault:
    """The first page, whichever page was asked for."""
    return Fault(kind="page_ignored", **when)


def renamed_envelope(name: str = "records", **when: Unpack[When]) -> Fault:
    """The rows are under a key that no document names."""
    return Fault(kind="renamed_envelope", name=name, **when)


def foreign_next(host: str, **when: Unpack[When]) -> Fault:
    """The envelope's `next` leads to `host` (`name:port`) by http; it takes the place of a cursor."""
    return Fault(kind="foreign_next", host=host, **when)


def repeated_next(**when: Unpack[When]) -> Fault:
    """The `next` or the cursor leads to the very page it came with."""
    return Fault(kind="repeated_next", **when)


class Faults:
    """The faults of one sandbox. Each counts the calls it meets; when several are due, the one added first strikes."""

    def __init__(self) -> None:
        self._met: list[tuple[Fault, list[int]]] = []
        self._lock = Lock()

    def add(self, *faults: Fault) -> None:
        """Let these strike from now on."""
        with self._lock:
            self._met.extend((fault, [0]) for fault in faults)

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._met.clear()

    def due(self, method: str, path: str, page: Callable[[], int]) -> Fault | None:
        """Count one call and give the fault that strikes it; None on most days."""
        if not self._met:
            return None
        with self._lock:
            struck = None
            for fault, met in self._met:
                if not fault.meets(method, path, page):
                    continue
                met[0] += 1
                if struck is None and fault.strikes(met[0]):
                    struck = fault
            return struck
