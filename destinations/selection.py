"""Which tables and columns a user wants in a store, and sorted how: pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from destinations.errors import UnknownSelection
from destinations.fold import Columns, Sort


@dataclass(frozen=True)
class Selection:
    """What `tables`, `columns` and `sort` in a destination's configuration mean."""

    tables: Sequence[str] | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sort: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def takes(self, table: str) -> bool:
        """Whether the table is wanted at all."""
        return self.tables is None or table in self.tables

    def kept(self, table: str, columns: Columns, keys: Iterable[str]) -> Columns:
        """The wanted columns in the wanted order, and always the keys, by which the next load finds its rows again."""
        wanted = self.columns.get(table)
        if wanted is None:
            return columns
        names = [*(key for key in keys if key not in wanted), *wanted]
        return {name: columns[name] for name in names if name in columns}

    def order(self, table: str) -> Sort:
        """What a table's rows are sorted by, if anything."""
        return tuple(_sort_part(entry) for entry in self.sort.get(table, ()))

    def check(self, known: Mapping[str, Collection[str]]) -> None:
        """Refuse names that none of the known tables (name -> its columns) has; raise `UnknownSelection`."""
        _refuse("tables", self.tables or (), known)
        _refuse("columns", self.columns, known)
        _refuse("sort", self.sort, known)
        for table, wanted in self.columns.items():
            _refuse(f"columns.{table}", wanted, known[table])
        for table, entries in self.sort.items():
            written = self.columns.get(table, known[table])
            _refuse(f"sort.{table}", [_sort_part(entry)[0] for entry in entries], written)
            _refuse(f"sort.{table}", [way for _, way in map(_sort_part, entries)], ("asc", "desc"))


def _sort_part(entry: str) -> tuple[str, str]:
    """`created_at desc` -> its column and direction."""
    column, _, direction = entry.partition(" ")
    return column, direction.strip().lower() or "asc"


def _refuse(setting: str, names: Iterable[str], known: Collection[str]) -> None:
    unknown = set(names) - set(known)
    if unknown:
        raise UnknownSelection(setting, unknown, known)
