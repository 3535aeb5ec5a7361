"""Writing a spreadsheet: one batch that can land only once, and the proof that nothing was moved under it.

The batch begins by creating a mark with the next generation's number, which Google accepts a single time. So a repeated
request, a late twin of one that timed out, and another run's batch all fail as a whole; whoever fails reads the marks
and knows whether its load is in, or must be planned again. After the batch the keys are read back: a person who sorted
or deleted rows between our read and our write has moved rows under the plan, and what that damaged is repaired.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import orjson

from destinations.cells import MAX_CELLS, MAX_COLUMNS, Cell, Row, a1
from destinations.errors import OutOfDate
from destinations.sheets_api import SheetsApi
from destinations.sheets_errors import SheetsRefused, SheetsUnreachable, SpreadsheetFull, TabChanged
from destinations.sheets_look import TABLE, Look, Sheet, Tab, guard, new_number
from destinations.sheets_outcome import look_after
from destinations.sheets_plan import Key, TabPlan, TabRows, key_of, reconcile
from destinations.sheets_reader import LOOKS, look, read_blocks
from destinations.sheets_requests import Request, requests, runs, staging_tab

BATCH_BYTES = 2_000_000
"""What Google recommends as the largest request; more goes to a hidden tab first."""
LEAST_BYTES_A_CELL = 40
MAX_REQUESTS = 100_000
MAX_NOTE = 30_000
REPAIRS = 3

logger = logging.getLogger(__name__)


class Writer:
    """Carries out the plans of one load. `load` names it in the marks."""

    def __init__(self, api: SheetsApi, load: str, facts: dict[str, int]) -> None:
        self._api, self._load, self._facts = api, load, facts

    def commit(self, seen: Look, plans: Sequence[TabPlan], dropped: Sequence[Tab] = ()) -> Look | None:
        """Write all plans in one step and prove it; raise `OutOfDate` when another load came first.

        Returns what the spreadsheet is now; None when only a look can tell.
        """
        after = self._write(seen, plans, dropped)
        untouched = self._settle([plan for plan in plans if not plan.hidden])
        return after if untouched else None

    def _write(self, seen: Look, plans: Sequence[TabPlan], dropped: Sequence[Tab] = ()) -> Look | None:
        staged = _too_large(plans)
        leftovers = seen.leftovers(self._load, time.time())
        check_room(seen, plans, staged)
        if staged:
            self._upload(staged)
        # An upload may have become a tab since we looked, so only the batch that would then fail may delete it.
        gone = [*leftovers, *(tab.sheet for tab in dropped)]
        counts = _row_counts(seen, plans, dropped)
        blank = _blank_tab(seen, plans, gone)
        asked = [*guard(seen, self._load, counts), *blank]
        asked += [request for plan in plans for request in requests(plan)]
        asked += [{"deleteSheet": {"sheetId": sheet.sheet_id}} for sheet in gone]
        if len(asked) > MAX_REQUESTS:
            raise SpreadsheetFull(
                f"it changes {len(asked):,} separate blocks of rows, one step takes {MAX_REQUESTS:,}."
            )
        self._land(seen, asked)
        return None if blank else look_after(seen, self._load, counts, plans, gone)

    def _land(self, seen: Look, asked: Sequence[Request]) -> None:
        """Send the batch; where the answer leaves it open, the marks tell what became of it."""
        generation = seen.next_generation
        try:
            self._api.batch(asked)
        except (SheetsRefused, SheetsUnreachable) as error:
            if isinstance(error, SheetsRefused) and error.cause != "bad-request":
                raise
            now = look(self._api)
            if generation in now.marks and now.marks[generation].load == self._load:
                return
            moved = isinstance(error, SheetsRefused) and _without_uploads(now) != _without_uploads(seen)
            if now.generation >= generation or moved:
                raise OutOfDate("The spreadsheet") from error
            raise

    def _upload(self, plans: Sequence[TabPlan]) -> None:
        """Bring the cells of large plans into hidden tabs. A new tab's upload is the tab itself, still hidden."""
        asked: list[Request] = []
        titles = {}
        for plan in plans:
            plan.staging = plan.sheet_id if plan.is_new else new_number()
            titles[plan.staging] = f"upload {plan.table[:40]} {secrets.token_hex(8)}"
            rows = plan.grid[0] if plan.is_new else len(plan.written)
            asked += staging_tab(plan.staging, titles[plan.staging], rows, len(plan.columns), self._load, time.time())
        try:
            self._api.batch(asked)
        except SheetsRefused as error:
            # A repeated request finds its own tabs; anything else is planned again, under new names.
            if error.cause != "bad-request" or not titles.keys() <= look(self._api).staging.keys():
                raise OutOfDate("The spreadsheet") from error
        for plan in plans:
            for top, piece in pieces(plan.written, 1 if plan.is_new else 0):
                place = a1(titles[plan.staging or 0], top, top + len(piece), 0, len(plan.columns))
                self._api.write_values({place: piece})

    def _settle(self, plans: Sequence[TabPlan]) -> bool:
        """Read the keys back; repair the tabs whose rows a person moved while we wrote, and say so with False."""
        for repairs in range(REPAIRS):
            plans = self._damaged(plans)
            if not plans:
                return not repairs
            logger.warning("rows of %s were moved while they were written; repairing", _names(plans))
            self._facts["repairs"] = self._facts.get("repairs", 0) + 1
            plans = self._repair(plans)
        if plans := self._damaged(plans):
            raise _beyond_repair(plans)
        return False

    def _damaged(self, plans: Sequence[TabPlan]) -> list[TabPlan]:
        """The plans whose rows are not all there, once each, or whose deleted rows are still there."""
        found = self._keys(plans) if plans else []
        return [plan for plan, keys in zip(plans, found, strict=True) if not _is_whole(plan, keys)]

    def _keys(self, plans: Sequence[TabPlan]) -> list[Counter[Key]]:
        """How often each key is there now: one read, of the key columns alone."""
        titles = {plan.sheet_id: plan.title for plan in plans}
        for tries_left in reversed(range(LOOKS)):
            spans = [(plan, span) for plan in plans for span in runs(sorted(plan.places))]
            ranges = [a1(titles[plan.sheet_id], _top(plan), None, *span) for plan, span in spans]
            try:
                answers = iter(self._api.values(ranges, by_column=True))
            except SheetsRefused as error:
                now = {sheet.sheet_id: sheet.title for sheet in look(self._api).sheets}
                if not titles.keys() <= now.keys():
                    raise _beyond_repair(plans) from error
                if error.cause != "bad-request" or not tries_left:
                    raise
                titles |= now
            else:
                return [_counted(plan, answers) for plan in plans]
        raise AssertionError("unreachable: the last look returns or raises")

    def _repair(self, plans: Sequence[TabPlan]) -> list[TabPlan]:
        """Bring the planned rows back, in the order that the person has given the others."""
        now = look(self._api)
        if now.marks[now.generation].load != self._load or any(plan.table not in now.tabs for plan in plans):
            raise _beyond_repair(plans)
        tabs = [(now.tabs[plan.table], _top(plan)) for plan in plans]
        blocks = read_blocks(self._api, tabs)
        repairs = [_repaired(plan, tab, block) for plan, (tab, _), block in zip(plans, tabs, blocks, strict=True)]
        try:
            self._write(now, [plan for plan in repairs if plan.changes_anything])
        except OutOfDate as error:
            raise _beyond_repair(plans) from error
        return repairs


