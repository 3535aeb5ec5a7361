"""What the requests of one `spreadsheets.batchUpdate` do to a spreadsheet: all of them, or none."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.sheets_document import (
    BLANK_ROW,
    Area,
    Book,
    Formula,
    Refused,
    Row,
    Tab,
    Value,
    area_of,
    check_inside,
    stored,
)

MAX_CELLS = 10_000_000
MAX_COLUMNS = 18_278
MAX_METADATA = 30_000
MAX_REQUESTS = 100_000


class Batch:
    """Carries out the requests of one batchUpdate on a copy of a book; the first refusal refuses all."""

    def __init__(self, book: Book, digits: int = 17, strict_metadata: bool = False) -> None:
        self.book, self.digits, self.strict_metadata = book.copied(), digits, strict_metadata

    def run(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Replies, one for each request."""
        if not requests:
            raise Refused(400, "Must specify at least one request.")
        if len(requests) > MAX_REQUESTS:
            raise Refused(400, f"Number of requests cannot exceed {MAX_REQUESTS}.")
        return [self._one(number, request) for number, request in enumerate(requests)]

    def _one(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        ((name, arguments),) = request.items()
        handler: Callable[[dict[str, Any]], dict[str, Any] | None] | None
        handler = getattr(self, f"do_{name}", None)
        if handler is None:
            raise Refused(501, f"This server does not implement {name}.")
        try:
            return handler(arguments) or {}
        except Refused as refusal:
            raise Refused(refusal.status, f"Invalid requests[{number}].{name}: {refusal.message}") from None

    # Tabs

    def do_addSheet(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request["properties"]
        grid = wanted.get("gridProperties", {})
        if any(tab.id == wanted.get("sheetId") for tab in self.book.tabs):
            raise Refused(400, f"A sheet with id {wanted['sheetId']} already exists. Please enter another id.")
        tab = Tab(
            wanted.get("sheetId", 7_000_000 + len(self.book.tabs)),
            self._free_title(wanted["title"]),
            grid.get("rowCount", 1000),
            grid.get("columnCount", 26),
            wanted.get("hidden", False),
            grid.get("frozenRowCount", 0),
        )
        self.book.tabs.insert(wanted.get("index", len(self.book.tabs)), tab)
        self._check_size(tab)
        return {"addSheet": {"properties": tab.properties(self.book.tabs.index(tab))}}

    def do_deleteSheet(self, request: dict[str, Any]) -> None:
        tab = self.book.by_id(request["sheetId"])
        self.book.tabs.remove(tab)
        if not any(not other.hidden for other in self.book.tabs):
            raise Refused(400, "You can't remove all the visible sheets in a document.")
        for other in self.book.tabs:
            self._break_references(other, tab)

    def do_updateSheetProperties(self, request: dict[str, Any]) -> None:
        wanted = request["properties"]
        tab = self.book.by_id(wanted.get("sheetId", 0))
        for path in sorted(request["fields"].split(","), reverse=True):  # rows before columns, as Google does
            match path:
                case "title":
                    tab.title = self._free_title(wanted["title"], tab)
                case "hidden":
                    tab.hidden = wanted.get("hidden", False)
                case "gridProperties.frozenRowCount":
                    tab.frozen = wanted.get("gridProperties", {}).get("frozenRowCount", 0)
                case "gridProperties.rowCount":
                    tab.row_count = wanted["gridProperties"]["rowCount"]
                    del tab.rows[tab.row_count :]
                case "gridProperties.columnCount":
                    tab.column_count = wanted["gridProperties"]["columnCount"]
                    tab.rows = [replace(row, values=row.values[: tab.column_count]) for row in tab.rows]
                case _:
                    raise Refused(501, f"This server does not update {path} of a sheet.")
            self._check_size(tab)
        if not any(not other.hidden for other in self.book.tabs):
            raise Refused(400, "You can't hide all the sheets in a document.")

    def _free_title(self, title: str, own: Tab | None = None) -> str:
        if not 0 < len(title) <= 100:
            raise Refused(400, "Invalid title.")
        if any(tab.title.lower() == title.lower() for tab in self.book.tabs if tab is not own):
            raise Refused(400, f'A sheet with the name "{title}" already exists. Please enter another name.')
        return title

    def _check_size(self, tab: Tab) -> None:
        if tab.column_count > MAX_COLUMNS:
            raise Refused(400, f"Max columns exceeded: {tab.column_count}")
        if min(tab.row_count, tab.column_count) < 1 or tab.frozen >= tab.row_count > 1:
            raise Refused(400, f"Invalid grid of {tab.title}: {tab.row_count} rows, {tab.frozen} frozen")
        if (cells := self.book.cells()) > MAX_CELLS:
            raise Refused(
                400,
                "This action would increase the number of cells in the workbook above the limit of "
                f"{MAX_CELLS} cells ({cells}).",
            )

    @staticmethod
    def _break_references(tab: Tab, gone: Tab) -> None:
        names = (f"{gone.title}!", f"'{gone.title}'!")
        for number, row in enumerate(tab.rows):
            for column, value in enumerate(row.values):
                if isinstance(value, Formula) and any(name in value.text for name in names):
                    tab.put(number, tab.row(number).with_value(column, Formula(value.text, "#REF!")))
        for chart in tab.charts:
            chart["broken"] = chart.get("broken", False) or chart["source"] == gone.id

    # Cells

    def do_updateCells(self, request: dict[str, Any]) -> None:
        rows = [row.get("values", []) for row in request.get("rows", [])]
        if "range" in request:
            tab = self.book.by_id(request["range"].get("sheetId", 0))
            area = area_of(tab, request["range"])
            width = area.right - area.left
            rows += [[] for _ in range(area.bottom - area.top - len(rows))]
            rows = [(row + [{}] * width)[: max(width, len(row))] for row in rows]
        else:
            start = request["start"]
            tab = self.book.by_id(start.get("sheetId", 0))
            top, left = start.get("rowIndex", 0), start.get("columnIndex", 0)
            area = Area(top, top + len(rows), left, left + max(map(len, rows), default=0))
            check_inside(tab, area)
        for number, cells in enumerate(rows, area.top):
            tab.put(number, self._written(tab.row(number), area.left, cells, request["fields"]))

    def do_repeatCell(self, request: dict[str, Any]) -> None:
        tab = self.book.by_id(request["range"].get("sheetId", 0))
        area = area_of(tab, request["range"])
        cells = [request["cell"]] * (area.right - area.left)
        for number in range(area.top, area.bottom):
            tab.put(number, self._written(tab.row(number), area.left, cells, request["fields"]))

    def _written(self, row: Row, left: int, cells: list[dict[str, Any]], fields: str) -> Row:
        values = list(row.values) + [None] * (left + len(cells) - len(row.values))
        formats, notes = dict(row.formats), dict(row.notes)
        for path in fields.split(","):
            for column, cell in enumerate(cells, left):
                if path == "userEnteredValue":
                    values[column] = self._entered(cell.get("userEnteredValue", {}))
                elif path == "note":
                    notes[column] = cell.get("note", "")
                elif path == "userEnteredFormat":
                    formats[column] = cell.get("userEnteredFormat", {})
                elif path.startswith("userEnteredFormat."):
                    part = path.removeprefix("userEnteredFormat.")
                    formats[column] = formats.get(column, {}) | {part: _deep(cell["userEnteredFormat"], part)}
                else:
                    raise Refused(501, f"This server does not write {path} of a cell.")
        return Row(tuple(values), formats, {column: note for column, note in notes.items() if note})

    def _entered(self, value: dict[str, Any]) -> Value:
        if not value:
            return None
        ((kind, content),) = value.items()
        if kind not in ("stringValue", "numberValue", "boolValue"):
            raise Refused(501, f"This server does not enter a {kind}.")
        return stored(content, self.digits)

    def do_copyPaste(self, request: dict[str, Any]) -> None:
        if request.get("pasteType") != "PASTE_VALUES" or request.get("pasteOrientation", "NORMAL") != "NORMAL":
            raise Refused(501, "This server pastes values only.")
        source = self.book.by_id(request["source"].get("sheetId", 0))
        target = self.book.by_id(request["destination"].get("sheetId", 0))
        taken, put = area_of(source, request["source"]), area_of(target, request["destination"])
        if (taken.bottom - taken.top, taken.right - taken.left) != (put.bottom - put.top, put.right - put.left):
            raise Refused(501, "This server pastes onto a block of the same size only.")
        copied = [source.row(number) for number in range(taken.top, taken.bottom)]
        for number, row in enumerate(copied, put.top):
            old = target.row(number)
            values = list(old.values) + [None] * (put.right - len(old.values))
            for column in range(taken.left, taken.right):
                value = row.at(column)
                values[put.left + column - taken.left] = value.shows if isinstance(value, Formula) else value
            target.put(number, replace(old, values=tuple(values)))

    # Rows and columns

    def do_deleteDimension(self, request: dict[str, Any]) -> None:
        where = request["range"]
        tab = self.book.by_id(where.get("sheetId", 0))
        start, end = where.get("startIndex", 0), where["endIndex"]
        if where["dimension"] == "ROWS":
            if not start < end <= tab.row_count or end - start >= tab.row_count - tab.frozen:
                raise Refused(400, "You can't delete all the rows on the sheet.")
            del tab.rows[start:end]
            tab.row_count -= end - start
        else:
            if not start < end <= tab.column_count or end - start >= tab.column_count:
                raise Refused(400, "You can't delete all the columns on the sheet.")
            tab.rows = [_without_columns(row, start, end) for row in tab.rows]
            tab.column_count -= end - start

    def do_appendDimension(self, request: dict[str, Any]) -> None:
        tab = self.book.by_id(request.get("sheetId", 0))
        if request["dimension"] == "ROWS":
            tab.row_count += request["length"]
        else:
            tab.column_count += request["length"]
        self._check_size(tab)

    def do_sortRange(self, request: dict[str, Any]) -> None:
        tab = self.book.by_id(request["range"].get("sheetId", 0))
        area = area_of(tab, request["range"])
        if (area.left, area.right) != (0, tab.column_count):
            raise Refused(501, "This server sorts whole rows only.")
        rows = tab.rows[area.top : area.bottom]
        for spec in reversed(request["sortSpecs"]):
            column = spec.get("dimensionIndex", 0)
            full = [row for row in rows if row.at(column) is not None]
            full.sort(key=partial(_sort_key, column), reverse=spec.get("sortOrder") == "DESCENDING")
            rows = full + [row for row in rows if row.at(column) is None]
        tab.rows[area.top : area.bottom] = rows

    def do_insertDimension(self, request: dict[str, Any]) -> None:
        where = request["range"]
        tab = self.book.by_id(where.get("sheetId", 0))
        start, count = where.get("startIndex", 0), where["endIndex"] - where.get("startIndex", 0)
        size = tab.row_count if where["dimension"] == "ROWS" else tab.column_count
        if not 0 <= start < size:
            raise Refused(400, f"range.startIndex[{start}] must be less than the grid size ({size})")
        if where["dimension"] == "ROWS":
            tab.rows[start:start] = [BLANK_ROW] * (count if start < len(tab.rows) else 0)
            tab.row_count += count
        else:
            tab.rows = [_with_columns(row, start, count) for row in tab.rows]
            tab.column_count += count
        self._check_size(tab)

    def do_updateDimensionProperties(self, request: dict[str, Any]) -> None:
        where = request["range"]
        if where["dimension"] != "COLUMNS" or request["fields"] != "pixelSize":
            raise Refused(501, "This server sets the width of columns only.")
        tab = self.book.by_id(where.get("sheetId", 0))
        columns = range(where.get("startIndex", 0), where.get("endIndex", tab.column_count))
        tab.widths.update(dict.fromkeys(columns, request["properties"]["pixelSize"]))

    def do_addProtectedRange(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request["protectedRange"]
        self.book.by_id(wanted["range"].get("sheetId", 0)).protected.append(wanted)
        return {"addProtectedRange": {"protectedRange": wanted}}

    # Developer metadata

    def do_createDeveloperMetadata(self, request: dict[str, Any]) -> dict[str, Any]:
        entry = request["developerMetadata"]
        taken = self.book.all_metadata()
        number = entry.get("metadataId") or max(taken, default=0) + 1
        if number in taken:
            raise Refused(400, f"The metadata id {number} already exists.")
        if "metadataKey" not in entry or "visibility" not in entry:
            raise Refused(400, "Developer metadata must have a key and a visibility.")
        entry = {**entry, "metadataId": number}
        home = self._home(entry["location"])
        home[number] = entry
        self._check_metadata(home)
        return {"createDeveloperMetadata": {"developerMetadata": entry}}

    @staticmethod
    def _check_metadata(home: dict[int, dict[str, Any]]) -> None:
        size = sum(len(entry["metadataKey"]) + len(entry.get("metadataValue", "")) for entry in home.values())
        if size > MAX_METADATA:
            raise Refused(400, f"Developer metadata may not exceed {MAX_METADATA} characters ({size}).")

    def _home(self, location: dict[str, Any]) -> dict[int, dict[str, Any]]:
        if location.get("spreadsheet"):
            return self.book.metadata
        if "sheetId" in location:
            return self.book.by_id(location["sheetId"]).metadata
        raise Refused(501, "This server keeps metadata of documents and tabs only.")

    def do_updateDeveloperMetadata(self, request: dict[str, Any]) -> dict[str, Any]:
        lookups = [part.get("developerMetadataLookup", {}) for part in request["dataFilters"]]
        if request["fields"] != "metadataValue" or any(lookup.keys() != {"metadataId"} for lookup in lookups):
            raise Refused(501, "This server updates the value of metadata found by its id only.")
        changed = []
        for home in (self.book.metadata, *(tab.metadata for tab in self.book.tabs)):
            for number in {lookup["metadataId"] for lookup in lookups} & home.keys():
                home[number] = home[number] | {"metadataValue": request["developerMetadata"]["metadataValue"]}
                changed.append(home[number])
            self._check_metadata(home)
        if not changed and self.strict_metadata:
            raise Refused(400, "No developer metadata matched.")
        return {"updateDeveloperMetadata": {"developerMetadata": changed}}

    def do_deleteDeveloperMetadata(self, request: dict[str, Any]) -> dict[str, Any]:
        lookup = request["dataFilter"].get("developerMetadataLookup", {})
        if lookup.keys() != {"metadataId"}:
            raise Refused(501, "This server finds metadata by its id only.")
        homes = (self.book.metadata, *(tab.metadata for tab in self.book.tabs))
        gone = [home.pop(lookup["metadataId"]) for home in homes if lookup["metadataId"] in home]
        if not gone and self.strict_metadata:
            raise Refused(400, f"No developer metadata with id {lookup['metadataId']}.")
        return {"deleteDeveloperMetadata": {"deletedDeveloperMetadata": gone}}


def _sort_key(column: int, row: Row) -> tuple[bool, Any]:
    """Numbers before text, as in Google's grid."""
    value = row.at(column)
    return isinstance(value, str), value


def _deep(value: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        value = value.get(name, {})
    return value


def _without_columns(row: Row, start: int, end: int) -> Row:
    def moved(items: dict[int, Any]) -> dict[int, Any]:
        return {c - (end - start) * (c >= end): item for c, item in items.items() if not start <= c < end}

    return Row(row.values[:start] + row.values[end:], moved(row.formats), moved(row.notes))


def _with_columns(row: Row, start: int, count: int) -> Row:
    def moved(items: dict[int, Any]) -> dict[int, Any]:
        return {c + count * (c >= start): item for c, item in items.items()}

    values = row.values
    if start < len(values):
        values = (*values[:start], *[None] * count, *values[start:])
    return Row(values, moved(row.formats), moved(row.notes))
