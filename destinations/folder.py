"""A folder whose files are replaced together: a lock, a manifest that knows every file, and a redo journal.

    reports.csv  …                 what people see
    .claribi/manifest.json         every file with its hash and columns
    .claribi/_dlt_….csv            dlt's technical tables
    .claribi/lock                  held by the run that works here; the system frees it when that run dies
    .claribi/next/                 new files, until they take the place of the old ones
    .claribi/journal.json          there only while they do

A commit writes the new files, then the journal, then renames the files and drops the journal. A run that dies before
the journal is there has changed nothing; one that dies later is brought to its end by whoever takes the lock next.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from destinations.errors import FileChanged, ManifestBroken, StoreBusy, StoreFull, StoreUnusable
from destinations.file_lock import Taken, take
from destinations.fold import Columns

FORMAT = 1
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Entry:
    """What the manifest knows of one table's file."""

    file: str
    """Path below the folder."""
    rows: int
    columns: Columns
    excel: bool
    size: int = 0
    sha256: str = ""
    written_at: str = ""
    """UTC, ISO 8601."""


@dataclass
class Manifest:
    """Every file that the last commit left, by table."""

    tables: dict[str, Entry] = field(default_factory=dict)
    load_id: str = ""

    @classmethod
    def load(cls, file: Path) -> "Manifest":
        """Read it; an absent one is that of an empty folder. Raises `ManifestBroken`."""
        try:
            document = json.loads(file.read_text("utf-8"))
            if document["format"] != FORMAT:
                raise ManifestBroken(file, f"it has format {document['format']}, and this version knows {FORMAT} only.")
            return cls({name: Entry(**entry) for name, entry in document["tables"].items()}, document["load_id"])
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestBroken(file, f"{type(error).__name__}: {error}.") from error

    def dump(self) -> dict[str, Any]:
        """The document to write."""
        tables = {name: asdict(entry) for name, entry in sorted(self.tables.items())}
        return {"format": FORMAT, "load_id": self.load_id, "tables": tables}


