"""Which objects of a list the destination knows already, and in which status: what an early stop needs to know."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.claribi.changes import Held


class Known:
    """The ids and statuses of one table's living objects, read once."""

    def __init__(self, held: Held, table: str) -> None:
        rows = held.read(table)
        names = [name for name in ("id", "status", "deleted_at") if rows is not None and name in rows.schema.names]
        parts = [piece.select(names) for piece in rows] if rows is not None else []
        found = pa.Table.from_batches(parts) if parts else None
        if found is not None and "deleted_at" in names:
            found = found.filter(pc.is_null(found["deleted_at"]))
        self._rows = found.select([name for name in names if name != "deleted_at"]) if found is not None else None

    def has_all(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Whether each of these objects is there, in the status that it has now."""
        now = {str(item["id"]): item.get("status") for item in items}
        if self._rows is None:
            return not now
        there = self._rows.filter(pc.is_in(self._rows["id"], value_set=pa.array(list(now), pa.string())))
        held = (
            dict(zip(*(column.to_pylist() for column in there.columns), strict=True))
            if "status" in (there.schema.names)
            else {one: now.get(one) for one in there["id"].to_pylist()}
        )
        return all(one in held and held[one] == status for one, status in now.items())
