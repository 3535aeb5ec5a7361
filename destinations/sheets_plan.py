"""What a load changes in one tab, and the requests that do it. Pure.

Rows and columns are counted from 0, as Google counts them. The export owns the first columns of a tab; what people keep
to the right of them stays beside its row, because a row never moves except when a row above it is deleted.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from destinations.cells import Column, Row, entered, identity, note, number_format, same_rows
from destinations.sheets_look import STAGING, TABLE, Tab, created, new_number, removed, table_note, updated, upload_note

Request = dict[str, Any]
Key = tuple[Hashable, ...]
HEADER_SEARCHED = 20


@dataclass(frozen=True)
class TabRows:
    """The rows of a tab as they were read: `rows[0]` is row `top` of the grid, and all are as wide as the table.

    `header` is the row of the column names; None when a person deleted it.
    """

    top: int = 1
    rows: Sequence[Row] = ()
    header: int | None = 0
    key: tuple[int, ...] = ()

    @cached_property
    def data(self) -> list[tuple[int, Row]]:
        """Grid row and cells of every row that is ours: blank rows, and rows without a key, are a person's."""
        places = self.key or range(len(self.rows[0]) if self.rows else 0)
        return [
            (number, row)
            for number, row in enumerate(self.rows, self.top)
            if any(row[place] is not None for place in places)
        ]

    @property
    def end(self) -> int:
        """The first row below everything that stands in our columns."""
        filled = (n for n in range(len(self.rows), 0, -1) if any(cell is not None for cell in self.rows[n - 1]))
        return self.top + next(filled, 0)


@dataclass
class TabPlan:
    """What is to become of one tab. A tab of None is to be made, under `sheet_id` and `title`."""

    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    tab: Tab | None
    sheet_id: int
    title: str
    before: TabRows
    hidden: bool = False
    updates: dict[int, Row] = field(default_factory=dict)
    deletes: list[int] = field(default_factory=list)
    appends: list[Row] = field(default_factory=list)
    sort: Sequence[tuple[int, str]] = ()
    """Columns to sort by, each ASCENDING or DESCENDING."""
    note_id: int = field(default_factory=new_number)
    """Id of the metadata that says what the tab holds."""
    staging: int | None = None
    """Sheet id of the upload that holds the written rows: updates by row, then appends."""

    @property
    def about(self) -> str:
        """What the tab's metadata says of it."""
        return table_note(self.table, self.sheet_id, self.columns, self.key)

    @property
    def places(self) -> tuple[int, ...]:
        """Where the key stands; all columns when the table has none."""
        names = [column.name for column in self.columns]
        return tuple(names.index(name) for name in self.key) or tuple(range(len(names)))

    @property
    def written(self) -> list[Row]:
        """The rows to write: those that change, by their row, then the new ones."""
        return [self.updates[number] for number in sorted(self.updates)] + self.appends

    @property
    def width(self) -> int:
        """Columns that the written rows need."""
        return max([len(self.columns), *map(len, self.written)])

    @property
    def is_new(self) -> bool:
        """Whether the tab is still to be made."""
        return self.tab is None

    @property
    def changes_columns(self) -> bool:
        """Whether the columns, their types or the key change."""
        return self.tab is None or (self.tab.columns, self.tab.key) != (self.columns, self.key)

    @property
    def reorders(self) -> bool:
        """Whether columns change places, so that every row must be written again."""
        return self.tab is not None and not kept_order(self.tab.names, [column.name for column in self.columns])

    @property
    def changes_anything(self) -> bool:
        """Whether there is anything to do at all."""
        return bool(self.changes_columns or self.updates or self.deletes or self.appends or self.before.header is None)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns that the grid needs while the batch runs: the deletes come last."""
        rows = max(self.before.end + len(self.appends), max(self.first_row, 1) + 1 + len(self.deletes))
        if self.tab is None:
            return rows, self.width
        return max(rows, self.tab.sheet.rows), max(self.width, self.width_after_moves, self.tab.sheet.width)

    @property
    def width_after_moves(self) -> int:
        """Columns of the grid once columns were taken out and put in; a person's are among them."""
        return self.tab.sheet.width + len(self.columns) - len(self.tab.columns) if self.tab else self.width

    @property
    def first_row(self) -> int:
        """The row below the header."""
        return 0 if self.before.header is None else self.before.header + 1

    def gone(self, planned: Container[Key]) -> set[Key]:
        """Keys of the rows that are deleted for good."""
        old, project = dict(self.before.data), self.project
        keys = {key_of(project(old[number]), self.places) for number in self.deletes}
        return {key for key in keys if key not in planned}

    @property
    def project(self) -> Callable[[Row], Row]:
        """How a stored row looks under the new columns."""
        return projection(self.tab.names if self.tab else [], [column.name for column in self.columns])

    def planned(self) -> list[Row]:
        """Every row of ours as it is to be, in order, as far as the rows were read."""
        gone = set(self.deletes)
        project = self.project
        kept = [self.updates.get(n) or project(row) for n, row in self.before.data if n not in gone]
        return kept + self.appends

    def keys(self) -> Counter[Key]:
        """How often each key is to be there."""
        places = self.places
        return Counter(key_of(row, places) for row in self.planned())


