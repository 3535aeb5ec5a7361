"""Runs the sandbox on a real socket: in a thread for tests and the demo, in the foreground for the command."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Event, Thread
from typing import NamedTuple

import uvicorn

from pipelines.sandbox.access import Limits
from pipelines.sandbox.app import Sandbox
from pipelines.sandbox.organisation import Organisation
from pipelines.sandbox.spoken import DIALECTS
from pipelines.sandbox.validators import Validators

_START_S, _STOP_S, _TICK_S = 20.0, 10.0, 0.1


class Running(NamedTuple):
    """A sandbox that can be called."""

    sandbox: Sandbox
    url: str
    """Origin without a slash at its end, such as http://127.0.0.1:40123."""


class _Server(uvicorn.Server):
    """Tells when it answers, and leaves without waiting for callers."""

    def __init__(self, sandbox: Sandbox, on_ready: Callable[[], None]) -> None:
        # Broken connections are what the sandbox is for; only a bug of its own deserves a line.
        config = uvicorn.Config(
            sandbox,
            http="h11",
            ws="none",
            proxy_headers=False,
            access_log=False,
            date_header=False,  # the sandbox dates its answers itself
            log_config=None,
            log_level="error",
            lifespan="off",
        )
        super().__init__(config)
        self._on_ready = on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._on_ready()

    def leave(self) -> None:
        """Stop; called from another thread."""
        self.should_exit = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._leaving.set)

    async def main_loop(self) -> None:
        # As uvicorn's own, but it leaves at once and not at the next tick: a test is often shorter than that.
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), _TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Callers are not waited for: a stalled answer would hold the server back.
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            if connection.transport:
                connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_STOP_S / 2)


@contextmanager
def serve(sandbox: Sandbox, port: int = 0) -> Iterator[Running]:
    """Serve in a thread on 127.0.0.1 while the block runs; port 0 takes a free one. Leaving takes bounded time."""
    listener = _listen("127.0.0.1", port)
    ready = Event()
    server = _Server(sandbox, ready.set)
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True)
    thread.start()
    try:
        if not ready.wait(_START_S):
            raise RuntimeError(f"the sandbox did not start within {_START_S:.0f} s")
        yield Running(sandbox, _url(listener))
    finally:
        server.leave()
        thread.join(_STOP_S)
    if thread.is_alive():
        raise RuntimeError(f"the sandbox did not stop within {_STOP_S:.0f} s")


def run_sandbox(
    dialect: str,
    port: int,
    host: str = "127.0.0.1",
    reports: int = 1240,
    nights: int = 0,
    details_in_list: bool | None = None,
    limit: int = 5000,
    daily: int | None = None,
    validators: Validators = "none",
    latency_s: float = 0.0,
    on_ready: Callable[[Running], None] = lambda _: None,
) -> None:
    """Serve one dialect (`kb`, `v1`, `offset`) in the foreground until Ctrl-C.

    `nights` have passed before the first call; `limit` counts calls an hour, `daily` calls a UTC day; `on_ready` is
    told once calls are answered. Raises `ValueError` for a dialect that does not exist and `OSError` for a port that is
    taken.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"no dialect is called {dialect!r}; known are {', '.join(DIALECTS)}")
    spoken = DIALECTS[dialect]
    if details_in_list is not None:
        spoken = replace(spoken, details_in_list=details_in_list)
    sandbox = Sandbox(spoken, Organisation(reports=reports), limits=Limits(limit=limit, daily=daily))
    sandbox.latency_s, sandbox.validators = latency_s, validators
    sandbox.organisation.advance(nights)
    listener = _listen(host, port)
    running = Running(sandbox, _url(listener))
    with suppress(KeyboardInterrupt):
        _Server(sandbox, lambda: on_ready(running)).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # Headers and body go out as two packets. Connections inherit this from here, asyncio itself does not set it for a
    # socket made like that, and without it a small body waits 40 ms for the caller to acknowledge the headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
