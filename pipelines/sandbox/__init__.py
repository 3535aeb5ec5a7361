"""A small real clariBI on loopback: for the demo, the tests and trying things out.

    from pipelines.sandbox import KB, Sandbox, faults, serve

    sandbox = Sandbox(KB)
    sandbox.faults.add(faults.server_error(503, path="*/reports/", page=2))
    with serve(sandbox) as server:
        ...                              # point the export at server.url with sandbox.account.key
        sandbox.organisation.advance()   # a night passes
        assert sandbox.spending == []    # nothing was asked for that costs money

`organisation` knows what exists and how it changes; `spoken` how a dialect puts it into words; `app` answers over
HTTP; `faults` makes it misbehave; `server` runs it.
"""

from pipelines.sandbox import faults
from pipelines.sandbox.access import Account, Limits
from pipelines.sandbox.app import Call, Sandbox
from pipelines.sandbox.organisation import Organisation
from pipelines.sandbox.server import Running, run_sandbox, serve
from pipelines.sandbox.spoken import DIALECTS, KB, OFFSET, V1, Spoken
from pipelines.sandbox.validators import Validators

__all__ = [
    "DIALECTS",
    "KB",
    "OFFSET",
    "V1",
    "Account",
    "Call",
    "Limits",
    "Organisation",
    "Running",
    "Sandbox",
    "Spoken",
    "Validators",
    "faults",
    "run_sandbox",
    "serve",
]
