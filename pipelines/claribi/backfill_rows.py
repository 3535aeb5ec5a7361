"""What a slice of a backfill changes in the destination, and which of its reports lack their detail there."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.claribi.changes import Comparison, Held
from pipelines.claribi.frames import normalise
from pipelines.claribi.rows import emptied, laid_over, read_whole, to_batch
from pipelines.claribi.run import Counts, Run
from pipelines.claribi.schema import DETAIL_READ, EXTRA, REPORT_INSIGHTS, REPORTS
from pipelines.claribi.shelf import Batch, Shelf, take
from pipelines.claribi.windows import Window

FRAME_ROWS = 2_000
NAME, CHILD = REPORTS.name, REPORT_INSIGHTS.name
PARENTS = {CHILD: REPORT_INSIGHTS.key[0]}

Items = Sequence[Mapping[str, Any]]


def lacking(run: Run, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of these reports, as the list tells them, that the destination lacks, holds otherwise or not whole."""
    takes = run.held.takes(NAME)
    if not items or (takes is not None and DETAIL_READ not in takes):
        return list(items)  # where it does not say what it holds whole, everything is asked for
    with _shelf(run, items) as shelf, closing(_beside(run, shelf, set().union(*items))) as beside:
        wanted = set(beside.due(REPORTS.final_statuses))
        for batch in shelf.batches():
            wanted.update(batch[NAME]["id"].take(pa.array(beside.sort(batch).either)).to_pylist())
    return [item for item in items if str(item["id"]) in wanted]


def batches(run: Run, whole: Items, listed: Items, told: set[str]) -> Iterator[Batch]:
    """What is new or changed of the reports that were read `whole`, and of those that only the list has told of."""
    for name in (NAME, CHILD):
        run.counts.setdefault(name, Counts())
    with _shelf(run, whole, whole=True) as shelf, closing(Comparison(run.held, shelf, [NAME, CHILD])) as beside:
        for batch in shelf.batches():
            what = beside.sort(batch)
            run.counts[NAME].seen += len(batch[NAME])
            run.count(NAME, PARENTS, batch, what)
            fresh = take(batch, NAME, PARENTS, what.either)
            if not beside.first:
                fresh[CHILD] = emptied(REPORT_INSIGHTS, fresh[CHILD], fresh[NAME]["id"])
            if len(what.either):
                yield fresh
    with _shelf(run, listed) as shelf, closing(_beside(run, shelf, told)) as beside:
        for batch in shelf.batches():
            what = beside.sort({NAME: batch[NAME]})
            run.counts[NAME].seen += len(batch[NAME])
            run.count(NAME, PARENTS, {NAME: batch[NAME]}, what)
            if len(what.new):
                yield take(batch, NAME, PARENTS, what.new)
            held = run.held.read(NAME) if len(what.changed) else None
            if held is not None:
                rows = batch[NAME].take(pa.array(what.changed))
                yield {NAME: laid_over(rows, held, told_columns(shelf, told), run.held.kinds(NAME))}


def held_whole(held: Held, windows: Collection[Window]) -> int:
    """How many living reports of these windows the destination holds with their detail."""
    found = 0
    for batch in held.read(NAME) or ():
        if {"created_at", DETAIL_READ} <= set(batch.schema.names):
            gone = batch["deleted_at"] if "deleted_at" in batch.schema.names else pa.nulls(len(batch))
            whole = batch.filter(pc.and_(pc.is_valid(batch[DETAIL_READ]), pc.is_null(gone)))
            found += sum(any(at in window for window in windows) for at in whole["created_at"].to_pylist())
    return found


def _beside(run: Run, shelf: Shelf, fields: Collection[str]) -> Comparison:
    """What a list tells beside the destination: only the columns that it fills count."""
    return Comparison(run.held, shelf, [NAME], told_columns(shelf, fields))


def told_columns(shelf: Shelf, fields: Collection[str]) -> set[str]:
    """The columns that a list fills, by the fields that it has."""
    known = {column.name for column in REPORTS.columns if any(one.partition(".")[0] in fields for one in column.fields)}
    return (known | shelf.filled.get(NAME, set())) - {EXTRA, DETAIL_READ}


def _shelf(run: Run, items: Iterable[Mapping[str, Any]], *, whole: bool = False) -> Shelf:
    """The items as rows; `whole` says that they are all there is to know."""
    shelf, kinds = Shelf(NAME, PARENTS), {name: run.held.kinds(name) for name in (NAME, CHILD)}
    rest = iter(items)
    while some := list(islice(rest, FRAME_ROWS)):
        frames = normalise(some, REPORTS, run.started_at, kinds)
        kinds |= frames.unknown
        run.note(frames.notes)
        batch = to_batch(frames, REPORTS)
        if whole:
            batch[NAME] = read_whole(batch[NAME], run.started_at)
        shelf.put(batch)
    return shelf
