"""Reading a spreadsheet: what it holds (one request), and the cells of all our tabs (one more)."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from destinations.cells import Cell, Row, a1, letters, unpacked
from destinations.sheets_api import SheetsApi
from destinations.sheets_diff import is_technical
from destinations.sheets_errors import SheetsRefused, TabChanged
from destinations.sheets_look import Look, Tab, understood
from destinations.sheets_plan import TabRows, displaced, header_row

TAIL = 5_000
"""Rows of a table that only grows which are read: what a load changes is near the end."""
LOOKS = 3

logger = logging.getLogger(__name__)


@dataclass
class Seen:
    """A spreadsheet as it was read at one moment."""

    look: Look = field(default_factory=Look)
    rows: Mapping[str, TabRows] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    """Rows that people deleted since the last load, by table."""


def look(api: SheetsApi) -> Look:
    """The spreadsheet without its cells."""
    return understood(api.look())


def see(api: SheetsApi, wanted: Callable[[str], bool], growing: Collection[str]) -> Seen:
    """The spreadsheet with the cells of the wanted tables; of the growing ones the last rows only."""
    for tries_left in reversed(range(LOOKS)):
        seen = look(api)
        tabs = [tab for name, tab in seen.tabs.items() if wanted(name)]
        tops = {tab.table: max(1, tab.sheet.rows - TAIL) for tab in tabs if tab.table in growing}
        try:
            blocks = read_blocks(api, [(tab, tops.get(tab.table, 0)) for tab in tabs])
        except SheetsRefused as error:
            # Cells are addressed by their tab's title, which a person may have changed a moment ago.
            if error.cause != "bad-request" or not tries_left:
                raise
        else:
            rows = {
                tab.table: _rows(tab, tops.get(tab.table, 0), block) for tab, block in zip(tabs, blocks, strict=True)
            }
            return Seen(seen, rows, _removed(seen, rows, growing))
    raise AssertionError("unreachable: the last look returns or raises")


def read_blocks(api: SheetsApi, wanted: Sequence[tuple[Tab, int]]) -> list[list[Row]]:
    """Our columns of each tab from a row to the grid's end; rows are filled up to the tab's width."""
    ranges = [a1(tab.sheet.title, top, None, 0, width_of(tab)) for tab, top in wanted]
    answers = api.values(ranges) if ranges else []
    return [[_filled(row, width_of(tab)) for row in rows] for (tab, _), rows in zip(wanted, answers, strict=True)]


def width_of(tab: Tab) -> int:
    """Columns to read: ours, and in our own tabs what may have been carried over the last one."""
    return tab.sheet.width if is_technical(tab.table) else len(tab.columns)


def cells_of(tab: Tab, row: Row) -> Row:
    """The table's own cells of a row."""
    return unpacked(row, len(tab.columns)) if is_technical(tab.table) else row


def _filled(row: Sequence[Cell], width: int) -> Row:
    cells = [None if cell == "" else cell for cell in row]
    return cells + [None] * (width - len(cells))


def _rows(tab: Tab, top: int, block: Sequence[Row]) -> TabRows:
    """What was read, below the header."""
    key = tuple(tab.names.index(name) for name in tab.key)
    if top:
        return TabRows(top, block, 0, key)
    header = header_row(block, tab.names)
    if header is None:
        return TabRows(0, block, None, key)
    if (name := displaced(block[header], tab.names)) and not is_technical(tab.table):
        raise TabChanged(
            tab.table,
            f"({tab.sheet.title!r}) no longer has its columns A to {letters(len(tab.columns) - 1)} as the export left "
            f"them: {name} has moved. Nothing was written. Put your own columns to the right of them and restore the "
            "order (File > Version history shows it), then run again.",
        )
    return TabRows(header + 1, block[header + 1 :], header, key)


def _removed(seen: Look, rows: Mapping[str, TabRows], growing: Collection[str]) -> dict[str, int]:
    removed = {}
    for name, block in rows.items():
        lost = seen.rows.get(name, 0) - len(block.data)
        if lost > 0 and name not in growing:
            removed[name] = lost
            logger.warning(
                "%d row%s of %s were deleted in the spreadsheet since the last load; a backfill brings them back",
                lost,
                "s" * (lost != 1),
                name,
            )
    return removed