def key_of(row: Row, places: Iterable[int]) -> Key:
    """A row's key in a form that compares as Sheets can keep it."""
    return tuple(identity(row[place]) for place in places)


def projection(old: Sequence[str], new: Sequence[str]) -> Callable[[Row], Row]:
    """How a row of the old columns looks under the new ones."""
    if list(old) == list(new):
        return lambda row: row
    places = [old.index(name) if name in old else None for name in new]
    return lambda row: [None if place is None else row[place] for place in places]


def reconcile(
    plan: TabPlan, now: Iterable[tuple[int, Row]], wanted: Iterable[Row], gone: Callable[[Key], bool]
) -> None:
    """Plan the way from rows that are there (`now`, in the new columns) to the wanted ones, matched by key.

    A row whose key is wanted stays in its place. Of the others, those that are `gone` are deleted.
    """
    places = plan.places
    waiting: defaultdict[Key, deque[Row]] = defaultdict(deque)
    for row in wanted:
        waiting[key_of(row, places)].append(row)
    met: set[Key] = set(waiting)
    for number, row in now:
        key = key_of(row, places)
        if waiting.get(key):
            new = waiting[key].popleft()
            if not same_rows(row, new):
                plan.updates[number] = new
        elif key in met or gone(key):
            plan.deletes.append(number)
    plan.appends += [row for rows in waiting.values() for row in rows]


def header_row(rows: Sequence[Row], names: Sequence[str]) -> int | None:
    """Where the column names stand; None when the row is gone. A person may have renamed some, or put rows above."""
    for number, row in enumerate(rows[:HEADER_SEARCHED]):
        if any(cell == name for cell, name in zip(row, names, strict=False)):
            return number
    return None


def displaced(header: Row, names: Sequence[str]) -> str | None:
    """A column that a person moved, or moved by inserting another; None when all stand where they were."""
    for place, name in enumerate(names):
        if name in header and header[place] != name:
            return name
    return None


def requests(plan: TabPlan) -> list[Request]:
    """Everything that the plan does, in order: columns, room, cells, formats, and last what moves rows."""
    asked = _made(plan) if plan.is_new else [*_columns(plan), *_room(plan)]
    if plan.staging is None:
        asked += _cells(plan)
    elif not plan.is_new:
        asked += _copies(plan)
    if not plan.is_new:
        top = plan.before.end
        asked += _formats(plan, plan.columns, top, top + len(plan.appends))
    asked += [_dimension("delete", plan.sheet_id, "ROWS", *run) for run in reversed(runs(sorted(plan.deletes)))]
    if plan.before.header is None:
        asked += [_dimension("insert", plan.sheet_id, "ROWS", 0, 1), _header(plan, 0, range(len(plan.columns)))]
    if plan.sort and not plan.is_new and (plan.updates or plan.appends):
        asked.append(_sorted(plan))
    if plan.staging is not None and not plan.is_new:
        asked.append({"deleteSheet": {"sheetId": plan.staging}})
    return asked


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as half-open runs without gaps."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def staging_tab(sheet_id: int, title: str, rows: int, width: int, load: str, now: float) -> list[Request]:
    """A hidden tab for an upload; the mark, under the tab's own number, lets a later run sweep it."""
    properties = _properties(sheet_id, title, rows, width) | {"hidden": True}
    about = created(STAGING, upload_note(load, now), {"sheetId": sheet_id}, sheet_id)
    return [{"addSheet": {"properties": properties}}, about]


