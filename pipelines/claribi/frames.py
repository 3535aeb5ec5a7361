"""clariBI's JSON objects into typed frames. Pure: the same items give the same frames, byte for byte.

Nothing of an item is dropped. A field that `schema` names goes to its column, any other field to a column of its own
name. What cannot go there goes to `extra` under its original name: a value that is not of its column's type, the second
spelling of a field, a field with an impossible name, whatever is beyond 50 new columns.

Null and missing are the same, and so are an empty list of insights and none.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.claribi.columns import ARROW, json_bytes, kind_of, typed
from pipelines.claribi.leftovers import Extra, keep_homeless, keep_parts
from pipelines.claribi.lists import Rows, take_lists, unique_ids
from pipelines.claribi.placing import Feed, Items, Path, Plan, plan, read
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
class _Batch:
    """What one call of `normalise` gathers over a table and its children."""

    captured_at: datetime
    known: Known
    children: dict[str, pd.DataFrame] = field(default_factory=dict)
    unknown: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def main(self, items: Items, table: Table) -> pd.DataFrame:
        """The table's own frame; its children's are added on the way."""
        extra = Extra(table.name, self.notes)
        placed = self._plan(items, table)
        lists = []
        for child in table.children:
            rows, items = take_lists(items, child, placed.lists[child.name], extra)
            lists.append((child, rows))
        moment = pa.scalar(self.captured_at, ARROW["timestamp"])
        arrays = self._arrays(items, placed, extra, {"captured_at": pa.repeat(moment, len(items))})
        key = table.key[0]
        if table.fields(key):
            arrays[key] = _whole_ids(arrays[key], items, extra)
        for child, rows in lists:
            self._add_child(child, rows, arrays[key])
        return _frame(arrays, extra)

    def _add_child(self, table: Table, rows: Rows, parent_ids: pa.Array) -> None:
        extra = Extra(table.name, self.notes)
        owner, key = table.key
        ours = {
            owner: parent_ids.take(pa.array(rows.owners)),
            "position": pa.array(rows.positions),
        }
        arrays = self._arrays(rows.elements, self._plan(rows.elements, table), extra, ours)
        if fields := table.fields(key):
            arrays[key] = unique_ids(arrays[key], rows, fields, extra)
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

    def _arrays(self, items: Items, placed: Plan, extra: Extra, ours: dict[str, pa.Array]) -> dict[str, pa.Array]:
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
        keep_parts(items, placed, extra)
        keep_homeless(items, placed, extra)
        return arrays


def _frame(arrays: dict[str, pa.Array], extra: Extra) -> pd.DataFrame:
    if EXTRA in arrays:
        empty = arrays.pop(EXTRA)
        arrays[EXTRA] = extra.column(len(empty))
    return pd.DataFrame({name: pd.arrays.ArrowExtensionArray(array) for name, array in arrays.items()})


def _values(items: Items, feed: Feed, placed: Plan, extra: Extra) -> tuple[list[Any], dict[int, Path]]:
    """A column's values, and for those that are not from its first field the field they are from."""
    columns = [read(items, path) for path in feed.paths]
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


def _whole_ids(ids: pa.Array, items: Items, extra: Extra) -> pa.Array:
    """Every row must have a key: an object without an id gets one made from its content."""
    missing = pc.indices_nonzero(pc.equal(pc.fill_null(ids, ""), "")).to_pylist()
    if not missing:
        return ids
    extra.note(": objects without an id got one made from their content.")
    texts = ids.to_pylist()
    for row in missing:
        texts[row] = f"no-id-{hashlib.sha256(json_bytes(items[row])).hexdigest()[:16]}"
    return pa.array(texts, ids.type)
