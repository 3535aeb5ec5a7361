"""What happens in the organisation while people sleep: one night, the same in every process."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from pipelines.sandbox import content
from pipelines.sandbox.content import Item
from pipelines.sandbox.draw import Draw
from pipelines.sandbox.ids import spell

if TYPE_CHECKING:
    from pipelines.sandbox.organisation import Kind, Organisation, Shelf

_NIGHT = 0x51EE9


class Night(NamedTuple):
    """What one night did to the reports; their ids as texts."""

    added: list[str]
    finished: list[str]
    edited: list[str]
    deleted: list[str]
    returned: list[str]


def pass_one(organisation: Organisation, activity: float) -> Night:
    """Move the clock by a day and let things happen; `activity` scales how many, 0 is a quiet night."""
    organisation.nights += 1
    organisation.version += 1
    if not activity:
        return Night([], [], [], [], [])
    draw = Draw(organisation.seed, _NIGHT, organisation.nights)
    finished = _finish(organisation, draw)
    returned = _bring_back(organisation, draw)
    added = _add(organisation, draw, activity)
    edited = _edit(organisation, draw, activity)
    deleted = _delete(organisation, draw, activity)
    _refresh_dashboards(organisation, draw)
    _sync_sources(organisation, draw)
    happened = (added, finished, edited, deleted, returned)
    return Night(*([spell("reports", number, organisation.ids) for number in numbers] for numbers in happened))


def _at(organisation: Organisation, draw: Draw) -> datetime:
    """A moment of the day that has just ended."""
    return organisation.now - timedelta(seconds=1 + draw.below(86_399))


def _finish(organisation: Organisation, draw: Draw) -> list[int]:
    """Most open reports come to an end, a few take another night."""
    ended = [number for number in sorted(organisation.open) if draw.chance(0.7)]
    for number in ended:
        end = {"status": draw.pick(content.FINAL), "completed_at": _at(organisation, draw)}
        organisation.set("reports", number, end)
    return ended


def _add(organisation: Organisation, draw: Draw, activity: float) -> list[int]:
    """One to three new reports for every hundred, over the day; some of the last dozen are still open."""
    shelf = organisation.shelves["reports"]
    count = max(1, round(len(shelf.numbers("oldest")) * draw.between(0.01, 0.03) * activity))
    # The last half hour stays free: a report takes minutes to make and must not be completed in the future.
    step = timedelta(hours=23.5) / (count + 1)
    yesterday = organisation.now - timedelta(days=1)
    ordinary = [((yesterday + step * (place + 1)).replace(microsecond=0), Item()) for place in range(count)]
    added = []
    for moment, fields in sorted([*ordinary, *_scheduled(organisation)], key=itemgetter(0)):
        added.append(organisation.come("reports", moment))
        organisation.set("reports", added[-1], fields)
    for number in added[-12:]:
        if draw.chance(0.4):
            organisation.set("reports", number, {"status": draw.pick(content.OPEN)})
    return added


def _scheduled(organisation: Organisation) -> list[tuple[datetime, Item]]:
    """The reports that the schedule made on the day that has just ended, about the days before it."""
    if not organisation.series:
        return []
    day = organisation.now - timedelta(days=1)
    return [
        (day + timedelta(hours=6), content.scheduled(title, day, days))
        for title, days in content.SERIES
        if organisation.nights % days == 0
    ]


def _edit(organisation: Organisation, draw: Draw, activity: float) -> list[int]:
    """Some finished reports get another title, or are made again; four in five of them are recent ones."""
    shelf = organisation.shelves["reports"]
    edited: set[int] = set()
    for _ in range(round(draw.between(2, 6) * activity)):
        recent = max(1, min(shelf.last, 60))
        number = shelf.last - draw.below(recent) if draw.chance(0.8) else _anyone(shelf, draw)
        if number in edited or number in organisation.open or number in shelf.raw or not shelf.holds(number):
            continue
        edited.add(number)
        report = organisation.item("reports", number)
        # Nobody renames what the schedule makes anew.
        if draw.chance(0.6) and report["title"] not in dict(content.SERIES):
            organisation.set("reports", number, {"title": f"{report['title']} (revised)"})
        else:
            organisation.set("reports", number, {"completed_at": _at(organisation, draw)})
    return sorted(edited)


def _delete(organisation: Organisation, draw: Draw, activity: float) -> list[int]:
    """A few reports of any age go; never the last ten, so that a small organisation does not die out."""
    shelf = organisation.shelves["reports"]
    deleted: set[int] = set()
    for _ in range(round(draw.between(1, 4) * activity)):
        number = _anyone(shelf, draw)
        if shelf.holds(number) and number not in shelf.raw and len(shelf.numbers("oldest")) > 10:
            organisation.set_gone("reports", number, True)
            deleted.add(number)
    return sorted(deleted)


def _bring_back(organisation: Organisation, draw: Draw) -> list[int]:
    """Now and then somebody restores what was deleted on an earlier day."""
    gone = sorted(organisation.shelves["reports"].gone)
    if not gone or not draw.chance(0.35):
        return []
    number = draw.pick(gone)
    organisation.set_gone("reports", number, False)
    return [number]


def _refresh_dashboards(organisation: Organisation, draw: Draw) -> None:
    """Two in five are refreshed and their numbers move; rarely one is cleared, one comes, or one goes."""
    for number in list(_ordinary(organisation, "dashboards")):
        at = _at(organisation, draw)
        if not draw.chance(0.4):
            continue
        shown = organisation.item("dashboards", number)["widgets"]
        fresh = [] if draw.chance(0.03) else content.moved(draw, shown, at) or content.widgets(draw, at)
        refresh = {"status": "active", "updated_at": at, "last_refresh": at, "widgets": fresh}
        organisation.set("dashboards", number, refresh)
    _come_and_go(organisation, "dashboards", draw, 0.08)


def _sync_sources(organisation: Organisation, draw: Draw) -> None:
    """Active sources sync, broken ones stay as they are; statuses flip, most broken ones are mended in some days."""
    for number in list(_ordinary(organisation, "data_sources")):
        source, at = organisation.item("data_sources", number), _at(organisation, draw)
        healthy = source["status"] == "active"
        flips = draw.chance(0.05 if healthy else 0.3)
        status = draw.pick(("error", "error", "paused")) if healthy else "active"
        if flips:
            organisation.set("data_sources", number, {"status": status})
        if healthy != flips and source["last_synced_at"]:
            organisation.set("data_sources", number, {"last_synced_at": at})
    _come_and_go(organisation, "data_sources", draw, 0.03)


def _come_and_go(organisation: Organisation, kind: Kind, draw: Draw, share: float) -> None:
    if draw.chance(share):
        organisation.come(kind, _at(organisation, draw))
    ordinary = _ordinary(organisation, kind)
    if draw.chance(share) and len(ordinary) > 3:
        organisation.set_gone(kind, draw.pick(ordinary), True)


def _ordinary(organisation: Organisation, kind: Kind) -> list[int]:
    """The living whose words are not fixed."""
    shelf = organisation.shelves[kind]
    return [number for number in shelf.numbers("oldest") if number not in shelf.raw]


def _anyone(shelf: Shelf, draw: Draw) -> int:
    return 1 + draw.below(max(1, shelf.last))
