"""Answers that need not be sent twice: `ETag` or `Last-Modified`, and 304 for whoever already has them."""

import re
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import blake2b
from typing import Literal

from starlette.datastructures import Headers
from starlette.responses import Response

Validators = Literal["none", "etag", "last-modified"]


def validated(answer: Response, asked: Headers, validators: Validators, changed_at: datetime | None) -> Response:
    """The answer with its validator, or 304 in its place when the call's headers say that the caller has it.

    `changed_at` (UTC) is when the kind of object that the answer tells of last changed; None leaves `Last-Modified`
    out. Only a 200 has a validator.
    """
    if answer.status_code != 200:
        return answer
    if validators == "etag":
        etag = f'"{blake2b(answer.body, digest_size=12).hexdigest()}"'
        return _unless(_names(asked.get("if-none-match", ""), etag), answer, "etag", etag)
    if validators == "last-modified" and changed_at is not None:
        second = changed_at.replace(microsecond=0)
        known = _is_since(asked.get("if-modified-since", ""), second)
        return _unless(known, answer, "last-modified", format_datetime(second, usegmt=True))
    return answer


def _unless(known: bool, answer: Response, name: str, value: str) -> Response:
    if known:
        return Response(status_code=304, headers={name: value})
    answer.headers[name] = value
    return answer


def _names(condition: str, etag: str) -> bool:
    """Whether an `If-None-Match` names the tag; weak and strong tags compare alike there."""
    return condition.strip() == "*" or etag in re.findall(r'"[^"]*"', condition)


def _is_since(condition: str, changed_at: datetime) -> bool:
    try:
        return changed_at <= parsedate_to_datetime(condition)
    except (TypeError, ValueError):  # no date, or one without a zone: the header counts as not sent
        return False
