"""One column at a time: a list of JSON values into a typed Arrow array, and the rows whose value does not fit.

A clean column is converted at once. Only a column with something odd in it goes value by value, and both ways give
the same result, so what a value becomes never depends on its neighbours.

What counts as fitting:

    text       text; a number or boolean becomes its JSON text
    bigint     an integer, or a number or number text without a fraction, within 64 bits
    double     a number, or number text, that a double holds exactly as written
    bool       true and false; 0 and 1 do not fit
    timestamp  ISO 8601 text, without a zone taken as UTC; epoch seconds or milliseconds as a number
    json       everything, as compact JSON with sorted keys

An empty text in a column that is not text is no value, like null. A fraction finer than microseconds is cut off and
does not fit wholly: the caller keeps the original too.
"""

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.claribi.schema import Kind

ARROW: Final[dict[Kind, pa.DataType]] = {
    "text": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "json": pa.string(),
}

_INTEGERS: Final[set[type]] = {int, type(None)}
_ACCEPTED: Final[dict[Kind, set[type]]] = {"bigint": _INTEGERS, "double": _INTEGERS | {float}}
"""Elsewhere Arrow converts exactly or refuses; but it cuts 1.5 to 1 and takes true for 1.0 without a word."""

_INT64: Final = range(-(2**63), 2**63)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST_INSTANT: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_INSTANT: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_MILLISECONDS_FROM: Final = 10**11
"""An epoch this large counts milliseconds: as seconds it would be the year 5138."""
_TOO_FINE: Final = re.compile(r"[.,]\d{6}0*[1-9]")
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_TOO_DEEP: Final = b'"(nested too deeply to be kept)"'

_IN_LINK: Final = r'[^\s"<>\\]'
_SIGNED: Final = (
    rf"(?i)(?:[?#]|%3f)(?:{_IN_LINK}*?(?:(?:signature|credential|token|secret|passw|hmac|jwt|accesskeyid|accessid"
    r'|key-pair-id)[^=&#\s"<>\\]*|key|tempauth)(?:=|%3d)'
    rf"|(?:{_IN_LINK}*?[^a-z\s\"<>\\])?(?:sig|sign|auth|hash|md5|policy|expires|expiry)(?:=|%3d)"
    rf"|{_IN_LINK}*?=eyJ[\w-]+\.[\w-]+\.){_IN_LINK}*"
)
"""A query or fragment that holds a signature, to the link's end; for RE2, which never goes back over a text."""


