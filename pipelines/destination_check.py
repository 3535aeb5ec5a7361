"""Whether a destination could be written to now; nothing is left in it."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import dlt

from destinations.duckdb_file import wait_until_free
from destinations.errors import StoreUnusable
from pipelines.checks import Check
from pipelines.claribi_pipeline import DATASET, duckdb_file, make_pipeline, place_of

LOCK_WAIT_S = 3.0
"""Somebody is waiting for the answer; a run waits longer."""


def check_destination(destination: str) -> Check:
    """Check one destination by its name; raises what a run would raise."""
    with TemporaryDirectory(prefix="claribi-export-") as folder:
        pipeline = make_pipeline(destination, folder=Path(folder))
        place = place_of(pipeline.destination)
        says = CHECKS.get(destination, _answers)(pipeline, place)
    return Check("destination", "ok", says, facts={"place": place})


def _duckdb(_: dlt.Pipeline, place: str) -> str:
    file = duckdb_file()
    wait_until_free(file, DATASET, LOCK_WAIT_S)
    return f"{place} can be written to." if file.exists() else f"{place} is not there yet; a run makes it."


def _csv_files(_: dlt.Pipeline, place: str) -> str:
    folder = Path(place)
    there = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        raise StoreUnusable(folder, f"{error.strerror}.") from None
    return f"{folder} can be written to." if there == folder else f"{folder} is not there yet; a run makes it."


def _answers(pipeline: dlt.Pipeline, place: str) -> str:
    """Of any other only that it can be reached and read: writing to it would leave something there."""
    pipeline.sync_destination()
    return f"{place} answers; whether it can be written to, the first run tells."


CHECKS: dict[str, Callable[[dlt.Pipeline, str], str]] = {"duckdb": _duckdb, "csv_files": _csv_files}
"""How to look at a destination before the first run, where more can be said than that it answers."""