def check_room(seen: Look, plans: Sequence[TabPlan], staged: Sequence[TabPlan]) -> None:
    """Refuse what cannot fit, with the arithmetic, before the first write."""
    needed = seen.cells
    for plan in plans:
        rows, width = plan.grid
        if width > MAX_COLUMNS:
            raise SpreadsheetFull(f"{plan.table} has {width:,} columns, a tab takes {MAX_COLUMNS:,}.")
        about = len(plan.about) + len(TABLE)
        if about > MAX_NOTE:
            raise SpreadsheetFull(
                f"the names of the {len(plan.columns):,} columns of {plan.table} take {about:,} characters, a tab "
                f"can remember {MAX_NOTE:,}."
            )
        needed += rows * width - (plan.tab.sheet.rows * plan.tab.sheet.width if plan.tab else 0)
        if plan in staged and not plan.is_new:
            needed += len(plan.written) * len(plan.columns)
    if needed > MAX_CELLS:
        largest = max(plans, key=lambda plan: plan.grid[0] * plan.grid[1])
        rows, width = largest.grid
        raise SpreadsheetFull(
            f"{largest.table} alone needs {rows:,} rows × {width:,} columns = {rows * width:,} cells. A spreadsheet "
            f"takes {MAX_CELLS:,}, blank ones counted; {seen.cells:,} are in use now, {needed:,} would be."
        )


