"""Which column each field of a batch goes to, decided by names alone.

A field that `schema` names has its column; so has the same field in another spelling (`createdAt`, `Created-At`).
Every other field gets a column of its own name, up to 50 a table. The rest is homeless and goes to `extra`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, cast

from dlt.common.normalizers.naming.snake_case import NamingConvention

from pipelines.claribi.columns import FITTED
from pipelines.claribi.schema import Kind, Table

MAX_UNKNOWN: Final = 50
"""Columns a table may gain beyond those of `schema`."""

MAX_NAME: Final = 60
"""PostgreSQL cuts names at 63 characters."""

RESERVED: Final = frozenset({"d", "s", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""`d` and `s` are what dlt's merge calls its two tables, and DuckDB takes `d.id` for a key inside a JSON column `d`:
then no row is ever replaced and all are doubled. The others are PostgreSQL's own columns."""

Items = Sequence[Mapping[str, Any]]
Path = tuple[str, ...]
"""A field, or a field and a key inside it."""

_NAMING: Final = NamingConvention()


@dataclass(frozen=True)
class Feed:
    """One column and the fields that fill it in this batch."""

    name: str
    kind: Kind | None
    """None for a new column: its values will tell."""
    paths: tuple[Path, ...]
    """Best first; none for a column this batch has nothing for."""
    kept_elsewhere: frozenset[Path] = frozenset()
    """Those of `paths` that another column keeps, so that nothing is lost when this one does not take them."""


@dataclass(frozen=True)
class Plan:
    """Where everything in one batch of one table goes."""

    feeds: list[Feed]
    """In the order of the columns."""
    lists: dict[str, tuple[Path, ...]]
    """By child table: where its rows may be, best first."""
    parts: dict[str, frozenset[str]]
    """Objects of which columns take single keys: field -> the keys taken."""
    homeless: frozenset[str]
    """Fields that can have no column."""
    known: dict[str, Kind]
    """The columns that `schema` does not name and the destination has already."""
    notes: list[str]


def plan(items: Items, table: Table, known: Mapping[str, str]) -> Plan:
    """Place every field of the batch; `known` are the destination's columns and their kinds."""
    names = {column.name for column in table.columns}
    known = {name: kind for name, kind in known.items() if name not in names and name[0] != "_"}
    shapes = dict.fromkeys(map(tuple, items))  # a few, whatever the number of items
    fields = dict.fromkeys(chain.from_iterable(shapes))
    spellings, newcomers, homeless = _sorted_out(fields, table, known)
    notes = [f"{table.name}: fields whose names no column can have are kept in extra."] if homeless else []
    fitted = {name: cast("Kind", kind) for name, kind in known.items() if kind in FITTED}
    kinds: dict[str, Kind | None] = {**fitted}
    room = max(MAX_UNKNOWN - len(known), 0)
    pending = {field: name for name in newcomers if name not in kinds for field in newcomers[name]}
    seen = _first_seen(items, pending, room + 1)
    kinds |= dict.fromkeys(seen[:room])
    if len(seen) > room:
        homeless |= {field for field, name in pending.items() if name not in kinds}
        notes.append(f"{table.name}: more than {MAX_UNKNOWN} new fields; the further ones are kept in extra.")
    return Plan(
        feeds=[
            *_named_feeds(table, fields, spellings),
            *(Feed(name, kind, _twins(name, newcomers[name])) for name, kind in kinds.items() if name in newcomers),
        ],
        lists={child.name: _present(child.lists, fields, spellings) for child in table.children},
        parts={root: keys for root, keys in _parts(table).items() if root in fields},
        homeless=frozenset(homeless),
        known=fitted,
        notes=notes,
    )


def read(items: Items, path: Path) -> list[Any]:
    """What each item has at one place."""
    values = [item.get(path[0]) for item in items]
    for key in path[1:]:
        values = [value.get(key) if isinstance(value, dict) else None for value in values]
    return values


def column_name(field: str) -> str | None:
    """The name dlt writes for a field; None where no column can have it.

    A leading underscore is dlt's and BigQuery's own, and what a digit in front becomes: `2025` is data, not a name.
    """
    if not field.strip():
        return None
    name = _NAMING.normalize_identifier(field)
    return None if len(name) > MAX_NAME or name[0] == "_" or name in RESERVED else name


def _sorted_out(
    fields: Iterable[str], table: Table, known: Mapping[str, str]
) -> tuple[dict[str, list[str]], dict[str, list[str]], set[str]]:
    """Fields `schema` does not name: other spellings of those it does, newcomers (both by name), the homeless."""
    sources = _sources(table)
    named = {path[0] for path in sources}
    direct = {path[0] for path in sources if len(path) == 1}
    taken = {column.name for column in table.columns}
    spellings: dict[str, list[str]] = {}
    newcomers: dict[str, list[str]] = {}
    homeless = set()
    for field in fields:
        if field in named:
            continue
        name = column_name(field)
        if name in direct:
            spellings.setdefault(name, []).append(field)
        elif name is None or name in taken or known.get(name, "text") not in FITTED:
            homeless.add(field)
        else:
            newcomers.setdefault(name, []).append(field)
    return spellings, newcomers, homeless


def _first_seen(items: Items, pending: dict[str, str], limit: int) -> list[str]:
    """The names of the first fields that have a value, up to a limit.

    By row and within a row by name: however a list is cut into batches, the same fields come first.
    """
    left = dict(pending)
    seen: dict[str, None] = {}
    for item in items:
        if not left or len(seen) >= limit:
            break
        candidates = item if len(item) < len(left) else left
        found = [field for field in candidates if field in left and item.get(field) is not None]
        seen |= dict.fromkeys(sorted(left[field] for field in found))
        for field in found:
            del left[field]
    return list(seen)[:limit]


def _named_feeds(table: Table, fields: Iterable[str], spellings: Mapping[str, list[str]]) -> list[Feed]:
    paths = {column.name: _present(column.fields, fields, spellings) for column in table.columns}
    keeper: dict[Path, str] = {}
    for column in sorted(table.columns, key=lambda column: len(column.fields)):
        for path in paths[column.name]:
            keeper.setdefault(path, column.name)
    return [
        Feed(
            column.name,
            column.kind,
            paths[column.name],
            frozenset(path for path in paths[column.name] if keeper[path] != column.name),
        )
        for column in table.columns
    ]


def _present(sources: Iterable[str], fields: Iterable[str], spellings: Mapping[str, list[str]]) -> tuple[Path, ...]:
    """Those of a column's sources that the batch has, then their other spellings."""
    paths = [tuple(source.split(".")) for source in sources]
    present = [path for path in paths if path[0] in fields]
    others = [(field,) for path in paths if len(path) == 1 for field in sorted(spellings.get(path[0], ()))]
    return (*present, *others)


def _twins(name: str, fields: Iterable[str]) -> tuple[Path, ...]:
    """Fields that become the same column, the one already spelled like it first."""
    return tuple((field,) for field in sorted(fields, key=lambda field: (field != name, field)))


def _sources(table: Table) -> list[Path]:
    columns = chain.from_iterable(column.fields for column in table.columns)
    lists = chain.from_iterable(child.lists for child in table.children)
    return [tuple(source.split(".")) for source in chain(columns, lists)]


def _parts(table: Table) -> dict[str, frozenset[str]]:
    parts: dict[str, set[str]] = {}
    for column in table.columns:
        for source in column.fields:
            root, _, key = source.partition(".")
            if key:
                parts.setdefault(root, set()).add(key)
    return {root: frozenset(keys) for root, keys in parts.items()}
