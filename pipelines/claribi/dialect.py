"""What an account speaks: which prefix, how the key is sent, and how a list is written down. Pure: nothing is called.

clariBI's documents describe two families that contradict each other (docs/api-dialects.md), so nothing here is
assumed to hold for an account until an answer of its own has shown it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast, get_args
from urllib.parse import quote

from pipelines.claribi.errors import UnknownEnvelope
from pipelines.claribi.settings import Scheme

PREFIXES = ("/api/", "/api/v1/")

IDENTITY = "organization"
"""The resource whose answer tells whose key it is: the call that finds the dialect out."""

PATHS = {
    "/api/": {
        IDENTITY: "auth/status/",
        "usage": "billing/usage/",
        "reports": "reports/",
        "dashboards": "dashboards/",
        "data_sources": "data-sources/",
    },
    "/api/v1/": {
        IDENTITY: "auth/verify/",
        "usage": "usage/",
        "reports": "reports/",
        "dashboards": "dashboards/",
        "data_sources": "data-sources/",
    },
}

SCHEMES: dict[str, tuple[Scheme, ...]] = {
    "/api/": ("api-key", "x-api-key", "bearer"),
    "/api/v1/": ("bearer", "x-api-key", "api-key"),
}
"""How a key may be sent under each prefix, the most documented way first."""

ENVELOPES = ("results", "items", "data")
TOTALS = ("count", "total")
NEXTS = ("next", "next_cursor", "cursor")
NESTS = ("meta", "pagination", "links")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Prefix and scheme of an account; ids of one prefix may mean nothing under the other."""

    prefix: str
    scheme: Scheme

    def __str__(self) -> str:
        return f"{self.prefix} with {self.scheme}"

    def path(self, resource: str, below: str = "") -> str:
        """Path from the prefix on: of a resource, or of what lies below it, such as `42` or `42/download`."""
        return PATHS[self.prefix][resource] + (f"{quote(below.strip('/'))}/" if below else "")

    def to_state(self) -> dict[str, str]:
        """What is remembered from run to run."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, str]) -> "Dialect":
        """The dialect that `to_state` put down; raises `ValueError` for anything else."""
        prefix, scheme = state.get("prefix"), state.get("scheme")
        if prefix not in PREFIXES or scheme not in get_args(Scheme):
            raise ValueError(f"no dialect of clariBI's: prefix {prefix!r}, scheme {scheme!r}")
        return cls(prefix, cast("Scheme", scheme))


def candidates(api_key: str | None, *, prefix: str | None = None, scheme: Scheme | None = None) -> list[Dialect]:
    """The dialects to try, the likeliest first; at most six. `prefix` and `scheme` narrow them."""
    unversioned = scheme == "jwt" or (api_key or "").startswith("claribi_sk_")
    first = "/api/" if unversioned else "/api/v1/"
    prefixes = [prefix] if prefix else sorted(PREFIXES, key=lambda one: one != first)
    return [Dialect(one, way) for one in prefixes for way in ((scheme,) if scheme else SCHEMES[one])]


def auth_headers(scheme: Scheme, secret: str) -> dict[str, str]:
    """The one header that carries the key or the token."""
    match scheme:
        case "api-key":
            return {"Authorization": f"Api-Key {secret}"}
        case "x-api-key":
            return {"X-API-Key": secret}
        case "bearer" | "jwt":
            return {"Authorization": f"Bearer {secret}"}


def names_an_account(body: object) -> bool:
    """Whether the answer to a verify or status call says that the key is good, rather than just that it was asked."""
    if not isinstance(body, dict) or body.get("valid") is False or body.get("authenticated") is False:
        return False
    return any(body.get(key) for key in ("organization", "user", "api_key", "valid"))


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a list."""

    items: list[dict[str, Any]]
    total: int | None
    """How many objects the whole list has, where the answer says so."""
    link: str | None = None
    """URL of the next page, absolute or relative."""
    cursor: str | None = None
    """What to send back as `cursor` for the next page."""
    offset: int | None = None
    """Place of the first item in the list, where the answer repeats it."""
    ends: bool = False
    """The answer says that nothing follows; False also when it does not speak of it."""
    read_as: tuple[str, dict[str, Any], str] | None = None
    """The path and the parameters that brought it, and its validator, where it has one."""


def read_page(body: object, *, what: str) -> Page:
    """Read a list in any of the documented envelopes; raises `UnknownEnvelope` naming the keys seen in any other."""
    if isinstance(body, list):
        return Page(_objects(body, what), total=None)
    if not isinstance(body, dict):
        raise UnknownEnvelope(what, [f"a {type(body).__name__}"])
    found = next((body[key] for key in ENVELOPES if isinstance(body.get(key), list)), None)
    if found is None or body.get("error"):
        raise UnknownEnvelope(what, _names(body))
    holders = [body, *(body[nest] for nest in NESTS if isinstance(body.get(nest), dict))]
    follows = [holder[key] for holder in holders for key in NEXTS if key in holder]
    told = [one for one in follows if isinstance(one, str) and one]
    return Page(
        _objects(found, what),
        total=_number(holders, TOTALS),
        link=next((one for one in told if _is_link(one)), None),
        cursor=next((one for one in told if not _is_link(one)), None),
        offset=_number(holders, ("offset",)),
        ends=bool(follows) and not any(follows),
    )


def _objects(items: list[Any], what: str) -> list[dict[str, Any]]:
    for item in items:
        if not isinstance(item, dict):
            raise UnknownEnvelope(what, [f"a list of {type(item).__name__}"])
    return items


def _number(holders: list[dict[str, Any]], keys: tuple[str, ...]) -> int | None:
    """The first whole number, not negative, under one of the keys; `True` is none."""
    found = (holder.get(key) for holder in holders for key in keys)
    return next((one for one in found if type(one) is int and one >= 0), None)


def _is_link(text: str) -> bool:
    return text.startswith(("https://", "http://", "/", "?"))


def _names(body: dict[str, Any]) -> list[str]:
    """The keys, few and short enough for a sentence."""
    return [key[:40] for key in list(body)[:20]]
