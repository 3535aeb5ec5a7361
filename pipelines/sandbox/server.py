"""Runs the sandbox on a real socket: in a thread for tests and the demo, in the foreground for the command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipelines.sandbox.app import Sandbox


class Running(NamedTuple):
    """A sandbox that can be called."""

    sandbox: Sandbox
    url: str
    """Origin without a slash at its end, such as http://127.0.0.1:40123."""


@contextmanager
def serve(sandbox: Sandbox, port: int = 0) -> Iterator[Running]:
    """Serve in a thread on 127.0.0.1 while the block runs; port 0 takes a free one. Leaving the block takes bounded time."""
    raise NotImplementedError


def run_sandbox(
    dialect: str,
    port: int,
    host: str = "127.0.0.1",
    reports: int = 1240,
    nights: int = 0,
    details_in_list: bool | None = None,
    limit: int = 5000,
    on_ready: Callable[[Running], None] = lambda running: None,
) -> None:
    """Serve one dialect (`kb`, `v1`, `offset`) in the foreground until Ctrl-C; `on_ready` is told once calls are answered."""
