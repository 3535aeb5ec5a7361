"""Where in a list the objects of a window are, without reading what comes before them.

Ranks count from the oldest object, which has rank 1: new objects, which come all the time, move no rank.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pipelines.claribi.client import Client
from pipelines.claribi.errors import WalkBroken
from pipelines.claribi.numbering import Place, Shape
from pipelines.claribi.tally import moment
from pipelines.claribi.walk import Walk, WalkedPage
from pipelines.claribi.windows import INSTANT

Items = list[dict[str, Any]]


class OutOfOrder(Exception):
    """A list that seemed to be in the order of creation is not."""


class Sight(NamedTuple):
    """A page that was looked at; its objects have the newest first."""

    page: WalkedPage
    below: int
    """Rank of the newest object after it; 0 at the list's end."""
    walk: Walk
    rest: Iterator[WalkedPage]
    """The pages after it, which are not read yet."""

    @property
    def above(self) -> int:
        """Rank of its newest object."""
        return self.below + len(self.page.items)

    @property
    def moments(self) -> list[datetime]:
        """When its objects were created, newest first."""
        return [at for item in self.page.items if (at := created(item)) is not None]

    def before(self, until: datetime) -> int:
        """Rank of the newest object that was created before a moment; for the page on which that one is."""
        return self.below + sum(at < until for at in self.moments)


class Timeline:
    """A list in the order of creation of which any page can be asked for."""

    def __init__(self, client: Client, resource: str, shape: Shape, newest: WalkedPage | None = None) -> None:
        """`newest` is the page with the newest objects, where it has been read already."""
        self._client, self._resource, self._shape, self._newest = client, resource, shape, newest
        self._seen: dict[str, int] = {}

    @classmethod
    def fits(cls, shape: Shape) -> bool:
        """Whether a list is one."""
        numbered = shape.numbered and shape.rows > 0 and shape.total is not None
        return numbered and (shape.order == "newest" or shape.reversible)

    def pages(self, until: datetime, near: int | None = None, in_flight: int = 1) -> Iterator[tuple[Items, int]]:
        """The objects that were created before a moment, page by page, and for each page the rank `below` it.

        The first page may begin with newer ones. `near` is the rank below an object that is about there.
        """
        sight = self.seek(until, near)
        while sight:
            yield sight.page.items, sight.below
            reached, below, again = sight.moments[-1], sight.below, False
            sight.walk.in_flight = in_flight
            for page in sight.rest:
                again = self._has_slipped(sight.walk)
                if again:
                    break
                sight = self._sight(page, sight.walk, sight.rest)
                if sight.above < below:
                    raise WalkBroken(self._resource, "a page in its middle lacks objects.")
                yield page.items, sight.below
                reached, below = sight.moments[-1], sight.below
            sight = self.seek(reached + INSTANT, below) if again else None

    def seek(self, until: datetime, near: int | None = None) -> Sight | None:
        """The page on which the objects begin that were created before a moment; None where there are none.

        With `near` it takes a call or two, else one for each halving of the list. Raises `OutOfOrder`.
        """
        inside: Sight | None = None
        sight = self._look(None if near is None else near + 1)
        low, high = 0, self._total
        while True:
            moments = sight.moments
            if moments[-1] >= until:
                high = sight.below
            elif moments[0] >= until or sight.above >= self._total:
                return sight
            else:
                low, inside = sight.above, sight
            if low >= high:
                return inside
            beside = low + 1 if inside else high
            near, rank = None, (low + high) // 2 + 1 if near is None else beside
            sight = self._look(rank)

    @property
    def rows(self) -> int:
        """Objects on a page."""
        return self._shape.rows

    @property
    def _total(self) -> int:
        return self._shape.total or 0

    def _look(self, rank: int | None) -> Sight:
        """The page that has the object of a rank; None: the newest of all."""
        place = None
        if rank is not None:
            rows = self._shape.rows
            place = {"left": rank if self._shape.order == "newest" else -(-rank // rows) * rows}
        walk = self._walk(place)
        pages = iter(walk)
        page = (self._newest if place is None else None) or next(pages, None)
        if page is None:
            raise OutOfOrder
        self._has_slipped(walk)
        self._newest = page if place is None else self._newest
        if place is None and page.place:  # or it would begin anew when the list moves
            walk = self._walk(page.place)
            pages = iter(walk)
        sight = self._sight(page, walk, pages)
        first = str(page.items[0].get("id"))
        if abs(self._seen.setdefault(first, sight.above) - sight.above) >= self._shape.rows:
            raise WalkBroken(self._resource, "the same objects come wherever it is asked.")
        return sight

    def _sight(self, page: WalkedPage, walk: Walk, rest: Iterator[WalkedPage]) -> Sight:
        if page.place is not None and "left" not in page.place:
            raise OutOfOrder
        sight = Sight(page, page.place["left"] if page.place else 0, walk, rest)
        if not sight.moments or sight.moments != sorted(sight.moments, reverse=True):
            raise OutOfOrder
        return sight

    def _has_slipped(self, walk: Walk) -> bool:
        """Whether objects may have moved over to pages that have been read: newer ones have gone."""
        before, now = self._total, walk.shape.total if walk.shape else None
        if now is None:
            return False
        self._shape = replace(self._shape, total=now)
        return now < before and self._shape.order == "newest"

    def _walk(self, place: Place | None) -> Walk:
        return Walk(self._client, self._resource, shape=self._shape, newest_first=True, start=place, in_flight=1)


def created(item: Mapping[str, Any]) -> datetime | None:
    """When an object was created, UTC; None where it does not say."""
    at = moment(item.get("created_at"))
    return None if at is None else datetime.fromtimestamp(at, UTC)
