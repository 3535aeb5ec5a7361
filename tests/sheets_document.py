"""A spreadsheet as Google keeps it, small enough to read: tabs, cells, formats, notes, metadata.

States are never changed in place: a batch works on a copy, and a state once committed stays as it was. So every
revision of a document can be kept and compared for the price of its changed rows.
"""

import re
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

MAX_CHARACTERS = 50_000

Value = str | int | float | bool | None


class Refused(Exception):
    """Google's answer to a request it does not carry out; `status` is the HTTP status."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        self.status, self.message, self.reason = status, message, reason
        super().__init__(message)


class Formula(NamedTuple):
    """A formula that a person typed, with the value it shows."""

    text: str
    shows: Value


@dataclass(frozen=True)
class Row:
    """One row of the grid; formats and notes by column."""

    values: tuple[Value | Formula, ...] = ()
    formats: dict[int, dict[str, Any]] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)

    def at(self, column: int) -> Value | Formula:
        """The value of one column; None when it is blank."""
        return self.values[column] if column < len(self.values) else None

    def with_value(self, column: int, value: Value | Formula) -> "Row":
        """The same row with one other value."""
        values = list(self.values) + [None] * (column + 1 - len(self.values))
        values[column] = value
        return replace(self, values=tuple(values))


BLANK_ROW = Row()


@dataclass
class Tab:
    """One tab. `rows` may be shorter than the grid: what is missing is blank."""

    id: int
    title: str
    row_count: int = 1000
    column_count: int = 26
    hidden: bool = False
    frozen: int = 0
    rows: list[Row] = field(default_factory=list)
    metadata: dict[int, dict[str, Any]] = field(default_factory=dict)
    charts: list[dict[str, Any]] = field(default_factory=list)
    filter: dict[str, Any] | None = None
    protected: list[dict[str, Any]] = field(default_factory=list)
    widths: dict[int, int] = field(default_factory=dict)

    def row(self, number: int) -> Row:
        """One row, counted from 0."""
        return self.rows[number] if number < len(self.rows) else BLANK_ROW

    def put(self, number: int, row: Row) -> None:
        """Replace one row."""
        self.rows.extend([BLANK_ROW] * (number + 1 - len(self.rows)))
        self.rows[number] = row

    def shown(self, columns: int | None = None) -> list[list[Value]]:
        """What a reader sees, trailing blanks cut; optionally only the first columns."""
        area = Area(0, self.row_count, 0, self.column_count if columns is None else columns)
        return read_area(self, area)

    def type(self, number: int, column: int, value: Value | Formula) -> None:
        """A person types into one cell."""
        self.put(number, self.row(number).with_value(column, value))

    def sort(self, column: int, descending: bool = False) -> None:
        """A person sorts everything below the header; blanks come last, as in Google's grid."""
        head, body = self.rows[: self.frozen], self.rows[self.frozen :]
        full = [row for row in body if row.at(column) is not None]
        full.sort(key=lambda row: (isinstance(row.at(column), str), row.at(column)), reverse=descending)
        self.rows = head + full + [row for row in body if row.at(column) is None]

    def delete_row(self, number: int) -> None:
        """A person deletes one row."""
        del self.rows[number : number + 1]
        self.row_count -= 1

    def insert_row(self, number: int) -> None:
        """A person inserts a blank row."""
        self.rows.insert(number, BLANK_ROW)
        self.row_count += 1

    def properties(self, index: int) -> dict[str, Any]:
        """The tab's SheetProperties."""
        grid = {"rowCount": self.row_count, "columnCount": self.column_count, "frozenRowCount": self.frozen}
        return {
            "sheetId": self.id,
            "title": self.title,
            "index": index,
            "sheetType": "GRID",
            "gridProperties": grid,
            "hidden": self.hidden,
        }


@dataclass
class Book:
    """One state of a spreadsheet."""

    title: str
    tabs: list[Tab] = field(default_factory=list)
    metadata: dict[int, dict[str, Any]] = field(default_factory=dict)

    def copied(self) -> "Book":
        """A state that can be changed without this one noticing."""
        return Book(self.title, [self._copied(tab) for tab in self.tabs], dict(self.metadata))

    @staticmethod
    def _copied(tab: Tab) -> Tab:
        other = copy(tab)
        other.rows, other.metadata = list(tab.rows), dict(tab.metadata)
        other.charts, other.protected = deepcopy(tab.charts), deepcopy(tab.protected)
        other.widths = dict(tab.widths)
        return other

    def tab(self, title: str) -> Tab:
        """The tab of this title; KeyError when there is none."""
        for tab in self.tabs:
            if tab.title == title:
                return tab
        raise KeyError(title)

    def by_id(self, sheet_id: int) -> Tab:
        """The tab of this id; refused when there is none."""
        for tab in self.tabs:
            if tab.id == sheet_id:
                return tab
        raise Refused(400, f"No grid with id: {sheet_id}")

    def cells(self) -> int:
        """Cells of all grids, blank ones too: what Google's limit counts."""
        return sum(tab.row_count * tab.column_count for tab in self.tabs)

    def all_metadata(self) -> dict[int, dict[str, Any]]:
        """Developer metadata of the document and of its tabs."""
        return self.metadata | {i: entry for tab in self.tabs for i, entry in tab.metadata.items()}


class Area(NamedTuple):
    """Half-open block of a grid, counted from 0."""

    top: int
    bottom: int
    left: int
    right: int


