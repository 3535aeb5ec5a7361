"""clariBI's JSON objects into typed frames. Pure: the same items give the same frames, byte for byte.

Nothing of an item is dropped. A field that `schema` names goes to its column, any other field to a column of its own
name. What cannot go there goes to `extra` under its original name: a value that is not of its column's type, the second
spelling of a field, a field with an impossible name, whatever is beyond 50 new columns.

Null and missing are the same, and so are an empty list of insights and none.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.claribi.columns import ARROW, json_bytes, kind_of, typed
from pipelines.claribi.placing import Feed, Items, Path, Plan, plan
from pipelines.claribi.schema import EXTRA, Table

Known = Mapping[str, Mapping[str, str]]
"""By table: its columns and their kinds, in dlt's words."""


@dataclass(frozen=True)
class Frames:
    """What one batch of items became."""

    main: pd.DataFrame
    """One row an item, in their order."""
    children: dict[str, pd.DataFrame]
    """Child tables by name, always all of them, perhaps without rows."""
    unknown: dict[str, dict[str, str]]
    """By table: the columns `schema` does not name, those known before and those new in this batch."""
    notes: list[str]
    """Sentences for the run report; the same finding gives the same sentence in every batch."""


def normalise(items: Items, table: Table, captured_at: datetime, known: Known | None = None) -> Frames:
    """Turn a batch of items of one table into its frame and its children's frames.

    `known` tells, by table, the columns the destination has already and their kinds; give the `unknown` of one
    batch to the next, so that both decide alike.
    """
    batch = _Batch(captured_at.astimezone(UTC), known or {})
    main = batch.main(items, table)
    return Frames(main, batch.children, batch.unknown, list(batch.notes))


def to_arrow(frame: pd.DataFrame, table: Table) -> pa.Table:
    """The frame as Arrow for dlt; key fields say that they are never null."""
    arrays = {name: frame[name].array.__arrow_array__() for name in frame.columns}
    schema = pa.schema([pa.field(name, array.type, name not in table.key) for name, array in arrays.items()])
    return pa.Table.from_arrays(list(arrays.values()), schema=schema)


def with_detail(item: Mapping[str, Any], detail: Mapping[str, Any]) -> dict[str, Any]:
    """The list's item with its detail laid over it; a null in the detail does not erase what the list said."""
    return {**item, **{name: value for name, value in detail.items() if value is not None or name not in item}}


@dataclass
class _Extra:
    """What goes to the `extra` of one table, and the notes of the whole batch."""

    table: str
    notes: dict[str, None]
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)

    def put(self, row: int, path: Path, value: Any) -> None:
        place = self.rows.setdefault(row, {})
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = value

    def note(self, finding: str) -> None:
        self.notes[f"{self.table}{finding}"] = None

    def column(self, length: int) -> pa.Array:
        if not self.rows:
            return pa.nulls(length, ARROW["json"])
        return typed([self.rows.get(row) for row in range(length)], "json")[0]


@dataclass
class _Rows:
    """The rows of a child table: each element, the row of its parent, its place in the parent's list."""

    elements: list[Any]
    owners: np.ndarray[tuple[int], np.dtype[np.int64]]
    positions: np.ndarray[tuple[int], np.dtype[np.int64]]

    @classmethod
    def of(cls, lists: Sequence[Sequence[Any] | None]) -> "_Rows":
        """All elements of the lists, one list a parent, one after the other."""
        lengths = np.fromiter((len(found) if found else 0 for found in lists), np.int64, len(lists))
        starts = np.repeat(lengths.cumsum() - lengths, lengths)
        elements = list(chain.from_iterable(filter(None, lists)))
        return cls(elements, np.repeat(np.arange(len(lists)), lengths), np.arange(len(elements)) - starts)


