"""Who may call the sandbox, and how often."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
import time

READ_SCOPES = frozenset({"reports:read", "dashboards:read", "data_sources:read", "usage:read"})
RetryAfter = Literal["seconds", "date", "reset", "nothing"]


@dataclass
class Account:
    """The key and the login, and what they are good for; may be changed while the sandbox runs."""

    key: str
    email: str = "demo@example.com"
    password: str = "sandbox"
    permissions: frozenset[str] = READ_SCOPES
    plan: str = "enterprise"
    plan_has_api: bool = True
    """False: every call is refused with 403, naming the plan."""
    expires_at: datetime | None = None
    mfa_required: bool = False
    access_lifetime_s: float = 3600.0


@dataclass
class Limits:
    """So many calls in a fixed window for each key; `retry_after` is what a 429 tells the caller."""

    limit: int = 5000
    window_s: float = 3600.0
    retry_after: RetryAfter = "seconds"
    clock: Callable[[], float] = field(default=time.time)
    """Epoch seconds; also the clock of tokens and of the key's expiry."""
