"""Typed values and the cells of a spreadsheet: how one becomes the other, and what fits. Pure, no network.

A cell is text, a number, a boolean or blank, as the Sheets API carries it unformatted. Sheets keeps 15 significant
digits of a number and shows a day as a count of days since 1899-12-30, without a zone; ours are UTC.
"""

import base64
import binascii
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from itertools import zip_longest
from typing import Any, NamedTuple, cast

from dlt.common.schema.typing import TColumnSchema

Cell = str | int | float | bool | None
"""One cell; None is a blank. An empty text is a blank as well: Sheets cannot tell them apart."""

MAX_DIGITS = 15
MAX_CHARACTERS = 50_000
MAX_CELLS = 10_000_000
MAX_COLUMNS = 18_278
CUT_TO = 49_900
PACKED, PACKED_FROM = "zlib:", 2_000

EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
EXACT = Context(prec=80)  # The usual 28 digits are fewer than a column of 38 may hold.
DAY_MS = 86_400_000
DAY_US = 86_400_000_000


Row = Sequence[Cell]
"""One row of cells, as wide as its table."""


class Column(NamedTuple):
    """One column of a table; `data_type`, `precision`, `scale` and `timezone` are dlt's words.

    `as_text` writes numbers and times as text: numbers of more than 15 digits, which Sheets would round, and timestamps
    whose microseconds matter. A column never mixes the two.
    """

    name: str
    data_type: str = "text"
    precision: int | None = None
    scale: int | None = None
    timezone: bool = True
    as_text: bool = False


def hints(column: Column) -> TColumnSchema:
    """The column in dlt's words."""
    given: dict[str, Any] = {"name": column.name, "data_type": column.data_type}
    given |= {"precision": column.precision, "scale": column.scale, "timezone": None if column.timezone else False}
    return cast("TColumnSchema", {name: value for name, value in given.items() if value is not None})


def column_of(name: str, given: TColumnSchema) -> Column:
    """A column from dlt's words."""
    kind = given["data_type"] or "text"
    return Column(name, kind, given.get("precision"), given.get("scale"), given.get("timezone") is not False)


def to_cell(column: Column, value: Any) -> Cell:
    """The cell of a value; NaN, infinity and the empty text are blank."""
    if value is None:
        return None
    cell = ENCODERS[column.data_type](column, value)
    return None if cell == "" else cell


def from_cell(column: Column, cell: Cell) -> Any:
    """The value of a cell; None where a person typed something that the column's type does not allow."""
    if cell is None or cell == "":
        return None
    try:
        return DECODERS[column.data_type](column, cell)
    except (ValueError, TypeError, OverflowError, InvalidOperation, binascii.Error):
        return None


