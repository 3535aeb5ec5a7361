"""What an answer looks like without what it says: field names and JSON types, never a value. Pure.

Keys can be values too: in the quality of a report's data they are the names of data sources. So the keys of an object
inside another are only told where `schema` knows them, and counted elsewhere.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.claribi.schema import Table

MASKED = "(masked)"
FIELD_NAME = re.compile(r"[A-Za-z_][\w.\-]{0,59}", re.ASCII)
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?", re.ASCII)
SCALARS: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def fields_of(item: Mapping[str, Any], table: Table) -> dict[str, str]:
    """Each field of an object and its JSON type; `widgets[].id` is a field of what a list holds."""
    return dict(_fields(item, _known(table), ""))


def type_of(value: Any) -> str:
    """A value's JSON type; of an object or a list its size, of a text whether it is a timestamp."""
    if isinstance(value, dict):
        return f"object ({_number(len(value), 'key')})"
    if isinstance(value, list):
        kinds = {type_of(one).partition(" ")[0] for one in value}
        return f"array ({_number(len(value), kinds.pop() if len(kinds) == 1 else 'value')})"
    if isinstance(value, str) and TIMESTAMP.fullmatch(value):
        return "string (timestamp)"
    return SCALARS[type(value)]


def _known(table: Table) -> dict[str, list[str]]:
    """By object or list inside an item: the fields of it that `schema` knows."""
    dotted = [field for column in table.columns for field in column.fields if "." in field]
    dotted += [name for child in table.children for name in child.lists if "." in name]
    known: dict[str, list[str]] = {}
    for field in dotted:
        outer, _, inner = field.rpartition(".")
        known.setdefault(outer, []).append(inner)
    return known | {name: [] for child in table.children for name in child.lists}


def _fields(item: Mapping[str, Any], known: dict[str, list[str]], above: str) -> Iterator[tuple[str, str]]:
    for name, value in item.items():
        path = above + (name if FIELD_NAME.fullmatch(name) else MASKED)
        yield path, type_of(value)
        if path in known and isinstance(value, dict):
            inner = {key: value[key] for key in known[path] if key in value}
            yield from _fields(inner, known, f"{path}.")
        elif path in known and isinstance(value, list) and value and isinstance(value[0], dict):
            yield from _fields(value[0], {}, f"{path}[].")


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
