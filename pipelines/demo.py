"""The first five minutes: a made-up account, exported once and again for a month of nights, and the page of it."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from pipelines.claribi.errors import SettingError
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi_pipeline import DUCKDB_FILE, export
from pipelines.digest_file import write_digest
from pipelines.nightly import follow
from pipelines.report import Report
from pipelines.sandbox import KB, Organisation, Sandbox, serve
from pipelines.screens import OnProgress, report_screen
from pipelines.watch.address import INSTALL
from pipelines.watch.notify_settings import NotifySettings
from pipelines.watch.settings import NEVER, WatchSettings
from pipelines.watch_screens import problems_screen

PLACES = {
    "duckdb": ("DESTINATION__DUCKDB__CREDENTIALS", DUCKDB_FILE),
    "csv_files": ("DESTINATION__CSV_FILES__FOLDER", "exports"),
}
QUERY = "SELECT status, count(*) AS reports FROM claribi.reports GROUP BY status"
WATCH = WatchSettings(stale_after_h=48, stale_after_h_by={"file": NEVER})
"""The made-up sources sync at any time of a day, so that a day between two syncs may be nearly two."""


def play(destination: str, folder: str, nights: int, on_progress: OnProgress) -> Iterator[RenderableType]:
    """Export the sandbox into `folder`, night after night, on its own clock; yields what to show, scene by scene."""
    if destination not in PLACES:
        raise SettingError("--destination", f"is {destination!r}; the demo writes to {' or '.join(PLACES)}.")
    if nights < 1:
        raise SettingError("--nights", f"is {nights}; at least one night has to pass.")
    place = _place(destination, Path(folder))
    sandbox = Sandbox(KB)
    with serve(sandbox) as server:
        settings = ClaribiSettings(api_key=sandbox.account.key, base_url=server.url)
        settings.on_resolved()

        def night() -> Report:
            clock = _clock(sandbox.organisation)
            report = export(settings, destination, trigger="demo", on_progress=on_progress, clock=clock)
            follow(report, WATCH, NotifySettings())
            sandbox.organisation.advance()
            return _good(report)

        yield _heading(f"The first load: a made-up account into {place}")
        yield report_screen(night())
        yield _heading("A night later: only what is new, changed or gone is written")
        yield report_screen(night())
        if nights > 1:
            yield _heading(f"{nights - 1} more nights, which take a minute")
            yield _month([night() for _ in range(nights - 1)])
    yield _heading("Look at it")
    yield _look(destination, place)
    yield _heading("Your own account")
    command = _as_typed("claribi-export")
    yield Text(
        f"  {command} init      asks for your key\n"
        f"  {command} doctor    says what it can read\n"
        f"  {command} run       exports, tonight and every night"
    )


def _clock(organisation: Organisation) -> Callable[[], datetime]:
    """The organisation's time, which goes on while a run takes."""
    began, at = time.monotonic(), organisation.now
    return lambda: at + timedelta(seconds=time.monotonic() - began)


def _month(reports: list[Report]) -> RenderableType:
    """What many nights came to, and what is wrong after the last one."""
    calls = sum(report.requests["total"] for report in reports)
    new = sum(report.tables["reports"]["new"] or 0 for report in reports)
    looks = [report.watch for report in reports if report.watch]
    raised = sum(sum(map(look.is_new, look.problems)) for look in looks)
    over = sum(len(look.cleared) for look in looks)
    told = f"{calls:,} calls, {new:,} new reports; {raised:,} problems were raised and {over:,} are over."
    return Group(Text(told), Text(), problems_screen(looks[-1]))


def _place(destination: str, folder: Path) -> Path:
    """Where the demo writes; emptied first, so that it shows a first load each time."""
    setting, name = PLACES[destination]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[setting] = str(folder / name)
    return folder / name


def _look(destination: str, place: Path) -> Text:
    page = place.with_name("digest.html")
    if find_spec("jinja2") and find_spec("vl_convert"):
        headline = write_digest(destination, page, WATCH)
        first = f"{page} shows all of it on one page ({headline.lower()}); open it in a browser."
    else:
        first = f"{INSTALL} brings what draws all of it on one page."
    if destination == "csv_files":
        return Text(f"{first}\n\n{place}/reports.csv opens in any spreadsheet; the other tables lie beside it.")
    return Text(
        f"{first}\n\n"
        f"{_as_typed('python')} -c \"import duckdb; duckdb.connect('{place}').sql('{QUERY}').show()\"\n\n"
        "or open the file in any DuckDB client; the tables are in the schema claribi."
    )


def _as_typed(program: str) -> str:
    """A program beside the running Python, as one would type it here."""
    file = Path(sys.executable).with_name(program)
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _heading(words: str) -> Text:
    return Text(f"\n{words}\n", style="bold")


def _good(report: Report) -> Report:
    """Let the command fail when the demo does not do what it shows."""
    if report.exit_code:
        raise RuntimeError(f"the demo ended with {report.outcome}: {' '.join(report.notes)}")
    return report
