"""Tables as files for a mail: one workbook with a sheet a table, or one CSV file a table.

Nothing in a file is ever run: in a workbook every text is a text, whatever it looks like; in a CSV file a text that a
spreadsheet program would take for a formula gets an apostrophe in front. Times are UTC: a workbook knows no time zone,
so the column's heading says it, `created_at (UTC)`; a CSV file says `2026-11-24T04:05:06Z`.

The newest rows come first, so that a table which is too long for a mail loses its oldest ones; its last line and the
mail itself then say how many are missing.
"""

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

Form = Literal["xlsx", "csv"]
Tables = Mapping[str, pd.DataFrame]
Cell = bool | int | float | datetime | date | str | None

MB: Final = 1_000_000
MOST_ROWS: Final = 1_048_574
"""A sheet's 1,048,576 lines without the heading and the line that says what is missing."""
LONGEST_CELL: Final = 32_767
"""Characters; what Excel holds."""
LARGEST_INTEGER: Final = 2**53
"""Beyond it Excel rounds."""
TRIES: Final = 20
TIMES: Final = ("created_at", "captured_at", "captured_on", "started_at", "raised_at", "at")
"""Columns that tell how old a row is, as the tables have them."""
MIME_TYPES: Final = {
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".csv": "text/csv",
}
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")


@dataclass(frozen=True)
class File:
    """One file of a mail."""

    name: str
    mime_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Attached:
    """The files of a mail and what the mail says of them, in sentences; no file, and why, when none would fit."""

    files: tuple[File, ...]
    words: tuple[str, ...]


def attach(tables: Tables, form: Form, limit_mb: float) -> Attached:
    """Write tables into files that are together no larger than `limit_mb`, cut where they must be.

    Memory holds the finished files alone. A mail encodes them, so that it grows by a third over the limit.
    """
    if not tables:
        return Attached((), ())
    tables = {name: _newest_first(frame) for name, frame in tables.items()}
    write = _write_workbook if form == "xlsx" else _write_csv
    rows = min(MOST_ROWS, max((len(frame) for frame in tables.values()), default=0))
    for _ in range(TRIES):
        with TemporaryDirectory() as folder:
            files = write(Path(folder), tables, rows)
            size = sum(file.stat().st_size for file in files)
            if size <= limit_mb * MB:
                return Attached(tuple(map(_loaded, files)), tuple(_words(tables, [file.name for file in files], rows)))
        if rows == 0:
            break
        rows = int(rows * min(0.9, 0.95 * limit_mb * MB / size))
    return Attached((), (f"{_listed(list(tables))} could not be attached: no row fits into {limit_mb:g} MB.",))


def _newest_first(frame: pd.DataFrame) -> pd.DataFrame:
    time = _time_of(frame)
    return frame.sort_values(time, ascending=False, kind="stable", na_position="last") if time else frame


def _time_of(frame: pd.DataFrame) -> str | None:
    return next((name for name in TIMES if name in frame.columns), None)


def _loaded(file: Path) -> File:
    return File(file.name, MIME_TYPES[file.suffix], file.read_bytes())


def _words(tables: Tables, names: list[str], rows: int) -> Iterator[str]:
    """What the mail says of its files: their names, the rows of each table, what is missing."""
    sizes = [f"{name} ({_counted(min(rows, len(frame)), 'row')})" for name, frame in tables.items()]
    if names:
        yield f"{_listed(names)}: {_listed(sizes)}."
    for name, frame in tables.items():
        if missing := _missing(frame, rows):
            yield f"{name}: {missing}"


def _missing(frame: pd.DataFrame, rows: int) -> str | None:
    """What a table that was cut to `rows` says of itself; None for one that is whole."""
    if len(frame) <= rows:
        return None
    which = "newest" if _time_of(frame) else "first"
    return (
        f"only the {which} {rows:,} of {len(frame):,} rows are here, so that the mail stays small enough; "
        "the destination holds all of them."
    )


def _write_workbook(folder: Path, tables: Tables, rows: int) -> list[Path]:
    import xlsxwriter  # type: ignore[import-untyped]  # ships no types

    file = folder / "claribi.xlsx"
    options = {"constant_memory": True, "tmpdir": str(folder), "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(str(file), options) as book:
        formats = {
            "heading": book.add_format({"bold": True, "bottom": 1}),
            "note": book.add_format({"italic": True, "font_color": "#c4122f"}),
            datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            date: book.add_format({"num_format": "yyyy-mm-dd"}),
        }
        for name, frame in tables.items():
            _write_sheet(book.add_worksheet(name), frame, rows, formats)
    return [file]


def _write_sheet(sheet: Any, frame: pd.DataFrame, rows: int, formats: Mapping[Any, Any]) -> None:
    sheet.freeze_panes(1, 0)
    for place, name in enumerate(frame.columns):
        sheet.set_column(place, place, 20)
        zone = " (UTC)" if pd.api.types.is_datetime64_any_dtype(frame[name].dtype) else ""
        sheet.write_string(0, place, f"{name}{zone}", formats["heading"])
    for line, cells in enumerate(_lines(frame, rows), start=1):
        for place, cell in enumerate(cells):
            _write_cell(sheet, line, place, cell, formats)
    if missing := _missing(frame, rows):
        sheet.write_string(min(rows, len(frame)) + 1, 0, missing.capitalize(), formats["note"])


def _write_cell(sheet: Any, line: int, place: int, cell: Cell, formats: Mapping[Any, Any]) -> None:
    if cell is None:
        return
    if isinstance(cell, bool):
        sheet.write_boolean(line, place, cell)
    elif isinstance(cell, (int, float)) and abs(cell) <= LARGEST_INTEGER:
        sheet.write_number(line, place, cell)
    elif isinstance(cell, date) and cell.year > 1900:  # where Excel's calendar begins
        kind = datetime if isinstance(cell, datetime) else date
        sheet.write_datetime(line, place, cell, formats[kind])
    else:
        sheet.write_string(line, place, _sheet_text(str(cell)))


def _sheet_text(text: str) -> str:
    if text.startswith("<r>") and text.endswith("</r>"):
        text += "\u200b"  # XlsxWriter would put it into the file as XML of its own
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _write_csv(folder: Path, tables: Tables, rows: int) -> list[Path]:
    files = []
    for name, frame in tables.items():
        file = folder / f"{name}.csv"
        # With the mark at the beginning by which Excel knows UTF-8.
        with file.open("w", encoding="utf-8-sig", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(frame.columns)
            writer.writerows([_csv_text(cell) for cell in cells] for cells in _lines(frame, rows))
            if missing := _missing(frame, rows):
                writer.writerow([missing.capitalize()])
        files.append(file)
    return files


def _csv_text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime):
        return f"{cell.isoformat()}Z"
    if isinstance(cell, str):
        return f"'{cell}" if _FORMULA.match(cell) else cell
    return str(cell)


def _lines(frame: pd.DataFrame, rows: int) -> Iterator[list[Cell]]:
    """The first rows of a frame, one after the other."""
    for values in frame.head(rows).itertuples(index=False, name=None):
        yield [_cell(value) for value in values]


def _cell(value: Any) -> Cell:
    """One value as Python has it: every null of pandas is None, a time is UTC without a zone."""
    if isinstance(value, str):
        return value
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, Decimal, np.floating)):
        return None if math.isnan(value) else float(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return value if isinstance(value, date) else str(value)


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'s' * (count != 1)}"


def _listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
