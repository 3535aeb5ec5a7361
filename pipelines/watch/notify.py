"""Tells people, and tells a monitor outside that the nightly job ran.

Nothing here raises for a dead server, waits for one longer than it is told to, or shows an address.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import httpx

from pipelines.watch.address import Address, host_of, scheme, struck
from pipelines.watch.attachment import File
from pipelines.watch.message import Message

Beat = Literal["start", "success", "failure"]

SEND_WITHIN_S: Final = 120.0
BEAT_WITHIN_S: Final = 10.0
BEAT_TRIES: Final = 3
BEAT_PAUSE_S: Final = 1.0
ENDINGS: Final[dict[Beat, str]] = {"start": "/start", "success": "", "failure": "/fail"}
MOST_SAID: Final = 10_000
"""Bytes of text that a heartbeat carries."""

# Their lower levels print addresses.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Failure:
    """A notice or a heartbeat that did not arrive; no word of it is secret."""

    what: str
    """`The notice`, or which heartbeat."""
    whom: str
    """The setting, the service and its server."""
    reason: str
    """One sentence."""
    next_step: str

    def __str__(self) -> str:
        return f"{self.what} did not reach {self.whom}: {self.reason} {self.next_step}"


def send(
    message: Message, addresses: Sequence[Address], files: Sequence[File] = (), *, within_s: float = SEND_WITHIN_S
) -> list[Failure]:
    """Send the message to all addresses at once and give the failures, in the order of the addresses.

    Mails get everything, every other service the short form, or nothing where that is empty.
    """
    told = [address for address in addresses if address.is_mail or message.short]
    reasons = _reasons([partial(address.tell, message, files) for address in told], within_s)
    next_step = "Check that address; what nobody could be told is told by the next run."
    return [
        Failure("The notice", str(address), struck(reason, address.url, {address.server}), next_step)
        for address, reason in zip(told, reasons, strict=True)
        if reason is not None
    ]


def heartbeat(url: str, kind: Beat, text: str = "", *, within_s: float = BEAT_WITHIN_S) -> Failure | None:
    """Tell a monitor that a run starts, has succeeded or has failed; `text` is what the monitor keeps of it."""
    (reason,) = _reasons([partial(_beat, url, kind, text)], within_s)
    if reason is None:
        return None
    host = host_of(url)
    whom = f"NOTIFY__HEARTBEAT_URL ({scheme(url)}://{host})"
    return Failure(
        f"The heartbeat ({kind})", whom, struck(reason, url, {host}), "Check that address; the run went on without it."
    )


def _beat(url: str, kind: Beat, text: str) -> str | None:
    """Call a monitor, again where that may help: a beat that gets lost is a false alarm. Give why it failed."""
    address = httpx.URL(url)
    address = address.copy_with(path=address.path.rstrip("/") + ENDINGS[kind])
    reason = ""
    for turn in range(BEAT_TRIES):
        time.sleep(BEAT_PAUSE_S if turn else 0)
        try:
            # Of the answer its status alone: what a monitor says beyond that is of no use.
            with httpx.stream("POST", address, content=text.encode()[:MOST_SAID], timeout=BEAT_WITHIN_S) as answer:
                if answer.is_success:
                    return None
                reason = f"it answered with HTTP {answer.status_code}"
                if not answer.is_server_error:
                    break
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
    return reason


def _reasons(jobs: Sequence[Callable[[], str | None]], within_s: float) -> list[str | None]:
    """Run jobs side by side and give why each failed, secrets and all; None for one that did not.

    In threads that end with the process: a server that answers one byte a minute holds nobody up.
    """
    said: dict[int, str | None] = {}

    def work(place: int, job: Callable[[], str | None]) -> None:
        try:
            said[place] = job()
        except Exception as error:  # noqa: BLE001 - a service's own bug is no reason to fail a run that is loaded
            said[place] = f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=work, args=one, daemon=True) for one in enumerate(jobs)]
    until = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = f"it did not answer within {within_s:g} seconds."
    return [said.get(place, late) for place in range(len(jobs))]
