"""CSV files with stable names that people can open: every load replaces all that it changes in one step."""

import csv
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import duckdb
from dlt.common.configuration import configspec

from destinations.csv_text import TEXTS, is_formula, parsed, read_csv, write_csv, written
from destinations.errors import FileChanged
from destinations.fold import POSITION, Columns, Table, quoted
from destinations.folder import Entry, Folder, in_words
from destinations.table_store import Backend, TableStore, TableStoreConfiguration

PIECE = 1 << 20
BOM = b"\xef\xbb\xbf"


@configspec
class CsvFilesConfiguration(TableStoreConfiguration):
    """`[destination.csv_files]`."""

    destination_type: Final[str] = dataclasses.field(default="csv_files", init=False, repr=False, compare=False)  # type: ignore[misc]  # as dlt's own
    folder: str = "exports"
    excel: bool = False
    """For spreadsheet programs: a byte order mark, CRLF, and an apostrophe before texts that would run as a formula."""
    overwrite: bool = False
    """Go on although a file was edited or removed; what can still be read is kept."""
    lock_wait: float = 60.0
    """Longest wait for another run that works in the folder, seconds."""

    def data_location(self) -> str:
        """The folder, absolute."""
        return str(Path(self.folder).absolute())

    def __str__(self) -> str:
        return self.data_location()


class csv_files(TableStore[CsvFilesConfiguration]):  # noqa: N801 - the class's name is the destination's name
    """`destination="csv_files"`, or an instance with settings of its own."""

    spec = CsvFilesConfiguration

    def __init__(
        self,
        folder: str | None = None,
        excel: bool | None = None,
        overwrite: bool | None = None,
        destination_name: str | None = None,
        environment: str | None = None,
        **settings: Any,
    ) -> None:
        """Arguments that are not given come from `[destination.csv_files]`, or their defaults."""
        super().__init__(
            folder=folder,
            excel=excel,
            overwrite=overwrite,
            destination_name=destination_name,
            environment=environment,
            **settings,
        )

    def backend(self, config: CsvFilesConfiguration) -> Backend:
        """A folder of CSV files."""
        return CsvFolder(config)


class CsvFolder:
    """A backend that keeps each table in a CSV file."""

    def __init__(self, config: CsvFilesConfiguration) -> None:
        self.facts: dict[str, int] = {}
        self._excel = config.excel
        self._folder = Folder(Path(config.data_location()), config.lock_wait, config.overwrite)

    def lock(self) -> AbstractContextManager[None]:
        """Keep other runs out of the folder."""
        return self._folder.lock()

    def read(self, connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> dict[str, Table]:
        """A view over the file of each table; raise `FileChanged` for a file that is not as we left it."""
        found = {}
        for name in names:
            entry = self._folder.manifest.tables.get(name)
            if entry is None:
                continue
            with in_words(self._folder.path):
                rows = self._rows_as_left(connection, name, entry)
            if rows is not None:
                view = quoted(f"stored {name}")
                connection.execute(f"CREATE VIEW {view} AS {rows}")
                found[name] = Table(view, entry.columns)
        return found

    def commit(self, connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table | None], load_id: str) -> None:
        """Write a new file for each table, then let all of them take the place of the old ones together."""
        self.facts = {"files_written": 0, "bytes_written": 0} | ({"cells_guarded": 0} if self._excel else {})
        try:
            with in_words(self._folder.path):
                entries = {name: self._write(connection, name, table) for name, table in tables.items() if table}
                self._folder.commit(dict.fromkeys(tables) | entries, load_id)
        finally:
            self._folder.discard()

    def _write(self, connection: duckdb.DuckDBPyConnection, name: str, table: Table) -> Entry:
        """Stage one table's file."""
        file = f"{name}.csv"  # dlt refuses a table's name that no file can have.
        shown = not name.startswith("_dlt_")
        excel = self._excel and shown
        entry = Entry(file if shown else f".claribi/{file}", 0, table.columns, excel)
        staged = self._folder.staged(entry.file)
        cells = ", ".join(f"{written(column, excel)} AS {quoted(name)}" for name, column in table.columns.items())
        query = f"SELECT {cells} FROM {table.relation} ORDER BY {table.order_of_origin}"
        (rows,) = connection.execute(write_csv(query, str(staged))).fetchone() or (0,)
        if excel:
            _to_crlf(staged)
            self.facts["cells_guarded"] += _guarded(connection, staged, table.columns)
        self.facts["files_written"] += 1
        self.facts["bytes_written"] += staged.stat().st_size
        return dataclasses.replace(entry, rows=rows)

    def _rows_as_left(self, connection: duckdb.DuckDBPyConnection, name: str, entry: Entry) -> str | None:
        """SQL for the rows of a file that is as we left it; else an error, or with `overwrite` what can be read."""
        try:
            self._folder.check(name)
        except FileChanged:
            if not self._folder.overwrite:
                raise
            return self._rows_as_found(connection, entry)
        return self._rows(entry, crlf=entry.excel)

    def _rows_as_found(self, connection: duckdb.DuckDBPyConnection, entry: Entry) -> str | None:
        """SQL for the rows of a file that someone edited; None when it is gone or does not read."""
        try:
            with (self._folder.path / entry.file).open("rb") as content:
                header = content.readline()
            rows = self._rows(entry, crlf=header.endswith(b"\r\n"))
            every_cell = ", ".join(map(quoted, entry.columns))
            connection.execute(f"SELECT bit_xor(hash({every_cell})) FROM ({rows})").fetchall()
            names = next(csv.reader([header.decode("utf-8-sig")]), [])
        except (FileNotFoundError, UnicodeDecodeError, duckdb.InvalidInputException, duckdb.ConversionException):
            return None
        return rows if names == list(entry.columns) else None

    def _rows(self, entry: Entry, crlf: bool) -> str:
        values = ", ".join(f"{parsed(column, entry.excel)} AS {quoted(name)}" for name, column in entry.columns.items())
        source = read_csv(str(self._folder.path / entry.file), entry.columns, crlf)
        return f"SELECT {values}, row_number() OVER () AS {POSITION} FROM {source}"


def _to_crlf(file: Path) -> None:
    """Put a byte order mark first and CRLF at the end of each row; line breaks inside cells stay as they are."""
    unix = file.rename(file.with_suffix(".unix"))
    with unix.open("rb") as source, file.open("wb") as target:
        target.write(BOM)
        for piece in rows_to_crlf(iter(lambda: source.read(PIECE), b"")):
            target.write(piece)
    unix.unlink()


def rows_to_crlf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A quote opens or closes a cell, and a doubled one does both: every second part lies outside of quotes."""
    inside = 0
    for piece in pieces:
        parts = piece.split(b'"')
        for place in range(inside, len(parts), 2):
            parts[place] = parts[place].replace(b"\n", b"\r\n")
        inside ^= (len(parts) - 1) & 1
        yield b'"'.join(parts)


def _guarded(connection: duckdb.DuckDBPyConnection, file: Path, columns: Columns) -> int:
    """How many cells of a file have an apostrophe that `parsed` takes off again."""
    texts = [quoted(name) for name, column in columns.items() if column["data_type"] in TEXTS]
    if not texts:
        return 0
    tests = " + ".join(f"coalesce(({name}[1] = '''' AND {is_formula(name)})::INT, 0)" for name in texts)
    (cells,) = connection.execute(
        f"SELECT coalesce(sum({tests}), 0) FROM {read_csv(str(file), columns, True)}"
    ).fetchone() or (0,)
    return int(cells)
