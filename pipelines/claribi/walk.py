"""Which pages of a list to ask for, and the proof that all of it was read.

clariBI documents neither an order nor a snapshot: rows that come and go while pages are turned make others appear
twice or not at all. So a walk counts. It is proven when the different ids are as many as the list says it has, and
that number did not move; where a list tells no number, when it comes to an end and no page repeats. What no count can
see: a row that goes from the part already read while another comes in the part still to be read. The row that slipped
by between them comes with the next walk.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pipelines.claribi.client import Client, Params
from pipelines.claribi.dialect import Page, read_page
from pipelines.claribi.errors import NotFound, WalkBroken
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
    """Objects in the order of the list.

    A higher attempt begins the walk anew. When the last attempt is proven, the objects of earlier ones are to be
    dropped; when it is not, all are to be kept, of each the one that came last.
    """

    items: list[dict[str, Any]]
    attempt: int


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


class Walk:
    """One walk over the whole list of a resource: iterate it once, then ask for its `proof`.

    Raises `WalkBroken` when pages repeat or do not end, and whatever `Client.get` raises. What was yielded by then
    is good, but nothing is proven.
    """

    def __init__(self, client: Client, resource: str, *, page_size: int = 100, in_flight: int = 4) -> None:
        self._client, self._resource, self._in_flight = client, resource, in_flight
        self._page_size = page_size
        self._sizes: dict[str, str | int] = {"page_size": page_size, "limit": page_size}
        self._tally = Tally(resource)
        self._attempt = 1

    @property
    def proof(self) -> Proof:
        """What can be said by now."""
        tally = self._tally
        problem = tally.problem()
        return Proof(
            self._resource,
            tally.pages,
            tally.order,
            complete=not problem,
            rewalked=self._attempt - 1,
            total=tally.total,
            distinct=tally.distinct,
            note=problem,
        )

    def __iter__(self) -> Iterator[WalkedPage]:
        """Read the list, and again while it moves; at most `ATTEMPTS` times."""
        before = None
        for attempt in range(1, ATTEMPTS + 1):
            self._attempt, self._tally = attempt, Tally(self._resource)
            with closing(self._pages()) as pages:
                for page in pages:
                    self._tally.add(page)
                    if page.items:
                        yield WalkedPage(page.items, attempt)
                    if self._tally.moved and attempt < ATTEMPTS:
                        break
                else:
                    self._tally.ended = True
            came = (self._tally.total, self._tally.distinct)
            if not self._tally.problem() or (self._tally.ended and came == before):
                return  # proven, or so much at rest that a further attempt would only say the same
            before = came

    def _pages(self) -> Generator[Page]:
        """All pages of one attempt, in their order; each has been taken into the tally when the next is asked for."""
        began = time.perf_counter()
        first = self._read("", self._sizes | {"page": 1})
        in_flight = 1 if time.perf_counter() - began < QUICK_S else self._in_flight
        numbering = Numbering(first, self._sizes)
        self._refuse_step_back(numbering, first, 1)
        yield first
        total, size = self._tally.total, len(first.items)
        if total and not size:
            raise WalkBroken(self._resource, f"it says that it has {total:,} objects, but its first page is empty.")
        if total and numbering.works:
            yield from self._numbered_pages(numbering, total, in_flight)
        elif first.link or first.cursor:
            yield from self._linked_pages(first, 2 * -(-total // size) + SLACK_PAGES if total else CHAIN_PAGES)
        elif total is None and first.items and not first.ends:
            yield from self._pages_to_an_empty_one(numbering)

    def _numbered_pages(self, numbering: "Numbering", total: int, in_flight: int) -> Iterator[Page]:
        """The pages after the first that a known total accounts for."""
        page = numbering.first
        numbers = range(2, -(-total // len(page.items)) + 1)
        for page in in_order(lambda number: self._numbered(numbering, number), numbers, in_flight):
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
            try:
                page = self._read(page.link) if page.link else self._read("", self._sizes | {"cursor": step})
            except NotFound:
                raise WalkBroken(self._resource, "what it calls its next page is not there (HTTP 404).") from None
            yield page
        raise WalkBroken(self._resource, f"it has not ended after {most:,} more pages.")

    def _pages_to_an_empty_one(self, numbering: "Numbering") -> Iterator[Page]:
        """The pages after the first of a list that says neither how much it has nor what follows."""
        for number in range(2, CHAIN_PAGES):
            page = self._numbered(numbering, number)
            if not page.items or (number == 2 and self._is_all(numbering.first, page)):
                return
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

    def _numbered(self, numbering: "Numbering", number: int) -> Page:
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
            answer = self._client.get(path, params, resource=self._resource)
            page = read_page(answer.body, what=f"the list of {self._resource} ({urlsplit(answer.url).path})")
            if page.link:
                link = self._client.own_url(joined(answer.url, page.link), what=f"the next page of {self._resource}")
                page = replace(page, link=link)
            if page.items or not (page.link or page.cursor or page.total):
                break
        return page

    def _refuse_step_back(self, numbering: "Numbering", page: Page, number: int) -> None:
        if numbering.steps_back(page, number):
            raise WalkBroken(self._resource, f"page {number:,} calls one its next that does not come after it.")


class Numbering:
    """How the pages of a list are numbered, learned from its first one."""

    def __init__(self, first: Page, sizes: Mapping[str, str | int]) -> None:
        self.first, self._sizes = first, sizes
        self._query = dict(parse_qsl(urlsplit(first.link or "").query))
        self.works = first.cursor is None and (
            first.link is None or not self._query.keys().isdisjoint(("page", "offset"))
        )
        """Whether the n-th page can be asked for without having read the one before it."""

    def address(self, number: int) -> tuple[str, dict[str, str | int]]:
        """Where the n-th page is: as the list's own link has it, else in every documented way."""
        places = {"page": number, "offset": self._offset(number)}
        if self.first.link:
            path = self.first.link.partition("?")[0]
            return path, {name: places.get(name, value) for name, value in self._query.items()}
        if self.first.offset is not None:
            del places["page"]
        return "", {**self._sizes, **places}

    def steps_back(self, page: Page, number: int) -> bool:
        """Whether what the n-th page calls its next is that page itself, or one before it."""
        query = dict(parse_qsl(urlsplit(page.link or "").query))
        places = {"page": number, "offset": self._offset(number)}
        return any(query[name].isdecimal() and int(query[name]) <= places[name] for name in places.keys() & query)

    def _offset(self, number: int) -> int:
        """Of the n-th page; a server may give fewer objects a page than it was asked for."""
        return (number - 1) * len(self.first.items)


def in_order(call: Callable[[In], Out], arguments: Iterable[In], in_flight: int = 4) -> Iterator[Out]:
    """Make calls in threads, a few at once; the results come in the order of the arguments.

    An error, or a consumer that stops, ends it at once: calls that are under way then are not waited for, since they
    may be sitting out a limit.
    """
    if in_flight == 1:
        yield from map(call, arguments)
        return
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="pages")
    window: deque[Future[Out]] = deque()
    try:
        for argument in arguments:
            window.append(pool.submit(call, argument))
            if len(window) > in_flight:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