def pieces(rows: Sequence[Row], top: int) -> Iterator[tuple[int, Sequence[Row]]]:
    """Rows in pieces of at most `BATCH_BYTES`, each with the row where it begins."""
    start, size = 0, 0
    for number, row in enumerate(rows):
        length = len(orjson.dumps(row)) + 1
        if size + length > BATCH_BYTES and number > start:
            yield top + start, rows[start:number]
            start, size = number, 0
        size += length
    if start < len(rows):
        yield top + start, rows[start:]


def _too_large(plans: Sequence[TabPlan]) -> list[TabPlan]:
    """The plans to upload first, largest first, so that what is left fits into one request."""
    sizes = {plan.sheet_id: _bytes(plan) for plan in plans}
    total, staged = sum(sizes.values()), []
    for plan in sorted(plans, key=lambda plan: sizes[plan.sheet_id], reverse=True):
        if total <= BATCH_BYTES:
            break
        if not plan.hidden:
            staged.append(plan)
            total -= sizes[plan.sheet_id]
    return staged


def _bytes(plan: TabPlan) -> int:
    """How large the plan's requests are; beyond the limit an estimate will do."""
    least = len(plan.written) * len(plan.columns) * LEAST_BYTES_A_CELL
    return least if least > BATCH_BYTES else len(orjson.dumps(requests(plan)))


def _row_counts(seen: Look, plans: Sequence[TabPlan], dropped: Sequence[Tab]) -> dict[str, int]:
    """Rows of every table after the load."""
    counts = {name: rows for name, rows in seen.rows.items() if name not in {tab.table for tab in dropped}}
    for plan in plans:
        is_tail = plan.before.header is not None and plan.before.top > plan.before.header + 1
        held = counts.get(plan.table, 0) if is_tail else len(plan.before.data)
        counts[plan.table] = held - len(plan.deletes) + len(plan.appends)
    return counts


def _blank_tab(seen: Look, plans: Sequence[TabPlan], gone: Sequence[Sheet]) -> list[Request]:
    """A spreadsheet must keep one visible tab."""
    stays = [sheet for sheet in seen.sheets if not sheet.hidden and sheet not in gone]
    if stays or any(plan.is_new and not plan.hidden for plan in plans):
        return []
    return [{"addSheet": {"properties": {"title": f"Sheet {seen.generation + 1}"}}}]


def _without_uploads(seen: Look) -> set[Sheet]:
    return {sheet for sheet in seen.sheets if sheet.sheet_id not in seen.staging}


def _top(plan: TabPlan) -> int:
    """The first row that was read, where it stands after the batch."""
    return plan.before.top + (plan.before.header is None)


def _counted(plan: TabPlan, answers: Iterator[list[list[Cell]]]) -> Counter[Key]:
    columns = [column for start, end in runs(sorted(plan.places)) for column in _padded(next(answers), end - start)]
    height = max(map(len, columns), default=0)
    rows = zip(*([*column, *[None] * (height - len(column))] for column in columns), strict=True)
    read = sorted(plan.places)
    order = [read.index(place) for place in plan.places]
    counted = Counter(key_of(row, order) for row in rows)
    return Counter({key: count for key, count in counted.items() if any(part is not None for part in key)})


def _padded(columns: list[list[Cell]], width: int) -> list[list[Cell]]:
    return columns + [[] for _ in range(width - len(columns))]


def _is_whole(plan: TabPlan, found: Counter[Key]) -> bool:
    """Whether every planned row is there once, and no deleted one; rows that a person has just added are theirs."""
    planned = plan.keys()
    return all(found[key] == count for key, count in planned.items()) and not found.keys() & plan.gone(planned)


def _beyond_repair(plans: Sequence[TabPlan]) -> TabChanged:
    return TabChanged(
        _names(plans),
        "was sorted, edited or deleted again and again while the load was written, so rows may be missing from it. "
        "The load is in. Run a backfill when nobody is editing.",
    )


def _repaired(plan: TabPlan, tab: Tab, block: Sequence[Row]) -> TabPlan:
    """A plan from the rows that are there now to those that were planned."""
    key = tuple(tab.names.index(name) for name in tab.key)
    top = _top(plan)
    before = TabRows(top, block, plan.before.header or 0, key)
    repair = replace(
        plan, tab=tab, title=tab.sheet.title, before=before, updates={}, deletes=[], appends=[], staging=None
    )
    reconcile(repair, before.data, plan.planned(), plan.gone(plan.keys()).__contains__)
    return repair


def _names(plans: Sequence[TabPlan]) -> str:
    return ", ".join(plan.table for plan in plans)
