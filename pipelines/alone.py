"""One run of a destination at a time on one machine: two would read the same, and one of them for nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from destinations.file_lock import Taken, take
from pipelines.claribi.errors import AlreadyRunning
from pipelines.claribi_pipeline import folder_of, make_destination

WAIT_S = 60.0


@contextmanager
def alone(destination: str, what: Literal["run", "backfill"] = "run") -> Iterator[None]:
    """Keep every other run, or every other backfill, of this destination out while the block runs.

    Waits up to `WAIT_S` for the other one, then raises `AlreadyRunning`. One that was killed is no hindrance.
    """
    folder = folder_of(destination, make_destination(destination))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = take(folder / f"{what}.lock", WAIT_S)
    except Taken as taken:
        raise AlreadyRunning(what, destination, taken.holder, WAIT_S) from None
    try:
        yield
    finally:
        os.close(lock)
