"""What a walk found, beside what the destination holds: which objects are new, changed or missing.

Only new and changed rows are loaded: a quiet night writes next to nothing, and the run report can say what
changed. Rows are compared by fingerprints that DuckDB computes: a million of them take some 60 MB.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.claribi.schema import DETAIL_READ
from pipelines.claribi.shelf import Batch, Shelf

SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.timestamp("us", "UTC"): "TIMESTAMPTZ",
}

Span = tuple[datetime | None, datetime | None]
"""A stretch of time without its ends, UTC; None where it is open."""


class Held(Protocol):
    """What the destination holds; the pipeline passes it in, so that this package knows no destination."""

    def read(self, table: str) -> pa.RecordBatchReader | None:
        """All rows of a table, typed, in pieces; None when the destination has no such table yet."""

    def takes(self, table: str) -> frozenset[str] | None:
        """The columns that the destination was told to take; None: all of them; an empty set: not this table."""

    def kinds(self, table: str) -> dict[str, str]:
        """The columns that the destination has already and their kinds, dlt's `data_type`s."""


class NothingHeld:
    """A destination that is empty, or whose rows do not matter."""

    def read(self, table: str) -> pa.RecordBatchReader | None:  # noqa: ARG002 - the protocol's signature
        """Nothing."""
        return None

    def takes(self, table: str) -> frozenset[str] | None:  # noqa: ARG002 - the protocol's signature
        """Everything."""
        return None

    def kinds(self, table: str) -> dict[str, str]:  # noqa: ARG002 - the protocol's signature
        """None yet."""
        return {}


@dataclass(frozen=True)
class Sorted:
    """What became of a batch's objects: positions in its main table, and the child rows they had before."""

    new: npt.NDArray[np.intp]
    changed: npt.NDArray[np.intp]
    replaced: dict[str, int]

    @property
    def either(self) -> npt.NDArray[np.intp]:
        """Positions of the objects that are to be loaded."""
        return np.sort(np.concatenate([self.new, self.changed]))


