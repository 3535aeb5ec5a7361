"""Reads the reports of a window of time, slice by slice: each slice is loaded together with the place that it leads to.

Where the list is in the order of creation, the ledger itself is the place: reports are read from the newest to the
oldest, so what has been read is a window of its own, and whatever comes or goes meanwhile moves nothing. A list in no
order is walked whole, and the place is the walk's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from pipelines.claribi.backfill_pages import NAME, Entry, Pages, Part
from pipelines.claribi.backfill_rows import lacking
from pipelines.claribi.errors import NotFound, Paused
from pipelines.claribi.frames import with_detail
from pipelines.claribi.incremental import OPEN
from pipelines.claribi.numbering import Place, Shape
from pipelines.claribi.run import Run
from pipelines.claribi.timeline import OutOfOrder
from pipelines.claribi.walk import in_order
from pipelines.claribi.windows import INSTANT, Ledger, Window, check, without

SLICE_PAGES = 50
SLICE_CALLS = 500
"""A slice ends with the page that reaches one of these: that much is read again after a kill."""
ASKED_AT_ONCE = 5
"""Pages that are compared with the destination together, before their details are asked for."""


class Wanted(NamedTuple):
    """What the user asks for; times are UTC."""

    since: datetime
    until: datetime | None = None
    """None: now, by clariBI's clock; or what it was when the same backfill began that is not finished yet."""
    details: bool = False
    again: bool = False
    """Also what has been read before."""


@dataclass(frozen=True)
class Progress:
    """How far a backfill has come."""

    ledger: Ledger
    place: Place | None = None
    """Where the list is gone on with: a hint for a list in order, the whole truth for any other."""


