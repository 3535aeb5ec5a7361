"""The rows of one walk, kept on disk until the walk has proven itself."""

import io
import tempfile
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Batch = dict[str, pa.Table]
"""What some thousand objects became: the main table and its child tables, by table name."""

BATCH_ROWS = 10_000
"""Objects in a batch that the shelf gives: dlt and the comparison have their price for each one."""


class Shelf:
    """Takes batches as they come and gives each object back once, in its latest answer.

    A list may shift while it is read, and may have to be read again, so an object can arrive several times,
    in different answers. dlt's merge would keep the oldest of them; here the latest wins before dlt sees any.

    On disk, because an account may have a million reports and a nightly runner little memory; in a file without a name,
    because a run that is killed must leave nothing behind.
    """

    def __init__(self, main: str, parents: dict[str, str]) -> None:
        """`main` has one row an object; `parents` says which column of a child table holds the object's id."""
        self.main, self.parents = main, parents
        self.columns: dict[str, dict[str, pa.DataType]] = {}
        """Per table, its columns and their types."""
        self.filled: dict[str, set[str]] = {}
        """Per table, the columns that have a value in at least one row."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._places: list[dict[str, int]] = []
        self._ids: list[pa.ChunkedArray] = []
        self._attempt = 0

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        """How many batches were put."""
        return len(self._ids)

    def put(self, batch: Batch) -> None:
        """Keep one batch, in which every object stands once."""
        self._file.seek(0, io.SEEK_END)
        self._places.append({})
        for name, table in batch.items():
            self._places[-1][name] = self._file.tell()
            with pa.ipc.new_stream(self._file, table.schema) as stream:
                stream.write_table(table)
            self.columns.setdefault(name, {}).update(zip(table.schema.names, table.schema.types, strict=True))
            self.filled.setdefault(name, set()).update(
                column for column in table.schema.names if table[column].null_count < len(table)
            )
        self._ids.append(batch[self.main]["id"])

    def begin_attempt(self) -> None:
        """The list is read once more from its beginning."""
        self._attempt = len(self._ids)

    def keep_last_attempt(self) -> None:
        """The last attempt is proven whole: what only earlier ones saw is gone."""
        self._ids = [pa.chunked_array([], pa.string())] * self._attempt + self._ids[self._attempt :]

    def ids(self) -> pa.ChunkedArray:
        """The ids of the objects that count; one that came twice stands twice."""
        return pa.chunked_array([chunk for ids in self._ids for chunk in ids.chunks], pa.string())

    def batches(self) -> Iterator[Batch]:
        """Every object once, in its latest answer; many in a batch, however few were put at a time."""
        parts: list[Batch] = []
        for number, latest in enumerate(self._latest()):
            if latest is None:
                parts.append(self._read(number))
            elif latest.any():
                parts.append(take(self._read(number), self.main, self.parents, np.flatnonzero(latest)))
            if sum(len(part[self.main]) for part in parts) >= BATCH_ROWS:
                yield _joined(parts)
                parts = []
        if parts:
            yield _joined(parts)

    def _latest(self) -> Iterator[npt.NDArray[np.bool_] | None]:
        """For each batch, which of its rows count; None means all of them."""
        ids = self.ids()
        if pc.count_distinct(ids).as_py() == len(ids):
            yield from (None if len(own) else np.zeros(0, dtype=bool) for own in self._ids)
            return
        latest = ~pd.Series(ids.to_pandas()).duplicated(keep="last").to_numpy()
        ends = np.cumsum([len(own) for own in self._ids])
        yield from np.split(latest, ends[:-1])

    def _read(self, number: int) -> Batch:
        batch = {}
        for name, place in self._places[number].items():
            self._file.seek(place)
            batch[name] = pa.ipc.open_stream(self._file).read_all()
        return batch


def take(batch: Batch, main: str, parents: dict[str, str], rows: npt.NDArray[np.integer]) -> Batch:
    """Some rows of the main table, by position in rising order, and the child rows that belong to them."""
    if len(rows) == len(batch[main]):
        return batch
    chosen = batch[main].take(pa.array(rows))
    ids = chosen["id"].combine_chunks()
    return {
        name: chosen if name == main else table.filter(pc.is_in(table[parents[name]], value_set=ids))
        for name, table in batch.items()
    }


def _joined(parts: list[Batch]) -> Batch:
    """One batch of several; a column that some of them lack is null there."""
    return {
        name: pa.concat_tables([part[name] for part in parts if name in part], promote_options="default")
        for name in dict.fromkeys(name for part in parts for name in part)
    }
