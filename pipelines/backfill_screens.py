"""What a person sees of a backfill: its report, and how it is getting on, with the time that the limit leaves it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from pipelines.backfilling import Sofar
from pipelines.claribi.forecast import seconds_left
from pipelines.report import BackfillReport
from pipelines.screens import PLAIN_EVERY_S, calls_screen, tables_screen

ENDS = {
    "done": ("green", "Done: all of the window has been read."),
    "later": ("yellow", "Not finished; what was read is loaded, and the same command goes on."),
    "refused": ("red", "Refused by clariBI."),
    "failed": ("red", "Failed; what was loaded before stays, and the same command goes on."),
}


def backfill_screen(report: BackfillReport) -> RenderableType:
    """Draw a backfill's report, or what it would cost."""
    colour, sentence = ENDS.get(report.outcome, ENDS["failed"])
    parts: list[RenderableType] = []
    if report.window:
        parts.append(Text(f"Reports created {_told(report.window)}"))
    if report.estimate and report.outcome != "failed":
        parts += _estimate(report.estimate)
        sentence = "Dry run: nothing was loaded."
    if report.tables:
        parts += [Text(), tables_screen(report.tables), Text()]
    parts.append(calls_screen(report))
    if "reports" in report.walks:
        walked = report.walks["reports"]["pages"]
        parts.append(Text(f"reports: {walked:,} page{'s' * (walked != 1)}, {report.details:,} details"))
    parts += [Text(f"left: {_told(one)}") for one in report.left if not report.estimate]
    parts += [Text(f"note: {note}", style=colour) for note in report.notes]
    return Group(*parts, Text(), Text(sentence, style=f"bold {colour}"))


@contextmanager
def backfill_progress(
    console: Console, reserve: float, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Callable[[Sofar], None]]:
    """Show how far it is and how long the rest takes: a live line on a terminal, else a plain one now and then."""
    if not console.is_terminal:
        yield _plain(console, reserve, now)
        return
    columns = (SpinnerColumn(), TextColumn("reports"), BarColumn(bar_width=24), TextColumn("{task.fields[told]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("reports", total=None, told="")
        began = now()

        def show(sofar: Sofar) -> None:
            left = reports_left(sofar)
            total = None if left is None else sofar.seen + left
            bar.update(task, completed=sofar.seen, total=total, told=sofar_told(sofar, reserve, began, now()))

        yield show


def _plain(console: Console, reserve: float, now: Callable[[], datetime]) -> Callable[[Sofar], None]:
    began, last = now(), time.monotonic()

    def tell(sofar: Sofar) -> None:
        nonlocal last
        if sofar.waiting_until or time.monotonic() - last >= PLAIN_EVERY_S:
            last = time.monotonic()
            console.print(f"reports: {sofar_told(sofar, reserve, began, now())}", soft_wrap=True)

    return tell


def sofar_told(sofar: Sofar, reserve: float, began: datetime, now: datetime) -> str:
    """How far a backfill is, in words."""
    parts = [f"{sofar.seen:,} read", f"{sofar.calls.total:,} calls"]
    left = reports_left(sofar)
    if left is not None:
        reading_s = max(0.0, (now - began).total_seconds() - sofar.calls.waited_s)
        per_report = 1 + 0.01 if sofar.backfill.asks else 0.01
        rest_s = seconds_left(
            round(left * per_report), sofar.calls, reserve, now, reading_s / max(1, sofar.calls.total)
        )
        parts.append(f"about {left:,} left, {_span(rest_s)}")
    if sofar.waiting_until:
        parts.append(f"waiting for the limit until {sofar.waiting_until:%H:%M:%S} UTC")
    return ", ".join(parts)


def reports_left(sofar: Sofar) -> int | None:
    """About how many reports of the window are left: as dense as those that were read, and not more than there are."""
    gaps, window = sofar.backfill.gaps(sofar.backfill.progress), sofar.backfill.window
    rest = sum((gap.until - gap.since for gap in gaps), timedelta())
    read = window.until - window.since - rest
    most = sofar.backfill.left
    if not gaps:
        return 0
    if not (sofar.seen and read):
        return most
    by_density = round(sofar.seen * (rest / read))
    return by_density if most is None else min(most, by_density)


def _estimate(estimate: dict[str, Any]) -> list[RenderableType]:
    hours, per_hour = estimate["hours"], estimate["per_hour"]
    limit = "the limit is not told" if hours is None else f"{hours:,.1f} hours at {per_hour:,} calls an hour"
    return [
        Text(f"{estimate['reports']:,} reports: {estimate['pages']:,} pages and {estimate['details']:,} details"),
        Text(f"{estimate['calls']:,} calls, {limit}"),
    ]


def _told(window: dict[str, str]) -> str:
    return f"from {window['since'][:19].replace('T', ' ')} to before {window['until'][:19].replace('T', ' ')} UTC"


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
