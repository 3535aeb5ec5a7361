"""The health of every data source: what is wrong with it, and since when. Pure.

Of what is wrong with a source one thing is told, the one that explains the rest: it is gone, else broken, else paused,
else it has never synced, else it is stale. `source_events` holds the states that this is read from.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import pandas as pd

from pipelines.watch.finding import Finding
from pipelines.watch.settings import WatchSettings
from pipelines.watch.source_events import GONE_FOR, Aspect, Last, changes, event_in, last_events
from pipelines.watch.tables import Row, records
from pipelines.watch.words import label, span, stamp

SOURCE_RULES: Final = ("source_error", "source_paused", "source_stale", "source_never_synced", "source_vanished")
"""What cannot be told while the table `data_sources` could not be read."""

State = Literal["ok", "error", "paused", "stale", "never synced", "vanished"]

_ASPECT: Final[dict[State, Aspect]] = {
    "vanished": "presence",
    "error": "condition",
    "paused": "condition",
    "stale": "freshness",
    "never synced": "freshness",
}
"""Which kind of event began a state."""
_HOUR: Final = timedelta(hours=1)
_OWN_LIMIT: Final = "A limit of its own goes under [watch.stale_after_h_by], by its name or type"


@dataclass(frozen=True)
class SourceRow:
    """One source as a person wants to see it. Times are UTC."""

    id: str
    name: str
    kind: str
    """Its engine, or the most exact type that is known; may be empty."""
    state: State
    status: str
    """clariBI's own word; may be empty."""
    last_synced_at: datetime | None
    since: datetime
    """Since when it has been in this state."""
    age_h: float | None
    """Hours since it last synced."""
    trouble: bool
    """Whether there is a finding about it."""


@dataclass(frozen=True)
class SourceHealth:
    """What one look at the sources says."""

    findings: list[Finding]
    events: list[Row]
    """The new rows of `data_source_events`."""
    table: list[SourceRow]
    """Every source that is there or has gone lately: trouble first, then by name."""


@dataclass(frozen=True)
class _Look:
    """One source, its last events, the new ones included, and how to judge it."""

    source: Row
    last: Last
    stale_after_h: float
    paused_after_h: float
    now: datetime

    @property
    def state(self) -> State:
        if event_in(self.last, "presence") == "vanished":
            return "vanished"
        if event_in(self.last, "condition") == "error":
            return "error"
        if event_in(self.last, "condition") == "paused":
            return "paused"
        if event_in(self.last, "freshness") == "stale":
            return "stale" if self.synced_at else "never synced"
        return "ok"

    @property
    def since(self) -> datetime:
        events = [self.last[_ASPECT[self.state]]] if self.state in _ASPECT else list(self.last.values())
        latest: datetime = max(event["at"] for event in events)
        return latest

    @property
    def synced_at(self) -> datetime | None:
        return self.source.get("last_synced_at")

    @property
    def shown(self) -> bool:
        """Not what was gone before anybody watched, nor what has been gone for long."""
        return bool(self.last) and (self.state != "vanished" or self.now - self.since <= GONE_FOR)

    @property
    def trouble(self) -> bool:
        if self.state == "paused":
            return (self.now - self.since) / _HOUR > self.paused_after_h
        return self.state != "ok"


def look_at_sources(
    sources: pd.DataFrame, events: pd.DataFrame, settings: WatchSettings, now: datetime, listed_in_part: bool
) -> SourceHealth:
    """Judge `data_sources` as it was at `now`, beside all of `data_source_events`.

    `listed_in_part`: this account's list promises active sources only, so that one that vanishes need not be deleted.
    """
    known = last_events(events)
    looks: list[_Look] = []
    new: list[Row] = []
    for source in records(sources):
        last = known.get(source["id"], {})
        stale_after_h = settings.stale_after(source.get("name"), _types(source))
        changed = changes(source, last, stale_after_h, now)
        new += changed.values()
        looks.append(_Look(source, {**last, **changed}, stale_after_h, settings.paused_after_h, now))
    shown = sorted((look for look in looks if look.shown), key=lambda look: (not look.trouble, _name(look)))
    findings = [_finding(look, listed_in_part) for look in shown if look.trouble]
    return SourceHealth(findings, new, [_row(look) for look in shown])


def _finding(look: _Look, listed_in_part: bool) -> Finding:
    title, text = _told(look, listed_in_part)
    return Finding(
        rule=f"source_{look.state.replace(' ', '_')}",
        subject=f"data_sources/{look.source['id']}",
        severity="critical" if look.state == "error" else "warning",
        title=f"Data source {label(look.source.get('name'), look.source['id'])} {title}",
        text=text,
        since=look.since,
    )


def _told(look: _Look, listed_in_part: bool) -> tuple[str, str]:
    """The end of the title, and the text."""
    synced = f"It last synced at {stamp(look.synced_at)}." if look.synced_at else "It has never synced."
    since = stamp(look.since)
    match look.state:
        case "error":
            step = "Open it in clariBI to see why; often it is an expired login, a quota or a timeout."
            return "is broken", f"Its status is {look.source.get('status')}, since {since}. {synced} {step}"
        case "paused":
            step = "Resume it in clariBI, or raise WATCH__PAUSED_AFTER_H if it is meant to rest longer."
            return f"has been paused for {span(look.now - look.since)}", f"Paused since {since}. {synced} {step}"
        case "vanished" if listed_in_part:
            why = "/api/v1/ lists active sources only: it may be broken, paused or deleted. Look for it in clariBI."
            return "has vanished", f"clariBI does not show it any more, since {since}. {synced} {why}"
        case "vanished":
            why = "Reports and dashboards that use it get no new data. If it was deleted on purpose, nothing is to do."
            return "has vanished", f"clariBI does not show it any more, since {since}. {synced} {why}"
        case "never synced":
            step = f'Look at it in clariBI. {_OWN_LIMIT}: "never" where no sync time is to be expected.'
            allowed = f"the {look.stale_after_h:g} hours that are allowed, which were over at {since}"
            return "has never synced", f"It has brought no data within {allowed}. {step}"
    age = span(look.now - look.synced_at) if look.synced_at else ""
    step = f'Look at its schedule in clariBI. {_OWN_LIMIT}; an uploaded file has no schedule: "never".'
    return f"has not synced for {age}", f"{synced} {look.stale_after_h:g} hours are allowed. {step}"


def _row(look: _Look) -> SourceRow:
    return SourceRow(
        id=look.source["id"],
        name=str(look.source.get("name") or look.source["id"]),
        kind=str(next(filter(None, _types(look.source)), "")),
        state=look.state,
        status=str(look.source.get("status") or ""),
        last_synced_at=look.synced_at,
        since=look.since,
        age_h=(look.now - look.synced_at) / _HOUR if look.synced_at else None,
        trouble=look.trouble,
    )


def _types(source: Row) -> tuple[str | None, ...]:
    """What kind of source it is, the most exact word first."""
    return tuple(source.get(name) for name in ("engine", "source_type", "type"))


def _name(look: _Look) -> str:
    return str(look.source.get("name") or look.source["id"]).casefold()
