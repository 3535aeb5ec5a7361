"""Tables of many objects: walk the list, ask for details, compare with the destination, yield what is new or gone.

In phases, so that a small budget of calls still yields what matters most: `Reading` lets every table have its list
before any has its details, and what is looked at only to find old edits and deletions comes last.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.claribi.changes import Comparison
from pipelines.claribi.deletions import Missing, ask, look_for_missing, may_vanish
from pipelines.claribi.errors import NotFound, Paused, WalkUnproven
from pipelines.claribi.frames import normalise, with_detail
from pipelines.claribi.incremental import OPEN, Course, Leg
from pipelines.claribi.rows import deleted, emptied, laid_over, read_whole, to_batch
from pipelines.claribi.run import Counts, Run
from pipelines.claribi.schema import DETAIL_READ, Table
from pipelines.claribi.shelf import Batch, Shelf, take
from pipelines.claribi.walk import in_order

FRAME_ROWS = 2_000
"""Objects in one frame: many more fall out of the processor's cache before they are looked at, a page is too few."""

ITEMS = "_items"
"""On the shelf beside the tables: the list's own words for each object, to lay the detail over."""


class Objects:
    """One list: what was read of it, and what the destination has to take.

    The calls are made by `read_list`, `read_details`, `refresh` and `sweep`, in this order; `batches` makes none.
    """

    def __init__(self, run: Run, table: Table, shelves: ExitStack) -> None:
        self.run, self.table = run, table
        self.course = Course(run, table)
        self.carried = True
        """Whether the list carries all there is to know of each object, so that no detail is asked for."""
        self._begun = self._proven = self._held_back = False
        self._details = run.settings.details
        by_day = [child.by_day for child in table.children if child.by_day]
        self._parents = {child.name: child.key[0] for child in (*table.children, *by_day)} | {ITEMS: "id"}
        self._compared = [table.name, *(child.name for child in table.children)]
        self._kinds = {name: run.held.kinds(name) for name in (*self._compared, *(child.name for child in by_day))}
        self._listed = shelves.enter_context(Shelf(table.name, self._parents))
        self._asked = shelves.enter_context(Shelf(table.name, self._parents))
        self._closing = shelves
        self._handled: set[str] = set()
        """Ids of the objects that were asked for by their own address; what the list says of them is older."""
        self._not_found: set[str] = set()
        self._gone: list[str] = []
        self._beside: Comparison | None = None

    # Calling

    def read_list(self) -> None:
        """Read the list as far as new objects reach, and see which are missing where that is all of it."""
        if self.course.details_first and self._due():
            return
        with self._because("pages of the list, as far as new objects reach"):
            self._gather(self.course.top)
        if self.course.rest and self.course.rest_is_new and not self.run.stopped:
            with self._because("pages of the list that an earlier run has left unread"):
                self._gather(self.course.rest)
        if self._proven:
            self._take_missing(look_for_missing(self.run, self.table.name, self.beside))

    def read_details(self) -> None:
        """Ask for what the list leaves out of new and changed objects; unfinished ones first, what is owed last."""
        if asked_for := self.course.unmet:
            with self._because("single objects: unfinished when they were last seen, or not where they should be"):
                followed = ask(self.run, self.table.name, [one for one in asked_for if one not in self._handled])
            self._take_missing(followed)
        if self._details == "never":
            return
        with self._because("details of what is new or changed"):
            self._ask_listed()
        if not self.run.stopped:
            due = self._due()
            with self._because("details that an earlier run has left unread"):
                self._ask([{"id": one} for one in due])
            vanished = self._not_found.intersection(due)
            if len(vanished) <= may_vanish(self.beside.alive):
                self._gone += sorted(vanished)

    def refresh(self) -> None:
        """Ask for the details of objects whose list has no stamp that tells of a change, each night anew.

        Where the calls do not reach for all, the next run goes on with those that had no turn.
        """
        stamped = {"updated_at", "last_refresh"} & self._listed.filled.get(self.table.name, set())
        undated = self.table.column("updated_at") is not None and (not stamped or self._details == "always")
        if self.carried or self._details == "never" or not undated:
            return
        items = sorted((item for batch in self._listed.batches() for item in self._items(batch)), key=_id)
        turns = self.run.state.setdefault("asked_until", {})
        last = turns.pop(self.table.name, "")
        items = [item for item in items if _id(item) > last] + [item for item in items if _id(item) <= last]
        with self._because("details whose list does not tell whether they have changed"):
            self._ask(items)
        if self.run.stopped:
            turns[self.table.name] = next((_id(item) for item in reversed(items) if _id(item) in self._handled), last)

    def sweep(self) -> None:
        """Read what is only read again to find old edits and deletions, and what was put off."""
        top, rest = self.course.top, self.course.rest
        if not top.done:
            self.course.details_first = False
            self.read_list()
        elif self.course.sweep_due and not top.ended:
            self.course.begin_sweep()
            self._sweep(top)
        elif rest and not rest.done:
            self._sweep(rest)
        else:
            return
        if not self.run.stopped:
            self.read_details()

    def _sweep(self, leg: Leg) -> None:
        with self._because("pages of the list, read again for old edits and deletions"):
            self._gather(leg)
        if self._proven:
            self._take_missing(look_for_missing(self.run, self.table.name, self.beside))
        elif leg.span and not (leg.ended and leg is self.course.top):  # that one had its proof, and failed it
            self._take_missing(look_for_missing(self.run, self.table.name, self.beside, leg.span))

    @contextmanager
    def _because(self, why: str) -> Iterator[None]:
        """Count the calls of a step for the run report, under the reason for which they are made."""
        before = self.run.calls.by_resource[self.table.name]
        try:
            yield
        finally:
            if made := self.run.calls.by_resource[self.table.name] - before:
                self.run.why.setdefault(self.table.name, Counter())[why] += made

    def _gather(self, leg: Leg) -> None:
        """Put the pages of a walk onto the shelf until they end, or reach what is known."""
        self._beside = None
        try:
            self._shelve_pages(leg)
        except Paused as problem:
            self.run.problems.append(problem)
        before = self.run.walks.get(self.table.name)
        # A part of a list may end as it should and prove nothing of the rest.
        proof = replace(leg.walk.proof, resumed=leg.resumed)
        proof = replace(proof, complete=proof.complete and not (leg.resumed or leg.walk.unchanged))
        if leg is self.course.top:
            self._proven = leg.ended and proof.complete
            if self._proven:
                self._listed.keep_last_attempt()
            elif leg.ended and not leg.resumed:
                self.run.problems.append(WalkUnproven(self.table.name, proof.note))
            proof = replace(proof, known_before=leg.known_before if leg.reached else None)
        elif before:
            proof = replace(before, pages=before.pages + proof.pages, resumed=before.resumed or leg.resumed)
        self.run.walks[self.table.name] = proof

    def _shelve_pages(self, leg: Leg) -> None:
        pending: dict[str, dict[str, Any]] = {}
        seen = 0
        try:
            for page in leg.pages:
                if leg.begins_anew(page):
                    self._shelve(self._listed, pending.values(), whole=self.carried)
                    self._listed.begin_attempt()
                    seen, pending = 0, {}
                if page.items and not self._begun:
                    self.carried = self._carries(page.items) and self._details != "always"
                self._begun = True
                leg.take(page)
                pending |= {_id(item): item for item in page.items}
                seen += len(page.items)
                self.run.on_progress(self.table.name, seen, self.run.calls)
                if len(pending) >= FRAME_ROWS:
                    self._shelve(self._listed, pending.values(), whole=self.carried)
                    pending = {}
                if self.course.reached(page.items, leg) and page.place is not None:
                    leg.reached = True
                    return
            leg.ended, leg.reached, self._begun = not leg.walk.unchanged, leg.walk.unchanged, True
        finally:
            self._shelve(self._listed, pending.values(), whole=self.carried)

    def _take_missing(self, missing: Missing) -> None:
        """Take in what was asked for because no list that was read has it."""
        self.course.meet(missing.alive)
        self.course.forget(missing.gone)
        self.course.unasked = missing.unasked
        self._gone += missing.gone
        self._handled.update(missing.gone, map(_id, missing.alive))
        self._shelve(self._asked, missing.alive, whole=True)

    def _ask_listed(self) -> None:
        """Ask for the details of the objects on the list that are new or changed, and finished."""
        if self.carried:
            return
        for batch in self._listed.batches():
            wanted = self._items(batch, self.beside.sort(batch).either)
            self._ask([item for item in wanted if item.get("status") not in OPEN])
            if self.run.stopped:
                return

    def _ask(self, items: list[dict[str, Any]]) -> None:
        """Ask for the details of those that have not been asked for, and lay them over what the list said."""
        items = [item for item in items if _id(item) not in self._handled]
        self._shelve(self._asked, self._with_details(items), whole=True)

    def _with_details(self, items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The items in their order with their details; ends early, and says so, when the rate limit is spent."""
        try:
            for item, detail in zip(items, in_order(self._detail, items), strict=True):
                self._handled.add(_id(item))
                if detail is not None:
                    yield with_detail(item, detail)
        except Paused as problem:
            self.run.problems.append(problem)

    def _detail(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            detail: dict[str, Any] = self.run.client.get(_id(item), resource=self.table.name).body
        except NotFound:
            self._not_found.add(_id(item))  # deleted since its list was read; the next walk will miss it
            return None
        return detail

    def _due(self) -> list[str]:
        """Ids of the objects whose detail an earlier run has left out, newest first."""
        due = self.beside.due(self.table.final_statuses)
        return [one for one in due if one not in self._handled]

    # Comparing

    @property
    def beside(self) -> Comparison:
        """The list beside the destination: whole rows, or only what the list tells when details are apart."""
        if self._beside is None:
            tables = self._compared if self.carried else [self.table.name]
            told = None if self.carried else self._told
            self._beside = self._comparison(self._listed, tables, told)
        return self._beside

    def _comparison(self, shelf: Shelf, tables: list[str], told: set[str] | None = None) -> Comparison:
        return self._closing.enter_context(closing(Comparison(self.run.held, shelf, tables, told)))

    @property
    def _told(self) -> set[str]:
        return self._listed.filled.get(self.table.name, set()) - {"extra", DETAIL_READ}

    def batches(self) -> Iterator[Batch]:
        """What is new, changed or gone; batches by table name, in which each object stands once."""
        if not (self._begun or self._handled):
            return
        self.run.counts |= {table: Counts() for table in self._kinds}  # a report names every table, if with zeros
        if self.beside.first:
            yield self._batch([], whole=False)  # so that the tables are there even when they are empty
        yield from self._fresh(self._listed, self.beside) if self.carried else self._without_detail()
        if len(self._asked):
            yield from self._fresh(self._asked, self._comparison(self._asked, self._compared))
        if self._gone:
            yield self._deleted(self._gone)
        self.course.remember(proven=self._proven, held_back=self._held_back)

    def _fresh(self, shelf: Shelf, beside: Comparison) -> Iterator[Batch]:
        """The objects on the shelf that the destination lacks, or holds otherwise."""
        for found in shelf.batches():
            batch = self._not_handled(found) if shelf is self._listed else found
            batch.pop(ITEMS, None)
            what = beside.sort(batch)
            self._counts(self.table.name).seen += len(batch[self.table.name]) if self.carried else 0
            self.run.count(self.table.name, self._parents, batch, what)
            if not len(what.either):
                continue
            fresh = take(batch, shelf.main, self._parents, what.either)
            if not beside.first:
                for child in self.table.children:
                    fresh[child.name] = emptied(child, fresh[child.name], fresh[shelf.main]["id"])
            yield fresh

    def _without_detail(self) -> Iterator[Batch]:
        """The objects on the list that are new or changed and whose detail was not asked for: what the list says."""
        for batch in self._listed.batches():
            self._counts(self.table.name).seen += len(batch[self.table.name])
            rows = self._loadable(self._not_handled({self.table.name: batch[self.table.name]})[self.table.name])
            what = self.beside.sort({self.table.name: rows})
            self._counts(self.table.name).new += len(what.new)
            self._counts(self.table.name).changed += len(what.changed)
            if len(what.new):
                yield {self.table.name: rows.take(what.new)}
            held = self.run.held.read(self.table.name) if len(what.changed) else None
            if held is not None:
                kinds = self._kinds[self.table.name]
                yield {self.table.name: laid_over(rows.take(what.changed), held, self._told, kinds)}

    def _loadable(self, rows: pa.Table) -> pa.Table:
        """The rows, but for those that would be taken for whole where the destination has no column that says so."""
        takes = self.run.held.takes(self.table.name)
        if takes is None or DETAIL_READ in takes or self._details == "never":
            return rows
        kept = rows.filter(pc.is_in(rows["status"], value_set=pa.array(sorted(OPEN))))
        self._held_back |= bool(len(self.beside.sort({self.table.name: rows}).either) > len(kept))
        return kept

    def _not_handled(self, batch: Batch) -> Batch:
        if not self._handled:
            return batch
        ids = batch[self.table.name]["id"]
        left = pc.invert(pc.is_in(ids, value_set=pa.array(sorted(self._handled), pa.string())))
        return take(batch, self.table.name, self._parents, np.flatnonzero(left))

    def _counts(self, name: str) -> Counts:
        return self.run.counts.setdefault(name, Counts())

    def _deleted(self, ids: list[str]) -> Batch:
        rows = self.run.held.read(self.table.name)
        if rows is None:
            raise LookupError(f"{self.table.name} vanished from the destination while it was compared")
        self._counts(self.table.name).deleted += len(ids)
        return {self.table.name: deleted(rows, ids, self.run.started_at)}

    # Shelving

    def _carries(self, items: Sequence[Mapping[str, Any]]) -> bool:
        fields = self.table.detail_fields
        return not fields or any(name in item for item in items for name in fields)

    def _items(self, batch: Batch, rows: npt.NDArray[np.intp] | None = None) -> list[dict[str, Any]]:
        """The list's own words for the objects of a batch, or for those at some positions."""
        texts = batch[ITEMS]["item"]
        return [json.loads(text) for text in (texts if rows is None else texts.take(rows)).to_pylist()]

    def _shelve(self, shelf: Shelf, items: Iterable[Mapping[str, Any]], *, whole: bool) -> None:
        items = iter(items)
        while some := list(islice(items, FRAME_ROWS)):
            batch = self._batch(some, whole=whole)
            if not self.carried:
                texts = pa.array([json.dumps(item) for item in some], pa.string())
                batch[ITEMS] = pa.table({"id": batch[self.table.name]["id"], "item": texts})
            shelf.put(batch)

    def _batch(self, items: list[Mapping[str, Any]], *, whole: bool) -> Batch:
        frames = normalise(items, self.table, self.run.started_at, self._kinds)
        self._kinds |= frames.unknown
        self.run.note(frames.notes)
        batch = to_batch(frames, self.table)
        if whole:
            batch[self.table.name] = read_whole(batch[self.table.name], self.run.started_at)
        return batch


def _id(item: Mapping[str, Any]) -> str:
    return str(item["id"])
