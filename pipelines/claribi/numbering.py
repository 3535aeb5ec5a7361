"""How the pages of a list are found: by number, by position, by link; and what is remembered of it. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pipelines.claribi.dialect import Page
from pipelines.claribi.tally import Order

Place = dict[str, Any]
"""Where a walk goes on, as the state keeps it: `left`, the number of objects that it has still before it; `page`, the
number of the next page; or `next`, the link or cursor of the next page."""

Remembered = tuple[str, dict[str, Any], str]
"""One page of an earlier walk: its path, its parameters, and its answer's validator."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a walk learned of a list that helps the next one to begin at its newest end."""

    order: Order
    total: int | None
    rows: int
    """Objects on a page."""
    numbered: bool
    """Whether the n-th page can be asked for without having read the one before it."""
    echoes: bool
    """Whether a page may begin at any object: the answers repeat the offset."""

    @property
    def reversible(self) -> bool:
        """Whether the list has the oldest objects first, more than a page of them, and can be read from its end."""
        return self.order == "oldest" and self.numbered and self.rows > 0 and (self.total or 0) > self.rows

    @property
    def leads_to_the_newest(self) -> bool:
        """Whether a walk can begin with the newest objects; a list of one moment may turn out to be like that."""
        return self.order in ("newest", "unknown") or self.reversible

    def to_state(self) -> dict[str, Any]:
        """What is remembered from run to run."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None) -> Self | None:
        """The shape that `to_state` put down."""
        return cls(**state) if state else None


class Numbering:
    """How the pages of a list are numbered, learned from its first one."""

    def __init__(self, first: Page, sizes: Mapping[str, str | int], rows: int) -> None:
        self.first, self._sizes, self.rows = first, sizes, rows
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
        told = [int(query[name]) <= places[name] for name in places.keys() & query if query[name].isdecimal()]
        return bool(told) and all(told)  # a link may repeat what was asked for beside the number that it counts by

    def _offset(self, number: int) -> int:
        """Of the n-th page; a server may give fewer objects a page than it was asked for."""
        return (number - 1) * self.rows


def turned(page: Page, rows: int) -> Page:
    """The page with its first so many objects the other way round."""
    return replace(page, items=page.items[:rows][::-1])


def relative(link: str) -> str:
    """A link without its origin, so that it may be kept; a cursor stays as it is."""
    parts = urlsplit(link)
    return urlunsplit(("", "", *parts[2:])) if parts.netloc else link