class Comparison:
    """Keeps one fingerprint for each object that the destination holds, and sorts batches by it.

    `tables` are compared: the main table and those child tables that are replaced with their parent. `only` says which
    columns of the main table count, where a list carries just a part of each object: the rest would look emptied.
    """

    def __init__(self, held: Held, shelf: Shelf, tables: Sequence[str], only: set[str] | None = None) -> None:
        self._shelf = shelf
        self._db = duckdb.connect(config={"memory_limit": "256MB", "threads": 2})
        self._columns: dict[str, dict[str, str]] = {}
        for name in tables:
            found, takes = shelf.columns.get(name, {}), held.takes(name)
            rows = held.read(name)
            if rows is None and name != shelf.main and not self.first:
                # A child table that the destination is to take from now on: what it lacks makes its parents differ.
                rows = pa.schema(list(found.items())).empty_table().to_reader()
            if rows is not None and takes != frozenset():
                self._columns[name] = _compared(found, rows.schema, takes, only)
                self._index(name, rows)

    def close(self) -> None:
        """Let go of the fingerprints, and of the threads that made them."""
        self._db.close()

    @property
    def first(self) -> bool:
        """Whether the destination holds nothing of this yet."""
        return self._shelf.main not in self._columns

    def sort(self, batch: Batch) -> Sorted:
        """Say which objects are new, and which differ in the main table or in one of its child tables."""
        ids = batch[self._shelf.main].select(["id"])
        if self.first:
            return Sorted(np.arange(len(ids)), np.arange(0), {})
        ids = ids.append_column("position", pa.array(np.arange(len(ids))))
        found = {name: self._beside(ids, batch[name], name) for name in self._columns}
        new = ~found[self._shelf.main]["held"]
        changed = np.logical_or.reduce([one["differs"] for one in found.values()]) & ~new
        replaced = {name: int(one["rows"][changed].sum()) for name, one in found.items() if name != self._shelf.main}
        return Sorted(np.flatnonzero(new), np.flatnonzero(changed), replaced)

    def missing(self, span: Span = (None, None)) -> list[str]:
        """Ids of the objects that the destination holds as alive and the walk did not meet, in text order.

        With a `span`, only of those that were created between its ends.
        """
        if self.first:
            return []
        seen = pa.table({"id": self._shelf.ids()})  # noqa: F841 - DuckDB finds it by its name
        query = f"""
            SELECT parent FROM held_{self._shelf.main}
            WHERE alive AND parent NOT IN (FROM seen)
                AND ($1 IS NULL OR created_at > $1) AND ($2 IS NULL OR created_at < $2)
            ORDER BY 1
        """
        return [row[0] for row in self._db.execute(query, list(span)).fetchall()]

    def due(self, final: Collection[str]) -> list[str]:
        """Ids of the living objects that were loaded without their detail, newest first.

        Where objects have a status, only of those in one of the `final` ones: the others will change yet.
        """
        if self.first:
            return []
        query = f"""
            SELECT parent FROM held_{self._shelf.main}
            WHERE due AND alive AND (status IS NULL OR len($1) = 0 OR status IN (SELECT unnest($1)))
            ORDER BY created_at DESC NULLS LAST, parent DESC
        """
        return [row[0] for row in self._db.execute(query, [sorted(final)]).fetchall()]

    @property
    def nothing_found(self) -> bool:
        """Whether the walk met no object at all."""
        return len(self._shelf) == 0

    @property
    def alive(self) -> int:
        """How many objects the destination holds as alive."""
        if self.first:
            return 0
        row = self._db.execute(f"SELECT count(*) FROM held_{self._shelf.main} WHERE alive").fetchone()
        return int(row[0]) if row else 0

    def _index(self, name: str, held: pa.RecordBatchReader) -> None:
        """Read one table of the destination once, in a stream, and keep a fingerprint for each object."""
        there = held.schema.names
        told = {
            "alive": "bool_and(deleted_at IS NULL)" if "deleted_at" in there else "true",
            "due": f"bool_or({DETAIL_READ} IS NULL)" if DETAIL_READ in there else "false",
            "created_at": "max(created_at)" if "created_at" in there else "CAST(NULL AS TIMESTAMPTZ)",
            "status": "max(status)" if "status" in there else "CAST(NULL AS VARCHAR)",
        }
        more = "".join(f", {value} AS {column}" for column, value in told.items()) if name == self._shelf.main else ""
        self._db.execute(
            f"CREATE TABLE held_{name} AS SELECT {self._fingerprints(name, there)}{more} FROM held GROUP BY parent"
        )

    def _beside(self, ids: pa.Table, rows: pa.Table, name: str) -> dict[str, Any]:  # noqa: ARG002 - read by DuckDB
        """For each id in turn: whether the destination has it, whether its rows differ, how many it had."""
        return self._db.execute(
            f"""
            WITH now AS (SELECT {self._fingerprints(name, rows.schema.names)} FROM rows GROUP BY parent)
            SELECT held.parent IS NOT NULL AS held, coalesce(held.rows, 0) AS rows,
                   held.fingerprint IS DISTINCT FROM now.fingerprint AS differs
            FROM ids LEFT JOIN now ON now.parent = ids.id LEFT JOIN held_{name} held ON held.parent = ids.id
            ORDER BY ids.position
            """
        ).fetchnumpy()

    def _fingerprints(self, name: str, there: list[str]) -> str:
        """SQL for an object's id, fingerprint and number of rows; a column that is not there counts as null."""
        parent = self._shelf.parents.get(name, "id")
        values = ", ".join(
            _value(column, kind) if column in there else f"CAST(NULL AS {kind})"
            for column, kind in self._columns[name].items()
        )
        return f'"{parent}" AS parent, bit_xor(hash({values})) AS fingerprint, count(*) AS rows'


def _value(column: str, kind: str) -> str:
    """SQL for what counts of a column's value; of when an object was read, only whether it was."""
    if column == DETAIL_READ:
        return f"""CASE WHEN "{column}" IS NOT NULL THEN CAST('epoch' AS {kind}) END"""
    return f'TRY_CAST("{column}" AS {kind})'


def _compared(
    found: Mapping[str, pa.DataType], held: pa.Schema, takes: frozenset[str] | None, only: set[str] | None
) -> dict[str, str]:
    """The columns to compare with their SQL types: all that either side has and both may have."""
    types = dict(zip(held.names, held.types, strict=True)) | dict(found)
    if only is not None:
        only = only | {"deleted_at"}  # what is in the list again differs from what is held as deleted
    return {
        name: SQL_TYPES[kind]
        for name, kind in sorted(types.items())
        if not name.startswith("_") and (takes is None or name in takes) and (only is None or name in only)
    }