def _made(plan: TabPlan) -> list[Request]:
    """A new tab, or the upload made into one; formats are a gift at birth, afterwards they are the user's."""
    rows, width = plan.grid
    properties = _properties(plan.sheet_id, plan.title, rows, width)
    if plan.staging is None:
        properties["hidden"] = plan.hidden
        properties["gridProperties"]["frozenRowCount"] = 1
        asked: list[Request] = [{"addSheet": {"properties": properties}}]
    else:
        shown = {"sheetId": plan.sheet_id, "title": plan.title, "hidden": plan.hidden}
        shown["gridProperties"] = {"frozenRowCount": 1}
        fields = "title,hidden,gridProperties.frozenRowCount"
        asked = [{"updateSheetProperties": {"properties": shown, "fields": fields}}, removed(plan.sheet_id)]
    asked.append(created(TABLE, plan.about, {"sheetId": plan.sheet_id}, plan.note_id))
    asked.append(_header(plan, 0, range(len(plan.columns))))
    return asked if plan.hidden else asked + _formats(plan, plan.columns, 1, rows)


def _columns(plan: TabPlan) -> list[Request]:
    """Columns taken out and put in, so that a person's columns move with them."""
    tab = plan.tab
    if tab is None or not plan.changes_columns:
        return []
    asked = [updated(plan.note_id, plan.about)]
    old, new = tab.names, [column.name for column in plan.columns]
    width = tab.sheet.width
    for kind, place in column_moves(old, new):
        if kind == "insert" and place >= width:
            asked.append(_appended(plan.sheet_id, "COLUMNS", 1))
        else:
            asked.append(_dimension(kind, plan.sheet_id, "COLUMNS", place, place + 1))
        width += 1 if kind == "insert" else -1
    if plan.hidden:
        return [*asked, _header(plan, plan.first_row - 1, range(len(new)))]
    known = {column.name: column for column in tab.columns}
    changed = [c for c in plan.columns if c.name not in known or number_format(c) != number_format(known[c.name])]
    if plan.before.header is not None and old != new:
        in_place = kept_order(old, new)
        places = [n for n, name in enumerate(new) if not in_place or name not in old]
        asked += [_header(plan, plan.before.header, [n]) for n in places]
    return asked + _formats(plan, changed, plan.first_row, max(plan.before.end, plan.first_row + 1))


def column_moves(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, int]]:
    """Deletes and inserts that lead from the old columns to the new; where the order changes, all at the end."""
    if not kept_order(old, new):
        shrink = [("delete", place) for place in range(len(old) - 1, len(new) - 1, -1)]
        return shrink or [("insert", place) for place in range(len(old), len(new))]
    gone = [("delete", place) for place in range(len(old) - 1, -1, -1) if old[place] not in new]
    return gone + [("insert", place) for place, name in enumerate(new) if name not in old]


