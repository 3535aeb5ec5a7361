"""Which pages of a list to ask for, and the proof that all of it was read.

clariBI documents neither an order nor a snapshot: rows that come and go while pages are turned make others appear
twice or not at all. So a walk counts. It is proven when the different ids are as many as the list says it has, and
that number did not move; where a list tells no number, when it comes to an end and no page repeats. What no count can
see: a row that goes from the part already read while another comes in the part still to be read. The row that slipped
by between them comes with the next walk.

A walk may be left at any page: `WalkedPage.place` says where a later one goes on. And it may begin with the newest
objects, also where the list has the oldest first: then it goes from the last page back to the first.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pipelines.claribi.client import Answer, Client, Params
from pipelines.claribi.dialect import Page, read_page
from pipelines.claribi.errors import CallFailed, NotFound, WalkBroken
from pipelines.claribi.numbering import Numbering, Place, Remembered, Shape, relative, turned
from pipelines.claribi.origin import joined
from pipelines.claribi.tally import Order, Tally

ATTEMPTS = 3
"""How often a list that moves is walked before it counts as unproven."""
SLACK_PAGES = 20
"""How many pages a numbered list may have beyond those that its total accounts for."""
CHAIN_PAGES = 200_000
"""How many pages a list without a total may have: twenty million objects."""

QUICK_S = 0.01
"""An answer within this time leaves nothing to gain by asking for several pages at once: threads would only cost."""

In = TypeVar("In")
Out = TypeVar("Out")


class WalkedPage(NamedTuple):
    """Objects in the order in which they were read: that of the list, or from its end back.

    A higher attempt begins the walk anew. When the last attempt is proven, the objects of earlier ones are to be
    dropped; when it is not, all are to be kept, of each the one that came last.
    """

    items: list[dict[str, Any]]
    attempt: int
    place: Place | None
    """Where a walk goes on that ends after this page; None after the last one."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What can be said of a walk; but for `rewalked` all of it is about the last attempt."""

    resource: str
    pages: int
    order: Order
    """Of `created_at`; unknown where too few rows differ to tell."""
    complete: bool
    rewalked: int
    total: int | None
    distinct: int
    note: str
    """Why it is not complete, as a sentence; empty when it is."""
    known_before: datetime | None = None
    """Where the walk was left early: objects created before this moment, UTC, are known; None where it was not."""
    resumed: bool = False
    """Whether it went on where an earlier run had stopped."""


