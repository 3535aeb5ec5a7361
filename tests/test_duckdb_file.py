"""A DuckDB file that is held, foreign, broken or badly named."""

import struct
import subprocess
import sys
from contextlib import contextmanager

import duckdb
import pytest

from destinations import duckdb_file
from destinations.duckdb_file import wait_until_free
from destinations.errors import AmbiguousName, StorageVersion, StoreBusy, StoreUnusable
from pipelines import claribi_pipeline
from tests.nightly import Nightly
from tests.stage import serve_stage

HEADER_BYTES = 4096
"""DuckDB's main header: a checksum of 8 bytes over what follows it."""

HOLDER = """
import duckdb, sys
db = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(duckdb_file, "POLL_S", 0.02)
    monkeypatch.setattr(claribi_pipeline, "LOCK_WAIT_S", 0.1)


@pytest.fixture
def account(tmp_path, monkeypatch):
    with serve_stage() as stage:
        yield Nightly(tmp_path, stage, monkeypatch, reports=3)


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(made)) as db:
        db.execute("CREATE TABLE mine AS SELECT 42 AS answer")
    return made


@contextmanager
def held(file):
    """Another process that has the file open for writing; it ends when a line is written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_file_that_is_free_is_left_as_it_is(file):
    before = file.read_bytes()
    wait_until_free(file, "claribi", 0)
    assert file.read_bytes() == before


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    wait_until_free(tmp_path / "new.duckdb", "claribi", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_stays_held_is_busy_and_its_holder_is_named(file):
    with held(file) as process, pytest.raises(StoreBusy) as caught:
        wait_until_free(file, "claribi", 0.1)
    assert f"(PID {process.pid})" in caught.value.holder
    assert str(caught.value).startswith(f"{file} is in use by {caught.value.holder}")


def test_a_file_that_becomes_free_while_waiting_is_taken(file, monkeypatch):
    tries = []
    look = duckdb_file._holder

    def looked(path):
        tries.append(found := look(path))
        if len(tries) == 2:
            process.communicate("\n", timeout=30)
        return found

    monkeypatch.setattr(duckdb_file, "_holder", looked)
    with held(file) as process:
        wait_until_free(file, "claribi", 60)
    assert [found is not None for found in tries] == [True, True, False]


def test_a_run_on_a_held_file_exits_with_5_and_names_the_holder(account, file):
    before = file.read_bytes()
    with held(file) as process:
        report = account.export()
    assert (report.exit_code, report.outcome, account.sandbox.calls) == (5, "failed", [])
    assert f"PID {process.pid}" in report.notes[0]
    assert file.read_bytes() == before
    assert account.good_export().tables["reports"]["rows"] == 3


def test_a_run_leaves_what_others_keep_in_the_file(account, file):
    account.good_export()
    assert account.query("FROM warehouse.main.mine") == [(42,)]


def block_checksum(content):
    """DuckDB's checksum of a block: each 8 bytes times an odd constant, all of them combined by exclusive or.

    The remainder is hashed in its own way, but a header has none.
    """
    seed, odd, whole = 5381, 0xBF58476D1CE4E5B9, 2**64 - 1
    for (word,) in struct.iter_unpack("<Q", content):
        seed ^= word * odd & whole
    return seed


def of_version(file, version):
    """Write another storage version into the file's main header, as a DuckDB of the future would."""
    content = bytearray(file.read_bytes())
    (stored,) = struct.unpack_from("<Q", content)
    assert stored == block_checksum(content[8:HEADER_BYTES])
    assert content[8:12] == b"DUCK"
    struct.pack_into("<Q", content, 12, version)
    struct.pack_into("<Q", content, 0, block_checksum(content[8:HEADER_BYTES]))
    file.write_bytes(content)


def test_a_file_of_a_later_duckdb_gets_a_sentence_of_its_own(account, file):
    of_version(file, 9999)
    before = file.read_bytes()
    with pytest.raises(StorageVersion) as caught:
        wait_until_free(file, "claribi", 60)
    assert str(caught.value).startswith(
        f"{file} was written by another version of DuckDB, which DuckDB {duckdb.__version__} cannot read."
    )
    report = account.export()
    assert (report.exit_code, report.notes) == (5, [str(caught.value)])
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(account, file):
    file.write_text("shopping list: coffee\n" * 1000)
    report = account.export()
    assert (report.exit_code, account.sandbox.calls) == (5, [])
    assert report.notes[0].startswith(f"{file} cannot be used: DuckDB says: ")
    assert file.read_text() == "shopping list: coffee\n" * 1000


def test_a_file_with_a_broken_header_is_refused(file):
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreUnusable, match="Corrupt database file"):
        wait_until_free(file, "claribi", 0)


@pytest.mark.parametrize("word", ["lock", "version"])
def test_a_word_in_the_path_is_not_taken_for_the_reason(tmp_path, word):
    file = tmp_path / word / "warehouse.duckdb"
    file.parent.mkdir()
    file.write_text("no database")
    with pytest.raises(StoreUnusable, match="not a valid DuckDB database"):
        wait_until_free(file, "claribi", 0)


def test_a_folder_in_its_place_is_refused(tmp_path):
    with pytest.raises(StoreUnusable):
        wait_until_free(tmp_path, "claribi", 60)


def test_a_file_called_as_its_dataset_is_a_wrong_setting(account, monkeypatch, tmp_path):
    file = tmp_path / "claribi.duckdb"
    with pytest.raises(AmbiguousName):
        wait_until_free(file, "claribi", 60)
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(file))
    report = account.export()
    assert (report.exit_code, account.sandbox.calls) == (2, [])
    assert "DESTINATION__DUCKDB__CREDENTIALS" in report.notes[0]
    assert not file.exists()


def test_a_folder_that_is_missing_is_named_and_not_made(account, monkeypatch, tmp_path):
    file = tmp_path / "nowhere" / "warehouse.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(file))
    report = account.export()
    assert (report.exit_code, account.sandbox.calls) == (5, [])
    assert report.notes[0].startswith(f"{file} cannot be used: there is no folder {file.parent}.")
    assert not file.parent.exists()


def test_a_first_run_that_fails_leaves_no_file_behind(account, tmp_path):
    account.sandbox.account.plan_has_api = False
    assert account.export().exit_code == 3
    assert not (tmp_path / "warehouse.duckdb").exists()
