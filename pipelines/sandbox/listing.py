"""One page of a list as the bytes of its body: the organisation's objects, in the dialect's words, bent by a fault."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipelines.sandbox.faults import Fault
from pipelines.sandbox.organisation import Kind, Organisation
from pipelines.sandbox.paging import Page, envelope, first_page, read_page
from pipelines.sandbox.spoken import Spoken

_CHOICES = {
    "status": ("active", "paused", "error"),
    "type": ("database", "api", "file", "cloud"),
}
"""What the list of data sources can be narrowed by; no other list can."""


class UnknownChoice(Exception):
    """A filter has a value that it does not know; `fields` is the body that says so."""

    def __init__(self, name: str, value: str) -> None:
        self.fields = {name: [f'"{value}" is not a valid choice.']}
        super().__init__(name)


def to_json(value: Any) -> bytes:
    """JSON with stamps that end in Z. Integers beyond 64 bits are legal, but only the standard library writes them."""
    try:
        return orjson.dumps(value, option=orjson.OPT_UTC_Z)
    except TypeError:
        return json.dumps(value, default=lambda stamp: stamp.isoformat()).encode()


def list_body(
    spoken: Spoken,
    organisation: Organisation,
    kind: Kind,
    url: str,
    query: Mapping[str, str],
    fault: Fault | None = None,
) -> bytes:
    """The body for a query; `url` is the list's own address without one.

    Raises `NoSuchPage` and `UnknownChoice` for queries that are refused.
    """
    order = spoken.order if kind == "reports" else "oldest"
    strikes = fault.kind if fault else ""
    with organisation.lock:
        numbers = organisation.numbers(kind, order)
        if kind == "data_sources":
            numbers = _chosen(spoken, organisation, numbers, query)
        page = read_page(
            spoken,
            first_page(query) if strikes == "page_ignored" else query,
            numbers,
            lambda number: organisation.position_after(numbers, order, number),
        )
        _bend(page, strikes)
        rows = [_row(spoken, organisation, kind, number) for number in page.numbers]
        body = envelope(spoken, page, rows, url, query)
        if fault:
            body = _reworded(body, fault, spoken, url)
            _change(organisation, kind, page, strikes)
        return to_json(body)


def _row(spoken: Spoken, organisation: Organisation, kind: Kind, number: int) -> Any:
    raw = organisation.raw(kind, number)
    if raw is not None:
        return orjson.Fragment(json.dumps(raw).encode())
    return spoken.words(kind, organisation.item(kind, number), organisation.now, in_list=True)


def _chosen(
    spoken: Spoken, organisation: Organisation, numbers: Sequence[int], query: Mapping[str, str]
) -> Sequence[int]:
    """The data sources that the dialect and the query leave in the list."""
    wanted = [(name, query[name]) for name in _CHOICES if name in query]
    for name, value in wanted:
        if value not in _CHOICES[name]:
            raise UnknownChoice(name, value)
    if spoken.sources_listed == "active":
        wanted.append(("status", "active"))
    if not wanted:
        return numbers
    shown = {
        number: organisation.raw("data_sources", number) or organisation.item("data_sources", number)
        for number in numbers
    }
    return [number for number, item in shown.items() if all(item.get(name) == value for name, value in wanted)]


def _bend(page: Page, strikes: str) -> None:
    if strikes in ("empty_page", "zero_rows"):
        page.numbers = []
    if strikes == "zero_rows":
        page.total = 0
    page.repeats = strikes == "repeated_next"


def _reworded(body: Any, fault: Fault, spoken: Spoken, url: str) -> Any:
    if fault.kind == "renamed_envelope":
        rest = {} if spoken.envelope == "list" else {name: body[name] for name in body if name != spoken.envelope}
        return {fault.name: body if spoken.envelope == "list" else body[spoken.envelope]} | rest
    if fault.kind == "foreign_next" and spoken.envelope != "list":
        path = "/" + url.partition("//")[2].partition("/")[2]
        rest = {name: body[name] for name in body if name != "next_cursor"}
        return rest | {"next": f"http://{fault.host}{path}?page=2"}
    return body


def _change(organisation: Organisation, kind: Kind, page: Page, strikes: str) -> None:
    if strikes == "row_deleted" and page.numbers:
        organisation.set_gone(kind, page.numbers[0], gone=True)
    elif strikes == "row_inserted":
        organisation.add(kind)
