"""A lock by a file, for one machine. The system frees it when its holder dies, however that dies: none is ever stale.

What stands in the file names the holder, and is believed only while the lock is held. POSIX only.
"""

import fcntl
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

POLL_S = 0.05


class Taken(Exception):
    """Another process holds the lock; `holder` says which and since when (UTC), in words."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(holder)


def take(file: Path, wait_s: float) -> int:
    """Lock the file, made if need be, and give a descriptor: closing it frees the lock.

    Waits up to `wait_s` for another holder, then raises `Taken`.
    """
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait(lock, wait_s)
        since = datetime.now(UTC).isoformat(" ", "seconds")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _wait(lock: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Taken(os.pread(lock, 200, 0).decode("utf-8", "replace") or "another process") from None
            time.sleep(POLL_S)