class Folder:
    """The files of one folder, all of one commit."""

    def __init__(self, path: Path, lock_wait_s: float, overwrite: bool) -> None:
        """`overwrite`: go on although another program has edited or removed a file."""
        self.path, self.lock_wait_s, self.overwrite = path, lock_wait_s, overwrite
        self.hidden = path / ".claribi"
        self.next = self.hidden / "next"
        self.manifest = Manifest()
        self._manifest_file = self.hidden / "manifest.json"
        self._journal_file = self.hidden / "journal.json"
        self._lock = -1
        self._holders = 0

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out, finish what an interrupted one left, and read the manifest. May be entered again."""
        if not self._holders:
            with in_words(self.path):
                self._enter()
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                os.close(self._lock)

    def check(self, name: str) -> None:
        """Raise `FileChanged` unless the table's file is as the last commit left it."""
        entry = self.manifest.tables[name]
        self._expect(self.path / entry.file, entry)

    def staged(self, file: str) -> Path:
        """Where a file's new content is written, before `commit` puts it in place."""
        self.next.mkdir(exist_ok=True)
        return self.next / Path(file).name

    def discard(self) -> None:
        """Forget what was staged, unless it is committed and has still to be put in place."""
        if not self._journal_file.exists():
            shutil.rmtree(self.next, ignore_errors=True)

    def commit(self, tables: Mapping[str, Entry | None], load_id: str) -> None:
        """Let the staged files take the place of the old ones; None removes a table's file. All, or none."""
        held = self.manifest.tables
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = {name: self._measured(entry, now) for name, entry in tables.items() if entry}
        gone = {name: held[name] for name, entry in tables.items() if not entry and name in held}
        old = {entry.file: held.get(name) for name, entry in (new | gone).items()}
        self._expect_all(old)
        after = {name: entry for name, entry in (held | new).items() if name not in gone}
        self._write_journal(Manifest(after, load_id), [entry.file for entry in new.values()], old)
        self._roll_forward()

    def _measured(self, entry: Entry, now: str) -> Entry:
        """The entry with what only the staged file can tell; the file is on the disk after this."""
        file = self.staged(entry.file)
        _sync(file)
        return replace(entry, size=file.stat().st_size, sha256=_sha256(file), written_at=now)

    def _write_journal(self, manifest: Manifest, new: list[str], old: Mapping[str, Entry | None]) -> None:
        """The commit point: once the journal is there, the load is in."""
        own = str(self._manifest_file.relative_to(self.path))
        _write(self.staged(own), manifest.dump())
        _sync(self.next)
        journal = {
            "load_id": manifest.load_id,
            "replace": [*new, own],
            "remove": [file for file in old if file not in new],
            "before": {file: asdict(entry) if entry else None for file, entry in old.items()},
        }
        draft = self._journal_file.with_suffix(".draft")
        _write(draft, journal)
        draft.replace(self._journal_file)
        _sync(self.hidden)

    def _roll_forward(self) -> None:
        """Do what the journal says; what is done already is skipped, so this may be cut off and repeated."""
        journal = self._journal()
        for file in journal["replace"]:
            if self.staged(file).exists():
                self.staged(file).replace(self.path / file)
        for file in journal["remove"]:
            (self.path / file).unlink(missing_ok=True)
        _sync(self.path)
        _sync(self.hidden)
        self._journal_file.unlink()
        _sync(self.hidden)
        self.discard()
        self.manifest = Manifest.load(self._manifest_file)

    def _enter(self) -> None:
        """Wait for the lock, then bring the folder to a whole state."""
        self.hidden.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = take(self.hidden / "lock", self.lock_wait_s)
        except Taken as taken:
            raise StoreBusy(str(self.path), taken.holder, self.lock_wait_s) from None
        try:
            if self._journal_file.exists():
                self._expect_untouched()
                self._roll_forward()
            self.discard()
            self.manifest = Manifest.load(self._manifest_file)
        except BaseException:
            os.close(self._lock)
            raise

    def _journal(self) -> dict[str, Any]:
        journal: dict[str, Any] = json.loads(self._journal_file.read_text("utf-8"))
        return journal

    def _expect_untouched(self) -> None:
        """Since an interrupted commit someone may have edited a file that it has still to replace."""
        before = self._journal()["before"].items()
        self._expect_all({file: Entry(**old) if old else None for file, old in before if self.staged(file).exists()})

    def _expect_all(self, files: Mapping[str, Entry | None]) -> None:
        if not self.overwrite:
            for file, entry in files.items():
                self._expect(self.path / file, entry)

    def _expect(self, file: Path, entry: Entry | None) -> None:
        """Raise `FileChanged` unless the file is as we left it: absent, or with the bytes that we wrote."""
        if entry is None:
            if file.exists():
                raise FileChanged(file, "is not one of the export's files but has the name of one", None)
            return
        written = datetime.fromisoformat(entry.written_at)
        if not file.is_file():
            raise FileChanged(file, "is missing; it was there", written)
        # Not even a time of change is trusted: a hash of 300 MB takes less than a second, a lost row is lost.
        if file.stat().st_size != entry.size or _sha256(file) != entry.sha256:
            raise FileChanged(file, "was changed by another program", written)


@contextmanager
def in_words(store: Path) -> Iterator[None]:
    """Turn an error of the file system into one of ours; DuckDB reports its own as a text."""
    try:
        yield
    except OSError as error:
        problem = StoreFull if error.errno in NO_ROOM else StoreUnusable
        raise problem(store, f"{error.strerror or error} ({error.filename or store}).") from error
    except duckdb.IOException as error:
        full = any(os.strerror(number) in str(error) for number in NO_ROOM)
        raise (StoreFull if full else StoreUnusable)(store, f"{str(error).splitlines()[0]}.") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write(file: Path, document: Mapping[str, Any]) -> None:
    """Write a document for people and machines; it is on the disk after this."""
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _sync(file)


def _sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
