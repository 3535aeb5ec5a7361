"""What one answer says: its data decoded exactly, or clariBI's reason for a no, in one sentence without secrets."""

import html
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, NoReturn

import orjson

from pipelines.claribi.errors import CallFailed, ClaribiError, NotFound, NotJson, Refused, ScopeMissing

SCOPES = {
    "reports": "reports:read",
    "dashboards": "dashboards:read",
    "data_sources": "data_sources:read",
    "usage": "usage:read",
}
"""The permission each resource needs, for answers that do not name it."""

MAKE_A_KEY = "make an API key under Settings > Developer > API Keys and store it with `claribi-export init`."
CHECK_THE_PLAN = "Access to the API depends on the plan (clariBI names Professional or higher): see Settings > Billing."

DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
LONG_NUMBER = b"0" * 19
"""The shortest integer that may lie beyond 64 bits; orjson would make a float of it."""

SENTENCE = 200
"""The longest reason that is passed on, in characters."""


class Credential(NamedTuple):
    """What a call is made with, in words: its name, and what to do when clariBI refuses it."""

    name: str
    remedy: str


API_KEY = Credential("the API key", f"Was it rotated or revoked, or has it expired? Check it, or {MAKE_A_KEY}")
MCP_KEY = Credential(
    "the API key", f"It is a key for MCP (claribi_mcp_…), which the REST API does not take: {MAKE_A_KEY}"
)
LOGIN = Credential("the login", f"Check EMAIL and PASSWORD, or {MAKE_A_KEY}")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `body` is decoded JSON, text where an error came without JSON, or bytes for a download."""

    status: int
    body: Any
    headers: Mapping[str, str]
    """Names in any case."""
    url: str
    """Without the query, which may carry a signature."""

    @property
    def validator(self) -> str | None:
        """What to pass as `unless` to be told that nothing has changed: the ETag, else Last-Modified."""
        etag, modified = self.headers.get("etag"), self.headers.get("last-modified")
        return f"etag {etag}" if etag else f"since {modified}" if modified else None


def condition(validator: str | None) -> dict[str, str]:
    """The header that asks for an answer only if it differs from the one with this `validator`."""
    if not validator:
        return {}
    kind, _, value = validator.partition(" ")
    return {"If-None-Match" if kind == "etag" else "If-Modified-Since": value}


class Undecodable(ValueError):
    """A body that was meant to be JSON and is not: cut off, most likely."""


def decode(content: bytes) -> Any:
    """Decode JSON with integers of any size exact; raises `Undecodable`, also for NaN and Infinity.

    orjson is three times as fast as the standard library, but rounds integers beyond 64 bits and refuses lone
    surrogates. Looking for a run of 19 digits costs half as much as orjson's own work.
    """
    if LONG_NUMBER not in content.translate(DIGITS_TO_ZERO):
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            pass
    try:
        value = json.loads(content, parse_constant=_no_number, parse_float=_finite)
        if b"\\ud" in content.lower():  # half an emoji has no place in UTF-8: it becomes a question mark
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise Undecodable(f"its body is no JSON, or was cut off ({len(content):,} bytes came)") from None
    return value


def data(content: bytes, content_type: str, what: str, secrets: Iterable[str] = ()) -> Any:
    """Decode the body of a success; raises `NotJson` for a page, `Undecodable` for JSON that was cut."""
    begins = content[:64].lstrip()[:1]
    if begins != b"<" and (begins in (b"{", b"[") or "json" in content_type):
        return decode(content)
    text = redact(_plain(content[:20_000].decode("utf-8", "replace")), secrets)
    raise NotJson(what, content_type.partition(";")[0].strip(), text[:80])


def error_body(content: bytes) -> Any:
    """Decode the body of an error: JSON where it is, else text."""
    try:
        return decode(content)
    except Undecodable:
        return content[:20_000].decode("utf-8", "replace")


def reason(answer: Answer, secrets: Iterable[str] = ()) -> str:
    """The words of clariBI for an error, from any of its shapes: one sentence, without secrets."""
    words = next(_said(answer.body), "") or _phrase(answer.status)
    text = redact(_plain(words), secrets)
    if len(text) > SENTENCE:
        text = text[: SENTENCE - 1].rstrip() + "…"
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def error_for(answer: Answer, resource: str, credential: Credential, secrets: Iterable[str] = ()) -> ClaribiError:
    """The error that an answer of 400 or more means for a call that reads `resource`."""
    why = reason(answer, secrets)
    path = "/" + answer.url.partition("://")[2].partition("/")[2]
    if answer.status == HTTPStatus.UNAUTHORIZED or answer.status < HTTPStatus.MULTIPLE_CHOICES:  # {"valid": false}
        return Refused(credential.name, answer.status, why, credential.remedy)
    if answer.status == HTTPStatus.PAYMENT_REQUIRED or (answer.status == HTTPStatus.FORBIDDEN and about_plan(why)):
        return Refused(resource, answer.status, why, CHECK_THE_PLAN)
    if answer.status == HTTPStatus.FORBIDDEN:
        scope = _scope_named(answer.body) or SCOPES.get(resource)
        if scope is None:
            return Refused(resource, answer.status, why, credential.remedy)
        return ScopeMissing(resource, answer.status, why, scope)
    if answer.status == HTTPStatus.NOT_FOUND:
        return NotFound(resource, path, why)
    return CallFailed(resource, path, answer.status, why)


def about_plan(why: str) -> bool:
    """Whether a reason speaks of what the account pays for."""
    return re.search(r"\b(plans?|tiers?|upgrad\w*|subscriptions?)\b", why, re.IGNORECASE) is not None


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Strike out secrets, and whatever looks like a clariBI key or a token."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return re.sub(r"claribi_(?:sk|key|mcp)_[\w-]{4,}|\beyJ[\w-]+(?:\.[\w-]+)+", "***", text)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large")
    return number


def _said(body: Any) -> Iterator[str]:
    """The texts of an error, the most telling first."""
    if isinstance(body, str) and body.strip():
        yield body
    elif isinstance(body, list):
        for one in body:
            yield from _said(one)
    elif isinstance(body, dict):
        for key in ("message", "detail", "error_description", "non_field_errors", "msg"):
            yield from _said(body.get(key))
        yield from _said(body.get("error"))
        for field, problems in body.items():  # {"page_size": ["Must be at most 100."]}
            if isinstance(problems, list):
                yield from (f"{field}: {text}" for text in _said(problems))


def _plain(text: str) -> str:
    """A page's title or first words, or the text itself, on one line of printable characters."""
    if text.lstrip().startswith("<"):
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", text)
        title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
        text = html.unescape(re.sub(r"<[^>]*>", " ", title[1] if title and title[1].strip() else text))
    return "".join(one if one.isprintable() else " " for one in " ".join(text.split()))


def _phrase(status: int) -> str:
    known = status >= HTTPStatus.BAD_REQUEST and status in set(HTTPStatus)
    return HTTPStatus(status).phrase if known else "no reason given"


def _scope_named(body: Any) -> str | None:
    """The first `word:action` in the answer, such as reports:read."""
    text = body if isinstance(body, str) else json.dumps(body)
    found = re.search(r"\b[a-z]+(?:[_-][a-z]+)*:(?:read|write|create|update|delete|generate|refresh|run)\b", text)
    return found[0].replace("-", "_") if found else None