@dataclass
class Slice:
    """What is to be loaded at once, and how far the backfill is then."""

    progress: Progress
    objects: dict[str, tuple[dict[str, Any], bool]] = field(default_factory=dict)
    """By id, in their latest answers: a report, and whether that is all there is to know of it."""
    told: set[str] = field(default_factory=set)
    """The fields that the list tells."""
    seen: int = 0
    pages: int = 0
    problem: Paused | None = None
    """What ended it early."""

    @property
    def whole(self) -> list[dict[str, Any]]:
        """The reports of which all is known."""
        return [item for item, is_whole in self.objects.values() if is_whole]

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The reports of which only the list has told."""
        return [item for item, is_whole in self.objects.values() if not is_whole]

    def put(self, item: dict[str, Any], *, whole: bool) -> None:
        """Keep a report, in the place of an earlier answer."""
        self.objects.pop(str(item["id"]), None)
        self.objects[str(item["id"])] = (item, whole)


class Backfill:
    """One window: `read` gives the next slice, `accept` says that it has been loaded."""

    def __init__(self, run: Run, wanted: Wanted, memory: Mapping[str, Any]) -> None:
        """`memory` is what the last backfill has left in the state."""
        unfinished = memory.get("unfinished")
        self._run, self.details, self.again = run, wanted.details, wanted.again
        self.window, going_on = _window(wanted, unfinished, run.now)
        ledger, place = Ledger.from_state(memory.get("windows", [])), None
        if unfinished and going_on:
            self.again, place = unfinished["again"], unfinished["place"]
        elif wanted.again:
            ledger = ledger.remove(self.window)
        self.pages = Pages(run.client, Shape.from_state(memory.get("shape")), carried=bool(memory.get("carried")))
        self.progress = self._began = Progress(ledger, place)
        self.walked = self.seen = self.asked = 0
        """Pages of the window that were read, reports on them, and details."""
        self._doubtful = bool(unfinished and going_on and not unfinished["ended"])
        """Whether the backfill before was killed: a load of its may have come in by half."""
        self._parts: Iterator[Part] | None = None

    @property
    def asks(self) -> bool:
        """Whether details are asked for: they are wanted, and the list does not carry them."""
        return self.details and not self._carried

    @property
    def _carried(self) -> bool:
        """Whether the list is taken for all there is to know."""
        return self.pages.carried and self._run.settings.details != "always"

    @property
    def left(self) -> int | None:
        """How many reports of the list are older than the place; None where that is not known."""
        return (self.progress.place or {}).get("left") if self.pages.ranked else None

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """What has been read by now, as the state keeps it."""
        return self.progress.ledger.to_state()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to be read."""
        return self.pages.empty or not self.gaps(self.progress)

    def gaps(self, progress: Progress) -> tuple[Window, ...]:
        """What is left of the window, newest first."""
        return without([self.window], progress.ledger.done(details=self.details))

    def memory(self, *, ended: bool) -> dict[str, Any]:
        """What the next backfill needs; `ended` says that this one did not just vanish."""
        told: dict[str, Any] = {
            "windows": self.ledger,
            "shape": self.pages.shape.to_state() if self.pages.shape else None,
            "carried": self.pages.carried,
        }
        if self.gaps(self.progress):
            own = {"details": self.details, "again": self.again, "place": self.progress.place, "ended": ended}
            told["unfinished"] = self.window.to_state() | own
        return told

    def read(self) -> Slice:
        """Read the next slice; what ended it early is in its `problem`, and what came before that is good."""
        found, before = Slice(self.progress), self._run.calls.total
        while self.gaps(found.progress) and not (found.problem or self.pages.empty):
            try:
                self.pages.learn()
                if not self.pages.empty:
                    self._read_some(found)
            except Paused as problem:
                found.problem = problem
            except OutOfOrder:
                self.pages.scattered, self._parts = True, None
                found.progress = self._began
            if found.pages >= SLICE_PAGES or self._run.calls.total - before >= SLICE_CALLS:
                break
        if found.problem:
            self._parts = None
        return found

    def accept(self, found: Slice) -> None:
        """The slice has been loaded."""
        self._doubtful = self._doubtful and not found.seen
        self.progress = found.progress

    def reject(self) -> None:
        """The slice is not to be loaded: the next one is read from the same place."""
        self._parts = None

    def _read_some(self, found: Slice) -> None:
        """Read a few pages and the details that are wanted of them, and put all that is done onto the slice."""
        parts: list[Part] = []
        # The first page alone: a command that may make a few calls only must come to the details.
        at_once = ASKED_AT_ONCE if self.asks and self._parts else 1
        try:
            for _ in range(at_once):
                parts.append(self._next_part(found.progress, 1 if self.asks else 4))
                if parts[-1].ended:
                    break
        except Paused as problem:
            found.problem = problem
        found.pages += len(parts)
        self.walked += len(parts)
        done = self._put(found, [entry for part in parts for entry in part.entries])
        self._go_on(found, parts, done)

    def _next_part(self, progress: Progress, in_flight: int) -> Part:
        if self._parts is None:
            self._parts = self.pages.of(self.gaps(progress), progress.place, in_flight)
        return next(self._parts)

    def _put(self, found: Slice, entries: Sequence[Entry]) -> int:
        """Put the reports onto the slice, in their order; how many, before the calls were spent."""
        items = [entry.item for entry in entries]
        found.told.update(*items)
        closed = [item for item in items if item.get("status") not in OPEN] if self.asks else []
        wanted = closed if self.again or self._doubtful else lacking(self._run, closed)
        asked = {str(item["id"]) for item in wanted}
        details = in_order(self._detail, wanted)
        for number, item in enumerate(items):
            detail: dict[str, Any] | None = {}
            if str(item["id"]) in asked:
                try:
                    detail = next(details)
                except Paused as problem:
                    found.problem = problem
                    return number
            if detail is not None:
                found.put(with_detail(item, detail), whole=self._carried or bool(detail))
            found.seen, self.seen = found.seen + 1, self.seen + 1
            self._run.on_progress(NAME, self.seen, self._run.calls)
        return len(items)

    def _detail(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            detail: dict[str, Any] = self._run.client.get(str(item["id"]), resource=NAME).body
        except NotFound:
            return None  # deleted since the list was read
        self.asked += 1
        return detail

    def _go_on(self, found: Slice, parts: Sequence[Part], done: int) -> None:
        """Put down how far the slice has come: `done` of the parts' entries are on it."""
        for part in parts:
            entries, done = part.entries[:done], max(0, done - len(part.entries))
            whole = len(entries) == len(part.entries)
            place = part.place if whole else entries[-1].place if entries else found.progress.place
            if self.pages.in_order and entries:
                gap = self.gaps(found.progress)[0]
                found.progress = self._with(found.progress, Window(entries[-1].at + INSTANT, gap.until))
            found.progress = replace(found.progress, place=place)
            if not whole:
                return
            if part.ended and not self.pages.empty:  # a list without any report may be a fault: nothing is remembered
                gaps = self.gaps(found.progress)
                for gap in gaps[:1] if self.pages.in_order else gaps:
                    found.progress = self._with(found.progress, gap)
                found.progress, self._parts = replace(found.progress, place=None), None

    def _with(self, progress: Progress, window: Window) -> Progress:
        if window.since >= window.until:
            return progress
        details = self.details or self._carried
        return replace(progress, ledger=progress.ledger.add(window, details=details))


def _window(wanted: Wanted, unfinished: Mapping[str, Any] | None, now: datetime) -> tuple[Window, bool]:
    """The window that is asked for, and whether it is one that was begun and not finished."""
    if unfinished and wanted.details == unfinished["details"] and wanted.again <= unfinished["again"]:
        begun = Window.from_state(unfinished)
        if wanted.since == begun.since and wanted.until in (None, begun.until):
            return begun, True
    return check(Window(wanted.since, wanted.until or now)), False
