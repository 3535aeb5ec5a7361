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
        self._rows: pa.Table | None = None
        if rows is not None:
            names = [name for name in ("id", "status", "deleted_at") if name in rows.schema.names]
            found = pa.Table.from_batches(
                [piece.select(names) for piece in rows], pa.schema(map(rows.schema.field, names))
            )
            self._rows = found.filter(pc.is_null(found["deleted_at"])) if "deleted_at" in names else found

    def has_all(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Whether each of these objects is there, in the status that it has now.

        Where the destination was told to take no statuses, being there is enough.
        """
        if self._rows is None:
            return False
        now = {str(item["id"]): item.get("status") for item in items}
        there = self._rows.filter(pc.is_in(self._rows["id"], value_set=pa.array(list(now), pa.string())))
        ids = there["id"].to_pylist()
        statuses = there["status"].to_pylist() if "status" in there.schema.names else map(now.get, ids)
        return dict(zip(ids, statuses, strict=True)) == now