def kept_order(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether the columns that stay follow one another as before."""
    return [name for name in old if name in new] == [name for name in new if name in old]


def _room(plan: TabPlan) -> list[Request]:
    """Rows and columns added at the end. Setting the size instead could cut off what a person has added since."""
    tab = plan.tab
    if tab is None:
        return []
    rows, _ = plan.grid
    wider = plan.width - plan.width_after_moves
    asked = [_appended(plan.sheet_id, "ROWS", rows - tab.sheet.rows)] if rows > tab.sheet.rows else []
    return asked + ([_appended(plan.sheet_id, "COLUMNS", wider)] if wider > 0 else [])


def _cells(plan: TabPlan) -> list[Request]:
    blocks = [
        (start, [plan.updates[number] for number in range(start, end)]) for start, end in runs(sorted(plan.updates))
    ]
    if plan.appends:
        blocks.append((plan.before.end, plan.appends))
    return [_written(plan.sheet_id, start, rows) for start, rows in blocks]


def _written(sheet_id: int, top: int, rows: Sequence[Row]) -> Request:
    cells = [{"values": [{} if cell is None else {"userEnteredValue": entered(cell)} for cell in row]} for row in rows]
    start = {"sheetId": sheet_id, "rowIndex": top, "columnIndex": 0}
    return {"updateCells": {"start": start, "rows": cells, "fields": "userEnteredValue"}}


def _copies(plan: TabPlan) -> list[Request]:
    """The upload copied into place, run by run."""
    targets = runs(sorted(plan.updates))
    if plan.appends:
        targets.append((plan.before.end, plan.before.end + len(plan.appends)))
    asked, taken = [], 0
    for start, end in targets:
        source = _block(plan.staging or 0, taken, taken + end - start, 0, len(plan.columns))
        target = _block(plan.sheet_id, start, end, 0, len(plan.columns))
        asked.append({"copyPaste": {"source": source, "destination": target, "pasteType": "PASTE_VALUES"}})
        taken += end - start
    return asked


def _header(plan: TabPlan, row: int, places: Iterable[int]) -> Request:
    """Names of neighbouring columns, with what a person should know of each."""
    chosen = list(places)
    cells = [
        {
            "userEnteredValue": {"stringValue": plan.columns[place].name},
            "userEnteredFormat": {"textFormat": {"bold": True}},
            "note": note(plan.columns[place]),
        }
        for place in chosen
    ]
    start = {"sheetId": plan.sheet_id, "rowIndex": row, "columnIndex": chosen[0]}
    fields = "userEnteredValue,userEnteredFormat.textFormat,note"
    return {"updateCells": {"start": start, "rows": [{"values": cells}], "fields": fields}}


def _formats(plan: TabPlan, columns: Iterable[Column], top: int, bottom: int) -> list[Request]:
    """Number formats of some columns for some rows."""
    if plan.hidden or bottom <= top:
        return []
    places = {column.name: place for place, column in enumerate(plan.columns)}
    asked = []
    for column in columns:
        if shape := number_format(column):
            block = _block(plan.sheet_id, top, bottom, places[column.name], places[column.name] + 1)
            cell = {"userEnteredFormat": {"numberFormat": shape}}
            asked.append({"repeatCell": {"range": block, "cell": cell, "fields": "userEnteredFormat.numberFormat"}})
    return asked


def _sorted(plan: TabPlan) -> Request:
    """Whole rows are sorted, so that a person's cells stay beside theirs."""
    specs = [{"dimensionIndex": place, "sortOrder": order} for place, order in plan.sort]
    below = {"sheetId": plan.sheet_id, "startRowIndex": max(plan.first_row, 1)}
    return {"sortRange": {"range": below, "sortSpecs": specs}}


def _properties(sheet_id: int, title: str, rows: int, width: int) -> dict[str, Any]:
    return {"sheetId": sheet_id, "title": title, "gridProperties": {"rowCount": rows, "columnCount": width}}


def _dimension(kind: str, sheet_id: int, dimension: str, start: int, end: int) -> Request:
    where = {"sheetId": sheet_id, "dimension": dimension, "startIndex": start, "endIndex": end}
    return {f"{kind}Dimension": {"range": where}}


def _appended(sheet_id: int, dimension: str, length: int) -> Request:
    return {"appendDimension": {"sheetId": sheet_id, "dimension": dimension, "length": length}}


def _block(sheet_id: int, top: int, bottom: int, left: int, right: int) -> Mapping[str, int]:
    return {
        "sheetId": sheet_id,
        "startRowIndex": top,
        "endRowIndex": bottom,
        "startColumnIndex": left,
        "endColumnIndex": right,
    }
