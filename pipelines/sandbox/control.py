"""The sandbox's own endpoints under /_sandbox/, for whoever runs it: from this machine alone, and without a key.

POST   /_sandbox/advance?nights=1[&activity=1]   let nights pass; what they did
GET    /_sandbox/truth                           what a perfect export would hold
GET    /_sandbox/calls                           the calls so far, and those that could have cost money
POST   /_sandbox/faults                          one fault or a list: {"kind": "reset", "path": "*/reports/"}
DELETE /_sandbox/faults                          behave again
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.sandbox.faults import Fault
from pipelines.sandbox.listing import to_json

if TYPE_CHECKING:
    from pipelines.sandbox.app import Sandbox

PREFIX = "/_sandbox/"


def control_app(sandbox: Sandbox) -> ASGIApp:
    """An application for everything under `PREFIX`; callers from other machines get 404."""

    async def advance(request: Request) -> Response:
        query = request.query_params
        try:
            nights, activity = int(query.get("nights", 1)), float(query.get("activity", 1))
        except ValueError as wrong:
            return _json({"error": str(wrong)}, 400)
        passed = sandbox.organisation.advance(nights, activity)
        return _json({"now": sandbox.organisation.now, "nights": [night._asdict() for night in passed]})

    async def truth(_: Request) -> Response:
        return _json(sandbox.organisation.truth())

    async def calls(_: Request) -> Response:
        made, spending = list(sandbox.calls), sandbox.spending
        return _json({"calls": [call._asdict() for call in made], "spending": [call._asdict() for call in spending]})

    async def add_faults(request: Request) -> Response:
        try:
            given = orjson.loads(await request.body())
            faults = [Fault(**fault) for fault in (given if isinstance(given, list) else [given])]
        except (TypeError, ValueError) as wrong:
            return _json({"error": str(wrong)}, 400)
        sandbox.faults.add(*faults)
        return _json({"added": len(faults)}, 201)

    async def clear_faults(_: Request) -> Response:
        sandbox.faults.clear()
        return Response(status_code=204)

    routes = Starlette(
        routes=[
            Route(f"{PREFIX}advance", advance, methods=["POST"]),
            Route(f"{PREFIX}truth", truth),
            Route(f"{PREFIX}calls", calls),
            Route(f"{PREFIX}faults", add_faults, methods=["POST"]),
            Route(f"{PREFIX}faults", clear_faults, methods=["DELETE"]),
        ]
    )

    async def for_this_machine(scope: Scope, receive: Receive, send: Send) -> None:
        here = ip_address(scope["client"][0]).is_loopback
        await (routes if here else Response(status_code=404))(scope, receive, send)

    return for_this_machine


def _json(value: Any, status: int = 200) -> Response:
    return Response(to_json(value), status, media_type="application/json")
