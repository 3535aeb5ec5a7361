"""The lists inside items, and objects and texts in their place, as the rows of a child table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.claribi.leftovers import Extra
from pipelines.claribi.placing import Items, Path, read
from pipelines.claribi.schema import Table


@dataclass
class Rows:
    """The rows of a child table: each element, the row of its parent, its place in the parent's list."""

    elements: list[Any]
    owners: np.ndarray[tuple[int], np.dtype[np.int64]]
    positions: np.ndarray[tuple[int], np.dtype[np.int64]]

    @classmethod
    def of(cls, lists: Sequence[Sequence[Any] | None]) -> "Rows":
        """All elements of the lists, one list a parent, one after the other."""
        lengths = np.fromiter((len(found) if found else 0 for found in lists), np.int64, len(lists))
        starts = np.repeat(lengths.cumsum() - lengths, lengths)
        elements = list(chain.from_iterable(filter(None, lists)))
        return cls(elements, np.repeat(np.arange(len(lists)), lengths), np.arange(len(elements)) - starts)


def take_lists(items: Items, child: Table, paths: tuple[Path, ...], extra: Extra) -> tuple[Rows, Items]:
    """The child's rows, and the items without the lists that were inside an object."""
    places = [read(items, path) for path in paths]
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
    rows = Rows.of(taken)
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


def unique_ids(ids: pa.Array, rows: Rows, fields: Sequence[str], extra: Extra) -> pa.Array:
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
