"""What a person sees of the problems that were found: pure functions from findings to things that rich can draw."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from pipelines.watch.watched import Problem, Watched

COLOURS = {"critical": "bold red", "warning": "yellow"}
MOST_LINES = 8
"""Problems that are shown after a run; all of them are in the table alerts."""


def watched_screen(seen: Watched) -> RenderableType:
    """Draw every problem with its text, what is over, and what could not be looked at."""
    parts: list[RenderableType] = [Text(f"As of {seen.looked_at.replace('T', ' ').removesuffix('Z')} UTC", style="dim")]
    for problem in seen.problems:
        parts += [Text(), _line(problem, seen), Text(problem.text)]
    parts += [Text(), *_rest(seen)]
    return Group(*parts)


def problems_screen(seen: Watched) -> RenderableType:
    """Draw the problems after a run: a line for each, the worst first, and no more than fit."""
    shown = seen.problems[:MOST_LINES]
    parts: list[RenderableType] = [_line(problem, seen) for problem in shown]
    if more := len(seen.problems) - len(shown):
        parts.append(Text(f"and {more:,} more: claribi-export watch --from-destination", style="dim"))
    return Group(*parts, *_rest(seen, notes=False))


def digest_screen(file: Path, headline: str) -> RenderableType:
    """Draw where the page is and what it says first."""
    return Group(Text(f"wrote {file}"), Text(headline, style="bold"))


def _rest(seen: Watched, *, notes: bool = True) -> Iterator[RenderableType]:
    for problem in seen.cleared:
        yield Text(f"no longer so: {problem.title}", style="green")
    for note in seen.notes if notes else ():
        yield Text(f"note: {note}", style="yellow")
    if seen.left_out:
        yield Text(f"Not looked at, as they were found before: {', '.join(map(_words, seen.left_out))}.", style="dim")
    if seen.not_read:
        yield Text(f"Could not be read, so nobody knows: {', '.join(map(_words, seen.not_read))}.", style="red")
    yield _verdict(seen)


def _verdict(seen: Watched) -> Text:
    new = sum(seen.is_new(problem) for problem in seen.problems)
    if seen.problems:
        count = len(seen.problems)
        return Text(f"{count:,} problem{'s' * (count != 1)}, {new or 'none'} of them new.", style="bold yellow")
    return Text("No problem known.", style="bold yellow") if seen.not_read else Text("All well.", style="bold green")


def _line(problem: Problem, seen: Watched) -> Text:
    text = Text("new  " if seen.is_new(problem) else "     ", style="bold")
    text.append(f"{problem.severity:<9}", style=COLOURS.get(problem.severity, ""))
    text.append(problem.title, style="default")
    return text


def _words(name: str) -> str:
    return name.replace("_", " ")