def typed(values: list[Any], kind: Kind) -> tuple[pa.Array, list[int]]:
    """The values under one type, and the rows whose value is not, or not wholly, in it."""
    try:
        array = _at_once(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        array = None
    misfits: list[int] = []
    if array is None:
        array, misfits = _one_by_one(values, kind)
    return (_without_signatures(array) if pa.types.is_string(array.type) else array), misfits


def kind_of(values: Iterable[Any]) -> Kind:
    """The narrowest kind that holds every value of a column nobody has described."""
    kept = [value for value in values if value is not None]
    types = set(map(type, kept))
    if types & {dict, list}:
        return "json"
    if types == {bool}:
        return "bool"
    if types == {int} and all(value in _INT64 for value in kept):
        return "bigint"
    if types <= {int, float} and float in types and all(_double(value)[1] for value in kept):
        return "double"
    return "text"


def json_bytes(value: Any) -> bytes:
    """Compact JSON with sorted keys, so that equal values are equal texts, that every destination can store."""
    try:
        raw = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        if rb"\u0000" not in raw:
            return raw
    except TypeError:  # an integer beyond 64 bits, half a surrogate pair, or more levels than orjson goes down
        pass
    try:
        text = json.dumps(_storable(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return _TOO_DEEP
    return text.encode()


def storable(text: str) -> str:
    r"""Write the two things that Parquet or PostgreSQL refuse, NUL and half surrogate pairs, as `\u0000`."""
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _at_once(values: list[Any], kind: Kind) -> pa.Array | None:
    """The whole column in one conversion; None, or an error of Arrow's, when it has to go value by value."""
    if kind == "json":
        return pa.array([None if value is None else json_bytes(value) for value in values], pa.string())
    if kind == "timestamp":
        return _instants(pa.array(values, pa.string()))
    if kind in _ACCEPTED and set(map(type, values)) - _ACCEPTED[kind]:
        return None
    if kind == "text" and values and type(values[0]) is int and set(map(type, values)) <= _INTEGERS:
        return pa.array(values, pa.int64()).cast(pa.string())
    array = pa.array(values, ARROW[kind])
    return None if kind == "text" and b"\0" in _bytes(array) else array


def _instants(texts: pa.Array) -> pa.Array | None:
    """Arrow's own ISO 8601, for a column that has a zone in every text or in none."""
    zoned = ARROW["timestamp"]
    try:
        texts.drop_null().slice(0, 1).cast(zoned)
        array = texts.cast(zoned)
    except pa.ArrowInvalid:
        array = texts.cast(pa.timestamp("us")).cast(zoned)
    bounds = pc.min_max(array.cast(pa.int64())).as_py()
    if bounds["min"] is not None and (bounds["min"] < _FIRST_INSTANT or bounds["max"] > _LAST_INSTANT):
        return None
    return array


def _one_by_one(values: list[Any], kind: Kind) -> tuple[pa.Array, list[int]]:
    fit = _FIT[kind]
    stored: list[Any] = [None] * len(values)
    misfits = []
    for row, value in enumerate(values):
        if value is None:
            continue
        stored[row], whole = fit(value)
        if not whole:
            misfits.append(row)
    return pa.array(stored, ARROW[kind]), misfits


_Fit = tuple[Any, bool]
"""What is stored, and whether nothing of the value is missing from it."""


def _text(value: Any) -> _Fit:
    if isinstance(value, str):
        return storable(value), True
    if isinstance(value, bool | int | float):
        return json.dumps(value), True
    return None, False


def _bigint(value: Any) -> _Fit:
    if value == "":
        return None, True
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, float | Decimal) and _is_int64(value) and value == int(value):
        value = int(value)
    fits = type(value) is int and _is_int64(value)
    return (value if fits else None), fits


def _double(value: Any) -> _Fit:
    if value == "":
        return None, True
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, float):
        return value, True
    if type(value) not in (int, Decimal):
        return None, False
    try:
        number = float(value)
    except OverflowError:
        return None, False
    # An integer means every digit it has; a decimal fraction means the double that is written the same way.
    fits = (int(number) if type(value) is int else Decimal(repr(number))) == value
    return (number if fits else None), fits


def _bool(value: Any) -> _Fit:
    if value == "":
        return None, True
    return (value, True) if isinstance(value, bool) else (None, False)


def _timestamp(value: Any) -> _Fit:
    """Microseconds since 1970 UTC."""
    if value == "":
        return None, True
    if isinstance(value, bool):
        return None, False
    if isinstance(value, int | float):
        return _epoch(value)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, AttributeError):
        return None, False
    return (moment - _EPOCH) // _MICROSECOND, not (isinstance(value, str) and _TOO_FINE.search(value))


def _number(text: str) -> Decimal | None:
    """A number that came as text, as Django sends its decimals; None when it is no number."""
    return Decimal(text) if len(text) <= 40 and _NUMBER.fullmatch(text) else None


def _is_int64(number: float | Decimal) -> bool:
    return _INT64.start <= number < _INT64.stop


def _epoch(value: float) -> _Fit:
    per_unit = 1_000 if abs(value) >= _MILLISECONDS_FROM else 1_000_000
    try:
        instant = round(value * per_unit)
    except (OverflowError, ValueError):
        return None, False
    if not _FIRST_INSTANT <= instant <= _LAST_INSTANT:
        return None, False
    return instant, instant / per_unit == value


_FIT: Final[dict[Kind, Callable[[Any], _Fit]]] = {
    "text": _text,
    "bigint": _bigint,
    "double": _double,
    "bool": _bool,
    "timestamp": _timestamp,
}
FITTED: Final = frozenset(_FIT) | {"json"}
"""Kinds that a value of an answer can be turned into; a date is only ever ours."""


def _storable(value: Any) -> Any:
    """`storable` for every text in a JSON value, keys included; a key that becomes another's twin gets a prime."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(element) for element in value]
    if not isinstance(value, dict):
        return value
    safe: dict[str, Any] = {}
    for key, inner in value.items():
        name = storable(key)
        while name in safe:
            name += "'"
        safe[name] = _storable(inner)
    return safe


def _without_signatures(array: pa.Array) -> pa.Array:
    """Cut the query off every link that carries a signature or a token, wherever it stands in a text or in JSON.

    Such a link opens the file for whoever reads the cell, without a login.
    """
    data = _bytes(array)
    if b"=" not in data and (b"%" not in data or b"%3" not in data):
        return array
    return pc.replace_substring_regex(array, _SIGNED, "")


def _bytes(array: pa.Array) -> bytes:
    """All the text of an array in one piece, to search it at once."""
    buffer = array.buffers()[2]
    return buffer.to_pybytes() if buffer else b""
