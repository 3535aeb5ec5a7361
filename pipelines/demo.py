"""The first five minutes: a made-up account, exported once and again after a night."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from pipelines.claribi.errors import SettingError
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi_pipeline import DUCKDB_FILE, export
from pipelines.report import Report
from pipelines.sandbox import KB, Sandbox, serve
from pipelines.screens import OnProgress, report_screen

PLACES = {
    "duckdb": ("DESTINATION__DUCKDB__CREDENTIALS", DUCKDB_FILE),
    "csv_files": ("DESTINATION__CSV_FILES__FOLDER", "exports"),
}
QUERY = "SELECT status, count(*) AS reports FROM claribi.reports GROUP BY status"


def play(destination: str, folder: str, on_progress: OnProgress) -> Iterator[RenderableType]:
    """Export the sandbox into `folder`, let a night pass, export again; yields what to show, scene by scene."""
    if destination not in PLACES:
        raise SettingError("--destination", f"is {destination!r}; the demo writes to {' or '.join(PLACES)}.")
    place = _place(destination, Path(folder))
    sandbox = Sandbox(KB)
    with serve(sandbox) as server:
        settings = ClaribiSettings(api_key=sandbox.account.key, base_url=server.url)
        settings.on_resolved()
        yield _heading(f"The first load: a made-up account into {place}")
        first = export(settings, destination, trigger="demo", on_progress=on_progress)
        yield report_screen(first)
        sandbox.organisation.advance()
        yield _heading("A night later: only what is new, changed or gone is written")
        second = export(settings, destination, trigger="demo", on_progress=on_progress)
        yield report_screen(second)
    yield _heading("Look at it")
    yield _look(destination, place)
    yield _heading("Your own account")
    command = _as_typed("claribi-export")
    yield Text(
        f"  {command} init      asks for your key\n"
        f"  {command} doctor    says what it can read\n"
        f"  {command} run       exports, tonight and every night"
    )
    _ended_well(first, second)


def _place(destination: str, folder: Path) -> Path:
    """Where the demo writes; emptied first, so that it shows a first load each time."""
    setting, name = PLACES[destination]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[setting] = str(folder / name)
    return folder / name


def _look(destination: str, place: Path) -> Text:
    if destination == "csv_files":
        return Text(f"{place}/reports.csv opens in any spreadsheet; the other tables lie beside it.")
    return Text(
        f"{_as_typed('python')} -c \"import duckdb; duckdb.connect('{place}').sql('{QUERY}').show()\"\n\n"
        "or open the file in any DuckDB client; the tables are in the schema claribi."
    )


def _as_typed(program: str) -> str:
    """A program beside the running Python, as one would type it here."""
    file = Path(sys.executable).with_name(program)
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _heading(words: str) -> Text:
    return Text(f"\n{words}\n", style="bold")


def _ended_well(*reports: Report) -> None:
    """Let the command fail when the demo did not do what it shows."""
    for report in reports:
        if report.exit_code:
            raise RuntimeError(f"the demo ended with {report.outcome}: {' '.join(report.notes)}")