def area_of(tab: Tab, grid_range: dict[str, Any]) -> Area:
    """A GridRange made concrete; refused when it reaches past the grid."""
    area = Area(
        grid_range.get("startRowIndex", 0),
        grid_range.get("endRowIndex", tab.row_count),
        grid_range.get("startColumnIndex", 0),
        grid_range.get("endColumnIndex", tab.column_count),
    )
    check_inside(tab, area)
    return area


def check_inside(tab: Tab, area: Area) -> None:
    """Refuse a block that reaches past the grid, or is none."""
    if not (0 <= area.top < area.bottom and 0 <= area.left < area.right):
        raise Refused(400, f"Invalid range on {tab.title}: {area}")
    if area.bottom > tab.row_count or area.right > tab.column_count:
        raise Refused(
            400,
            f"Range ({tab.title}!{area}) exceeds grid limits. "
            f"Max rows: {tab.row_count}, max columns: {tab.column_count}",
        )


A1 = re.compile(r"(?:'((?:[^']|'')*)'|([^'!]+))(?:!([A-Za-z]*)(\d*)(?::([A-Za-z]*)(\d*))?)?")


def parse_a1(book: Book, text: str) -> tuple[Tab, Area]:
    """An A1 range with a tab's title -> that tab and the block, cut to its grid."""
    match = A1.fullmatch(text)
    if match is None:
        raise Refused(400, f"Unable to parse range: {text}")
    quoted, bare, left, top, right, bottom = match.groups()
    try:
        tab = book.tab(quoted.replace("''", "'") if quoted is not None else bare)
    except KeyError:
        raise Refused(400, f"Unable to parse range: {text}") from None
    if not left and not top:
        return tab, Area(0, tab.row_count, 0, tab.column_count)
    first = column_number(left) if left else 0
    last = (column_number(right) + 1 if right else tab.column_count) if ":" in text else first + 1
    upper = int(top) - 1 if top else 0
    lower = (int(bottom) if bottom else tab.row_count) if ":" in text else upper + 1
    return tab, Area(upper, lower, first, last)


def column_number(letters: str) -> int:
    """A -> 0, Z -> 25, AA -> 26."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def read_area(tab: Tab, area: Area, columns: bool = False) -> list[list[Value]]:
    """Unformatted values of a block, trailing blanks cut as Google cuts them."""
    rows = [_shown(tab.row(number), area) for number in range(area.top, min(area.bottom, len(tab.rows)))]
    if columns:
        width = max(map(len, rows), default=0)
        rows = [[row[i] if i < len(row) else "" for row in rows] for i in range(width)]
        for row in rows:
            while row and row[-1] == "":
                row.pop()
    while rows and not rows[-1]:
        rows.pop()
    return rows


def _shown(row: Row, area: Area) -> list[Value]:
    values = [v.shows if isinstance(v, Formula) else v for v in row.values[area.left : area.right]]
    while values and values[-1] in (None, ""):
        values.pop()
    return ["" if value is None else value for value in values]


def stored(value: Any, digits: int) -> Value:
    """A value as the grid keeps it: numbers are doubles of so many digits, an empty text is a blank."""
    if isinstance(value, str) and len(value) > MAX_CHARACTERS:
        raise Refused(
            400, f"Your input contains more than the maximum of {MAX_CHARACTERS} characters in a single cell."
        )
    if value is None or value == "":
        return None
    if isinstance(value, bool | str):
        return value
    if not isinstance(value, int | float):
        raise Refused(400, f"Invalid values: {value!r}")
    number = float(f"{value:.{digits}g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def resource(book: Book) -> dict[str, Any]:
    """The book as `spreadsheets.get` tells it, without cells."""
    sheets = [
        {
            "properties": tab.properties(index),
            "developerMetadata": list(tab.metadata.values()),
            "protectedRanges": tab.protected,
        }
        for index, tab in enumerate(book.tabs)
    ]
    return {
        "properties": {"title": book.title, "timeZone": "Europe/Berlin", "locale": "de_DE"},
        "sheets": sheets,
        "developerMetadata": list(book.metadata.values()),
    }


def value_range(book: Book, text: str, query: dict[str, list[str]]) -> dict[str, Any]:
    """The cells of an A1 range as `values.get` tells them."""
    if query.get("valueRenderOption") != ["UNFORMATTED_VALUE"]:
        raise Refused(501, "This server reads UNFORMATTED_VALUE only.")
    tab, area = parse_a1(book, text)
    check_inside(tab, area)
    major = query.get("majorDimension", ["ROWS"])[0]
    return {"range": text, "majorDimension": major, "values": read_area(tab, area, columns=major == "COLUMNS")}


def write_values(tab: Tab, area: Area, rows: list[list[Value]], digits: int) -> None:
    """Enter cells as `values.update` does with RAW."""
    width = max(map(len, rows), default=0)
    if len(rows) > area.bottom - area.top or width > area.right - area.left:
        raise Refused(400, f"Requested writing within range [{tab.title}!{area}], but tried writing outside of it")
    check_inside(tab, area)
    for number, values in enumerate(rows, area.top):
        old = tab.row(number)
        cells: list[Value | Formula] = list(old.values) + [None] * (area.left + len(values) - len(old.values))
        for column, value in enumerate(values, area.left):
            if value is not None:  # null leaves the old value
                cells[column] = stored(value, digits)
        tab.put(number, Row(tuple(cells), old.formats, old.notes))
