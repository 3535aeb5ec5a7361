"""Answers that break off: what an ASGI application alone cannot do to a connection."""

import asyncio
import socket
import struct
from typing import Any, cast

from starlette.types import Message, Receive, Send

from pipelines.sandbox.faults import Fault

BREAKS_OFF = frozenset({"reset", "truncated", "stalled"})
"""Faults after which the caller has no whole answer."""


def disturbed(fault: Fault, receive: Receive, send: Send) -> Send:
    """A `send` that does to the answer what the fault says; `send` must be the one uvicorn gave."""
    start: Message = {}

    async def passed_on(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        body = message.get("body", b"")
        if fault.kind == "cut_json":
            await send(_with_length(start, len(body) // 2))
            await send({**message, "body": body[: len(body) // 2]})
            return
        await send(start)
        if fault.kind == "truncated":
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            _transport(send).close()
        elif fault.kind == "reset":
            _reset(_transport(send))
        await _until_gone(receive)

    return passed_on


def _with_length(start: Message, length: int) -> Message:
    headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
    return {**start, "headers": [*headers, (b"content-length", str(length).encode())]}


def _reset(transport: asyncio.Transport) -> None:
    # Closing a socket that lingers for no time sends a reset instead of a goodbye.
    sock = cast("socket.socket", transport.get_extra_info("socket"))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _until_gone(receive: Receive) -> None:
    """Return when the connection is gone, whoever closed it: before that, uvicorn would complain of half an answer."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport(send: Send) -> asyncio.Transport:
    """The connection below uvicorn's `send`, which is a method of the cycle that holds it; ASGI has no word for it."""
    cycle: Any = getattr(send, "__self__", None)
    if not hasattr(cycle, "transport"):
        raise RuntimeError("this fault needs a real connection: serve the sandbox with uvicorn")
    return cast("asyncio.Transport", cycle.transport)
