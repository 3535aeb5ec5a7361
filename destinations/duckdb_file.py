"""What can be said about a DuckDB file before dlt opens it: whether it is well named, free and readable."""

import re
import time
from contextlib import suppress
from pathlib import Path

import duckdb

from destinations.errors import AmbiguousName, StorageVersion, StoreBusy, StoreUnusable

POLL_S = 0.5


def wait_until_free(file: Path, dataset: str, max_wait_s: float = 60.0) -> None:
    """Return when the file can be written to; wait up to `max_wait_s` for another process that holds it.

    Raises `StoreBusy` with the holder's name, or at once what waiting cannot mend.
    """
    if file.stem == dataset:
        raise AmbiguousName(file, dataset)
    if not file.parent.is_dir():
        raise StoreUnusable(file, f"there is no folder {file.parent}.")
    deadline = time.monotonic() + max_wait_s
    while (holder := _holder(file)) is not None:
        if time.monotonic() >= deadline:
            raise StoreBusy(str(file), holder, max_wait_s)
        time.sleep(min(POLL_S, max_wait_s))


def drop_if_empty(file: Path) -> None:
    """Remove a file in which nothing is stored."""
    if not file.exists():
        return
    with suppress(duckdb.Error):  # not ours to judge: another process has it by now
        with duckdb.connect(str(file)) as db:
            tables = db.execute("SELECT 1 FROM duckdb_tables() LIMIT 1").fetchall()
        if not tables:
            file.unlink()


def _holder(file: Path) -> str | None:
    """Who holds the file, in DuckDB's words: `/usr/bin/python3.11 (PID 4711)`; None when it is free."""
    fresh = not file.exists()
    try:
        duckdb.connect(str(file)).close()
    except duckdb.Error as error:
        message = str(error)
        if not _says("lock", file, message):
            raise _unusable(file, message) from None
        match = re.search(r"held in (.+? \(PID \d+\))", message)
        return match[1] if match else "another process"
    if fresh:
        file.unlink(missing_ok=True)  # a run that fails must not leave an empty warehouse behind
    return None


def _unusable(file: Path, message: str) -> StorageVersion | StoreUnusable:
    reason = message.splitlines()[0].strip()
    if _says("version", file, message):
        return StorageVersion(file, f"DuckDB {duckdb.__version__}", reason)
    return StoreUnusable(file, f"DuckDB says: {reason}")


def _says(word: str, file: Path, message: str) -> bool:
    """Whether DuckDB speaks of this; a path may hold any word, and a broken block is no lock."""
    return re.search(rf"\b{word}\b", message.replace(str(file), ""), re.IGNORECASE) is not None
