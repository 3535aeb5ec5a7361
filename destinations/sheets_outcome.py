"""What a spreadsheet is after our batch, told from what it was: so that the next load of a run needs no new read. Pure.

It is as good as any look: another run's batch moves the generation on, which refuses ours; what people move is found
and repaired after the next batch.
"""

from collections.abc import Collection, Mapping, Sequence

from destinations.cells import Row
from destinations.sheets_look import MARK_ID, MARKS_KEPT, Look, Mark, Sheet, Tab
from destinations.sheets_plan import TabPlan, TabRows


def look_after(
    seen: Look, load: str, rows: Mapping[str, int], plans: Sequence[TabPlan], gone: Collection[Sheet]
) -> Look:
    """The spreadsheet without its cells."""
    generation = seen.next_generation
    kept = {number: mark for number, mark in seen.marks.items() if number > generation - MARKS_KEPT}
    marks = {number: Mark(mark.load, {}) for number, mark in kept.items()} | {generation: Mark(load, rows)}
    tabs = {name: tab for name, tab in seen.tabs.items() if tab.sheet not in gone}
    tabs |= {plan.table: _tab_after(plan) for plan in plans}
    sheets = {sheet.sheet_id: sheet for sheet in seen.sheets if sheet not in gone}
    sheets |= {tab.sheet.sheet_id: tab.sheet for tab in tabs.values()}
    staging = {sheet: upload for sheet, upload in seen.staging.items() if sheet in sheets}
    taken = seen.taken | {MARK_ID + generation} | {plan.note_id for plan in plans}
    return Look(tuple(sheets.values()), marks, tabs, staging, taken)


def rows_after(plan: TabPlan) -> TabRows:
    """The rows of one tab. Of a tab that the batch has sorted they are not known."""
    before, project = plan.before, plan.project
    rows: list[Row | None] = [project(row) for row in before.rows[: before.end - before.top]]
    for number, row in plan.updates.items():
        rows[number - before.top] = row
    rows += plan.appends
    for number in plan.deletes:
        rows[number - before.top] = None
    top, header = (1, 0) if before.header is None else (before.top, before.header)
    return TabRows(top, [row for row in rows if row is not None], header, plan.places if plan.key else ())


def _tab_after(plan: TabPlan) -> Tab:
    rows = plan.grid[0] - len(plan.deletes) + (plan.before.header is None)
    width = max(plan.width, plan.width_after_moves)
    old = plan.tab.sheet if plan.tab else Sheet(plan.sheet_id, plan.title, 0, 0, plan.hidden)
    return Tab(plan.table, old._replace(rows=rows, width=width), plan.columns, plan.key, plan.note_id)
