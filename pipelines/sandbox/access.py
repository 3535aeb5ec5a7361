"""Who may call the sandbox, and how often."""

import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate
from math import ceil
from typing import Any, Literal, NamedTuple

import orjson

RetryAfter = Literal["seconds", "date", "reset", "nothing"]
Shape = Literal["api-key", "x-api-key", "bearer", "jwt"]

READ_SCOPES = frozenset({"reports:read", "dashboards:read", "data_sources:read", "usage:read"})
_DAY_S = 86_400
REFRESH_LIFETIME_S = 7.0 * _DAY_S
_SIGNING_KEY = b"the sandbox signs with this and guards nothing"


@dataclass
class Account:
    """The key and the login, and what they are good for; may be changed while the sandbox runs."""

    key: str
    email: str = "demo@example.com"
    password: str = "sandbox"  # noqa: S105 -- of no use elsewhere
    permissions: frozenset[str] = READ_SCOPES
    """What the key may do. A login carries its user's role instead and may read everything."""
    plan_has_api: bool = True
    """False: every call is refused with 403, naming the plan."""
    expires_at: datetime | None = None
    """When the key stops working; None for never."""
    mfa_required: bool = False
    access_lifetime_s: float = 3600.0


class Credential(NamedTuple):
    """What a call brought to prove who it is; only `shape` is ever kept."""

    shape: str
    """`api-key`, `x-api-key`, `bearer`, `jwt`, `none`, or several joined by `+`."""
    secret: str


def credential(headers: Mapping[str, str]) -> Credential:
    """Read a call's headers (names in lower case); several ways at once are told as such and fit nowhere."""
    found: list[tuple[str, str]] = []
    if "authorization" in headers:
        word, _, secret = headers["authorization"].partition(" ")
        shape = {"api-key": "api-key", "bearer": "bearer"}.get(word.lower(), "unknown")
        found.append(("jwt" if shape == "bearer" and secret.startswith("eyJ") else shape, secret.strip()))
    if "x-api-key" in headers:
        found.append(("x-api-key", headers["x-api-key"]))
    return Credential("+".join(shape for shape, _ in found) or "none", " ".join(secret for _, secret in found))


def issue_token(kind: Literal["access", "refresh"], email: str, now: float, lifetime_s: float) -> str:
    """A signed JWT that ends at `now` + `lifetime_s` (epoch seconds)."""
    head = _encode({"alg": "HS256", "typ": "JWT"})
    claims = _encode({"token_type": kind, "email": email, "iat": int(now), "exp": int(now + lifetime_s)})
    return f"{head}.{claims}.{_signature(f'{head}.{claims}')}"


def token_is_valid(token: str, kind: Literal["access", "refresh"], now: float) -> bool:
    """Whether the token is of this kind, ours, and not over."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(signed).encode()):
        return False
    claims = orjson.loads(urlsafe_b64decode(signed.partition(".")[2] + "=="))
    return bool(claims["token_type"] == kind and now < claims["exp"])


def _encode(part: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=")


def _signature(signed: str) -> str:
    return urlsafe_b64encode(hmac.digest(_SIGNING_KEY, signed.encode(), "sha256")).decode().rstrip("=")


class Charge(NamedTuple):
    """What one call costs its caller."""

    headers: dict[str, str]
    """What every answer tells of the window."""
    refusal: dict[str, str] | None
    """The headers of the 429 that the call gets instead of an answer; None within the limits."""


class _Period(NamedTuple):
    """A window or a day of one caller."""

    ends: float
    """Epoch seconds."""
    used: int


def _current(period: _Period | None, now: float, ends: float) -> _Period:
    """The period while it lasts, else a new one that ends at `ends`."""
    return period if period and now < period.ends else _Period(ends, 0)


@dataclass
class Limits:
    """So many calls in a window for each key; a key's window begins with its first call and then has a fixed length."""

    limit: int = 5000
    window_s: float = 3600.0
    retry_after: RetryAfter = "seconds"
    """What a 429 tells the caller."""
    daily: int | None = None
    """So many calls in a UTC day, too; None for no such limit. No header ever tells of it."""
    daily_tells: Literal["nothing", "seconds"] = "nothing"
    """Whether the 429 of a spent day has a `Retry-After`; its other headers are the window's, which has calls left."""
    limit_header: bool = True
    """Whether `X-RateLimit-Limit` is sent, or `-Remaining` and `-Reset` alone."""
    clock: Callable[[], float] = time.time
    """Epoch seconds; also the clock of tokens and of the key's expiry."""
    _windows: dict[str, _Period] = field(default_factory=dict, repr=False)
    _days: dict[str, _Period] = field(default_factory=dict, repr=False)

    def charge(self, caller: str) -> Charge:
        """Count one call, unless a limit is spent; when both are, the window speaks."""
        now = self.clock()
        window = _current(self._windows.get(caller), now, now + self.window_s)
        day = _current(self._days.get(caller), now, (now // _DAY_S + 1) * _DAY_S)
        window_spent = window.used >= self.limit
        day_spent = self.daily is not None and day.used >= self.daily
        counted = not window_spent and not day_spent
        self._windows[caller] = window = _Period(window.ends, window.used + counted)
        self._days[caller] = _Period(day.ends, day.used + counted)

        headers = self._headers(self.limit - window.used, ceil(window.ends))
        if window_spent:
            return Charge(headers, self.refusal(self.retry_after, ceil(window.ends) - now, headers))
        if day_spent:
            wait = {"retry-after": str(ceil(day.ends - now))} if self.daily_tells == "seconds" else {}
            return Charge(headers, headers | wait)
        return Charge(headers, None)

    def refusal(self, tells: RetryAfter, wait_s: float, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of a 429: all of a window's, and the wait in the way that `tells` names."""
        if tells == "nothing":
            return {}
        if tells == "reset":
            reset = str(ceil(self.clock() + wait_s))
            return {**headers, "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
        after = str(ceil(wait_s)) if tells == "seconds" else formatdate(self.clock() + wait_s, usegmt=True)
        return {**headers, "retry-after": after}

    def _headers(self, remaining: int, reset: int) -> dict[str, str]:
        limit = {"x-ratelimit-limit": str(self.limit)} if self.limit_header else {}
        return limit | {"x-ratelimit-remaining": str(remaining), "x-ratelimit-reset": str(reset)}
