"""Nights of a small pipeline into CSV files, made to run in a process of their own that may be killed at any moment.

Each night appends one row to `log` (its number, one more than the last committed night's), and changes and adds rows of
`reports`. So what a folder must hold after the nights 1 … n is known, and a doubled or lost load shows at once.
"""

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa

from destinations import csv_files

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}

# A server that has imported everything once and forks from there: a night starts in milliseconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.nights", "dlt.sources.helpers.requests", "pandas", "pytest", "pytz"])


def apart(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start some work in a process of its own."""
    process = _context.Process(target=work, args=arguments)
    process.start()
    return process


def outcome(work: Callable[..., None], *arguments: Any) -> int | None:
    """Do some work in a process of its own, to its end; its exit code, negative for a signal."""
    process = apart(work, *arguments)
    process.join(60)
    return process.exitcode


def night(folder: Path, kill_before: int = 0) -> None:
    """Run one night; die before the change of that number in the folder, when it is given."""
    os.chdir(folder)
    os.environ |= {"DLT_DATA_DIR": str(folder / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    if kill_before:
        die_before(kill_before, folder / "exports")
    pipeline = dlt.pipeline("nightly", destination=csv_files())
    if pipeline.has_pending_data:
        pipeline.run()
    pipeline.run(source())


def loaded_with(folder: Path, limit: int) -> None:
    """Extract a night, then load it while no file may grow beyond the limit, in bytes."""
    os.chdir(folder)
    os.environ |= {"DLT_DATA_DIR": str(folder / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    pipeline = dlt.pipeline("nightly", destination=csv_files())
    pipeline.extract(source())
    pipeline.normalize()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    pipeline.load()


def added(folder: Path, ids: list[int], working_folder: str) -> None:
    """Merge one row after the other into `shared`, a load for each."""
    os.chdir(folder)
    os.environ |= {"DLT_DATA_DIR": str(folder / working_folder), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    pipeline = dlt.pipeline("nightly", destination=csv_files())
    for number in ids:
        pipeline.run([{"id": number}], table_name="shared", primary_key="id", write_disposition="merge")


@dlt.source(name="nights")
def source() -> Any:
    """The next night's rows."""

    @dlt.resource(write_disposition="append")
    def log() -> Iterator[pa.Table]:
        state = dlt.current.source_state()
        state["night"] = state.get("night", 0) + 1
        yield pa.table({"night": [state["night"]]})

    @dlt.resource(primary_key="id", write_disposition="merge")
    def reports() -> Iterator[pa.Table]:
        state = dlt.current.resource_state()
        state["night"] = state.get("night", 0) + 1
        yield report_rows(state["night"])

    return [log, reports]


def report_rows(number: int) -> pa.Table:
    """A hundred reports that every night changes, and ten that it adds."""
    ids = [*range(100), *range(1000 * number, 1000 * number + 10)]
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("title", pa.string())])
    return pa.table({"id": ids, "title": [f"night {number} " + "x" * 500] * len(ids)}, schema)


def held_after(nights: int) -> dict[str, str]:
    """The files of a folder after that many nights."""
    last = "x" * 500
    rows = [f"{report},night {nights} {last}" for report in range(100)]
    rows += [
        f"{report},night {one} {last}" for one in range(1, nights + 1) for report in range(1000 * one, 1000 * one + 10)
    ]
    return {
        "log.csv": "\n".join(["night", *map(str, range(1, nights + 1)), ""]),
        "reports.csv": "\n".join(["id,title", *rows, ""]),
    }


def die_before(number: int, folder: Path) -> None:
    """Let this process be killed right before it changes the folder's files for the nth time."""
    count = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        changes = event in CHANGES or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        )
        if changes and str(arguments[0]).startswith(str(folder)):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
