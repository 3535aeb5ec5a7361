"""What a user may set about clariBI: names, defaults and what is refused before the first call."""

from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

import dlt
from dlt.common.configuration import configspec
from dlt.common.configuration.exceptions import ConfigValueCannotBeCoercedException
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.typing import TSecretStrValue

from pipelines.claribi.errors import SettingError

Scheme = Literal["api-key", "x-api-key", "bearer", "jwt"]
"""How a request proves who it is; `jwt` is a bearer token got by email and password."""

DETAILS = ("auto", "never", "always")
SECRETS = {"api_key", "password"}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
PLACEHOLDERS = {"<configure me>", "changeme", "claribi_sk_..."}


@configspec
class ClaribiSettings(BaseConfiguration):
    """`SOURCES__CLARIBI__…`: from the environment, `.dlt/secrets.toml` or `.dlt/config.toml`, in this order."""

    api_key: TSecretStrValue | None = None
    email: str | None = None
    password: TSecretStrValue | None = None
    base_url: str = "https://claribi.com"
    """An origin is probed for both prefixes; a URL that ends in `/api/` or `/api/v1/` pins one."""
    auth_scheme: str = "auto"
    reserve: float = 0.1
    """Share of the rate limit left for others, 0 to below 1."""
    max_wait: float = 900.0
    """Longest total wait for a rate limit in one run, seconds."""
    sweep_days: int = 7
    """After so many days the whole list of reports is read, for edits and deletions of old ones."""
    details: str = "auto"
    """Whether details are read: `auto` where the list leaves things out; `never`; `always` of what changed."""
    timeout: float = 60.0
    """Longest silence while connecting or reading one answer, seconds."""
    retry_tries: int = 5
    """How often one call is made before it counts as failed."""
    retry_wait: float = 1.0
    """First pause between tries, seconds; doubles each time, with jitter."""

    def on_resolved(self) -> None:
        """Refuse what cannot work, so that no call is made with it."""
        self.api_key = _filled("api_key", self.api_key)
        self.email = _filled("email", self.email)
        self.password = _filled("password", self.password)
        self._check_credentials()
        self._check_base_url()
        self._check_numbers()

    @property
    def scheme(self) -> Scheme | None:
        """The scheme that was asked for; None when it is to be found out."""
        if self.auth_scheme != "auto":
            return cast("Scheme", self.auth_scheme)
        return None if self.api_key else "jwt"

    @property
    def origin(self) -> str:
        """Scheme, host and port of the base URL: the only place the key is ever sent to."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def prefix(self) -> str | None:
        """`/api/` or `/api/v1/` when the base URL names one; None when it is to be found out."""
        path = urlsplit(self.base_url).path.rstrip("/")
        return f"{path}/" if path else None

    def secrets(self) -> list[str]:
        """What must never be printed or stored."""
        return [value for value in (self.api_key, self.password) if value]

    def _check_credentials(self) -> None:
        if self.auth_scheme not in ("auto", *get_args(Scheme)):
            known = ", ".join(("auto", *get_args(Scheme)))
            raise SettingError("auth_scheme", f"is {self.auth_scheme!r}; known are {known}.")
        if self.scheme == "jwt":
            if not (self.email and self.password):
                raise SettingError(
                    "api_key",
                    "is missing. Set it to a clariBI API key (Settings > Developer > API Keys), "
                    "or set both …__EMAIL and …__PASSWORD. `claribi-export init` asks for it and stores it.",
                )
        elif not self.api_key:
            raise SettingError("api_key", f"is missing, and AUTH_SCHEME is {self.auth_scheme!r}, which needs one.")
        elif not self.api_key.isascii() or not self.api_key.isprintable() or " " in self.api_key:
            raise SettingError(
                "api_key", "holds a blank or a character that no key has; copy the key alone, once more."
            )

    def _check_base_url(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise SettingError("base_url", f"is {self.base_url!r}; it must look like https://claribi.com.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise SettingError("base_url", "must be an address alone, without a user, query or fragment.")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise SettingError("base_url", "begins with http://, which would send the key in clear text; use https://.")
        if parts.path.rstrip("/") not in ("", "/api", "/api/v1"):
            raise SettingError("base_url", f"has the path {parts.path!r}; it may be empty, /api/ or /api/v1/.")

    def _check_numbers(self) -> None:
        if not 0 <= self.reserve < 1:
            raise SettingError("reserve", f"is {self.reserve}; it is a share, from 0 to below 1.")
        for name in ("max_wait", "timeout", "retry_wait"):
            if getattr(self, name) < 0:
                raise SettingError(name, f"is {getattr(self, name)}; seconds cannot be negative.")
        if self.details not in DETAILS:
            raise SettingError("details", f"is {self.details!r}; known are {', '.join(DETAILS)}.")
        if self.sweep_days < 1:
            raise SettingError("sweep_days", f"is {self.sweep_days}; it must be at least 1, which is every night.")
        if self.retry_tries < 1:
            raise SettingError("retry_tries", f"is {self.retry_tries}; it must be at least 1.")


def known_secrets() -> list[str]:
    """The secrets that are set, whether or not the rest of the settings can work."""
    return [value for name in SECRETS if (value := _secret(f"sources.claribi.{name}"))]


def load_settings() -> ClaribiSettings:
    """Read `SOURCES__CLARIBI__…`; raise `SettingError` when they cannot work.

    Under these names alone: dlt's own search ends at the bare name, and an API_KEY in the environment is the key of
    something else, which must not be sent to clariBI.
    """
    settings = ClaribiSettings()
    for name, hint in ClaribiSettings.__annotations__.items():
        value = _read(name, secret=name in SECRETS, kind=float if hint is float else int if hint is int else str)
        if value is not None:
            setattr(settings, name, value)
    settings.on_resolved()
    return settings


def _read(name: str, *, secret: bool, kind: type) -> Any:
    key = f"sources.claribi.{name}"
    try:
        if secret:
            return _secret(key)
        value: Any = dlt.secrets.get(key, kind)
        return value if value is not None else dlt.config.get(key, kind)
    except ConfigValueCannotBeCoercedException:
        raise SettingError(name, "is not a number.") from None


def _secret(key: str) -> str | None:
    """Read a secret, without saying that it is text: dlt would not take it for a secret then, and keep it on disk."""
    value: Any = dlt.secrets.get(key)
    return None if value is None else str(value)


def _filled(name: str, value: str | None) -> str | None:
    """Refuse an empty or placeholder secret: a secret that a workflow lacks arrives as an empty text."""
    if value is None:
        return None
    if not value.strip():
        raise SettingError(name, "is set but empty. In GitHub Actions this means that the secret does not exist.")
    if value.strip().lower() in PLACEHOLDERS:
        raise SettingError(name, "still holds the example's placeholder.")
    return value.strip()
