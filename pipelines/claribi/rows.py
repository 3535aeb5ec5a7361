"""Frames as the Arrow tables that dlt loads, and the rows that only we can make: emptied parents, deleted objects."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.claribi.frames import Frames, to_arrow
from pipelines.claribi.schema import DETAIL_READ, Table, family
from pipelines.claribi.shelf import Batch

REMOVED = "_removed"
"""Column of the child tables; true only on its way to the destination, in a row that says: this parent has no rows now.

dlt replaces the child rows of those parents that a load mentions. A parent that lost its last one would not be
mentioned, and keep its old rows for ever."""


def to_batch(frames: Frames, table: Table) -> Batch:
    """All tables of one batch; JSON columns carry a mark, since to Arrow they are text."""
    batch = {}
    for one in family(table):
        rows = _marked(to_arrow(frames.children.get(one.name, frames.main), one), frames, one)
        batch[one.name] = rows.append_column(REMOVED, pa.nulls(len(rows), pa.bool_())) if one.merge_key else rows
    return batch


def json_columns(rows: pa.Table) -> list[str]:
    """The columns that were marked as JSON."""
    return [field.name for field in rows.schema if (field.metadata or {}).get(b"kind") == b"json"]


def emptied(child: Table, rows: pa.Table, parents: pa.ChunkedArray) -> pa.Table:
    """The child rows, and for each of `parents` that has none a row that removes the old ones."""
    parent = child.key[0]
    without = parents.filter(pc.invert(pc.is_in(parents, value_set=rows[parent].combine_chunks())))
    if not len(without):
        return rows
    filled = {name: pa.repeat(_nothing(rows, name), len(without)) for name in child.key}
    filled |= {parent: without, REMOVED: pa.repeat(True, len(without))}
    columns = [filled.get(field.name, pa.nulls(len(without), field.type)) for field in rows.schema]
    return pa.concat_tables([rows, pa.table(columns, schema=rows.schema)])


def read_whole(rows: pa.Table, at: datetime) -> pa.Table:
    """The rows with the moment (UTC) at which all of them was read; as they are where there is no such column."""
    place = rows.schema.get_field_index(DETAIL_READ)
    stamp = pa.repeat(pa.scalar(at, pa.timestamp("us", "UTC")), len(rows))
    return rows if place < 0 else rows.set_column(place, rows.schema.field(place), stamp)


def laid_over(
    listed: pa.Table, held: pa.RecordBatchReader, told: Collection[str], kinds: Mapping[str, str]
) -> pa.Table:
    """Rows of a list that leaves things out, completed by what the destination holds of the same objects.

    `told` are the columns that the list fills; what it does not say is kept, but for when the detail was read.
    """
    ids = listed["id"].combine_chunks()
    found = [batch.filter(pc.is_in(batch["id"], value_set=ids)) for batch in held]
    before = pa.Table.from_batches(found, held.schema)
    places = pc.index_in(ids, value_set=before["id"].combine_chunks())
    columns, fields = list(listed.columns), list(listed.schema)
    for field in before.schema:
        if field.name in told or field.name in ("id", "deleted_at", DETAIL_READ) or field.name.startswith("_"):
            continue
        kept, place = before[field.name].take(places), listed.schema.get_field_index(field.name)
        if place >= 0:
            columns[place] = kept.cast(listed.schema.field(place).type)
        else:
            columns.append(kept)
            fields.append(pa.field(field.name, field.type).with_metadata({"kind": kinds.get(field.name, "text")}))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def deleted(rows: pa.RecordBatchReader, ids: Iterable[str], at: datetime) -> pa.Table:
    """The destination's own rows of the objects with these ids, with `deleted_at` set to `at` (UTC)."""
    wanted = pa.array(list(ids), pa.string())
    found = [batch.filter(pc.is_in(batch["id"], value_set=wanted)) for batch in rows]
    table = pa.Table.from_batches(found, rows.schema)
    table = table.select([name for name in table.schema.names if not name.startswith("_")])
    stamp = pa.repeat(pa.scalar(at, pa.timestamp("us", "UTC")), len(table))
    return table.set_column(table.schema.get_field_index("deleted_at"), "deleted_at", stamp)


def _marked(rows: pa.Table, frames: Frames, table: Table) -> pa.Table:
    kinds = {column.name: column.kind for column in table.columns} | frames.unknown.get(table.name, {})
    fields = [field.with_metadata({"kind": kinds[field.name]}) for field in rows.schema]
    return pa.Table.from_arrays(rows.columns, schema=pa.schema(fields))


def _nothing(rows: pa.Table, name: str) -> pa.Scalar:
    kind = rows.schema.field(name).type
    return pa.scalar(-1 if pa.types.is_integer(kind) else "", kind)
