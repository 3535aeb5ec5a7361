"""How times, numbers and names are said in a finding."""

from datetime import UTC, datetime, timedelta
from typing import Any

LONGEST_NAME = 80


def stamp(at: datetime) -> str:
    """A moment to the minute, UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(length: timedelta) -> str:
    """A length in the unit a person would choose: `40 minutes`, `27 hours`, `3 days`."""
    hours = length / timedelta(hours=1)
    if hours >= 48:
        return _counted(round(hours / 24), "day")
    return _counted(round(hours), "hour") if hours >= 1 else _counted(round(hours * 60), "minute")


def number(value: float) -> str:
    """A number with as many digits as it needs: `1,440`, `41.7`, `0.04`."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"


def label(name: Any, otherwise: str) -> str:
    """A name in quotation marks, in one line and not too long; `otherwise` where there is none."""
    line = " ".join(str(name or "").split())
    if not line:
        return otherwise
    return f'"{line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"}"'


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'s' * (count != 1)}"
