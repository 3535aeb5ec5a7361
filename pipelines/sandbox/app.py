"""The sandbox over HTTP: a Starlette application for one organisation in one dialect."""

from typing import NamedTuple

from pipelines.sandbox.access import Account, Limits
from pipelines.sandbox.faults import Faults
from pipelines.sandbox.organisation import Organisation
from pipelines.sandbox.spoken import KB, Spoken


class Call(NamedTuple):
    """One call that was answered; the key is never kept, only how it was sent."""

    method: str
    path: str
    query: str
    auth: str
    """`api-key`, `x-api-key`, `bearer`, `jwt`, `none`, or several joined by `+`."""
    status: int


class Sandbox:
    """An ASGI application; everything on it may be looked at and changed from another thread while it is served."""

    def __init__(
        self,
        spoken: Spoken = KB,
        organisation: Organisation | None = None,
        account: Account | None = None,
        limits: Limits | None = None,
        download_origin: str = "https://files.claribi.example",
    ) -> None: ...

    spoken: Spoken
    organisation: Organisation
    account: Account
    limits: Limits
    faults: Faults
    calls: list[Call]
    """Every call but those to /_sandbox/, in the order of their answers."""

    @property
    def spending(self) -> list[Call]:
        """Calls that on the real clariBI could cost money: everything but reads and the login."""
