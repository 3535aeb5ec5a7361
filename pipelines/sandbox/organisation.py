"""One deterministic organisation: what it holds, and how it changes. Pure: no clock of its own, no network.

organisation = Organisation(reports=500)
organisation.advance(3)                       # three nights
organisation.edit_report("17", title="Now it has another name")
organisation.truth()["reports"]               # what a perfect export would hold
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any, Literal
from zlib import crc32

from pipelines.sandbox import content
from pipelines.sandbox.content import Item
from pipelines.sandbox.draw import Draw, mix
from pipelines.sandbox.ids import Ids, number_of, spell
from pipelines.sandbox.nights import Night, pass_one

Kind = Literal["reports", "dashboards", "data_sources"]
Order = Literal["newest", "oldest", "none"]

KINDS: tuple[Kind, ...] = ("reports", "dashboards", "data_sources")
LONGEST_MAKING = timedelta(minutes=30)
"""Nothing is created later than this before a night ends, so that no report is completed in the future."""
_DAY = timedelta(days=1)
NAME = "Morgenrot Coffee Roasters"

# AI credits, data sources, users and GB of each plan, as clariBI's plan page prints them.
_PLANS = {
    "trial": (50, 5, 3, 1),
    "starter": (500, 10, 3, 5),
    "professional": (1500, 15, 15, 10),
    "enterprise": (5000, 25, 100, 100),
}


def place_in(order: Order) -> Callable[[int], int]:
    """The sort key that puts object numbers into `order`; `none` scatters them, always in the same way."""
    if order == "newest":
        return int.__neg__
    return int.__pos__ if order == "oldest" else mix


class Shelf:
    """The objects of one kind: numbers from 1 to `last`, and what is special about some of them."""

    def __init__(self, initial: int, changed_at: datetime) -> None:
        self.initial = self.last = initial
        self.changed_at = changed_at
        """Later with every change, and always before the organisation's `now`."""
        self.born: dict[int, datetime] = {}
        self.changed: dict[int, Item] = {}
        self.gone: set[int] = set()
        self.raw: dict[int, Item] = {}
        self._sorted: dict[Order, Sequence[int]] = {}

    def holds(self, number: int) -> bool:
        """Whether the object is alive."""
        return 0 < number <= self.last and number not in self.gone

    def numbers(self, order: Order) -> Sequence[int]:
        """The living, in order; kept until somebody comes or goes."""
        if order not in self._sorted:
            alive: Sequence[int] = range(1, self.last + 1)
            if self.gone:
                alive = [number for number in alive if number not in self.gone]
            if order == "newest":
                alive = alive[::-1]
            elif order == "none":
                alive = sorted(alive, key=place_in(order))
            self._sorted[order] = alive
        return self._sorted[order]

    def add(self, at: datetime) -> int:
        """Make room for one more, created at `at`; give its number."""
        self.last += 1
        self.born[self.last] = at
        self._sorted.clear()
        return self.last

    def set_gone(self, number: int, gone: bool) -> None:
        """Take an object away, or bring it back."""
        (self.gone.add if gone else self.gone.discard)(number)
        self._sorted.clear()


