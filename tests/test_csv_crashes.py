"""CSV files when things go wrong: killed at any moment, a full disk, a read-only folder, two runs at once."""

import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from destinations.csv_files import CsvFilesConfiguration, CsvFolder
from destinations.errors import FileChanged, StoreBusy, StoreFull, StoreUnusable
from destinations.fold import POSITION, Columns, Table, workbench
from tests.nights import added, apart, die_before, held_after, loaded_with, night, outcome
from tests.proof import PROOF

NOBODY = 65534
"""The system's user without rights; root may write everywhere."""
COLUMNS: Columns = {"n": {"name": "n", "data_type": "bigint"}}


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after its first night, to be copied."""
    folder = tmp_path_factory.mktemp("first")
    assert outcome(night, folder) == 0
    assert visible(folder) == held_after(1)
    return folder


@pytest.fixture
def folder(first_night: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first_night, tmp_path / "copy")


def visible(folder: Path) -> dict[str, str]:
    """What a reader finds, whatever is going on."""
    return {file.name: file.read_text() for file in (folder / "exports").glob("*.csv")}


def settled(folder: Path) -> dict[str, str]:
    """What a reader finds once someone has taken the lock."""
    with store(folder).lock():
        return visible(folder)


def store(folder: Path, **settings: object) -> CsvFolder:
    config = CsvFilesConfiguration()
    config.update({"folder": str(folder / "exports"), **settings})
    return CsvFolder(config)


def commit(backend: CsvFolder, number: int) -> None:
    with backend.lock(), workbench() as connection:
        connection.execute(f"CREATE TABLE given AS SELECT {number} AS n, 1::BIGINT AS {POSITION}")
        table = Table("given", COLUMNS)
        backend.commit(connection, {"letters": table, "numbers": table}, str(number))


def both(number: int, *names: str) -> dict[str, str]:
    """The files that `commit` writes."""
    return {f"{name}.csv": f"n\n{number}\n" for name in names or ("letters", "numbers")}


def cut_off(folder: Path, change: int) -> None:
    """Commit a number, and die before the change of that number in the folder."""
    die_before(change, folder / "exports")
    commit(store(folder), 8)


def test_killed_before_any_change_of_the_folder_a_commit_is_in_or_not_in(tmp_path: Path) -> None:
    old, new = both(7), both(8)
    seen = set()
    for change in range(1, 60):
        folder = tmp_path / str(change)
        commit(store(folder), 7)
        code = outcome(cut_off, folder, change)
        assert code in (0, -signal.SIGKILL)
        found = visible(folder)
        assert all(text in (old[name], new[name]) for name, text in found.items())
        whole = settled(folder)
        assert whole in (old, new)
        seen.add((found == old, found == new, whole == new))
        if code == 0:
            break
        commit(store(folder), 9)
        assert visible(folder) == both(9)
    else:
        pytest.fail("the commit never came to its end")
    # Killed before the commit point, right after it, between two renames, and when all was done.
    assert seen == {(True, False, False), (True, False, True), (False, False, True), (False, True, True)}


@pytest.mark.parametrize("remembers", [True, False], ids=["same machine", "fresh runner"])
def test_killed_in_its_load_a_night_is_made_up_for_and_never_doubled(
    first_night: Path, tmp_path: Path, remembers: bool
) -> None:
    seen = set()
    for change in range(1, 60, 5):
        folder = shutil.copytree(first_night, tmp_path / str(change))
        code = outcome(night, folder, change)
        assert code in (0, -signal.SIGKILL)
        done = 2 if settled(folder) == held_after(2) else 1
        assert visible(folder) == held_after(done)
        seen.add(done)
        if code == 0:
            break
        if not remembers:
            shutil.rmtree(folder / "dlt")
        left_behind = list((folder / "dlt").glob("pipelines/nightly/load/normalized/*"))
        assert outcome(night, folder) == 0
        assert visible(folder) == held_after(done + 1 + bool(left_behind and done == 1))
    else:
        pytest.fail("the night never came to its end")
    assert seen == {1, 2}


def test_killed_at_random_moments_nothing_is_lost_or_doubled(folder: Path) -> None:
    moments = random.Random(20261124)
    for attempt in range(30 if PROOF else 12):
        process = apart(night, folder)
        time.sleep(moments.uniform(0.0, 0.6))
        process.kill()
        process.join(60)
        nights = int((folder / "exports/log.csv").read_text().split()[-1])
        assert settled(folder) in (held_after(nights), held_after(nights + 1))
        if attempt % 3 == 2:
            shutil.rmtree(folder / "dlt", ignore_errors=True)
    shutil.rmtree(folder / "dlt", ignore_errors=True)
    nights = int(settled(folder)["log.csv"].split()[-1])
    assert outcome(night, folder) == 0
    assert visible(folder) == held_after(nights + 1)


def test_an_edit_between_a_crash_and_the_next_run_is_not_overwritten(tmp_path: Path) -> None:
    journal = tmp_path / "exports/.claribi/journal.json"
    commit(store(tmp_path), 7)
    for change in range(1, 60):
        assert outcome(cut_off, tmp_path, change) == -signal.SIGKILL
        if journal.exists() and visible(tmp_path) == both(7):
            break
    (tmp_path / "exports/numbers.csv").write_text("n\n9\n")
    for _ in range(2):
        with pytest.raises(FileChanged), store(tmp_path).lock():
            pass
        assert visible(tmp_path) == both(7) | both(9, "numbers")
    with store(tmp_path, overwrite=True).lock():
        assert visible(tmp_path) == both(8)


@pytest.mark.parametrize("limit", [20_000, 60_000])
def test_a_full_disk_leaves_the_old_files_and_the_next_run_makes_up_for_it(folder: Path, limit: int) -> None:
    assert outcome(loaded_with, folder, limit) == 1
    assert visible(folder) == held_after(1)
    assert not (folder / "exports/.claribi/next").exists()
    assert outcome(night, folder) == 0
    assert visible(folder) == held_after(3)


def committed_with(folder: Path, limit: int) -> None:
    """Commit one number while no file may grow beyond the limit; exit 3 when the store says that it is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        commit(store(folder), limit)
    except StoreFull:
        raise SystemExit(3) from None


