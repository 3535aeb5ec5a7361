"""What a load changes in one tab. Pure.

Rows and columns are counted from 0, as Google counts them. The export owns the first columns of a tab; what people keep
to the right of them stays beside its row, because a row never moves except when a row above it is deleted.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from destinations.cells import Column, Row, identity, same_rows
from destinations.sheets_look import Tab, new_number, table_note

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


def kept_order(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether the columns that stay follow one another as before."""
    return [name for name in old if name in new] == [name for name in new if name in old]
