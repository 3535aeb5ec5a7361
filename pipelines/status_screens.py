"""What a person sees of the commands besides `run`: pure functions from findings to things that rich can draw."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.checks import Check
from pipelines.doctor import Diagnosis
from pipelines.status import Status

if TYPE_CHECKING:
    from pipelines.sandbox import Running

MARKS = {"ok": ("green", "ok"), "warn": ("yellow", "warn"), "fail": ("bold red", "FAIL"), "skip": ("dim", "-")}


def init_screen(written: list[Path], overruled: list[str]) -> RenderableType:
    """Draw which files were written, what goes before them, and the next step."""
    lines = [Text(f"wrote {file}") for file in written]
    lines += [Text(f"{name} is set in the environment and goes before it.", style="yellow") for name in overruled]
    return Group(*lines, Text("Next: claribi-export doctor", style="bold"))


def doctor_screen(diagnosis: Diagnosis) -> RenderableType:
    """Draw the findings, each with its next step, then the fields that were seen."""
    screen = _columns()
    for check in diagnosis.checks:
        colour, mark = MARKS[check.result]
        says = Text(check.says, style="dim" if check.result == "skip" else "")
        if check.next_step:
            says.append(f" {check.next_step}", style="yellow")
        screen.add_row(Text(mark, style=colour), check.name, says)
    parts: list[RenderableType] = [screen]
    if fields := [line for check in diagnosis.checks for line in _fields(check)]:
        parts += [Text(), Text("Fields seen (names and types; no values are shown)", style="bold"), *fields]
    return Group(*parts, Text(), _verdict(diagnosis))


def status_screen(status: Status) -> RenderableType:
    """Draw what the destination holds and how old it is."""
    facts = _columns()
    facts.add_row("destination", f"{status.destination}: {status.place}")
    if status.organization:
        organization = status.organization
        plan = f", plan {organization['plan']}" if organization["plan"] else ""
        facts.add_row("organisation", f"{organization['name'] or organization['id']}{plan}")
    if status.dialect:
        facts.add_row("dialect", f"{status.dialect['prefix']} with {status.dialect['scheme']}")
    facts.add_row("last run", _run(status.last_run))
    facts.add_row("last good run", _run(status.last_good_run, status.age_h))
    parts: list[RenderableType] = [facts]
    if status.tables:
        parts += [Text(), _tables(status.tables)]
    if status.problem:
        parts += [Text(), Text(status.problem, style="bold red")]
    return Group(*parts)


NEXT = {
    "github": "Next: commit and push them, and make the secret SOURCES__CLARIBI__API_KEY in the repository's settings.",
    "systemd": "Next: systemctl daemon-reload && systemctl enable --now claribi-export.timer",
}


def schedule_screen(way: str, written: list[Path], texts: dict[str, str]) -> RenderableType:
    """Draw which files were written and the next step; or the texts alone, to be piped on."""
    if written:
        return Group(*(Text(f"wrote {file}") for file in written), Text(NEXT[way], style="bold"))
    parts = [text if len(texts) == 1 else f"# {name}\n{text}" for name, text in texts.items()]
    return "\n".join(parts)


def sandbox_screen(running: "Running") -> RenderableType:
    """Draw where the sandbox is and how to export it."""
    spoken = running.sandbox.spoken
    facts = _columns()
    facts.add_row("URL", running.url)
    facts.add_row("dialect", f"{spoken.name}: {spoken.prefix} with {spoken.key_scheme}")
    facts.add_row("key", running.sandbox.account.key)
    lines = [
        f"export SOURCES__CLARIBI__BASE_URL={running.url}",
        f"export SOURCES__CLARIBI__API_KEY={running.sandbox.account.key}",
        "claribi-export run",
    ]
    return Group(
        facts,
        Text(),
        Text("In another terminal:"),
        *(Text(f"  {line}", style="bold", no_wrap=True, overflow="ignore") for line in lines),
        Text(),
        Text("Ctrl-C ends it.", style="dim"),
    )


def _fields(check: Check) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for fact, title in (("fields", check.name), ("detail_fields", f"{check.name}, in the detail alone")):
        seen = dict(check.facts.get(fact) or {})
        if fact == "detail_fields":
            seen = {name: kind for name, kind in seen.items() if name not in check.facts["fields"]}
        if seen:
            text = Text(f"{title}: ", style="cyan")
            text.append(", ".join(f"{name} {kind}" for name, kind in seen.items()), style="default")
            lines.append(text)
    return lines


def _verdict(diagnosis: Diagnosis) -> Text:
    failed = sum(check.result == "fail" for check in diagnosis.checks)
    warned = sum(check.result == "warn" for check in diagnosis.checks)
    if failed:
        return Text(f"{failed} of {len(diagnosis.checks)} checks failed.", style="bold red")
    if warned:
        return Text(f"Ready to run, with {warned} warning{'s' * (warned != 1)}.", style="bold yellow")
    return Text("Ready to run: claribi-export run", style="bold green")


def _run(run: dict[str, str] | None, age_h: float | None = None) -> str:
    if run is None:
        return "never"
    age = "" if age_h is None else f", {_ago(age_h)}"
    return f"{run['at'].replace('T', ' ').removesuffix('+00:00')} UTC{age}, {run['outcome']} ({run['run_id']})"


def _ago(age_h: float) -> str:
    return f"{age_h:,.1f} hours ago" if age_h >= 2 else f"{age_h * 60:.0f} minutes ago"


def _tables(tables: dict[str, int]) -> Table:
    screen = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    screen.add_column("table")
    screen.add_column("rows", justify="right")
    for name, rows in tables.items():
        screen.add_row(name, f"{rows:,}")
    return screen


def _columns() -> Table:
    return Table.grid(padding=(0, 2, 0, 0))
