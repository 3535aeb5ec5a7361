"""What a backfill will cost, before it has been read, and how long the rest of it takes. Pure but for `forecast`."""

import math
from dataclasses import dataclass
from datetime import datetime

from pipelines.claribi.backfill import Backfill
from pipelines.claribi.backfill_pages import Entry
from pipelines.claribi.backfill_rows import held_whole, lacking
from pipelines.claribi.client import Calls
from pipelines.claribi.incremental import OPEN
from pipelines.claribi.run import Run
from pipelines.claribi.windows import Window

HOUR_S = 3600.0


@dataclass(frozen=True)
class Forecast:
    """The calls of a backfill, but for the few that find the window and the account out."""

    reports: int
    pages: int
    details: int
    per_hour: int | None
    """Calls that may be made in an hour, less the reserve; None where clariBI does not tell its limit."""

    @property
    def calls(self) -> int:
        """Of pages and of details."""
        return self.pages + self.details

    @property
    def hours(self) -> float | None:
        """At this limit."""
        return None if not self.per_hour else round(self.calls / self.per_hour, 2)


def forecast(run: Run, backfill: Backfill) -> Forecast:
    """Count what is left of the window: by looking for its ends where the list allows, else page by page."""
    gaps = backfill.gaps(backfill.progress)
    if not gaps:
        return Forecast(0, 0, 0, per_hour(run.calls, run.settings.reserve))
    backfill.pages.learn()
    if backfill.pages.empty:
        return Forecast(0, 0, 0, per_hour(run.calls, run.settings.reserve))
    asks = backfill.asks
    if backfill.pages.ranked:
        reports, pages = _between_ends(backfill, gaps)
        held = held_whole(run.held, gaps) if asks and not backfill.again else 0
        details = max(0, reports - held) if asks else 0
    else:
        entries, pages = _page_by_page(backfill, gaps)
        closed = [entry.item for entry in entries if entry.item.get("status") not in OPEN]
        reports = len(entries)
        details = len(closed if backfill.again else lacking(run, closed)) if asks else 0
    return Forecast(reports, pages, details, per_hour(run.calls, run.settings.reserve))


def per_hour(calls: Calls, reserve: float) -> int | None:
    """How many calls may be made in an hour; None where clariBI does not tell its limit."""
    return None if calls.limit is None else max(1, math.floor(calls.limit - reserve * calls.limit))


def seconds_left(calls: int, so_far: Calls, reserve: float, now: datetime, per_call_s: float) -> float:
    """How long so many more calls take: those of this window at their own speed, the others when the limit lets them.

    `per_call_s` is how long a call has taken so far, waits left out.
    """
    hourly = per_hour(so_far, reserve)
    if hourly is None or so_far.limit is None:
        return calls * per_call_s
    left = so_far.left_in_window if so_far.left_in_window is not None else so_far.limit
    usable = max(0, math.floor(left - reserve * so_far.limit))
    if calls <= usable:
        return calls * per_call_s
    until_reset = (so_far.reset_at - now).total_seconds() if so_far.reset_at else HOUR_S
    windows, rest = divmod(calls - usable - 1, hourly)
    return max(0.0, until_reset) + windows * HOUR_S + (rest + 1) * per_call_s


def _between_ends(backfill: Backfill, gaps: tuple[Window, ...]) -> tuple[int, int]:
    """Reports and pages of the gaps, of a list of which any page can be asked for."""
    reports = pages = 0
    timeline = backfill.pages.timeline()
    for gap in gaps:
        newest, older = timeline.seek(gap.until), timeline.seek(gap.since)
        if newest is None:
            continue
        reports += newest.before(gap.until) - (older.before(gap.since) if older else 0)
        pages += math.ceil((newest.above - (older.below if older else 0)) / timeline.rows)
    return reports, pages


def _page_by_page(backfill: Backfill, gaps: tuple[Window, ...]) -> tuple[list[Entry], int]:
    """The reports of the gaps, and how many pages were read for them."""
    entries: list[Entry] = []
    pages = 0
    for some in [[gap] for gap in gaps] if backfill.pages.in_order else [gaps]:
        for part in backfill.pages.of(some, None, 4):
            entries += part.entries
            pages += 1
            if part.ended:
                break
    return entries, pages
