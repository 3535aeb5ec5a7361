"""What a walk has seen so far, judged page by page. Pure: nothing is called."""

from array import array
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from pipelines.claribi.dialect import Page
from pipelines.claribi.errors import WalkBroken

Order = Literal["newest", "oldest", "none", "unknown"]
"""Which objects come first by `created_at`; unknown where too few differ to tell."""

EMPTY_PAGES = 3
"""How many empty pages a walk goes past while more should follow."""


class Tally:
    """Counts one attempt at a list.

    Ids are kept as 64-bit hashes, eight bytes each: two of a million ids share one with a chance of 1 in 37 million.
    """

    def __init__(self, resource: str) -> None:
        self.pages = 0
        self.total: int | None = None
        """How many objects the list says it has; None where it does not, or where it counts a page."""
        self.moved = False
        """Whether that number changed."""
        self.ended = False
        """Whether the walk came to the end of the list; for the walk to say."""
        self._resource = resource
        self._ids = array("q")
        self._seen_pages: set[int] = set()
        self._gaps = 0
        self._last: float | None = None
        self._rises = self._falls = False

    def add(self, page: Page) -> None:
        """Take a page in; raises `WalkBroken` for one that came before, for too many empty ones, for a missing id."""
        ids = [self._id(item) for item in page.items]
        self.pages += 1
        self._take_total(page)
        if ids:
            self._refuse_repeated(hash(tuple(ids)))
        elif page.link or page.cursor or len(self._ids) < (self.total or 0):
            self._take_gap()
        self._ids.extend(map(hash, ids))
        self._take_order(page.items)

    @property
    def distinct(self) -> int:
        """How many different ids came."""
        ids = np.sort(np.frombuffer(self._ids, dtype=np.int64))  # np.unique takes three times the memory
        return int(ids.size and 1 + np.count_nonzero(ids[1:] != ids[:-1]))

    @property
    def order(self) -> Order:
        """How the list is ordered, as far as it was read."""
        if self._rises and self._falls:
            return "none"
        if self._falls:
            return "newest"
        return "oldest" if self._rises else "unknown"

    def problem(self) -> str:
        """Why the list is not proven to be whole; empty when it is."""
        if self.moved:
            return f"its total moved to {self.total:,} while it was read."
        if not self.ended:
            return "it was not read to its end."
        if self.total is not None and (distinct := self.distinct) != self.total:
            return f"{distinct:,} different ids came, but it says that it has {self.total:,}."
        if self.total is None and self._gaps:
            return "a page in its middle stayed empty."
        return ""

    def _id(self, item: dict[str, Any]) -> str:
        found = item.get("id")
        if isinstance(found, str) and found:
            return found
        if type(found) is int:
            return str(found)
        raise WalkBroken(self._resource, f"an object has no id; its fields are {', '.join(list(item)[:20]) or 'none'}.")

    def _take_total(self, page: Page) -> None:
        if self.pages == 1:
            counts_page = (page.link or page.cursor) and page.total is not None and page.total <= len(page.items)
            self.total = None if counts_page else page.total
        elif None not in (self.total, page.total) and page.total != self.total:
            self.total, self.moved = page.total, True

    def _refuse_repeated(self, page: int) -> None:
        if page in self._seen_pages and not self.moved:
            raise WalkBroken(
                self._resource, f"page {self.pages} holds the same objects as one before it, as if none was asked for."
            )
        self._seen_pages.add(page)

    def _take_gap(self) -> None:
        self._gaps += 1
        if self._gaps > EMPTY_PAGES:
            raise WalkBroken(self._resource, f"{self._gaps} of its pages were empty though more should follow.")

    def _take_order(self, items: list[dict[str, Any]]) -> None:
        for item in items if not (self._rises and self._falls) else []:
            at = moment(item.get("created_at"))
            if at is not None and self._last is not None:
                self._rises |= at > self._last
                self._falls |= at < self._last
            self._last = at if at is not None else self._last


def moment(value: object) -> float | None:
    """Seconds since 1970 of an ISO time or of a number; without a zone it is UTC. None for anything else."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
