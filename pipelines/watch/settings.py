"""What a user may set about watching: names, defaults and what is refused."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import dlt

from pipelines.claribi.errors import SettingError

NEVER: Final = math.inf
"""Hours of a source that need not sync, such as an uploaded file; written as `never`."""
_HOURS: Final = "it may be hours above 0, such as 26"
_ALLOWED: Final = {
    "stale_after_h_by": (
        'it may be a table of names, globs or types with hours above 0 or "never", such as "Google *" = 48'
    ),
    "usage_thresholds": "it may be percentages above 0, up to 100, such as [80, 95]",
    "usage_thresholds_by": (
        "it may be a table of metrics with percentages above 0, up to 100, such as ai_credits = [50, 80, 95]"
    ),
}


@dataclass(frozen=True)
class WatchSettings:
    """`WATCH__…`: from the environment or `.dlt/config.toml`. Times are hours, thresholds percent of a limit."""

    stale_after_h: float = 26
    """A data source that has not synced for so long is stale."""
    stale_after_h_by: Mapping[str, float] = field(default_factory=dict)
    """The same by a source's name, a glob over names, or a type, engine or source type."""
    paused_after_h: float = 72
    """A data source may be paused for so long before it is told."""
    usage_thresholds: tuple[float, ...] = (80, 95)
    """Ascending; the last one is critical."""
    usage_thresholds_by: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The same by metric; empty: the metric is not watched."""
    remind_after_h: float = 168
    """What is still wrong is told again after so long."""
    dashboard_after_h: float = 168
    """A dashboard whose numbers are older is old."""

    def stale_after(self, name: str | None, types: tuple[str | None, ...]) -> float:
        """Hours for one source: its name goes before a glob over names, which goes before its types."""
        by = {key.casefold(): hours for key, hours in self.stale_after_h_by.items()}
        called = (name or "").casefold()
        globs = [key for key in by if called and fnmatchcase(called, key)]
        words = [word.casefold() for word in types if word]
        return next((by[key] for key in (called, *globs, *words) if key in by), self.stale_after_h)

    def thresholds(self, metric: str) -> tuple[float, ...]:
        """Percentages for one metric, ascending."""
        return self.usage_thresholds_by.get(metric, self.usage_thresholds)


def load_watch_settings() -> WatchSettings:
    """Read `WATCH__…`; raise `SettingError` when a value cannot work. Empty counts as not set."""
    found: dict[str, Any] = {}
    for name in WatchSettings.__dataclass_fields__:
        value = _read(name)
        if value is not None:
            found[name] = _READERS.get(name, _hours)(name, value)
    return WatchSettings(**found)


def _read(name: str) -> Any:
    """One setting as it was written; a variable that a workflow does not know arrives as an empty text."""
    value: Any = dlt.config.get(f"watch.{name}")
    return None if isinstance(value, str) and not value.strip() else value


def _refuse(name: str, value: Any) -> SettingError:
    return SettingError(f"WATCH__{name.upper()}", f"holds {value!r}; {_ALLOWED.get(name, _HOURS)}.")


def _number(value: Any) -> float | None:
    """A finite number above 0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < math.inf else None


def _hours(name: str, value: Any) -> float:
    number = _number(value)
    if number is None:
        raise _refuse(name, value)
    return number


def _hours_or_never(name: str, value: Any) -> float:
    return NEVER if str(value).strip().casefold() == "never" else _hours(name, value)


def _percentages(name: str, value: Any) -> tuple[float, ...]:
    """A list, a number, or either of them as the text of an environment variable."""
    items = value.strip().strip("[]").split(",") if isinstance(value, str) else value
    items = list(items) if isinstance(items, (list, tuple)) else [items]
    numbers = [_number(item) for item in items if not (isinstance(item, str) and not item.strip())]
    fit = [number for number in numbers if number is not None and number <= 100]
    if len(fit) < len(numbers):
        raise _refuse(name, value)
    return tuple(sorted(set(fit)))


def _table(of: Callable[[str, Any], Any]) -> Callable[[str, Any], dict[str, Any]]:
    """Read a table of the configuration file, or the same as JSON in an environment variable."""

    def read(name: str, value: Any) -> dict[str, Any]:
        table = _parsed(value) if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            raise _refuse(name, value)
        return {str(key): of(name, one) for key, one in table.items()}

    return read


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


_READERS: Final = {
    "stale_after_h_by": _table(_hours_or_never),
    "usage_thresholds": _percentages,
    "usage_thresholds_by": _table(_percentages),
}
"""How each setting is read that is not simply hours."""
