"""What can go wrong on the destination's side, one class for each situation a user can act on.

    DestinationError              exit 5  root
    ├── UnknownSelection          exit 2  terminal   `tables`, `columns` or `sort` name what does not exist
    ├── NestedTable               exit 5  terminal   rows of one table hang on rows of another
    ├── ColumnTypeChanged         exit 5  terminal   a value does not fit the column it belongs to
    ├── TooLittleMemory           exit 5  terminal   the fold of a load needs more than it is allowed
    ├── StoreBusy                 exit 5  transient  another run holds the store
    ├── OutOfDate                 exit 5  transient  someone wrote between our read and our commit
    ├── StoreUnusable             exit 5  terminal   the folder cannot be read or written
    ├── StoreFull                 exit 5  terminal   no room is left
    ├── FileChanged               exit 5  terminal   another program edited, broke or removed one of our files
    ├── ManifestBroken            exit 5  terminal   the store's own record cannot be read
    ├── AmbiguousName             exit 2  terminal   a DuckDB file is called as its dataset
    ├── StorageVersion            exit 5  terminal   a DuckDB file of another version
    └── LoadFailed                exit 5  transient  one of dlt's own destinations refused or cannot be reached

Terminal and transient are dlt's words: terminal means that a retry cannot help, so dlt stops at once. Texts are for
people: what happened, to which object, what to do next. No text ever holds a secret.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from dlt.common.destination.exceptions import DestinationTerminalException, DestinationTransientException


class DestinationError(Exception):
    """Root of everything that a destination can raise on purpose."""

    exit_code = 5


class UnknownSelection(DestinationError, DestinationTerminalException):
    """A setting names a table or a column that does not exist; `known` are the names that do."""

    exit_code = 2

    def __init__(self, setting: str, unknown: Iterable[str], known: Iterable[str]) -> None:
        self.setting, self.unknown, self.known = setting, sorted(unknown), sorted(known)
        super().__init__(
            f"{setting} names {', '.join(self.unknown)}, which does not exist. "
            f"Known are: {', '.join(self.known)}. Correct the setting; nothing was written."
        )


class NestedTable(DestinationError, DestinationTerminalException):
    """dlt was told to take lists apart into tables of their own, whose rows go and come with their parents."""

    def __init__(self, table: str, parent: str) -> None:
        self.table, self.parent = table, parent
        super().__init__(
            f"{table} is nested in {parent}, which this destination cannot keep in step. Nothing was written. "
            "Leave out max_table_nesting, so that lists become JSON, or yield the rows as a table with keys of its own."
        )


class ColumnTypeChanged(DestinationError, DestinationTerminalException):
    """A value of the load does not fit the column that holds it; `reason` names the value."""

    def __init__(self, table: str, reason: str) -> None:
        self.table, self.reason = table, reason
        super().__init__(
            f"A value does not fit its column in {table}: {reason} Nothing was written. "
            "If the source has really changed the type, drop the table's data and load it again."
        )


class TooLittleMemory(DestinationError, DestinationTerminalException):
    """The fold of a load needs more memory than it is allowed; very long texts do that, many rows do not."""

    def __init__(self, store: str, allowed: str, reason: str) -> None:
        self.store, self.allowed, self.reason = store, allowed, reason
        super().__init__(
            f"{store} could not be brought up to date within {allowed} of memory: {reason} Nothing was written. "
            "Allow more with the destination's setting `memory`, such as 1GB."
        )


class StoreBusy(DestinationError, DestinationTransientException):
    """Another run holds the store; `holder` says which, in words."""

    def __init__(self, store: str, holder: str, waited_s: float) -> None:
        self.store, self.holder, self.waited_s = store, holder, waited_s
        super().__init__(
            f"{store} is in use by {holder}; waited {waited_s:,.0f} s. "
            "Nothing was written: run again when the other run has ended."
        )


class OutOfDate(DestinationError, DestinationTransientException):
    """Someone else wrote between our read and our commit, so the plan no longer fits; read and plan again."""

    def __init__(self, store: str) -> None:
        self.store = store
        super().__init__(f"{store} was written to by another run at the same time, again and again. Run again later.")


class StoreUnusable(DestinationError, DestinationTerminalException):
    """The store cannot be read or written at all; `reason` is the system's own sentence."""

    def __init__(self, store: Path | str, reason: str) -> None:
        self.store, self.reason = str(store), reason
        super().__init__(
            f"{store} cannot be used: {reason} What was there is unchanged. "
            "Give this user the right to read and write it, or set another place."
        )


class StoreFull(DestinationError, DestinationTerminalException):
    """No room is left where the store lies; `reason` is the system's own sentence."""

    def __init__(self, store: Path | str, reason: str) -> None:
        self.store, self.reason = str(store), reason
        super().__init__(
            f"{store} has no room left: {reason} What was there is unchanged. "
            "Free some space (a load needs room for a second copy of the tables it changes) and run again."
        )


class FileChanged(DestinationError, DestinationTerminalException):
    """A file is not as the last run left it; `what` says how: edited, missing, or not ours."""

    def __init__(self, file: Path, what: str, written: datetime | None) -> None:
        self.file, self.what = file, what
        since = f" since the export wrote it on {written:%Y-%m-%d %H:%M} UTC" if written else ""
        super().__init__(
            f"{file} {what}{since}. Nothing was written. Put the exported file back, or keep yours under another "
            "name and run with --overwrite: rows that can still be read are kept, and a missing or unreadable "
            "file counts as empty (a backfill fills it again)."
        )


class ManifestBroken(DestinationError, DestinationTerminalException):
    """The store's own record cannot be read, so nothing may be built on it."""

    def __init__(self, file: Path, reason: str) -> None:
        self.file, self.reason = file, reason
        super().__init__(
            f"{file} is the export's own record and cannot be read: {reason} Restore it from a copy, or move the "
            "whole folder away to start a new one."
        )


class AmbiguousName(DestinationError, DestinationTerminalException):
    """A DuckDB file has the name of the dataset in it."""

    exit_code = 2

    def __init__(self, file: Path, dataset: str) -> None:
        self.file, self.dataset = file, dataset
        super().__init__(
            f"{file} has the name of the dataset that it would hold ({dataset}): DuckDB could not tell the two apart. "
            "Give the file another name in DESTINATION__DUCKDB__CREDENTIALS, such as warehouse.duckdb."
        )


class StorageVersion(DestinationError, DestinationTerminalException):
    """A DuckDB file was written by a version that this one cannot read."""

    def __init__(self, file: Path, ours: str, reason: str) -> None:
        self.file, self.ours, self.reason = file, ours, reason
        super().__init__(
            f"{file} was written by another version of DuckDB, which {ours} cannot read. "
            f"Use the version that wrote it, or let this one write a new file. DuckDB says: {reason}"
        )


class LoadFailed(DestinationError, DestinationTransientException):
    """One of dlt's own destinations could not be reached, or refused; `reason` is its own sentence."""

    def __init__(self, destination: str, reason: str) -> None:
        self.destination, self.reason = destination, reason
        super().__init__(
            f"{destination} did not take the load: {reason} What was read is kept on this machine and is loaded first "
            "by the next run; check the destination's address, user and rights, then run again."
        )
