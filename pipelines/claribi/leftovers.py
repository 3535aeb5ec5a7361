"""The `extra` of a table: what has no column of its own, row by row, under the names clariBI gave it."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.claribi.columns import ARROW, typed
from pipelines.claribi.placing import Items, Path, Plan


@dataclass
class Extra:
    """What goes to the `extra` of one table, and the notes of the whole batch."""

    table: str
    notes: dict[str, None]
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)

    def put(self, row: int, path: Path, value: Any) -> None:
        """Keep a value; one from inside an object stays inside it."""
        place = self.rows.setdefault(row, {})
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = value

    def note(self, finding: str) -> None:
        """Say it in the run report, once; without counts or values, so that every batch says the same."""
        self.notes[f"{self.table}{finding}"] = None

    def column(self, length: int) -> pa.Array:
        """The column itself, for a frame of that many rows."""
        if not self.rows:
            return pa.nulls(length, ARROW["json"])
        return typed([self.rows.get(row) for row in range(length)], "json")[0]


def keep_parts(items: Items, placed: Plan, extra: Extra) -> None:
    """Keep what no column takes of an object that is taken apart."""
    whole = {path[0] for feed in placed.feeds for path in feed.paths if len(path) == 1}
    for name, taken in placed.parts.items():
        for row, item in enumerate(items):
            value = item.get(name)
            if isinstance(value, dict):
                for key in value.keys() - taken:
                    if value[key] is not None:
                        extra.put(row, (name, key), value[key])
            elif value is not None and name not in whole:
                extra.put(row, (name,), value)


def keep_homeless(items: Items, placed: Plan, extra: Extra) -> None:
    """Keep the fields that can have no column."""
    if not placed.homeless:
        return
    for row, item in enumerate(items):
        for name in placed.homeless & item.keys():
            if item[name] is not None:
                extra.put(row, (name,), item[name])
