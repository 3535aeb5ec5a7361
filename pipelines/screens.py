"""What a person sees of a run: pure functions from reports to things that rich can draw, and the progress line."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pipelines.claribi.client import Calls
from pipelines.report import Report
from pipelines.watch_screens import problems_screen

OnProgress = Callable[[str, int, Calls], None]

PLAIN_EVERY_S = 5.0
"""How often a plain line is printed where there is no terminal."""

OUTCOMES = {
    "done": ("green", "Done."),
    "later": ("yellow", "Ended early; what was read is loaded, and the next run goes on."),
    "partial": ("red", "Loaded, but not proven whole."),
    "refused": ("red", "Loaded, but clariBI refused a part."),
    "failed": ("red", "Failed; nothing of this run was loaded."),
}


def report_screen(report: Report, *, dry_run: bool = False) -> RenderableType:
    """Draw a run report: what landed, how it was read, how it ended."""
    colour, sentence = OUTCOMES[report.outcome]
    if dry_run and report.outcome != "failed":
        sentence = "Dry run: nothing was loaded."
    parts: list[RenderableType] = []
    if report.tables:
        parts += [tables_screen(report.tables), Text()]
    parts.append(calls_screen(report))
    parts += [_walk(name, walk) for name, walk in report.walks.items()]
    parts += _reasons(report.requests["why"]) if dry_run else []
    parts += [Text(f"note: {note}", style="yellow" if report.exit_code == 0 else colour) for note in report.notes]
    if report.watch:
        parts += [Text(), problems_screen(report.watch)]
    parts += [Text(), Text(sentence, style=f"bold {colour}")]
    return Group(*parts)


def tables_screen(tables: dict[str, dict[str, int | None]]) -> Table:
    """Draw what happened in each table; a zero is a dot, so that the changes stand out."""
    columns = list(next(iter(tables.values())))
    screen = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    screen.add_column("table")
    for name in columns:
        screen.add_column(name, justify="right")
    for name, counts in tables.items():
        screen.add_row(name, *(_number(counts[column]) for column in columns))
    return screen


@contextmanager
def progress(console: Console) -> Iterator[OnProgress]:
    """Show rows, calls and calls left while a run reads: a live line on a terminal, else a plain one now and then."""
    if not console.is_terminal:
        yield _plain(console)
        return
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("clariBI", total=None, told="")
        yield lambda table, rows, calls: bar.update(task, description=table, told=_told(rows, calls))


def _plain(console: Console) -> OnProgress:
    last = time.monotonic()

    def tell(table: str, rows: int, calls: Calls) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY_S:
            last = time.monotonic()
            console.print(f"{table}: {_told(rows, calls)}")

    return tell


def _told(rows: int, calls: Calls) -> str:
    left = "" if calls.left_in_window is None else f", {calls.left_in_window:,} left this hour"
    return f"{rows:,} rows, {calls.total:,} calls{left}"


def _number(value: int | None) -> Text:
    if not value:
        return Text("·" if value == 0 else "?", style="dim")
    return Text(f"{value:,}")


def calls_screen(report: Report) -> Text:
    """Say how many calls there were, and what is left."""
    requests: dict[str, Any] = report.requests
    spoken = report.dialect
    text = Text(f"{requests['total']:,} calls")
    if requests["retried"]:
        text.append(f", {requests['retried']:,} made again")
    if requests["waited_s"]:
        text.append(f", {requests['waited_s']:,.0f} s waited for the limit")
    if requests["left_in_window"] is not None:
        text.append(f", {requests['left_in_window']:,} left this hour")
    if spoken:
        text.append(f"; the account speaks {spoken['prefix']} with {spoken['scheme']}", style="dim")
    return text


def _reasons(why: dict[str, dict[str, int]]) -> list[RenderableType]:
    """Which calls the lists took, and why."""
    return [
        Text(f"{name}: {calls:,} call{'s' * (calls != 1)} for {reason}", style="dim")
        for name, reasons in why.items()
        for reason, calls in reasons.items()
    ]


def _walk(name: str, walk: dict[str, Any]) -> Text:
    pages = f"{walk['pages']:,} page{'s' * (walk['pages'] != 1)}"
    order = {"newest": ", newest first", "oldest": ", oldest first", "none": ", in no order"}.get(walk["order"], "")
    again = f", read again {walk['rewalked']} time{'s' * (walk['rewalked'] != 1)}" if walk["rewalked"] else ""
    again += ", from where an earlier run had stopped" if walk["resumed"] else ""
    if known := walk["known_before"]:
        return Text(f"{name}: {pages}{order}{again}, up to what is known (before {known[:10]})")
    proof = "proven whole" if walk["complete"] else "not proven whole"
    return Text(f"{name}: {pages}{order}{again}, {proof}", style="" if walk["complete"] else "red")
