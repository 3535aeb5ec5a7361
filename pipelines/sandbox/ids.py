"""The numbers of objects, spelled as the ids of each dialect, and read back without a table."""

from typing import Literal
from zlib import crc32

from pipelines.sandbox.draw import mix

Ids = Literal["int", "uuid", "short"]

# Multiplying by an odd constant within a power of two has an inverse: ids look random and can still be read back.
_UUID_ODD, _UUID_SPAN = 0x5DEECE66D1A7, 1 << 48
_SHORT_ODD, _SHORT_SPAN = 0x9E3779, 1 << 24
_LETTERS = {"data_sources": "s"}
"""Kinds whose short ids do not begin with their own letter."""


def spell(kind: str, number: int, ids: Ids) -> str:
    """The id of object `number` (from 1) of a kind, as a text: `42`, a UUID, or `r_7f3a01`."""
    if ids == "int":
        return str(number)
    salt = crc32(kind.encode())
    if ids == "short":
        return f"{_LETTERS.get(kind, kind[0])}_{(number * _SHORT_ODD + salt) % _SHORT_SPAN:06x}"
    head = mix(salt, number)
    tail = (number * _UUID_ODD + salt) % _UUID_SPAN
    variant = 0x8000 | head >> 48 & 0x3FFF
    return f"{head & 0xFFFFFFFF:08x}-{head >> 32 & 0xFFFF:04x}-4{head >> 52:03x}-{variant:04x}-{tail:012x}"


def number_of(kind: str, text: str, ids: Ids) -> int | None:
    """The number whose id is `text`; None when no object can have that id."""
    salt = crc32(kind.encode())
    try:
        if ids == "int":
            number = int(text)
        elif ids == "short":
            number = (int(text[2:], 16) - salt) * pow(_SHORT_ODD, -1, _SHORT_SPAN) % _SHORT_SPAN
        else:
            number = (int(text[-12:], 16) - salt) * pow(_UUID_ODD, -1, _UUID_SPAN) % _UUID_SPAN
    except ValueError:
        return None
    return number if number > 0 and spell(kind, number, ids) == text else None