def test_a_disk_that_is_full_at_any_byte_leaves_a_whole_folder(tmp_path: Path) -> None:
    commit(store(tmp_path), 7)
    codes = []
    for limit in (0, 1, 3, 10, 60, 90, 200, 400, 10_000):
        before = visible(tmp_path)
        codes.append(outcome(committed_with, tmp_path, limit))
        after = before if codes[-1] else both(limit)
        assert visible(tmp_path) == settled(tmp_path) == after
    assert codes == sorted(codes, reverse=True)
    assert set(codes) == {3, 0}


def refused(folder: Path) -> None:
    """Commit as a user without rights; exit 3 when the store says that it cannot be used, and names the folder."""
    if os.getuid() == 0:
        os.setuid(NOBODY)
    try:
        commit(store(folder), 8)
    except StoreUnusable as error:
        raise SystemExit(3 if f"{folder}/exports cannot be used: Permission denied" in str(error) else 4) from None


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder, "exports").chmod(0o755)


def test_a_read_only_folder_is_said_so_and_stays_as_it_is(open_folder: Path) -> None:
    commit(store(open_folder), 7)
    for path in (open_folder / "exports/.claribi", open_folder / "exports"):
        path.chmod(0o555)
    (open_folder / "exports/.claribi/lock").chmod(0o444)
    assert outcome(refused, open_folder) == 3
    (open_folder / "exports/.claribi").chmod(0o755)
    assert settled(open_folder) == both(7)


def test_a_commit_that_cannot_put_its_files_in_place_is_finished_later(open_folder: Path) -> None:
    commit(store(open_folder), 7)
    hidden = open_folder / "exports/.claribi"
    if os.getuid() == 0:
        for path in (hidden, *hidden.iterdir()):
            os.chown(path, NOBODY, -1)
    (open_folder / "exports").chmod(0o555)
    for _ in range(2):
        assert outcome(refused, open_folder) == 3
        assert visible(open_folder) == both(7)
    (open_folder / "exports").chmod(0o755)
    assert settled(open_folder) == both(8)


def test_three_runs_at_once_lose_no_row(tmp_path: Path) -> None:
    ids = {name: [base + number for number in range(4)] for base, name in ((0, "a"), (100, "b"), (200, "c"))}
    runs = [apart(added, tmp_path, numbers, name) for name, numbers in ids.items()]
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0, 0]
    held = sorted(int(line.split(",")[0]) for line in visible(tmp_path)["shared.csv"].splitlines()[1:])
    assert held == sorted(chain(*ids.values()))


def holding(folder: Path, ready: str) -> None:
    """Hold the lock until someone ends this process."""
    with store(folder).lock():
        Path(ready).touch()
        signal.pause()


def test_a_busy_folder_names_the_holder_and_is_free_when_the_holder_dies(tmp_path: Path) -> None:
    holder = apart(holding, tmp_path, str(tmp_path / "ready"))
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(StoreBusy) as caught, store(tmp_path, lock_wait=0.1).lock():
        pass
    assert f"{tmp_path}/exports is in use by process {holder.pid} on " in str(caught.value)
    holder.kill()
    holder.join(60)
    commit(store(tmp_path), 7)
    assert visible(tmp_path) == both(7)
