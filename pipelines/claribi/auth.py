"""Email and password instead of a key: a login for access tokens, kept in memory and renewed before they expire."""

import base64
import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus

from pipelines.claribi.answers import LOGIN, Answer, reason
from pipelines.claribi.errors import MfaRequired, Refused
from pipelines.claribi.pace import Clock

LOGIN_PATH = "/api/auth/login/"
REFRESH_PATH = "/api/auth/token/refresh/"

LIFETIME_S = 3600.0
"""Of an access token that does not tell: what every document says."""
MARGIN_S = 60.0
"""How long before its end a token is renewed."""

Post = Callable[[str, Mapping[str, str]], Answer]
"""Sends a JSON object to a path on clariBI's own origin, without any credential in the headers."""


class Login:
    """The access token of one run; threads share it.

    Raises `MfaRequired` where the account wants a second factor, `Refused` where the login is wrong.
    """

    def __init__(self, email: str, password: str, post: Post, clock: Clock) -> None:
        self._credentials = {"email": email, "password": password}
        self._post, self._clock = post, clock
        self._lock = threading.Lock()
        self._access = self._refresh = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """An access token that is good for a while yet."""
        with self._lock:
            good = bool(self._access) and self._clock.monotonic() < self._renew_at
            if not (good or self._refreshed()):
                self._log_in()
            return self._access

    def renew(self, refused: str, *, by_login: bool) -> None:
        """Replace a token that clariBI refused, unless another thread has done so already."""
        with self._lock:
            if refused == self._access and (by_login or not self._refreshed()):
                self._log_in()

    def secrets(self) -> list[str]:
        """What must never be printed or stored."""
        return [token for token in (self._access, self._refresh) if token]

    def _log_in(self) -> None:
        answer = self._post(LOGIN_PATH, self._credentials)
        if isinstance(answer.body, dict) and answer.body.get("mfa_required"):
            raise MfaRequired
        if not self._kept(answer):
            good = answer.status < HTTPStatus.MULTIPLE_CHOICES
            why = "its answer holds no access token." if good else reason(answer, self._credentials.values())
            raise Refused(LOGIN.name, answer.status, why, LOGIN.remedy)

    def _refreshed(self) -> bool:
        """Whether the refresh token was still good for a new access token."""
        return bool(self._refresh) and self._kept(self._post(REFRESH_PATH, {"refresh": self._refresh}))

    def _kept(self, answer: Answer) -> bool:
        """Keep the tokens of an answer; False when it brought none."""
        body = answer.body if isinstance(answer.body, dict) else {}
        access, refresh = body.get("access"), body.get("refresh")
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES or not isinstance(access, str) or not access:
            return False
        self._access = access
        self._refresh = refresh if isinstance(refresh, str) else self._refresh  # a refresh brings no new one
        left_s = lifetime_s(access, self._clock.now().timestamp())
        self._renew_at = self._clock.monotonic() + left_s - min(MARGIN_S, left_s / 2)
        return True


def lifetime_s(token: str, now: float) -> float:
    """Seconds that an access token has left, from its `exp`; an hour where it does not tell.

    With `iat` in it the machine's own clock, which may be wrong, does not matter.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return max(0.0, float(claims["exp"]) - float(claims.get("iat", now)))
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        return LIFETIME_S
