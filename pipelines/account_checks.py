"""The checks that ask clariBI: how the account speaks, what the key may do, and how each list looks."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from pipelines.checks import Check
from pipelines.claribi.answers import SCOPES
from pipelines.claribi.client import Client
from pipelines.claribi.dialect import ENVELOPES, Page, read_page
from pipelines.claribi.errors import CallFailed, ComeBackLater, Refused
from pipelines.claribi.frames import normalise
from pipelines.claribi.rows import to_batch
from pipelines.claribi.schema import ORGANIZATION, TABLES
from pipelines.shapes import FIELD_NAME, MASKED, fields_of

EXPIRY_WARNING_DAYS = 30
LITTLE_LEFT = 0.1
"""Share of the limit below which a run might have to wait."""

NEW_KEY = "Make a new key in clariBI (Settings > Developer > API Keys) and store it with `claribi-export init`."


def _dialect(client: Client) -> Check:
    dialect = client.connect()
    calls = client.calls.total
    facts = {"prefix": dialect.prefix, "scheme": dialect.scheme, "calls": calls}
    found = f"found with {calls} call{'s' * (calls != 1)}"
    return Check("dialect", "ok", f"The account speaks {dialect.prefix} with {dialect.scheme}, {found}.", facts=facts)


def _account(client: Client) -> Check:
    account = _account_row(client)
    facts = {name: account[name] for name in ("id", "name", "plan", "key_name")}
    parts = [
        f"Organisation {account['name'] or account['id']}",
        f"plan {account['plan']}" if account["plan"] else "plan not told",
        f"key {account['key_name']}" if account["key_name"] else "name of the key not told",
    ]
    return Check("account", "ok", ", ".join(parts) + ".", facts=facts)


def _permissions(client: Client) -> Check:
    """Which permissions the key lacks; where clariBI lists none, the key carries its maker's role."""
    told = _account_row(client)["permissions"]
    names = orjson.loads(told) if told else None
    facts: dict[str, Any] = {"permissions": names}
    held = {name.replace("-", "_").lower() for name in names or () if isinstance(name, str)}
    if not any(":" in name for name in held):
        return Check("permissions", "ok", "clariBI lists none; the key may read what its maker may.", facts=facts)
    missing = [scope for scope in SCOPES.values() if scope not in held]
    facts["missing"] = missing
    if not missing:
        return Check("permissions", "ok", f"{', '.join(SCOPES.values())}: all there.", facts=facts)
    says = f"The key lacks {', '.join(missing)}."
    return Check("permissions", "warn", says, f"Give it {'these' if missing[1:] else 'this'} in clariBI.", facts=facts)


def _expiry(client: Client) -> Check:
    expires: datetime | None = _account_row(client)["key_expires_at"]
    if expires is None:
        return Check("key expiry", "ok", "clariBI names no day on which the key expires.", facts={"expires_at": None})
    days = (expires - datetime.now(UTC)).days
    facts = {"expires_at": expires.isoformat(), "days": days}
    when = f"in {days} day{'s' * (days != 1)}" if days >= 0 else "which is past"
    says = f"The key expires on {expires:%Y-%m-%d}, {when}."
    if days > EXPIRY_WARNING_DAYS:
        return Check("key expiry", "ok", says, facts=facts)
    return Check("key expiry", "warn", says, NEW_KEY, facts=facts)


def _limits(client: Client) -> Check:
    calls = client.calls
    limit, left, reset = calls.limit, calls.left_in_window, calls.reset_at
    facts = {"limit": limit, "left": left, "reset_at": reset.isoformat(timespec="seconds") if reset else None}
    if left is None:
        return Check("limits", "ok", "clariBI's answers name no limit of calls.", facts=facts)
    says = f"{left:,} calls left" + (f" of {limit:,}" if limit else "")
    says += f"; anew at {reset:%Y-%m-%d %H:%M:%S} UTC." if reset else "."
    if left > (limit or 0) * LITTLE_LEFT:
        return Check("limits", "ok", says, facts=facts)
    return Check("limits", "warn", says, "A run now may have to wait; it is better started after that.", facts=facts)


def _list(name: str, client: Client) -> Check:
    """One page of one object, and that object's detail."""
    body = client.get("", {"page": 1, "page_size": 1, "limit": 1}, resource=name).body
    page = read_page(body, what=f"the list of {name}")
    facts: dict[str, Any] = {"total": page.total, "envelope": _envelope(body), "paging": _paging(page)}
    count = "an unknown number of objects" if page.total is None else f"{page.total:,} object{'s' * (page.total != 1)}"
    says = f"{count}, {_envelope(body)}, {_paging(page)}."
    says = says[0].upper() + says[1:]
    if not page.items:
        return Check(name, "ok", says, facts=facts)
    facts["fields"] = fields_of(page.items[0], TABLES[name])
    try:
        facts["detail_fields"] = _detail_fields(name, client, page.items[0])
    except ComeBackLater:
        raise
    except (CallFailed, Refused) as error:
        return Check(name, "warn", f"{says} The detail of an object could not be read: {error}", facts=facts)
    return Check(name, "ok", says, facts=facts)


def _detail_fields(name: str, client: Client, item: dict[str, Any]) -> dict[str, str] | None:
    """What the detail of an object looks like; None where the list names no id to ask for."""
    if item.get("id") is None:
        return None
    detail = client.get(str(item["id"]), resource=name).body
    return fields_of(detail, TABLES[name]) if isinstance(detail, dict) else None


def _usage(client: Client) -> Check:
    body = client.get(resource="usage").body
    fields = fields_of(body, TABLES["usage"]) if isinstance(body, dict) else {}
    return Check("usage", "ok", "Can be read.", facts={"fields": fields})


def _envelope(body: Any) -> str:
    """Where the objects are; the keys beside them are names of the API, not of the account."""
    if isinstance(body, list):
        return "a bare list"
    under = next(key for key in ENVELOPES if isinstance(body.get(key), list))
    beside = [key if FIELD_NAME.fullmatch(key) else MASKED for key in body if key != under]
    return f"under `{under}`" + (f" beside {', '.join(beside)}" if beside else "")


def _paging(page: Page) -> str:
    """How one gets to the next page, as far as one page can tell."""
    if page.cursor:
        return "paged by cursor"
    if page.link:
        return "paged by a link to the next page"
    if page.offset is not None:
        return "paged by offset"
    return "one page holds all" if page.ends else "paging not told"


def _account_row(client: Client) -> dict[str, Any]:
    """The account as the table `organization` would have it; clariBI is asked once."""
    frames = normalise([client.identity().body], ORGANIZATION, datetime.now(UTC))
    row: dict[str, Any] = to_batch(frames, ORGANIZATION)[ORGANIZATION.name].to_pylist()[0]
    return row


ACCOUNT_CHECKS: dict[str, Callable[[Client], Check]] = {
    "dialect": _dialect,
    "account": _account,
    "permissions": _permissions,
    "key expiry": _expiry,
    "limits": _limits,
    "reports": partial(_list, "reports"),
    "dashboards": partial(_list, "dashboards"),
    "data_sources": partial(_list, "data_sources"),
    "usage": _usage,
}
"""In the order in which a run would meet them."""