class Organisation:
    """Reports, dashboards and data sources that are the same in every process with the same arguments.

    Reports are made from their number when they are asked for, so a million of them cost nothing until they are read.
    Safe to change in one thread while a server reads it in another.
    """

    def __init__(
        self,
        reports: int = 1240,
        dashboards: int = 18,
        sources: int = 9,
        seed: int = 7,
        ids: Ids = "int",
        start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        plan: str = "enterprise",
        history_days: int = 365,
        series: bool = True,
    ) -> None:
        self.seed = seed
        self.start = start.astimezone(UTC)
        self.founded = self.start - timedelta(days=history_days)
        """How far back the first objects reach; they are spread evenly from here to the start."""
        self.nights = 0
        """Nights that have passed."""
        self.version = 0
        """Grows with every change."""
        self.series = series
        """Whether nights bring the scheduled reports, too; turn it off and their titles stop arriving."""
        self.ids: Ids = ids
        """May be changed at any time: the objects stay, their ids are spelled anew."""
        self.plan = plan
        self.lock = RLock()
        """Held by every change; hold it to read several things of one state."""
        initial: dict[Kind, int] = {"reports": reports, "dashboards": dashboards, "data_sources": sources}
        self.shelves = {kind: Shelf(count, self.start - _DAY) for kind, count in initial.items()}
        self.open: set[int] = set()
        """Numbers of the reports that are not finished."""
        self._usage: Item = {}
        for number in range(max(1, reports - 11), reports + 1):
            if Draw(seed, 1, number).chance(0.5):
                self.set("reports", number, {"status": "pending" if number % 3 else "generating"})

    @property
    def now(self) -> datetime:
        """The organisation's own time: `start` and one day for each night."""
        return self.start + timedelta(days=self.nights)

    # Reading

    def numbers(self, kind: Kind, order: Order = "oldest") -> Sequence[int]:
        """The numbers of the living, in order."""
        return self.shelves[kind].numbers(order)

    def position_after(self, numbers: Sequence[int], order: Order, number: int) -> int:
        """Where in `numbers` the objects begin that come after `number`, whether that one still lives or not."""
        key = place_in(order)
        return bisect_right(numbers, key(number), key=key)

    def find(self, kind: Kind, object_id: str | int) -> int | None:
        """The number of the living object with this id; None without one."""
        text, shelf = str(object_id), self.shelves[kind]
        raw = (number for number, item in shelf.raw.items() if str(item.get("id")) == text and shelf.holds(number))
        number = next(raw, None) or number_of(kind, text, self.ids)
        return number if number and shelf.holds(number) else None

    def raw(self, kind: Kind, number: int) -> Item | None:
        """The object to serve word for word; None when it is an ordinary one."""
        return self.shelves[kind].raw.get(number)

    def item(self, kind: Kind, number: int) -> Item:
        """One object in neutral names, its id as a text."""
        shelf = self.shelves[kind]
        object_id, known = spell(kind, number, self.ids), shelf.changed.get(number, {})
        draw = Draw(self.seed, crc32(kind.encode()), number)
        created_at = known.get("created_at") or shelf.born.get(number) or self._created(shelf, number)
        if kind == "reports":
            return content.report(draw, object_id, created_at, self.shelves["data_sources"].initial, known)
        last_night = max(created_at, self.start - timedelta(hours=draw.below(72)))
        if kind == "dashboards":
            return content.dashboard(draw, object_id, created_at, last_night, known)
        return content.data_source(draw, object_id, number, created_at, last_night, known)

    def usage(self) -> Item:
        """Usage of this calendar month against the plan; the credits grow day by day and begin anew with the month."""
        limit, sources, users, storage = _PLANS[self.plan]
        days = (Draw(self.seed, self.now.year, self.now.month, day) for day in range(1, self.now.day))
        used = sum(round(limit * day.between(0.018, 0.042)) for day in days)
        made: Item = {
            "ai_credits_used": min(used, limit),
            "ai_credits_limit": limit,
            "subscription_tier": self.plan,
            "subscription_status": "active",
            "max_users": users,
            "data_sources_used": len(self.numbers("data_sources")),
            "data_sources_limit": sources,
            "storage_gb_limit": storage,
            "trial_ends_at": self.start + timedelta(days=14) if self.plan == "trial" else None,
        } | self._usage
        return {"ai_credits_remaining": made["ai_credits_limit"] - made["ai_credits_used"]} | made

    def truth(self) -> dict[str, Any]:
        """What is alive now: `reports`, `dashboards`, `data_sources` (lists, by creation), `usage`, `organization`.

        Neutral names are the column names of the exported tables; ids are texts, stamps aware datetimes in UTC, URLs
        without their signatures. A report has its `insights`, a dashboard its `widgets`. A raw object appears as it
        was put.
        """
        with self.lock:
            told: dict[str, Any] = {
                kind: [self.raw(kind, number) or self.item(kind, number) for number in self.numbers(kind)]
                for kind in KINDS
            }
            organization = {"id": spell("organizations", 1, self.ids), "name": NAME, "plan": self.plan}
            return told | {"usage": self.usage(), "organization": organization}

    # Changing

    def advance(self, nights: int = 1, activity: float = 1.0) -> list[Night]:
        """Let nights pass; `activity` scales how much happens in them, and 0 moves the clock alone."""
        with self.lock:
            return [pass_one(self, activity) for _ in range(nights)]

    def add(self, kind: Kind, **fields: Any) -> str:
        """Add one object, created now unless `fields` (neutral names) say otherwise; give its id."""
        with self.lock:
            number = self.come(kind, self.now)
            self.set(kind, number, {"status": "completed"} | fields if kind == "reports" else fields)
            return spell(kind, number, self.ids)

    def edit(self, kind: Kind, object_id: str | int, **fields: Any) -> None:
        """Set neutral fields of one object."""
        with self.lock:
            self.set(kind, self._existing(kind, object_id), fields)

    def delete(self, kind: Kind, object_id: str | int) -> None:
        """Take one object away: lists leave it out, its detail answers 404."""
        with self.lock:
            self.set_gone(kind, self._existing(kind, object_id), True)

    def restore(self, kind: Kind, object_id: str | int) -> None:
        """Bring a deleted object back."""
        with self.lock:
            number = number_of(kind, str(object_id), self.ids)
            if number not in self.shelves[kind].gone:
                raise LookupError(f"no deleted object {object_id} among the {kind}")
            self.set_gone(kind, number, False)

    def add_report(self, **fields: Any) -> str:
        """Add one report, completed unless `fields` say otherwise; give its id."""
        return self.add("reports", **fields)

    def edit_report(self, report_id: str | int, **fields: Any) -> None:
        """Set neutral fields of one report."""
        self.edit("reports", report_id, **fields)

    def put_raw(self, kind: Kind, item: Item) -> None:
        """Add an object that is served word for word, however nasty, in lists and, by its `id`, in its detail."""
        with self.lock:
            self.shelves[kind].raw[self.come(kind, self.now)] = item

    def set_usage(self, **fields: Any) -> None:
        """Fix fields of the usage, such as `ai_credits_used`."""
        with self.lock:
            self._usage |= fields
            self.version += 1

    # By number, for the nights

    def come(self, kind: Kind, at: datetime) -> int:
        """Add one object that was created at `at`; give its number."""
        self._changed(kind)
        return self.shelves[kind].add(at)

    def set(self, kind: Kind, number: int, fields: Item) -> None:
        """Set neutral fields of one object by its number."""
        shelf = self.shelves[kind]
        if fields:
            shelf.changed[number] = shelf.changed.get(number, {}) | fields
        if kind == "reports" and "status" in fields:
            (self.open.add if fields["status"] in content.OPEN else self.open.discard)(number)
        self._changed(kind)

    def set_gone(self, kind: Kind, number: int, gone: bool) -> None:
        """Take one object away by its number, or bring it back."""
        shelf = self.shelves[kind]
        shelf.set_gone(number, gone)
        if kind == "reports":
            unfinished = not gone and shelf.changed.get(number, {}).get("status") in content.OPEN
            (self.open.add if unfinished else self.open.discard)(number)
        self._changed(kind)

    def _changed(self, kind: Kind) -> None:
        """Date a change: into the day that ends now, and a second after the one before, so that none looks like it."""
        shelf = self.shelves[kind]
        shelf.changed_at = max(self.now - _DAY, shelf.changed_at + timedelta(seconds=1))
        self.version += 1

    def _existing(self, kind: Kind, object_id: str | int) -> int:
        number = self.find(kind, object_id)
        if number is None:
            raise LookupError(f"no object {object_id} among the {kind}")
        return number

    def _created(self, shelf: Shelf, number: int) -> datetime:
        """Even over the history, with a jitter too small to change the order."""
        step_s = (self.start - self.founded).total_seconds() / shelf.initial
        jitter = mix(self.seed, number) % 900 / 1000
        return self.founded - LONGEST_MAKING + timedelta(seconds=int((number - 1 + jitter) * step_s))
