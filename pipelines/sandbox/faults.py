"""What can go wrong on a server, as data: which calls it meets, and what happens to them.

    sandbox.faults.add(server_error(500, path="*/reports/", page=7, times=None))   # for ever
    sandbox.faults.add(too_many(retry_after="date", wait_s=2, path="*/reports/", hit=3))

Every fault takes the same words about when it strikes (`When`).
"""

from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from pipelines.sandbox.access import RetryAfter


class When(TypedDict, total=False):
    """On which calls a fault strikes; every word that is left out matches all."""

    method: str
    path: str
    """A glob over the path, such as `*/reports/`."""
    page: int
    """Only on this page of a list, counted from 1, in every kind of paging."""
    hit: int
    """From which matching call on, counted from 1; 1."""
    times: int | None
    """How often; 1. None is for ever."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault; the functions below make them, and so does the JSON of POST /_sandbox/faults, by the same names."""

    kind: str
    method: str = "*"
    path: str = "*"
    page: int | None = None
    hit: int = 1
    times: int | None = 1
    status: int = 500
    retry_after: RetryAfter = "seconds"
    wait_s: float = 1.0
    name: str = "records"
    host: str = "elsewhere.example"


def server_error(status: int = 500, **when: Unpack[When]) -> Fault:
    """An error status with a JSON body in the dialect's shape."""
    return Fault(kind="status", status=status, **when)


def too_many(retry_after: RetryAfter = "seconds", wait_s: float = 1.0, **when: Unpack[When]) -> Fault:
    """429, telling the wait as seconds, as an HTTP date, by `X-RateLimit-Reset` alone, or not at all."""
    return Fault(kind="too_many", retry_after=retry_after, wait_s=wait_s, **when)


def unauthorized(**when: Unpack[When]) -> Fault:
    """401, as for a key that has just been revoked."""
    return Fault(kind="status", status=401, **when)


def forbidden(**when: Unpack[When]) -> Fault:
    """403, as for a missing permission."""
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
    """A whole answer with a fitting length, whose JSON ends in the middle."""
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
    """Once the page has been made, its first row is deleted, so later rows move up."""
    return Fault(kind="row_deleted", **when)


def row_inserted(**when: Unpack[When]) -> Fault:
    """Once the page has been made, an object is added, so rows move down where the newest come first."""
    return Fault(kind="row_inserted", **when)


def page_ignored(**when: Unpack[When]) -> Fault:
    """The first page, whichever page was asked for."""
    return Fault(kind="page_ignored", **when)


def renamed_envelope(name: str = "records", **when: Unpack[When]) -> Fault:
    """The rows are under a key that no document names."""
    return Fault(kind="renamed_envelope", name=name, **when)


def foreign_next(host: str, **when: Unpack[When]) -> Fault:
    """The envelope's `next` leads to `host` (`name:port`) over http."""
    return Fault(kind="foreign_next", host=host, **when)


def repeated_next(**when: Unpack[When]) -> Fault:
    """The `next` or the cursor leads to the very page it came with."""
    return Fault(kind="repeated_next", **when)


class Faults:
    """The faults of one sandbox, and how often each has been met. When several are due, the first added strikes."""

    def add(self, *faults: Fault) -> None: ...

    def clear(self) -> None: ...