def number_format(column: Column) -> dict[str, str] | None:
    """The NumberFormat that shows a column right; None where the automatic one does."""
    if column.as_text:
        return {"type": "TEXT"} if column.data_type in ("bigint", "decimal", "wei") else None
    match column.data_type:
        case "timestamp":
            return {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"}
        case "date":
            return {"type": "DATE", "pattern": "yyyy-mm-dd"}
        case "time":
            return {"type": "TIME", "pattern": "hh:mm:ss"}
        case "decimal" if column.scale:
            return {"type": "NUMBER", "pattern": "#,##0." + "0" * min(column.scale, MAX_DIGITS)}
        case _:
            return None


def note(column: Column) -> str:
    """What a person reads on the column's header."""
    if column.data_type == "timestamp":
        return "timestamp, UTC" if column.timezone else "timestamp, without a time zone"
    return column.data_type


def same(one: Cell, other: Cell) -> bool:
    """Whether two cells hold the same as far as Sheets can keep it: blanks alike, numbers to 15 digits."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or f"{one:.15g}" == f"{other:.15g}"
    return (None if one == "" else one) == (None if other == "" else other)


def same_rows(one: Row, other: Row) -> bool:
    """Whether two rows hold the same; what one lacks at its end is blank."""
    return all(same(a, b) for a, b in zip_longest(one, other))


def identity(cell: Cell) -> str | bool | tuple[str, str] | None:
    """What cells have in common when they are the `same`: for sets and dicts."""
    if cell is None or cell == "":
        return None
    return cell if isinstance(cell, str | bool) else ("number", f"{cell + 0.0:.15g}")


def entered(cell: Cell) -> dict[str, Any]:
    """The ExtendedValue that enters a cell as it is: text is never parsed, so `=1+1` stays text."""
    if cell is None:
        return {}
    if isinstance(cell, bool):
        return {"boolValue": cell}
    return {"stringValue": cell} if isinstance(cell, str) else {"numberValue": cell}


def characters(text: str) -> int:
    """Length as Sheets counts it, in UTF-16 units."""
    return len(text) if len(text) <= MAX_CHARACTERS // 2 or text.isascii() else len(text.encode("utf-16-le")) // 2


def is_too_long(cell: Cell) -> bool:
    """Whether Sheets would refuse the cell, and the whole load with it."""
    return isinstance(cell, str) and characters(cell) > MAX_CHARACTERS


def cut(text: str) -> str:
    """A text that fits, with a visible mark and the digest of the whole, so that equal texts stay equal."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    head = text.encode("utf-16-le")[: CUT_TO * 2].decode("utf-16-le", errors="ignore")
    return f"{head}… [cut, sha256:{digest}]"


def packed(row: Row) -> list[Cell]:
    """A row of our own hidden tabs: long texts are compressed, and what does not fit a cell follows the last column."""
    cells: list[Cell] = []
    rest: list[Cell] = []
    for cell in row:
        if isinstance(cell, str) and (len(cell) > PACKED_FROM or cell.startswith(PACKED)):
            text = base64.b64encode(zlib.compress(cell.encode())).decode()
            parts = [text[at : at + CUT_TO] for at in range(0, len(text), CUT_TO)]
            cells.append(f"{PACKED}{len(parts)}:{parts[0]}")
            rest += parts[1:]
        else:
            cells.append(cell)
    return cells + rest


def unpacked(row: Row, width: int) -> list[Cell]:
    """The row of this width that was `packed`."""
    cells, rest = list(row[:width]), list(row[width:])
    for place, cell in enumerate(cells):
        if isinstance(cell, str) and cell.startswith(PACKED):
            count, text = cell.removeprefix(PACKED).split(":")
            parts = [text, *map(str, rest[: int(count) - 1])]
            del rest[: int(count) - 1]
            cells[place] = zlib.decompress(base64.b64decode("".join(parts))).decode()
    return cells


def letters(number: int) -> str:
    """A column's letters, counted from 0: 0 is A, 26 is AA."""
    text = ""
    while number >= 0:
        number, digit = divmod(number, 26)
        text = chr(ord("A") + digit) + text
        number -= 1
    return text


def a1(title: str, top: int, bottom: int | None, left: int, right: int) -> str:
    """A block of a tab in A1 notation; half-open and counted from 0, `bottom` None is down to the grid's end.

    The title is always quoted: a tab may be called `P1` or `it's`.
    """
    quoted = title.replace("'", "''")
    return f"'{quoted}'!{letters(left)}{top + 1}:{letters(right - 1)}{'' if bottom is None else bottom}"


def _whole(_: Column, value: Any) -> Cell:
    return value if isinstance(value, str) else str(value)


def _integer(column: Column, value: int) -> Cell:
    return str(value) if column.as_text else int(value)


def _float(_: Column, value: float) -> Cell:
    return float(value) if math.isfinite(value) else None


def _decimal(column: Column, value: Decimal) -> Cell:
    if not value.is_finite():
        return None
    return format(value, "f") if column.as_text else float(value)


def _boolean(_: Column, value: bool) -> Cell:
    return bool(value)


def _timestamp(column: Column, value: datetime) -> Cell:
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if column.as_text or moment < EPOCH:
        text = moment.replace(tzinfo=None).isoformat()
        return f"{text}Z" if column.timezone else text
    return (moment - EPOCH) // timedelta(milliseconds=1) / DAY_MS


def _date(_: Column, value: date) -> Cell:
    days = (value - EPOCH.date()).days
    return days if days >= 0 else value.isoformat()


def _time(_: Column, value: time) -> Cell:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return (seconds * 1_000_000 + value.microsecond) / DAY_US


def _json(_: Column, value: Any) -> Cell:
    """Compact JSON with sorted keys: one value, one text, or the comparison would find changes that are none."""
    try:
        document = json.loads(value) if isinstance(value, str) else value
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError:
        return str(value)


def _binary(_: Column, value: bytes) -> Cell:
    return base64.b64encode(value).decode()


def _read_text(_: Column, cell: Cell) -> str:
    """A person who retypes 007 makes it a number; it is text again."""
    if isinstance(cell, bool):
        return str(cell).upper()
    return cell if isinstance(cell, str) else f"{cell:.15g}"


def _read_integer(_: Column, cell: Cell) -> int:
    if isinstance(cell, float) and not cell.is_integer():
        raise ValueError(cell)
    return int(_not_boolean(cell))


def _read_float(_: Column, cell: Cell) -> float:
    return float(_not_boolean(cell))


def _read_decimal(column: Column, cell: Cell) -> Decimal:
    given = _not_boolean(cell)
    value = Decimal(given if isinstance(given, str) else f"{given:.15g}")
    return value if column.scale is None else value.quantize(Decimal(1).scaleb(-column.scale), context=EXACT)


def _read_boolean(_: Column, cell: Cell) -> bool:
    if not isinstance(cell, bool):
        raise TypeError(cell)
    return cell


def _read_timestamp(column: Column, cell: Cell) -> datetime:
    number = _not_boolean(cell)
    if isinstance(number, str):
        moment = datetime.fromisoformat(number)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    else:
        moment = EPOCH + timedelta(milliseconds=round(number * DAY_MS))
    return moment if column.timezone else moment.replace(tzinfo=None)


def _read_date(_: Column, cell: Cell) -> date:
    number = _not_boolean(cell)
    if isinstance(number, str):
        return date.fromisoformat(number)
    return EPOCH.date() + timedelta(days=math.floor(number))


def _read_time(_: Column, cell: Cell) -> time:
    number = _not_boolean(cell)
    if isinstance(number, str):
        return time.fromisoformat(number)
    return (datetime.min + timedelta(microseconds=round(number * DAY_US) % DAY_US)).time()  # noqa: DTZ901 - a time of day


def _read_binary(_: Column, cell: Cell) -> bytes:
    return base64.b64decode(str(cell), validate=True)


def _not_boolean(cell: Cell) -> str | int | float:
    if cell is None or isinstance(cell, bool):
        raise TypeError(cell)
    return cell


ENCODERS: dict[str, Callable[[Column, Any], Cell]] = {
    "text": _whole,
    "bigint": _integer,
    "double": _float,
    "decimal": _decimal,
    "wei": _whole,
    "bool": _boolean,
    "timestamp": _timestamp,
    "date": _date,
    "time": _time,
    "json": _json,
    "binary": _binary,
}
DECODERS: dict[str, Callable[[Column, Cell], Any]] = {
    "text": _read_text,
    "bigint": _read_integer,
    "double": _read_float,
    "decimal": _read_decimal,
    "wei": _read_decimal,
    "bool": _read_boolean,
    "timestamp": _read_timestamp,
    "date": _read_date,
    "time": _read_time,
    "json": _read_text,
    "binary": _read_binary,
}