class Walk:
    """One walk over the list of a resource: iterate it once, then ask for its `proof`.

    `shape` is what an earlier walk learned; with `newest_first` it is used to begin at the newest end. `start` is the
    place at which an earlier walk was left: such a walk proves nothing, and is not begun anew when the list moves.
    `remembered` are the pages of an earlier walk: when none of them has changed, nothing is yielded and `unchanged` is
    true.

    Raises `WalkBroken` when pages repeat or do not end, and whatever `Client.get` raises. What was yielded by then
    is good, but nothing is proven.
    """

    def __init__(
        self,
        client: Client,
        resource: str,
        *,
        page_size: int = 100,
        in_flight: int = 4,
        shape: Shape | None = None,
        newest_first: bool = False,
        start: Place | None = None,
        remembered: Sequence[Remembered] = (),
    ) -> None:
        self._client, self._resource = client, resource
        self.in_flight = in_flight
        """How many pages are asked for at once; 1 for a walk that may be left early. May be changed on the way."""
        self.unchanged = False
        self._page_size = page_size
        self._sizes: dict[str, str | int] = {"page_size": page_size, "limit": page_size}
        self._shape, self._start, self._remembered = shape, start, remembered
        self._backwards = bool(shape and shape.reversible and newest_first)
        self._tally = Tally(resource)
        self._attempt = 1
        self._place: Place | None = None
        self._pages_read: list[Remembered] = []
        self._first: Answer | None = None
        self._total: int | None = None

    @property
    def proof(self) -> Proof:
        """What can be said by now."""
        tally = self._tally
        problem = tally.problem()
        return Proof(
            self._resource,
            tally.pages,
            self._order(),
            complete=not problem,
            rewalked=self._attempt - 1,
            total=tally.total,
            distinct=tally.distinct,
            note=problem,
        )

    @property
    def shape(self) -> Shape | None:
        """What the next walk may begin with; None where nothing was learned."""
        return self._shape and replace(self._shape, order=self._order(), total=self._tally.total)

    @property
    def falls(self) -> bool:
        """Whether the objects came with the newest first so far, and not all at one moment."""
        return self._tally.order == "newest"

    @property
    def ended(self) -> bool:
        """Whether the walk came to the end of the list."""
        return self._tally.ended

    @property
    def pages_read(self) -> list[Remembered]:
        """What a next walk may be given as `remembered`; empty where an answer had no validator."""
        return self._pages_read if len(self._pages_read) == self._tally.pages else []

    def __iter__(self) -> Iterator[WalkedPage]:
        """Read the list, and again while it moves; at most `ATTEMPTS` times."""
        if self._remembered and self._nothing_has_changed():
            self.unchanged = self._tally.ended = True
            return
        before, attempts = None, 1 if self._start else ATTEMPTS
        for attempt in range(1, attempts + 1):
            self._attempt, self._tally, self._pages_read = attempt, Tally(self._resource), []
            with closing(self._pages()) as pages:
                for page in pages:
                    self._tally.add(page)
                    if page.read_as:
                        self._pages_read.append(page.read_as)
                    if page.items:
                        yield WalkedPage(page.items, attempt, self._place)
                    if self._tally.moved and attempt < attempts:
                        break
                else:
                    self._tally.ended = True
            came = (self._tally.total, self._tally.distinct)
            if not self._tally.problem() or (self._tally.ended and came == before):
                return  # proven, or so much at rest that a further attempt would only say the same
            before, self._total = came, self._tally.total

    def _nothing_has_changed(self) -> bool:
        """Ask whether the pages of an earlier walk still hold; the first page's answer is kept when it does not."""
        for number, (path, params, validator) in enumerate(self._remembered):
            answer = self._client.get(path, params, resource=self._resource, unless=validator)
            if answer.status != HTTPStatus.NOT_MODIFIED:
                self._first = answer if number == 0 and not path and params.get("page") == 1 else None
                return False
        return True

    def _order(self) -> Order:
        order = self._tally.order
        return ("oldest" if order == "newest" else "none") if self._backwards and order != "unknown" else order

    def _pages(self) -> Generator[Page]:
        """All pages of one attempt, in their order; each has been taken into the tally when the next is asked for."""
        if self._backwards and self._shape:
            yield from self._pages_from_the_end(self._shape)
        elif self._start:
            yield from self._pages_from(self._start)
        else:
            yield from self._all_pages()

    def _all_pages(self) -> Iterator[Page]:
        began = time.perf_counter()
        first = self._read("", self._sizes | {"page": 1})
        if time.perf_counter() - began < QUICK_S:
            self.in_flight = 1
        numbering = Numbering(first, self._sizes, len(first.items))
        self._shape = self._learned(first, numbering)
        self._refuse_step_back(numbering, first, 1)
        self._place = self._place_after(first, numbering, 1)
        yield first
        total, size = self._tally.total, len(first.items)
        if total and not size:
            raise WalkBroken(self._resource, f"it says that it has {total:,} objects, but its first page is empty.")
        if total and numbering.works:
            yield from self._numbered_pages(numbering, total, range(2, -(-total // size) + 1))
        elif first.link or first.cursor:
            yield from self._linked_pages(first, 2 * -(-total // size) + SLACK_PAGES if total else CHAIN_PAGES)
        elif total is None and first.items and not first.ends:
            yield from self._pages_to_an_empty_one(numbering)

    def _pages_from(self, start: Place) -> Iterator[Page]:
        """The pages from a place on; all pages where that place is no longer there."""
        try:
            page, numbering, number = self._page_at(start)
        except (CallFailed, WalkBroken):
            self._start = None
            yield from self._all_pages()
            return
        self._place = self._place_after(page, numbering, number)
        yield page
        total = page.total
        if number and total:
            yield from self._numbered_pages(numbering, total, range(number + 1, -(-total // numbering.rows) + 1))
        elif page.link or page.cursor:
            yield from self._linked_pages(page, CHAIN_PAGES)
        elif number:
            yield from self._pages_to_an_empty_one(numbering, number)

    def _page_at(self, start: Place) -> tuple[Page, Numbering, int]:
        """The page at a place, how pages are numbered, and its own number; 0 where they are not."""
        shape = self._shape
        if "next" in start:
            page = self._step(start["next"])
            return page, Numbering(page, self._sizes, len(page.items)), 0
        if "page" in start or shape is None or not (shape.total and shape.rows):
            number = max(1, start.get("page", 1))
        else:
            number = max(0, shape.total - start["left"]) // shape.rows + 1
        for _ in range(2):
            offset = (number - 1) * (shape.rows if shape else self._page_size)
            page = self._read("", self._sizes | {"page": number, "offset": offset})
            if not shape or page.total is None or "left" not in start:
                break
            # Objects that came or went since then have moved the place.
            wanted = max(0, page.total - start["left"]) // shape.rows + 1
            if wanted == number:
                break
            number = wanted
        return page, Numbering(page, self._sizes, shape.rows if shape else len(page.items)), number

    def _pages_from_the_end(self, shape: Shape) -> Iterator[Page]:
        """The pages of a list that has the oldest first: from its end, or from the place, back to its beginning."""
        rows, begin = shape.rows, self._start["left"] if self._start else 0
        if not self._start:
            # The page that was the last one; where a page may begin anywhere, one with room for what came since.
            known = self._total or shape.total or 1
            page, begin = self._rows_from(max(0, known - (rows // 2 if shape.echoes else 1)), rows)
            top, total = begin + len(page.items), page.total or 0
            if not page.items or (top < total and len(page.items) != rows):
                self._backwards = False  # it is no longer the list that was remembered
                yield from self._all_pages()
                return
            for newer in reversed(range(top, total, rows)):
                self._place = {"left": newer}
                yield turned(self._rows_from(newer, rows)[0], rows)
            self._place = {"left": begin} if begin else None
            yield turned(page, rows)
        older = range(begin - rows, -rows, -rows)
        pages = in_order(lambda start: self._rows_from(max(0, start), rows)[0], older, lambda: self.in_flight)
        for start, page in zip(older, pages, strict=True):
            self._place = {"left": start} if start > 0 else None
            yield turned(page, min(rows, start + rows))

    def _rows_from(self, begin: int, rows: int) -> tuple[Page, int]:
        """The page with the object at a position, and the position of its own first object."""
        number = begin // rows + 1
        try:
            page = self._read("", self._sizes | {"page": number, "offset": begin})
        except NotFound:
            page = Page([], total=None)
        return page, page.offset if page.offset is not None else (number - 1) * rows

    def _place_after(self, page: Page, numbering: Numbering, number: int) -> Place | None:
        """Where to go on after a page; counted from the list's end, since new objects move all numbers."""
        if page.total is not None and numbering.works and page.total > number * numbering.rows:
            return {"left": page.total - number * numbering.rows}
        if step := page.link or page.cursor:
            return {"next": relative(step)}
        return {"page": number + 1} if page.total is None and page.items and not page.ends else None

    def _learned(self, first: Page, numbering: Numbering) -> Shape:
        return Shape("unknown", first.total, len(first.items), numbering.works, first.offset is not None)

    def _numbered_pages(self, numbering: Numbering, total: int, numbers: range) -> Iterator[Page]:
        """The pages after the first that a known total accounts for."""
        page = numbering.first
        pages = in_order(lambda number: self._numbered(numbering, number), numbers, lambda: self.in_flight)
        for number, page in zip(numbers, pages, strict=True):
            self._place = self._place_after(page, numbering, number)
            yield page
        if numbers and page.link and self._tally.distinct < total:
            yield from self._linked_pages(page, SLACK_PAGES)

    def _linked_pages(self, page: Page, most: int) -> Iterator[Page]:
        """The pages after `page`, each found by the link or the cursor of the one before."""
        steps: set[int] = set()
        for _ in range(most):
            step = page.link or page.cursor
            if not step:
                return
            if hash(step) in steps:
                raise WalkBroken(self._resource, "what it calls its next page has been read already.")
            steps.add(hash(step))
            page = self._step(step)
            self._place = {"next": relative(step)} if (step := page.link or page.cursor) else None
            yield page
        raise WalkBroken(self._resource, f"it has not ended after {most:,} more pages.")

    def _step(self, step: str) -> Page:
        """The page behind a link or a cursor."""
        try:
            link = "/" in step or "?" in step
            return self._read(step) if link else self._read("", self._sizes | {"cursor": step})
        except NotFound:
            raise WalkBroken(self._resource, "what it calls its next page is not there (HTTP 404).") from None

    def _pages_to_an_empty_one(self, numbering: Numbering, after: int = 1) -> Iterator[Page]:
        """The pages after that one of a list that says neither how much it has nor what follows."""
        for number in range(after + 1, CHAIN_PAGES):
            page = self._numbered(numbering, number)
            if not page.items or (number == 2 and self._is_all(numbering.first, page)):
                return
            self._place = {"page": number + 1}
            yield page
        raise WalkBroken(self._resource, f"it has not ended after {CHAIN_PAGES:,} pages.")

    def _is_all(self, first: Page, second: Page) -> bool:
        """Whether a second page that repeats the first one means that the first was the whole list.

        It was if it is not as long as a page, for then the list is not paged at all. If it is, a server that leaves
        the word for what follows out at the end would have used it on a shorter page.
        """
        if [item.get("id") for item in first.items] != [item.get("id") for item in second.items]:
            return False
        if len(first.items) != self._page_size:
            return True
        shorter = self._page_size - 1
        page = self._read("", {"page_size": shorter, "limit": shorter, "page": 1})
        return len(page.items) == shorter and bool(page.link or page.cursor)

    def _numbered(self, numbering: Numbering, number: int) -> Page:
        """The n-th page, counted from 1; an empty one where there is none."""
        try:
            page = self._read(*numbering.address(number))
        except NotFound:
            return Page([], total=None)
        self._refuse_step_back(numbering, page, number)
        return page

    def _read(self, path: str, params: Params | None = None) -> Page:
        """One page with its link absolute; asked for once more when it is empty though there should be objects."""
        for _ in range(2):
            answer = self._answer(path, params or {})
            page = read_page(answer.body, what=f"the list of {self._resource} ({urlsplit(answer.url).path})")
            if page.link:
                link = self._client.own_url(joined(answer.url, page.link), what=f"the next page of {self._resource}")
                page = replace(page, link=link)
            if page.items or not (page.link or page.cursor or page.total):
                break
        if answer.validator:
            page = replace(page, read_as=(relative(path), dict(params or {}), answer.validator))
        return page

    def _answer(self, path: str, params: Params) -> Answer:
        if self._first and not path and params.get("page") == 1:
            answer, self._first = self._first, None
            return answer
        return self._client.get(path, params, resource=self._resource)

    def _refuse_step_back(self, numbering: Numbering, page: Page, number: int) -> None:
        if numbering.steps_back(page, number):
            raise WalkBroken(self._resource, f"page {number:,} calls one its next that does not come after it.")


def in_order(
    call: Callable[[In], Out], arguments: Iterable[In], in_flight: int | Callable[[], int] = 4
) -> Iterator[Out]:
    """Make calls in threads, a few at once; the results come in the order of the arguments.

    `in_flight` is how many, or says so before each one. An error, or a consumer that stops, ends it at once: calls that
    are under way then are not waited for, since they may be sitting out a limit.
    """
    pool: ThreadPoolExecutor | None = None
    window: deque[Future[Out]] = deque()
    try:
        for argument in arguments:
            width = in_flight if isinstance(in_flight, int) else in_flight()
            if width == 1 and not window:
                yield call(argument)
                continue
            pool = pool or ThreadPoolExecutor(width, thread_name_prefix="pages")
            window.append(pool.submit(call, argument))
            while len(window) > width:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)
