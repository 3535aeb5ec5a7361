"""What has happened to a data source since the last look: the rows of `data_source_events`. Pure.

A source has three states. Each changes by events of its own kind only, and the last event of a kind decides:

    presence    unknown ── appeared ──> here ── vanished ──> gone ── returned ──> here
    condition   fine ── error ──> broken, fine ── paused ──> paused, either ── recovered ──> fine;
                broken and paused turn into each other by the event of the new state
    freshness   fresh ── stale ──> stale ── fresh ──> fresh; a source that has never synced turns stale like any other

While a source is gone, the other two stay as they were. An event that repeats what is known is never made, so looking
twice finds nothing new; and none is older than the one it follows, so the order of the rows does not matter.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import pandas as pd

from pipelines.watch.tables import Row, records
from pipelines.watch.words import stamp

BROKEN: Final = {"error", "failed"}
PAUSED: Final = {"paused"}
"""clariBI's words for a source's state, in any case; every other word counts as fine."""
GONE_FOR: Final = timedelta(days=7)
"""A source that has been gone for longer is history, not news."""

Aspect = Literal["presence", "condition", "freshness"]
Last = Mapping[Aspect, Row]
"""The last event of each kind; empty for a source that nobody has noted before."""

_ASPECTS: Final[dict[str, Aspect]] = {
    "appeared": "presence",
    "vanished": "presence",
    "returned": "presence",
    "error": "condition",
    "paused": "condition",
    "recovered": "condition",
    "stale": "freshness",
    "fresh": "freshness",
}
_TICK: Final = timedelta(microseconds=1)
_HOUR: Final = timedelta(hours=1)


class _Change(NamedTuple):
    event: str
    at: datetime | None
    """When it happened; None: nobody knows, so now."""
    about: str


def last_events(events: pd.DataFrame) -> dict[str, Last]:
    """By source: its last event of each kind; a word that is none of ours is passed over."""
    found: dict[str, dict[Aspect, Row]] = {}
    for row in sorted(records(events), key=lambda row: row["at"]):
        if row["event"] in _ASPECTS:
            found.setdefault(row["data_source_id"], {})[_ASPECTS[row["event"]]] = row
    return dict(found)


def event_in(last: Last, aspect: Aspect) -> str | None:
    """The word of the last event of a kind."""
    return last[aspect]["event"] if aspect in last else None


def changes(source: Row, last: Last, stale_after_h: float, now: datetime) -> dict[Aspect, Row]:
    """The events that lead from `last` to the source as it is at `now`, one of a kind at most."""
    if source.get("deleted_at"):
        told = [_gone(source, last, now)]
    else:
        here = _here(source, last)
        came_at = now if here else last["presence"]["at"]
        told = [here, _condition(source, last), _freshness(source, last, came_at, stale_after_h, now)]
    rows = [_row(source, change, last, now) for change in told if change]
    return {_ASPECTS[row["event"]]: row for row in rows}


def _gone(source: Row, last: Last, now: datetime) -> _Change | None:
    if event_in(last, "presence") == "vanished" or not (last or now - source["deleted_at"] <= GONE_FOR):
        return None
    return _Change("vanished", None if last else source["deleted_at"], "clariBI does not show it any more.")


def _here(source: Row, last: Last) -> _Change | None:
    if not event_in(last, "presence"):
        return _Change("appeared", source.get("created_at"), "clariBI shows it.")
    return _Change("returned", None, "clariBI shows it again.") if event_in(last, "presence") == "vanished" else None


def _condition(source: Row, last: Last) -> _Change | None:
    """Of a source that nobody has noted before, its last sync is the best guess at when it broke or was paused."""
    status = str(source.get("status") or "")
    word = status.casefold()
    event = "error" if word in BROKEN else "paused" if word in PAUSED else "recovered"
    if event == (event_in(last, "condition") or "recovered"):
        return None
    at = None if last else source.get("last_synced_at") or source.get("created_at")
    return _Change(event, at, f"Its status is {status or 'not told'}.")


def _freshness(source: Row, last: Last, came_at: datetime, stale_after_h: float, now: datetime) -> _Change | None:
    synced_at = source.get("last_synced_at")
    start = synced_at or source.get("created_at") or came_at
    stale = (now - start) / _HOUR > stale_after_h
    if stale == (event_in(last, "freshness") == "stale"):
        return None
    said = f"It last synced at {stamp(synced_at)}" if synced_at else f"It has not synced since {stamp(start)}"
    if not stale:
        return _Change("fresh", None, f"{said}.")
    return _Change("stale", start + timedelta(hours=stale_after_h), f"{said}; {stale_after_h:g} hours are allowed.")


def _row(source: Row, change: _Change, last: Last, now: datetime) -> Row:
    at, before = min(change.at or now, now), last.get(_ASPECTS[change.event])
    return {
        "data_source_id": source["id"],
        "at": max(at, before["at"] + _TICK) if before else at,
        "event": change.event,
        "name": source.get("name"),
        "status": source.get("status"),
        "last_synced_at": source.get("last_synced_at"),
        "about": change.about,
    }
