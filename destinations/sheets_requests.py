"""The requests that carry out the plan of one tab, for one `spreadsheets.batchUpdate`. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from destinations.cells import Column, Row, entered, note, number_format
from destinations.sheets_look import STAGING, TABLE, created, removed, updated, upload_note
from destinations.sheets_plan import TabPlan, kept_order

Request = dict[str, Any]


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
