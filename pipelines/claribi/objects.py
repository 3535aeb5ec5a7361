"""Tables of many objects: walk the list, compare it with the destination, yield what is new, changed or gone."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.claribi.changes import Comparison, Sorted
from pipelines.claribi.deletions import Missing, ask, look_for_missing
from pipelines.claribi.errors import NotFound, Paused, ScopeMissing, WalkUnproven
from pipelines.claribi.frames import normalise, with_detail
from pipelines.claribi.incremental import OPEN, Course
from pipelines.claribi.rows import deleted, emptied, to_batch
from pipelines.claribi.run import Counts, Run
from pipelines.claribi.schema import TABLES, Table
from pipelines.claribi.shelf import Batch, Shelf, take
from pipelines.claribi.walk import WalkedPage, in_order

FRAME_ROWS = 2_000
"""Objects in one frame: many more fall out of the processor's cache before they are looked at, a page is too few."""

ITEMS = "_items"
"""On the shelf beside the tables: the list's own words for each object, to lay the detail over."""


def objects(run: Run, name: str) -> Iterator[Batch]:
    """All objects of one kind; batches by table name, in which each object stands once."""
    if run.stopped:
        return
    try:
        yield from Objects(run, TABLES[name]).batches()
    except ScopeMissing as problem:
        run.problems.append(problem)