@dataclass
class _Batch:
    """What one call of `normalise` gathers over a table and its children."""

    captured_at: datetime
    known: Known
    children: dict[str, pd.DataFrame] = field(default_factory=dict)
    unknown: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def main(self, items: Items, table: Table) -> pd.DataFrame:
        """The table's own frame; its children's are added on the way."""
        extra = _Extra(table.name, self.notes)
        placed = self._plan(items, table)
        lists = []
        for child in table.children:
            rows, items = _take_lists(items, child, placed.lists[child.name], extra)
            lists.append((child, rows))
        moment = pa.scalar(self.captured_at, ARROW["timestamp"])
        arrays = self._arrays(items, placed, extra, {"captured_at": pa.repeat(moment, len(items))})
        key = table.key[0]
        if table.fields(key):
            arrays[key] = _whole_ids(arrays[key], items, extra)
        for child, rows in lists:
            self._add_child(child, rows, arrays[key])
        return _frame(arrays, extra)

    def _add_child(self, table: Table, rows: _Rows, parent_ids: pa.Array) -> None:
        extra = _Extra(table.name, self.notes)
        owner, key = table.key
        ours = {
            owner: parent_ids.take(pa.array(rows.owners)),
            "position": pa.array(rows.positions),
        }
        arrays = self._arrays(rows.elements, self._plan(rows.elements, table), extra, ours)
        if fields := table.fields(key):
            arrays[key] = _unique_ids(arrays[key], rows, fields, extra)
        frame = self.children[table.name] = _frame(arrays, extra)
        if table.by_day:
            self.children[table.by_day.name] = self._of_the_day(frame, table.by_day)

    def _of_the_day(self, rows: pd.DataFrame, table: Table) -> pd.DataFrame:
        valued = rows[rows["value"].notna()].reset_index(drop=True)
        day = pd.Series(self.captured_at.date(), valued.index, pd.ArrowDtype(ARROW["date"]))
        return valued.assign(captured_on=day)[[column.name for column in table.columns]]

    def _plan(self, items: Items, table: Table) -> Plan:
        placed = plan(items, table, self.known.get(table.name, {}))
        self.notes |= dict.fromkeys(placed.notes)
        self.unknown[table.name] = dict(placed.known)
        return placed

    def _arrays(self, items: Items, placed: Plan, extra: _Extra, ours: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """The columns by name, in order; `extra` is filled, but not yet among them."""
        arrays = {}
        for feed in placed.feeds:
            if not feed.paths:
                arrays[feed.name] = ours.get(feed.name, pa.nulls(len(items), ARROW[feed.kind or "text"]))
                continue
            values, origins = _values(items, feed, placed, extra)
            kind = feed.kind or kind_of(values)
            if feed.kind is None:
                self.unknown[extra.table][feed.name] = kind
            arrays[feed.name], misfits = typed(values, kind)
            for row in misfits:
                extra.put(row, origins.get(row, feed.paths[0]), values[row])
            if misfits:
                extra.note(f".{feed.name}: values that do not fit {kind} are kept in extra.")
        _keep_parts(items, placed, extra)
        _keep_homeless(items, placed, extra)
        return arrays


def _frame(arrays: dict[str, pa.Array], extra: _Extra) -> pd.DataFrame:
    if EXTRA in arrays:
        empty = arrays.pop(EXTRA)
        arrays[EXTRA] = extra.column(len(empty))
    return pd.DataFrame({name: pd.arrays.ArrowExtensionArray(array) for name, array in arrays.items()})


def _values(items: Items, feed: Feed, placed: Plan, extra: _Extra) -> tuple[list[Any], dict[int, Path]]:
    """A column's values, and for those that are not from its first field the field they are from."""
    columns = [_read(items, path) for path in feed.paths]
    for path, values in zip(feed.paths, columns, strict=True):
        if len(path) == 1 and path[0] in placed.parts:
            values[:] = [None if isinstance(value, dict) else value for value in values]
    first, *others = columns
    origins: dict[int, Path] = {}
    for path, values in zip(feed.paths[1:], others, strict=True):
        for row, value in enumerate(values):
            if value is None:
                continue
            if first[row] is None:
                first[row] = value
                origins[row] = path
            elif path not in feed.kept_elsewhere and not _same(first[row], value):
                extra.put(row, path, value)
                extra.note(f".{feed.name}: a second value under another name is kept in extra.")
    return first, origins


def _same(one: Any, other: Any) -> bool:
    """Whether keeping one keeps both; 1, 1.0 and true are three values."""
    return type(one) is type(other) and not isinstance(one, dict | list) and one == other


def _read(items: Items, path: Path) -> list[Any]:
    """What each item has at one place."""
    values = [item.get(path[0]) for item in items]
    for key in path[1:]:
        values = [value.get(key) if isinstance(value, dict) else None for value in values]
    return values


def _keep_parts(items: Items, placed: Plan, extra: _Extra) -> None:
    """Keep what no column takes of an object that is taken apart."""
    whole = {path[0] for feed in placed.feeds for path in feed.paths if len(path) == 1}
    for name, taken in placed.parts.items():
        for row, item in enumerate(items):
            value = item.get(name)
            if isinstance(value, dict):
                for key in value.keys() - taken:
                    extra.put(row, (name, key), value[key])
            elif value is not None and name not in whole:
                extra.put(row, (name,), value)


def _keep_homeless(items: Items, placed: Plan, extra: _Extra) -> None:
    if not placed.homeless:
        return
    for row, item in enumerate(items):
        for name in placed.homeless & item.keys():
            if item[name] is not None:
                extra.put(row, (name,), item[name])


def _take_lists(items: Items, child: Table, paths: tuple[Path, ...], extra: _Extra) -> tuple[_Rows, Items]:
    """The child's rows, and the items without the lists that were inside an object."""
    places = [_read(items, path) for path in paths]
    taken: list[list[Any] | None] = [None] * len(items)
    slimmer: dict[int, Mapping[str, Any]] = {}
    if len(paths) == 1 == len(paths[0]) and set(map(type, places[0])) <= {list, type(None)}:
        taken, places = places[0], []  # the usual case, without a look at each row
    for path, values in zip(paths, places, strict=False):
        for row, value in enumerate(values):
            if value is None:
                continue
            elements = None if taken[row] else _elements(value, child)
            if elements is None and len(path) == 1:
                extra.put(row, path, value)
                extra.note(f": {path[0]} that is no list, or comes twice, is kept in extra.")
            elif elements:
                taken[row] = elements
                slimmer |= {row: _without(items[row], path)} if len(path) > 1 else {}
    rows = _Rows.of(taken)
    if set(map(type, rows.elements)) - {dict}:
        rows.elements = [_as_object(element, child) for element in rows.elements]
    return rows, [slimmer.get(row, item) for row, item in enumerate(items)] if slimmer else items


def _elements(value: Any, child: Table) -> list[Any] | None:
    """The elements of a list, an object or a text; None when it is none of these."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, dict):
        return None
    named = {name for column in child.columns for name in column.fields}
    if named & value.keys():
        return [value]
    return [_with_name(_as_object(element, child), name, child) for name, element in value.items()]


def _as_object(element: Any, child: Table) -> dict[str, Any]:
    if isinstance(element, dict):
        return element
    return {} if element is None else {child.bare_field: element}


def _with_name(element: dict[str, Any], name: str, child: Table) -> dict[str, Any]:
    """The element with the name it had in an object of elements, beside a name it may have of its own."""
    field = child.name_field
    while field in element:
        field += "_key"
    return {field: name, **element}


def _without(item: Mapping[str, Any], path: Path) -> dict[str, Any]:
    field, key = path
    return {**item, field: {name: value for name, value in item[field].items() if name != key}}


def _whole_ids(ids: pa.Array, items: Items, extra: _Extra) -> pa.Array:
    """Every row must have a key: an object without an id gets one made from its content."""
    missing = pc.indices_nonzero(pc.equal(pc.fill_null(ids, ""), "")).to_pylist()
    if not missing:
        return ids
    extra.note(": objects without an id got one made from their content.")
    texts = ids.to_pylist()
    for row in missing:
        texts[row] = f"no-id-{hashlib.sha256(json_bytes(items[row])).hexdigest()[:16]}"
    return pa.array(texts, ids.type)


def _unique_ids(ids: pa.Array, rows: _Rows, fields: Sequence[str], extra: _Extra) -> pa.Array:
    """An id for each element that its parent has only once, so that the merge keeps them all."""
    seen = set()
    texts = ids.to_pylist()
    places = zip(rows.owners.tolist(), rows.positions.tolist(), rows.elements, strict=True)
    for row, (owner, position, element) in enumerate(places):
        given = texts[row] or ""
        unique = given or f"#{position}"
        while (owner, unique) in seen:
            unique += f"#{position}"
        seen.add((owner, unique))
        texts[row] = unique
        if given not in ("", unique):
            field = next((name for name in fields if element.get(name) is not None), fields[0])
            extra.put(row, (field,), element.get(field, given))
            extra.note(": an id that occurs twice got its position added; the original is kept in extra.")
    return pa.array(texts, ids.type)
