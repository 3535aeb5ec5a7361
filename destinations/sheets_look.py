"""What Google says of a spreadsheet without its cells: tabs, sizes, and the notes that the export keeps in it. Pure.

The notes are developer metadata, which people do not see:

- `dlt_load`, on the spreadsheet: one mark for each load. Its id is `MARK_ID` + generation. Ids are unique, so a batch
  that begins by creating the next one is carried out at most once, whoever sends it and however late it arrives.
- `dlt_table`, on a tab: which table the tab holds, and its columns with their types.
- `dlt_staging`, on a hidden tab: an upload that no load has taken in yet.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

from destinations.cells import Column

MARK, TABLE, STAGING = "dlt_load", "dlt_table", "dlt_staging"
MARK_ID = 1_500_000_000
MARKS_KEPT = 40
"""A mark must outlive every request of its time that may still be on the way."""
STAGING_KEPT_S = 3600


class Mark(NamedTuple):
    """One committed load."""

    load: str
    rows: Mapping[str, int]
    """Rows by table; only the newest mark has them."""


class Sheet(NamedTuple):
    """One tab, ours or not: its id, title and grid."""

    sheet_id: int
    title: str
    rows: int
    width: int
    hidden: bool


class Tab(NamedTuple):
    """One tab of ours."""

    table: str
    sheet: Sheet
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    note_id: int
    """Id of the metadata that says so."""

    @property
    def names(self) -> list[str]:
        """Names of its columns, in order."""
        return [column.name for column in self.columns]


@dataclass(frozen=True)
class Look:
    """A spreadsheet at one moment."""

    sheets: tuple[Sheet, ...] = ()
    marks: Mapping[int, Mark] = field(default_factory=dict)
    """By generation, from 1."""
    tabs: Mapping[str, Tab] = field(default_factory=dict)
    staging: Mapping[int, tuple[str, float]] = field(default_factory=dict)
    """Sheet id of an upload -> its load, and when it began (seconds since 1970)."""
    taken: frozenset[int] = frozenset()
    """Numbers of all metadata, ours or not."""

    @property
    def generation(self) -> int:
        """The newest mark's; 0 before the first load."""
        return max(self.marks, default=0)

    @property
    def next_generation(self) -> int:
        """What the next mark will be: everyone who sees the same spreadsheet says the same."""
        return next(n for n in count(self.generation + 1) if MARK_ID + n not in self.taken)

    @property
    def rows(self) -> Mapping[str, int]:
        """How many rows each table had after the last load."""
        return self.marks[self.generation].rows if self.marks else {}

    @property
    def cells(self) -> int:
        """Cells of all grids; blank ones count against Google's limit as well."""
        return sum(sheet.rows * sheet.width for sheet in self.sheets)

    def leftovers(self, load: str, now: float) -> list[Sheet]:
        """Uploads that nobody will take in: earlier tries of this load, and those of runs long dead."""
        dead = {sheet for sheet, (of, at) in self.staging.items() if of == load or now - at > STAGING_KEPT_S}
        return [sheet for sheet in self.sheets if sheet.sheet_id in dead]


def understood(answer: Mapping[str, Any]) -> Look:
    """The answer of `spreadsheets.get`. What is zero, false or empty is not in it."""
    marks = {
        entry["metadataId"] - MARK_ID: Mark(value["load"], value.get("rows", {}))
        for entry, value in _notes(answer, MARK)
    }
    sheets, tabs, staging = [], {}, {}
    for part in answer.get("sheets", []):
        sheet = _sheet(part["properties"])
        sheets.append(sheet)
        for entry, value in _notes(part, TABLE):
            # A tab that a person duplicated carries the note of its original.
            if value["sheet"] == sheet.sheet_id:
                columns = tuple(Column(*column) for column in value["columns"])
                tabs[value["table"]] = Tab(value["table"], sheet, columns, tuple(value["key"]), entry["metadataId"])
        for _, value in _notes(part, STAGING):
            staging[sheet.sheet_id] = (value["load"], value["at"])
    notes = [answer, *answer.get("sheets", [])]
    taken = frozenset(entry["metadataId"] for part in notes for entry in part.get("developerMetadata", []))
    return Look(tuple(sheets), marks, tabs, staging, taken)


def guard(look: Look, load: str, rows: Mapping[str, int]) -> list[dict[str, Any]]:
    """The requests that every committing batch begins with: the next mark, and the old ones tidied."""
    generation = look.next_generation
    value = {"load": load, "rows": {**rows}}
    requests = [created(MARK, _text(value), {"spreadsheet": True}, MARK_ID + generation)]
    if look.marks:
        last = {"load": look.marks[look.generation].load}
        requests.append(updated(MARK_ID + look.generation, _text(last)))
    outlived = [old for old in look.marks if old <= generation - MARKS_KEPT]
    return requests + [removed(MARK_ID + old) for old in sorted(outlived)]


def table_note(table: str, sheet_id: int, columns: tuple[Column, ...], key: tuple[str, ...]) -> str:
    """What a tab's `dlt_table` says."""
    return _text({"table": table, "sheet": sheet_id, "key": key, "columns": [_short(column) for column in columns]})


def new_number() -> int:
    """A number for a tab or a note, below the marks' own.

    It is random: what is still on the way for an earlier tab must never meet this one.
    """
    return secrets.randbelow(MARK_ID - 1) + 1


def upload_note(load: str, now: float) -> str:
    """What an upload's `dlt_staging` says."""
    return _text({"load": load, "at": int(now)})


def created(key: str, value: str, location: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The request that makes a note; it fails when the number is taken."""
    note = {"metadataId": number, "metadataKey": key, "metadataValue": value, "location": location}
    note["visibility"] = "DOCUMENT"
    return {"createDeveloperMetadata": {"developerMetadata": note}}


def updated(number: int, value: str) -> dict[str, Any]:
    """The request that rewrites a note."""
    filters = [{"developerMetadataLookup": {"metadataId": number}}]
    change = {"metadataValue": value}
    return {"updateDeveloperMetadata": {"dataFilters": filters, "developerMetadata": change, "fields": "metadataValue"}}


def removed(number: int) -> dict[str, Any]:
    """The request that deletes a note."""
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": {"metadataId": number}}}}


def _sheet(properties: Mapping[str, Any]) -> Sheet:
    grid = properties.get("gridProperties", {})
    return Sheet(
        properties.get("sheetId", 0),
        properties["title"],
        grid.get("rowCount", 0),
        grid.get("columnCount", 0),
        properties.get("hidden", False),
    )


def _notes(part: Mapping[str, Any], key: str) -> Iterator[tuple[Mapping[str, Any], Any]]:
    for entry in part.get("developerMetadata", []):
        if entry["metadataKey"] == key:
            yield entry, json.loads(entry["metadataValue"])


def _short(column: Column) -> list[Any]:
    """A column as a list without the defaults at its end: thirty thousand characters must do for a tab."""
    values, defaults = list(column), list(Column(""))
    while len(values) > 1 and values[-1] == defaults[len(values) - 1]:
        values.pop()
    return values


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