class Objects:
    """One list: what was read of it, and what the destination has to take."""

    def __init__(self, run: Run, table: Table) -> None:
        self.run, self.table = run, table
        self.course = Course(run, table)
        self.walk = self.course.walk()
        self.left_early = False
        """Whether the walk was left where it reached what is known."""
        by_day = [child.by_day for child in table.children if child.by_day]
        self.parents = {child.name: child.key[0] for child in (*table.children, *by_day)} | {ITEMS: "id"}
        self.compared = [table.name, *(child.name for child in table.children)]
        self.kinds = {name: run.held.kinds(name) for name in (*self.compared, *(child.name for child in by_day))}
        self.carried = True
        """Whether the list carries all there is to know of each object, so that no detail is asked for."""

    def batches(self) -> Iterator[Batch]:
        """Read everything, then yield what is new, changed or gone."""
        name = self.table.name
        with Shelf(name, self.parents) as listed, Shelf(name, self.parents) as asked:
            proven = self._read_list(listed)
            self.run.counts |= {table: Counts() for table in self.kinds}  # a report names every table, if with zeros
            beside = self._beside(listed)
            if beside.first:
                yield self._batch([])  # so that the tables are there even when they are empty
            if self.carried:
                yield from self._fresh(listed, beside)
            else:
                self._read_details(listed, beside, asked)
            missing = look_for_missing(self.run, name, beside) if proven else self._follow_open()
            self.course.meet(missing.alive)
            self.course.forget(missing.gone)
            self._shelve(asked, missing.alive)
            if len(asked):
                yield from self._fresh(asked, Comparison(self.run.held, asked, self.compared))
            if missing.gone:
                yield self._deleted(missing.gone)
            self.course.remember(self.walk, proven=proven, left_early=self.left_early)

    def _follow_open(self) -> Missing:
        """Ask for the unfinished objects that the part of the list which was read does not have."""
        if self.run.stopped:
            return Missing()
        return ask(self.run, self.table.name, self.course.unmet)

    def _read_list(self, listed: Shelf) -> bool:
        """Walk the list onto the shelf; say whether the walk is proven whole."""
        try:
            self._shelve_pages(listed, iter(self.walk))
        except Paused as problem:
            self.run.problems.append(problem)
        proof = self.walk.proof
        if proof.complete:
            listed.keep_last_attempt()
        elif self.left_early:
            proof = replace(proof, known_before=self.course.known_before)
        elif not self.run.stopped:
            self.run.problems.append(WalkUnproven(self.table.name, proof.note))
        self.run.walks[self.table.name] = proof
        return proof.complete

    def _shelve_pages(self, listed: Shelf, pages: Iterator[WalkedPage]) -> None:
        """Put the pages onto the shelf until they end, or reach what is known."""
        pending: dict[str, dict[str, Any]] = {}
        attempt, seen = 0, 0
        try:
            for page in pages:
                if page.attempt != attempt:
                    self._shelve(listed, pending.values())
                    listed.begin_attempt()
                    attempt, seen, pending = page.attempt, 0, {}
                if page.items and not seen:
                    self.carried = self._carries(page.items)
                pending |= {str(item["id"]): item for item in page.items}
                seen += len(page.items)
                self.run.on_progress(self.table.name, seen, self.run.calls)
                if len(pending) >= FRAME_ROWS:
                    self._shelve(listed, pending.values())
                    pending = {}
                if self.course.reached(page.items, self.walk):
                    self.left_early = page.place is not None
                    if self.left_early:
                        return
        finally:
            self._shelve(listed, pending.values())

    def _beside(self, listed: Shelf) -> Comparison:
        """Compare the list with the destination: whole rows, or only what the list tells when details are apart."""
        if self.carried:
            return Comparison(self.run.held, listed, self.compared)
        told = listed.filled.get(self.table.name, set()) - {"extra"}
        return Comparison(self.run.held, listed, [self.table.name], told)

    def _read_details(self, listed: Shelf, beside: Comparison, asked: Shelf) -> None:
        """Ask for the detail of each object that is new or changed, and lay it over what the list said."""
        stamped = {"updated_at", "last_refresh"} & listed.filled.get(self.table.name, set())
        undated = self.table.column("updated_at") is not None and not stamped
        for batch in listed.batches():
            self._counts(self.table.name).seen += len(batch[self.table.name])
            # A list of dashboards without any stamp cannot tell that one has changed.
            wanted = np.arange(len(batch[self.table.name])) if undated else beside.sort(batch).either
            items = [json.loads(text) for text in batch[ITEMS]["item"].take(wanted).to_pylist()]
            self._shelve(asked, self._with_details(items))
            if self.run.stopped:
                return

    def _with_details(self, items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The items in their order with their details; ends early, and says so, when the rate limit is spent."""
        yield from (item for item in items if item.get("status") in OPEN)
        closed = [item for item in items if item.get("status") not in OPEN]
        try:
            for item, detail in zip(closed, in_order(self._detail, closed), strict=True):
                if detail is not None:
                    yield with_detail(item, detail)
        except Paused as problem:
            self.run.problems.append(problem)

    def _detail(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            detail: dict[str, Any] = self.run.client.get(str(item["id"]), resource=self.table.name).body
        except NotFound:
            return None  # deleted since the list was read; the next walk will miss it
        return detail

    def _carries(self, items: list[dict[str, Any]]) -> bool:
        fields = self.table.detail_fields
        return not fields or any(name in item for item in items for name in fields)

    def _shelve(self, shelf: Shelf, items: Iterable[Mapping[str, Any]]) -> None:
        items = iter(items)
        while some := list(islice(items, FRAME_ROWS)):
            batch = self._batch(some)
            if not self.carried:
                texts = pa.array([json.dumps(item) for item in some], pa.string())
                batch[ITEMS] = pa.table({"id": batch[self.table.name]["id"], "item": texts})
            shelf.put(batch)

    def _batch(self, items: list[Mapping[str, Any]]) -> Batch:
        frames = normalise(items, self.table, self.run.started_at, self.kinds)
        self.kinds |= frames.unknown
        self.run.note(frames.notes)
        return to_batch(frames, self.table)

    def _fresh(self, shelf: Shelf, beside: Comparison) -> Iterator[Batch]:
        """The objects on the shelf that the destination lacks, or holds otherwise."""
        for batch in shelf.batches():
            batch.pop(ITEMS, None)
            what = beside.sort(batch)
            self._count(batch, what)
            if not len(what.either):
                continue
            fresh = take(batch, shelf.main, self.parents, what.either)
            if not beside.first:
                for child in self.table.children:
                    fresh[child.name] = emptied(child, fresh[child.name], fresh[shelf.main]["id"])
            yield fresh

    def _count(self, batch: Batch, what: Sorted) -> None:
        """Add a batch to the run's counts; the main table's `seen` is the list's."""
        main = self._counts(self.table.name)
        main.seen += len(batch[self.table.name]) if self.carried else 0
        main.new, main.changed = main.new + len(what.new), main.changed + len(what.changed)
        new, changed = (take(batch, self.table.name, self.parents, rows) for rows in (what.new, what.changed))
        for name in batch.keys() - {self.table.name}:
            counts, before, now = self._counts(name), what.replaced.get(name, 0), len(changed[name])
            counts.seen += len(batch[name])
            counts.new += len(new[name]) + max(0, now - before)
            counts.changed += min(now, before)
            counts.deleted += max(0, before - now)

    def _counts(self, name: str) -> Counts:
        return self.run.counts.setdefault(name, Counts())

    def _deleted(self, ids: list[str]) -> Batch:
        rows = self.run.held.read(self.table.name)
        if rows is None:
            raise LookupError(f"{self.table.name} vanished from the destination while it was compared")
        self._counts(self.table.name).deleted += len(ids)
        return {self.table.name: deleted(rows, ids, self.run.started_at)}
