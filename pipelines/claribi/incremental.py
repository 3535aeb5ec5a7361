"""How far the list of reports is read tonight, and what is remembered for the next night.

No list can be asked for what changed since a date. But a list in the order of creation can be left once it reaches what
is known: a finished report does not change, but for edits, which are caught for three days after a report was made, and
by the full sweep of every seventh day. Reports that were not finished when they were last seen are followed one by one.

The mark is clariBI's own time at the beginning of the last run that had read everything newer: whatever was created
before it is held, but for the rest. The rest is what a run that ended early has left unread; the next runs go on there.
Our clock does not count, so it may be wrong.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from typing import Any

from pipelines.claribi.changes import Span
from pipelines.claribi.known import Known
from pipelines.claribi.numbering import Place, Shape
from pipelines.claribi.run import Run
from pipelines.claribi.schema import Table, family
from pipelines.claribi.tally import moment
from pipelines.claribi.walk import Walk, WalkedPage

OVERLAP = timedelta(days=3)
"""How long after its creation a report is read again each night: edits come early, and clocks differ."""

OPEN = frozenset({"pending", "generating"})
"""A report in one of these states is still being made."""

PAGES_KEPT = 5
"""How many pages are remembered to be asked for, next time, on condition that they have changed."""


@dataclass
class Leg:
    """A walk, or a part of one: how far it is to go, and how far it has come."""

    walk: Walk
    known_before: datetime | None = None
    """Objects created before this moment, UTC, are read until a page of them is known; None: all are read."""
    place: Place | None = None
    """Where a later run goes on: where this one began, then what the last page says."""
    reached: bool = False
    """Whether it came to what is known."""
    ended: bool = False
    """Whether it came to the end of the list."""
    resumed: bool = False
    """Whether it began where an earlier run had stopped: then it proves nothing."""
    attempt: int = 0
    """Of the walk; each one begins the list anew."""
    until: float | None = None
    """Where the run that stopped had come to, seconds since 1970; None at the newest end."""
    since: float | None = None
    """When the last object that was met was created, seconds since 1970; None where nothing was met."""

    @cached_property
    def pages(self) -> Iterator[WalkedPage]:
        """The pages of the walk; each is read once, whoever asks."""
        return iter(self.walk)

    @property
    def done(self) -> bool:
        """Whether nothing is left to be read."""
        return self.reached or self.ended

    def begins_anew(self, page: WalkedPage) -> bool:
        """Whether the list is read from its beginning with this page, which may not be the first time."""
        before, self.attempt = self.attempt, page.attempt
        return page.attempt != before and not self.resumed

    def take(self, page: WalkedPage) -> None:
        """Note how far the leg has come."""
        self.place = page.place
        moments = [at for item in page.items if (at := moment(item.get("created_at"))) is not None]
        self.since = min(moments, default=self.since)

    @property
    def span(self) -> Span | None:
        """Between which moments all that there is was met, UTC; None where the order says nothing of it."""
        if not self.walk.falls or self.since is None or (self.resumed and self.until is None):
            return None
        since = None if self.ended else datetime.fromtimestamp(self.since, UTC)
        return since, None if self.until is None else datetime.fromtimestamp(self.until, UTC)


class Course:
    """What one run reads of a list that grows for ever; of any other list it is everything.

    `top` is read first: from the newest object to what is known, or the whole list where it cannot be left early. A
    `rest` that an earlier run has left is read after it. A sweep goes on with the top to the end of the list.
    """

    def __init__(self, run: Run, table: Table) -> None:
        self._run, self._table = run, table
        self._memory: dict[str, Any] = dict(run.state.get(table.name, {})) if table.final_statuses else {}
        mark, self._wanted = self._memory.get("mark"), wanted(run, table)
        self._shape = Shape.from_state(self._memory.get("shape"))
        anew = run.sweep or run.allow_shrink or run.switched or self._wanted != self._memory.get("wanted")
        self._rest: dict[str, Any] | None = None if anew else self._memory.get("rest")
        self.early = bool(mark and self._shape and self._shape.leads_to_the_newest)
        """Whether the top ends where it reaches what is known."""
        self.sweep_due = self.early and (anew or (self._rest is None and self._sweep_is_due()))
        self.details_first = not self.early and self._memory.get("spent_on") == "list"
        """Whether the last run was spent on a list that cannot be left early: then this one owes the details."""
        self._known: Known | None = None
        self._open: set[str] = set(self._memory.get("open", []))
        self.unasked: list[str] = self._memory.get("unasked", [])
        """Ids of objects that a part of the list did not have, and that there were no calls left to ask for."""
        self._followed = frozenset(self._open)
        self._met: set[str] = set()
        self.top = self._first_leg(mark)
        self.rest = self._second_leg()

    @property
    def rest_is_new(self) -> bool:
        """Whether what was left unread was never read before, and not just to be read again by a sweep."""
        return self._rest is not None and not self._rest["sweep"]

    def _first_leg(self, mark: str | None) -> Leg:
        client, name = self._run.client, self._table.name
        if self.early and mark:
            # One page at a time: the next one may not be needed. What is unfinished has to be looked at in any case.
            pages = [] if self.sweep_due or self._open else self._memory.get("pages", [])
            remembered = [(path, params, validator) for path, params, validator in pages]
            walk = Walk(client, name, shape=self._shape, newest_first=True, in_flight=1, remembered=remembered)
            return Leg(walk, datetime.fromisoformat(mark) - OVERLAP)
        if self._rest:
            place = self._rest["place"]
            return Leg(Walk(client, name, shape=self._shape, start=place), place=place, resumed=True)
        return Leg(Walk(client, name))

    def _second_leg(self) -> Leg | None:
        if not (self._rest and self.early):
            return None
        place, known = self._rest["place"], self._rest.get("known_before")
        walk = Walk(self._run.client, self._table.name, shape=self._shape, newest_first=True, start=place)
        border = datetime.fromisoformat(known) if known else None
        return Leg(walk, border, place, resumed=True, until=self._rest.get("read_to"))

    def begin_sweep(self) -> None:
        """Let the top go on to the end of the list."""
        self.top.known_before, self.top.reached = None, False
        self.top.walk.in_flight = 4

    def reached(self, items: Collection[Mapping[str, Any]], leg: Leg) -> bool:
        """Take a page in, and say whether nothing new can follow it.

        That is so when the page reaches back to before the overlap, and everything on it that is so old is held in the
        status that it has: what is final stays so, what is not is followed by its id. Only a list that had the newest
        objects first on all of its pages can say so.
        """
        self.meet(items)
        if leg.known_before is None or not leg.walk.falls:
            return False
        border = leg.known_before.timestamp()
        old = [item for item in items if (at := moment(item.get("created_at"))) is not None and at < border]
        if not old:
            return False
        self._known = self._known or Known(self._run.held, self._table.name)
        return self._known.has_all(old)

    def meet(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Note which of these objects are still being made."""
        for item in items if self._table.final_statuses else ():
            one = str(item["id"])
            (self._open.add if item.get("status") in OPEN else self._open.discard)(one)
            if one in self._followed:
                self._met.add(one)

    def forget(self, gone: Iterable[str]) -> None:
        """These objects are no longer there."""
        self._open.difference_update(gone)

    @property
    def unmet(self) -> list[str]:
        """Ids of objects to be asked for: unfinished ones that no list that was read has, and what may be gone."""
        return list(dict.fromkeys([*sorted(self._open & self._followed - self._met), *self.unasked]))

    def remember(self, *, proven: bool, held_back: bool) -> None:
        """Keep what the next night needs; the mark and the rest move only over what was loaded.

        `proven` says that the whole list was read in this run, `held_back` that something of it could not be loaded.
        """
        if not self._table.final_statuses:
            return
        memory = self._memory | {"open": sorted(self._open), "unasked": self.unasked}
        now = self._run.now.isoformat(timespec="seconds")
        memory["spent_on"] = (
            ("list" if self.top.place and not self.top.done else "details") if self._run.stopped else None
        )
        if not held_back:
            rest = self._left_unread()
            memory["rest"] = rest
            if self._holds_the_newest(rest):
                memory["mark"] = now
            if self.top.walk.shape and not self.top.walk.unchanged:
                memory["shape"] = self.top.walk.shape.to_state()
                pages = self.top.walk.pages_read if self.top.done else []
                memory["pages"] = pages if 0 < len(pages) <= PAGES_KEPT else None
            if proven or (rest is None and self._ended_a_rest):
                memory["swept_at"] = now
            if proven or rest or (self.top.done and not self.early):
                memory["wanted"] = self._wanted
        self._run.state[self._table.name] = {name: value for name, value in memory.items() if value is not None}

    def _left_unread(self) -> dict[str, Any] | None:
        """What the next runs are to go on with; None when nothing is left."""
        top, rest = self.top, self.rest
        if not top.done:
            known = top.known_before.isoformat() if top.known_before and not self._rest else None
            sweep = self.early and top.known_before is None
            left = {"place": top.place, "read_to": top.since, "known_before": known, "sweep": sweep}
            return left if top.place else self._rest
        if self._rest and rest and not rest.done:
            return self._rest | {"place": rest.place, "read_to": rest.since or rest.until}
        return None

    def _holds_the_newest(self, rest: dict[str, Any] | None) -> bool:
        """Whether whatever is newer than the rest was read."""
        if self.top.done:
            return self.top.reached or self.top.resumed or self.top.walk.proof.complete
        return bool(rest and self.top.since is not None and self.top.walk.falls and not self.top.resumed)

    @property
    def _ended_a_rest(self) -> bool:
        """Whether a list that took several runs has been read to its end."""
        leg = self.rest or self.top
        return leg.resumed and leg.ended

    def _sweep_is_due(self) -> bool:
        swept = self._memory.get("swept_at")
        if swept is None:
            return True
        days = (self._run.now.date() - datetime.fromisoformat(swept).astimezone(UTC).date()).days
        return days >= self._run.settings.sweep_days


def wanted(run: Run, table: Table) -> str:
    """Which columns the destination takes, as a short word: where it is told to take more, old rows lack them."""
    columns = {one.name: run.held.takes(one.name) for one in family(table)}
    told = sorted((name, "all" if taken is None else ",".join(sorted(taken))) for name, taken in columns.items())
    return blake2b(repr(told).encode(), digest_size=4).hexdigest()
