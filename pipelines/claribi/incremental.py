"""How far the list of reports is read tonight, and what is remembered for the next night.

No list can be asked for what changed since a date. But a list in the order of creation can be left once it reaches what
is known: a finished report does not change, but for edits, which are caught for three days after a report was made, and
by the full sweep of every seventh day. Reports that were not finished when they were last seen are followed one by one.

The mark is clariBI's own time at the beginning of the last run that read everything it meant to: whatever was created
before it is held. Our clock does not count, so it may be wrong.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from pipelines.claribi.known import Known
from pipelines.claribi.numbering import Shape
from pipelines.claribi.run import Run
from pipelines.claribi.schema import Table, family
from pipelines.claribi.tally import moment
from pipelines.claribi.walk import Walk

OVERLAP = timedelta(days=3)
"""How long after its creation a report is read again each night: edits come early, and clocks differ."""

OPEN = frozenset({"pending", "generating"})
"""A report in one of these states is still being made."""


class Course:
    """What one run reads of a list that grows for ever; of any other list it is everything."""

    def __init__(self, run: Run, table: Table) -> None:
        self._run, self._table = run, table
        self._memory: dict[str, Any] = dict(run.state.get(table.name, {})) if table.final_statuses else {}
        mark, self._wanted = self._memory.get("mark"), wanted(run, table)
        self._shape = Shape.from_state(self._memory.get("shape"))
        whole = run.sweep or run.allow_shrink or run.switched or self._wanted != self._memory.get("wanted")
        fit = bool(mark and self._shape and self._shape.leads_to_the_newest)
        self.early = fit and not whole and not self._sweep_is_due()
        """Whether the walk ends where it reaches what is known."""
        self.known_before = datetime.fromisoformat(mark) - OVERLAP if mark and self.early else None
        """Reports created before this moment, UTC, are read until a page of them is known; None: all are read."""
        self._known: Known | None = None
        self._open: set[str] = set(self._memory.get("open", []))
        self._met: set[str] = set()

    def walk(self) -> Walk:
        """The walk over the list, begun where it is to begin."""
        if not self.early:
            return Walk(self._run.client, self._table.name)
        # One page at a time: the next one may not be needed.
        return Walk(self._run.client, self._table.name, shape=self._shape, newest_first=True, in_flight=1)

    def reached(self, items: Collection[Mapping[str, Any]], walk: Walk) -> bool:
        """Take a page in, and say whether nothing new can follow it.

        That is so when the page reaches back to before the overlap, and everything on it that is so old is held in the
        status that it has: what is final stays so, what is not is followed by its id. Only a list that had the newest
        objects first on all of its pages can say so.
        """
        self.meet(items)
        if self.known_before is None or not walk.falls:
            return False
        border = self.known_before.timestamp()
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
            if self.early:
                self._met.add(one)

    def forget(self, gone: Iterable[str]) -> None:
        """These objects are no longer there."""
        self._open.difference_update(gone)

    @property
    def unmet(self) -> list[str]:
        """Ids of unfinished objects that the part which was read does not have."""
        return sorted(self._open - self._met) if self.early else []

    def remember(self, walk: Walk, *, proven: bool, left_early: bool) -> None:
        """Keep what the next night needs; the mark moves only when this one has read all that it meant to."""
        if not self._table.final_statuses:
            return
        memory = self._memory | {"open": sorted(self._open)}
        if (proven or left_early) and not self._run.stopped:
            memory["mark"] = self._run.now.isoformat(timespec="seconds")
            memory["wanted"] = self._wanted
            memory["shape"] = walk.shape.to_state() if walk.shape else None
        if proven and not self._run.stopped:
            memory["swept_at"] = self._run.now.isoformat(timespec="seconds")
        self._run.state[self._table.name] = memory

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
