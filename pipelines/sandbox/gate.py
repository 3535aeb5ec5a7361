"""The sandbox's login, and what it says about whoever calls."""

from __future__ import annotations

import hmac
from datetime import UTC
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipelines.sandbox.access import REFRESH_LIFETIME_S, Credential, issue_token, token_is_valid
from pipelines.sandbox.ids import spell
from pipelines.sandbox.listing import to_json
from pipelines.sandbox.organisation import NAME

if TYPE_CHECKING:
    from pipelines.sandbox.app import Sandbox

LOGIN, REFRESH = "/api/auth/login/", "/api/auth/token/refresh/"


class Gate:
    """Lets a call in or refuses it, and answers the login, verify, status and usage."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def admit(self, request: Request, permission: str | None = None) -> None:
        """Raise the refusal (401 or 403) that this call gets; return when there is none."""
        brought: Credential = request.state.credential
        account, now = self._sandbox.account, self._sandbox.limits.clock()
        if brought.shape == "jwt" and self._sandbox.spoken.jwt:
            if not token_is_valid(brought.secret, "access", now):
                raise HTTPException(401, "The access token is not valid, or it has run out.")
        elif brought.shape == "none":
            raise HTTPException(401, "Authentication credentials were not provided.")
        elif brought.shape != self._sandbox.spoken.key_scheme or not _same(brought.secret, account.key):
            raise HTTPException(401, "Invalid API key.")
        elif account.expires_at and now >= account.expires_at.timestamp():
            raise HTTPException(401, f"This API key expired on {account.expires_at:%Y-%m-%d}.")
        elif permission and permission not in {name.replace("-", "_") for name in account.permissions}:
            raise HTTPException(403, f"This key lacks the permission {permission}.")
        if not account.plan_has_api:
            plan = self._sandbox.organisation.plan.capitalize()
            raise HTTPException(403, f"API access needs the Professional plan or higher; {NAME} is on {plan}.")

    async def login(self, request: Request) -> Response:
        """POST email and password: a pair of tokens, or the demand for a second factor."""
        given = await _fields(request, "email", "password")
        if isinstance(given, Response):
            return given
        account, now = self._sandbox.account, self._sandbox.limits.clock()
        if given != {"email": account.email, "password": account.password} or not self._sandbox.spoken.jwt:
            raise HTTPException(401, "Email or password is wrong.")
        if account.mfa_required:
            return _answer({"mfa_required": True})
        organization = self._organization()
        in_text = self._sandbox.spoken.organization_in_login == "text"
        user = self._user() | {"organization": organization["name"] if in_text else organization}
        return _answer(
            {
                "access": issue_token("access", account.email, now, account.access_lifetime_s),
                "refresh": issue_token("refresh", account.email, now, REFRESH_LIFETIME_S),
                "user": user,
            }
        )

    async def refresh(self, request: Request) -> Response:
        """POST a refresh token: a new access token; the refresh token stays the same."""
        given = await _fields(request, "refresh")
        if isinstance(given, Response):
            return given
        account, now = self._sandbox.account, self._sandbox.limits.clock()
        if not token_is_valid(str(given["refresh"]), "refresh", now):
            raise HTTPException(401, "The refresh token is not valid, or it has run out.")
        return _answer({"access": issue_token("access", account.email, now, account.access_lifetime_s)})

    async def status(self, request: Request) -> Response:
        """GET /api/auth/status/."""
        self.admit(request)
        name = {"first_name": "Jana", "last_name": "Okafor", "role": "administrator"}
        credits_left = {"ai_credits_remaining": self._sandbox.organisation.usage()["ai_credits_remaining"]}
        return _answer({"user": self._user() | name, "organization": self._organization() | credits_left})

    async def verify(self, request: Request) -> Response:
        """GET /api/v1/auth/verify/."""
        self.admit(request)
        key = {
            "id": self._id("keys", 1),
            "name": "Nightly export",
            "permissions": sorted(self._sandbox.account.permissions),
            "created_at": self._sandbox.organisation.founded,
            "expires_at": self._sandbox.account.expires_at and self._sandbox.account.expires_at.astimezone(UTC),
        }
        by_key = request.state.credential.shape != "jwt"
        who = {"organization": self._organization(), "user": self._user()}
        return _answer({"valid": True, "api_key": key if by_key else None} | who)

    async def usage(self, request: Request) -> Response:
        """GET /api/billing/usage/ or /api/v1/usage/."""
        self.admit(request, "usage:read")
        return _answer(self._sandbox.spoken.usage(self._sandbox.organisation.usage()))

    def _organization(self) -> dict[str, Any]:
        known = {
            "id": spell("organizations", 1, self._sandbox.spoken.ids),
            "name": NAME,
            "plan": self._sandbox.organisation.plan,
        }
        return self._sandbox.spoken.organization(known)

    def _user(self) -> dict[str, Any]:
        return {"id": self._id("users", 1), "email": self._sandbox.account.email}

    def _id(self, kind: str, number: int) -> int | str:
        return self._sandbox.spoken.id(spell(kind, number, self._sandbox.spoken.ids))


async def _fields(request: Request, *names: str) -> dict[str, Any] | Response:
    """The body's fields with these names, or the refusal that names the missing ones."""
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise HTTPException(400, "The body is not a JSON object.")
    missing = {name: ["This field is required."] for name in names if not body.get(name)}
    return _answer(missing, 400) if missing else {name: body[name] for name in names}


def _answer(value: Any, status: int = 200) -> Response:
    return Response(to_json(value), status, media_type="application/json")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
