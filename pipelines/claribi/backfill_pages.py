"""The pages of the list of reports that have to do with a window of time, each with the place to go on after it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pipelines.claribi.client import Client
from pipelines.claribi.numbering import Place, Shape
from pipelines.claribi.schema import REPORTS
from pipelines.claribi.timeline import Items, OutOfOrder, Timeline, created
from pipelines.claribi.walk import Walk, WalkedPage
from pipelines.claribi.windows import INSTANT, Window

NAME = REPORTS.name


class Entry(NamedTuple):
    """One report on a page of the list."""

    item: dict[str, Any]
    at: datetime
    """When it was created, UTC."""
    place: Place | None
    """Where to go on once it is done."""


class Part(NamedTuple):
    """One page of the list."""

    entries: list[Entry]
    """Its reports in the window, in the order in which they were read."""
    place: Place | None
    """Where to go on once all of them are done."""
    ended: bool
    """Whether nothing of the window comes after it."""


class Pages:
    """The list, as far as it is known."""

    def __init__(self, client: Client, shape: Shape | None, *, carried: bool) -> None:
        """`shape` and `carried` are what an earlier backfill has learned; without a shape the first page is read."""
        self._client = client
        self.shape = shape
        self.carried = carried
        """Whether the list carries all there is to know of each report."""
        self.scattered = False
        """Whether it has turned out to be in no order, though it seemed to be in one."""
        self.empty = False
        """Whether it has turned out to have no report at all."""
        self._first: WalkedPage | None = None

    @property
    def ranked(self) -> bool:
        """Whether it is in the order of creation, and any page can be asked for."""
        return not self.scattered and self.shape is not None and Timeline.fits(self.shape)

    @property
    def in_order(self) -> bool:
        """Whether the newest reports come first, so that what was read is a window of its own."""
        return self.ranked or (not self.scattered and self.shape is not None and self.shape.order == "newest")

    def learn(self) -> None:
        """Read the first page, unless an earlier backfill has done so."""
        if self.shape is not None:
            return
        walk = Walk(self._client, NAME, in_flight=1)
        self._first = next(iter(walk), None)
        self.empty = self._first is None
        if self._first:
            self.shape = walk.shape
            self.carried = any(name in item for item in self._first.items for name in REPORTS.detail_fields)

    def timeline(self) -> Timeline:
        """The list by rank."""
        if self.shape is None:
            raise LookupError("nothing is known of the list yet")
        newest = self._take_first() if self.shape.order == "newest" else None
        return Timeline(self._client, NAME, self.shape, newest)

    def of(self, gaps: Sequence[Window], place: Place | None, in_flight: int) -> Iterator[Part]:
        """The pages that hold the first of these windows, which are the newest first; of a list in no order, all.

        Raises `OutOfOrder` when the list is not as it seemed.
        """
        if self.ranked:
            return self._ranked(gaps[0], place, in_flight)
        return self._falling(gaps[0], place, in_flight) if self.in_order else self._whole(gaps, place, in_flight)

    def _ranked(self, gap: Window, place: Place | None, in_flight: int) -> Iterator[Part]:
        near, until = place.get("left") if place else None, gap.until
        for items, below in self.timeline().pages(until, near, in_flight):
            after = {id(item): {"left": below + number} for number, item in enumerate(reversed(items))}
            entries = [Entry(item, at, after[id(item)]) for item, at in _dated(items) if gap.since <= at < until]
            ended = below == 0 or any(at < gap.since for _, at in _dated(items))
            yield Part(entries, {"left": below}, ended)
            if ended:
                return
            # Rows that have moved over from the page before are done; others of the very same moment may not be.
            until = min([until, *(entry.at + INSTANT for entry in entries)])
        yield Part([], None, ended=True)

    def _falling(self, gap: Window, place: Place | None, in_flight: int) -> Iterator[Part]:
        for page, here in self._chain(place, in_flight):
            moments = [at for _, at in _dated(page.items)]
            if moments != sorted(moments, reverse=True):
                raise OutOfOrder
            entries = [Entry(item, at, here) for item, at in _dated(page.items) if at in gap]
            ended = page.place is None or any(at < gap.since for at in moments)
            yield Part(entries, page.place, ended)
            if ended:
                return
        yield Part([], None, ended=True)

    def _whole(self, gaps: Sequence[Window], place: Place | None, in_flight: int) -> Iterator[Part]:
        for page, here in self._chain(_stepped_back(place, self.shape), in_flight):
            entries = [Entry(item, at, here) for item, at in _dated(page.items) if any(at in gap for gap in gaps)]
            yield Part(entries, page.place, page.place is None)
            if page.place is None:
                return
        yield Part([], None, ended=True)

    def _chain(self, place: Place | None, in_flight: int) -> Iterator[tuple[WalkedPage, Place | None]]:
        """The pages from a place on, each with the place that leads to it; all pages where nothing is there."""
        found = None
        for found in self._from(place, in_flight) if place else ():
            yield found
        if found:
            return
        first = self._take_first() or next(iter(Walk(self._client, NAME, in_flight=1)), None)
        self.empty = first is None
        if first:
            yield first, None
            yield from self._from(first.place, in_flight) if first.place else ()

    def _from(self, place: Place, in_flight: int) -> Iterator[tuple[WalkedPage, Place | None]]:
        here: Place | None = place
        for page in Walk(self._client, NAME, shape=self.shape, start=place, in_flight=in_flight):
            yield page, here
            here = page.place

    def _take_first(self) -> WalkedPage | None:
        """The first page, if it has just been read, for whoever needs it."""
        first, self._first = self._first, None
        return first


def _dated(items: Items) -> Iterator[tuple[dict[str, Any], datetime]]:
    """Those that say when they were created; others are in no window."""
    return ((item, at) for item in items if (at := created(item)) is not None)


def _stepped_back(place: Place | None, shape: Shape | None) -> Place | None:
    """A page before a place: in a list in no order, what came meanwhile may have moved rows either way."""
    if place and "left" in place:
        return {"left": place["left"] + (shape.rows if shape else 0)}
    if place and "page" in place:
        return {"page": max(1, place["page"] - 1)}
    return place
