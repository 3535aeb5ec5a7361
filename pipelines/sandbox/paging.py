"""From a query to one page of a list, and from a page to its envelope. Pure."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pipelines.sandbox.spoken import Spoken

DEFAULT_SIZE, MOST = 20, 100
_PLACES = ("page", "offset", "cursor")
"""The parameters that say where a page is."""


class NoSuchPage(Exception):
    """The query asks for a page that the dialect answers with 404; the text says which."""


@dataclass
class Page:
    """One page before it is put into its envelope."""

    numbers: Sequence[int]
    """The objects on it."""
    total: int
    page: int
    """From 1."""
    start: int
    """Place of its first row in the list, from 0."""
    size: int
    after: int
    """The last object up to and with this page; 0 when nothing comes before the next one."""
    repeats: bool = False
    """A fault: what it calls the next page is itself."""

    @property
    def more(self) -> bool:
        """Whether rows follow."""
        return self.repeats or self.start + self.size < self.total


def asked(spoken: Spoken, query: Mapping[str, str]) -> int:
    """Which page a query asks for, counted from 1, in every kind of paging; 1 when it does not say."""
    if spoken.paging == "page":
        return _whole(query.get("page"), 1) or 1
    if spoken.paging == "offset":
        return (_whole(query.get("offset"), 0) or 0) // _size(spoken, query) + 1
    return _read_token(query["cursor"])[0] if "cursor" in query else 1


def read_page(
    spoken: Spoken,
    query: Mapping[str, str],
    numbers: Sequence[int],
    position_after: Callable[[int], int],
) -> Page:
    """The page a query asks for.

    `position_after` tells where the objects begin that come after one; a cursor is kept by object, not by place, so
    that it neither skips nor repeats when rows before it come or go.
    """
    size, total = _size(spoken, query), len(numbers)
    if spoken.paging == "page":
        page = _whole(query.get("page"), 1)
        last = max(1, -(-total // size))
        if not page or (page > last and spoken.past_the_end == "404"):
            raise NoSuchPage("Invalid page.")
        start = (page - 1) * size
    elif spoken.paging == "offset":
        start = _whole(query.get("offset"), 0) or 0
        page = start // size + 1
    else:
        page, before = _read_token(query["cursor"]) if "cursor" in query else (1, 0)
        start = position_after(before) if before else 0
    shown = numbers[start : start + size]
    return Page(shown, total, page, start, size, after=shown[-1] if shown else 0)


def first_page(query: Mapping[str, str]) -> dict[str, Any]:
    """The same query without its place."""
    return {name: value for name, value in query.items() if name not in _PLACES}


def envelope(spoken: Spoken, page: Page, rows: list[Any], url: str, query: Mapping[str, str]) -> Any:
    """The body of a list; `url` is the list's own address without a query, for the links to other pages."""
    if spoken.envelope == "list":
        return rows
    body: dict[str, Any] = {spoken.envelope: rows}
    if spoken.counts:
        body["count" if spoken.envelope == "results" else "total"] = page.total
    if spoken.paging == "cursor":
        return body | {"next_cursor": _next_token(page, query) if page.more else None}
    if spoken.envelope == "results" or spoken.paging == "link":
        return body | _links(spoken, page, url, query)
    if spoken.paging == "page":
        return body | {"page": page.page, "page_size": page.size}
    return body | {"limit": page.size, "offset": page.start}


def _links(spoken: Spoken, page: Page, url: str, query: Mapping[str, str]) -> dict[str, str | None]:
    """`next` and `previous` as absolute addresses; a cursor does not know its way back."""

    def link(place: dict[str, Any]) -> str:
        return f"{url}?{urlencode(first_page(query) | place)}"

    if spoken.paging == "link":
        return {"next": link({"cursor": _next_token(page, query)}) if page.more else None, "previous": None}
    if spoken.paging == "page":
        back = link({"page": page.page - 1}) if page.page > 1 else None
        ahead = link({"page": page.page + (not page.repeats)})
    else:
        back = link({"offset": max(0, page.start - page.size)}) if page.start else None
        ahead = link({"offset": page.start + page.size * (not page.repeats)})
    return {"next": ahead if page.more else None, "previous": back}


def _next_token(page: Page, query: Mapping[str, str]) -> str:
    if page.repeats:
        return query.get("cursor") or _token(1, 0)
    return _token(page.page + 1, page.after)


def _token(page: int, after: int) -> str:
    return urlsafe_b64encode(f"{page}.{after}".encode()).decode()


def _read_token(token: str) -> tuple[int, int]:
    """The page a cursor leads to and the object before it."""
    try:
        page, after = urlsafe_b64decode(token).decode().split(".")
        return int(page), int(after)
    except (NotBase64, ValueError):
        raise NoSuchPage("Invalid cursor.") from None


def _size(spoken: Spoken, query: Mapping[str, str]) -> int:
    """Rows on a page: 20 unless asked otherwise, never more than 100."""
    names = {"page": ("page_size",), "offset": ("limit",)}.get(spoken.paging, ("page_size", "limit"))
    given = next((query[name] for name in names if name in query), None)
    return min(_whole(given, DEFAULT_SIZE) or DEFAULT_SIZE, MOST)


def _whole(text: str | None, default: int) -> int | None:
    """A whole number from 0 on; None for any other text."""
    if text is None:
        return default
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
