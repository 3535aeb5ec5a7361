"""The command `claribi-export`: words and exit codes. The only module that prints.

Heavy modules are imported by the command that needs them, so that `--help` answers at once.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipelines.report import Report

app = typer.Typer(
    name="claribi-export",
    help="Copies a clariBI organisation into DuckDB, Google Sheets or CSV: every night, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help takes a third of the time, and looks the same in a log.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, everything else on stderr.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--destination",
        help="duckdb, csv_files, google_sheets or any dlt destination; EXPORT__DESTINATION if not given.",
        show_default=False,
    ),
]
Summary = Annotated[
    Path | None,
    typer.Option(
        "--summary", help="Also append the report to this file, as Markdown: $GITHUB_STEP_SUMMARY.", show_default=False
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace CSV files that somebody has edited.")]


class Out:
    """Where a command speaks: its result on stdout, all else on stderr."""

    def __init__(self, *, as_json: bool) -> None:
        from rich.console import Console

        self.as_json = as_json
        self.result = Console(highlight=False)
        self.notes = Console(stderr=True, highlight=False)

    def show(self, document: dict[str, Any], screen: "Callable[[], RenderableType]") -> None:
        """Print the result: the JSON document, or what a person sees; a plain text as it is, to be piped on."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
        elif isinstance(drawn := screen(), str):
            sys.stdout.write(drawn)
        else:
            self.result.print(drawn)


def _say_version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"claribi-export {version('claribi-export')}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def init(destination: Where = None, as_json: Json = False) -> None:
    """Ask for the API key and store it in .dlt/secrets.toml, the destination in .dlt/config.toml.

    Without a terminal the key is the first line of standard input.
    """
    with _speaking(as_json=as_json) as out:
        asking = sys.stdin.isatty()
        if asking:
            out.notes.print("A read-only API key is made in clariBI under Settings > Developer > API Keys.")
            key = typer.prompt("API key (not shown)", hide_input=True, err=True)
            destination = destination or typer.prompt("Destination", default="duckdb", err=True)
        else:
            key = sys.stdin.readline()
        from pipelines.setting_up import overruled, store_settings
        from pipelines.status_screens import init_screen

        destination = destination or "duckdb"
        written = store_settings(key, destination)
        document = {"written": [str(file) for file in written], "destination": destination, "overruled": overruled()}
        out.show(document, lambda: init_screen(written, overruled()))


@app.command()
def doctor(destination: Where = None, as_json: Json = False) -> None:
    """Say what the key may do, how the account speaks, and whether the destination can be written to."""
    with _speaking(as_json=as_json) as out:
        from pipelines.claribi_pipeline import default_destination
        from pipelines.doctor import examine
        from pipelines.status_screens import doctor_screen

        diagnosis = examine(destination or default_destination())
        out.show(diagnosis.to_json(), lambda: doctor_screen(diagnosis))
        raise typer.Exit(diagnosis.exit_code)


@app.command()
def run(
    destination: Where = None,
    only: Annotated[
        str | None, typer.Option(help="Read these alone, such as reports,usage.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything, load nothing, show what would change.")
    ] = False,
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="Believe it when a large part of a list is gone.")
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Read the whole list of reports, also when that is not due yet.")
    ] = False,
    switch_dialect: Annotated[
        bool, typer.Option("--switch-dialect", help="Find out anew how the account speaks; ids may change.")
    ] = False,
    overwrite: Overwrite = False,
    no_watch: Annotated[
        bool, typer.Option("--no-watch", help="Do not look for problems afterwards; a failed run is still told.")
    ] = False,
    summary: Summary = None,
    as_json: Json = False,
) -> None:
    """Export once: load what is new or changed, mark what is gone; then look for problems and tell people.

    Problems that are found do not change the exit code; a notice that does not arrive does (1).
    """
    with _speaking(as_json=as_json) as out:
        from pipelines.claribi_pipeline import default_destination
        from pipelines.nightly import run_nightly
        from pipelines.screens import progress, report_screen

        with progress(out.notes) as on_progress:
            report = run_nightly(
                destination or default_destination(),
                rules=not no_watch,
                only=[name.strip() for name in only.split(",")] if only else (),
                dry_run=dry_run,
                overwrite=overwrite,
                trigger=os.environ.get("GITHUB_EVENT_NAME", "manual"),
                allow_shrink=allow_shrink,
                switch_dialect=switch_dialect,
                sweep=sweep,
                on_progress=on_progress,
            )
        out.show(report.to_json(), lambda: report_screen(report, dry_run=dry_run))
        _append(summary, report)
        raise typer.Exit(report.exit_code)


@app.command()
def backfill(
    since: Annotated[str, typer.Option(help="A date or time, UTC: reports created from then on.")],
    until: Annotated[
        str | None, typer.Option(help="Reports created before then; now, if not given.", show_default=False)
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also read the detail of each report, where the list leaves it out.")
    ] = False,
    max_requests: Annotated[
        int | None, typer.Option(min=1, help="Make so many calls at most; go on another time.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also read what an earlier backfill has read.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Load nothing; say how many calls and hours it would take.")
    ] = False,
    destination: Where = None,
    summary: Summary = None,
    as_json: Json = False,
) -> None:
    """Read the reports of a time, however many; stopped anywhere, the same command goes on from there."""
    with _speaking(as_json=as_json) as out:
        from pipelines.backfill_screens import backfill_progress, backfill_screen
        from pipelines.backfilling import backfill
        from pipelines.claribi.backfill import Wanted
        from pipelines.claribi.settings import load_settings
        from pipelines.claribi.windows import read_moment
        from pipelines.claribi_pipeline import default_destination

        settings = load_settings()
        wanted = Wanted(read_moment("--since", since), read_moment("--until", until) if until else None, details, again)
        with backfill_progress(out.notes, settings.reserve) as on_progress:
            report = backfill(
                settings,
                destination or default_destination(),
                wanted,
                max_requests=max_requests,
                dry_run=dry_run,
                on_progress=on_progress,
            )
        out.show(report.to_json(), lambda: backfill_screen(report))
        _append(summary, report)
        raise typer.Exit(report.exit_code)


@app.command()
def watch(
    destination: Where = None,
    from_destination: Annotated[
        bool, typer.Option("--from-destination", help="Judge what the last run has loaded; no call to clariBI.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look for problems now, and tell people of new ones: usage, data sources, alerts.

    Reads the usage and the data sources into the destination and judges them. Reports and dashboards, which take many
    calls, count as the last run has found them. Exit codes: 0 all well, 6 problems, 4 it could not be told.
    """
    with _speaking(as_json=as_json) as out:
        from pipelines.claribi_pipeline import default_destination
        from pipelines.nightly import look_again, look_now
        from pipelines.screens import progress
        from pipelines.watch_screens import watched_screen

        where = destination or default_destination()
        if from_destination:
            seen = look_again(where)
        else:
            with progress(out.notes) as on_progress:
                seen = look_now(where, on_progress=on_progress)
        out.show(seen.to_json(), lambda: watched_screen(seen))
        raise typer.Exit(seen.exit_code)


@app.command()
def status(
    destination: Where = None,
    max_age: Annotated[
        float | None,
        typer.Option(help="Exit with 6 when the last good run is older than this, hours.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the last run, its age and the tables, as the destination knows them; no call to clariBI."""
    with _speaking(as_json=as_json) as out:
        from pipelines.claribi_pipeline import default_destination
        from pipelines.status import look_at
        from pipelines.status_screens import status_screen

        found = look_at(destination or default_destination(), max_age_h=max_age)
        out.show(found.to_json(), lambda: status_screen(found))
        raise typer.Exit(found.exit_code)


@app.command()
def digest(
    destination: Where = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("digest.html"),
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Write one page of what the destination knows: problems, usage, sources, reports, runs; no call to clariBI.

    One HTML file that needs nothing else: keep it, print it, or send it on.
    """
    with _speaking(as_json=as_json) as out:
        from pipelines.claribi_pipeline import default_destination
        from pipelines.digest_file import write_digest
        from pipelines.watch_screens import digest_screen

        headline = write_digest(destination or default_destination(), output)
        if show:
            typer.launch(output.absolute().as_uri())
        out.show({"file": str(output), "headline": headline}, lambda: digest_screen(output, headline))


@app.command()
def schedule(
    way: Annotated[Literal["github", "cron", "systemd"], typer.Argument(help="What is to start the runs.")],
    output: Annotated[
        Path | None, typer.Option(help="systemd: write the units into this folder.", show_default=False)
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(help="github: what pip is to install there; if not given, what is here.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that somebody has edited.")] = False,
    as_json: Json = False,
) -> None:
    """Have a run every night: write a workflow of GitHub's, or give a crontab line or systemd units.

    For the current folder, the one with .dlt in it, and for this very installation of claribi-export.
    """
    with _speaking(as_json=as_json) as out:
        from pipelines.schedule_files import is_of_this_machine, texts, write_units, write_workflow
        from pipelines.status_screens import schedule_screen

        written: list[Path] = []
        if way == "github":
            written = write_workflow(package, overwrite=overwrite)
            if not package and is_of_this_machine():
                out.notes.print(
                    "This claribi-export came from files of this machine. The workflow asks the package index for the "
                    "same version; if it is not there, name where it is with --package."
                )
        elif way == "systemd" and output:
            written = write_units(output, overwrite=overwrite)
        shown = {} if written else texts(way)
        document = {"written": [str(file) for file in written], "texts": shown}
        out.show(document, lambda: schedule_screen(way, written, shown))


@app.command()
def sandbox(
    dialect: Annotated[Literal["kb", "v1", "offset"], typer.Option(help="How it speaks.")] = "kb",
    port: Annotated[int, typer.Option(help="Port on loopback; 0 takes a free one.")] = 8765,
    reports: Annotated[int, typer.Option(help="How many reports there are.")] = 1240,
    nights: Annotated[int, typer.Option(help="How many nights have passed.")] = 0,
    limit: Annotated[int, typer.Option(help="Calls an hour.")] = 5000,
    daily: Annotated[
        int | None, typer.Option(help="Calls a UTC day, beside those an hour.", show_default=False)
    ] = None,
    validators: Annotated[
        Literal["none", "etag", "last-modified"], typer.Option(help="What tells callers that nothing has changed.")
    ] = "none",
    details_in_list: Annotated[
        bool | None,
        typer.Option(
            "--details-in-list/--no-details-in-list",
            help="Whether lists carry what a detail holds; without it as the dialect does.",
            show_default=False,
        ),
    ] = None,
    latency_s: Annotated[float, typer.Option(help="How long each answer takes, seconds.", min=0)] = 0.0,
) -> None:
    """Serve a made-up clariBI on loopback, for trying things out; Ctrl-C ends it."""
    with _speaking() as out:
        from pipelines.claribi.errors import SettingError
        from pipelines.sandbox import run_sandbox
        from pipelines.status_screens import sandbox_screen

        try:
            run_sandbox(
                dialect,
                port,
                reports=reports,
                nights=nights,
                limit=limit,
                daily=daily,
                validators=validators,
                details_in_list=details_in_list,
                latency_s=latency_s,
                on_ready=lambda running: out.result.print(sandbox_screen(running)),
            )
        except OSError as error:
            raise SettingError(
                "--port", f"{port} cannot be used: {os.strerror(error.errno or 0)}. Choose another one."
            ) from None


@app.command()
def demo(
    destination: Annotated[str, typer.Option(help="duckdb or csv_files.")] = "duckdb",
    folder: Annotated[str, typer.Option(help="Where to write.")] = "demo",
    nights: Annotated[int, typer.Option(help="How many nights pass after the first load.")] = 29,
) -> None:
    """Export a made-up organisation for a month of nights, and draw one page of it."""
    with _speaking() as out:
        from pipelines.demo import play
        from pipelines.screens import progress

        with progress(out.notes) as on_progress:
            for scene in play(destination, folder, nights, on_progress):
                out.result.print(scene, soft_wrap=True)


def _append(file: Path | None, report: "Report") -> None:
    """Add a report to the file that `--summary` names."""
    if file is None:
        return
    from pipelines.claribi.errors import SettingError
    from pipelines.summary import summary

    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(summary(report))
    except OSError as error:
        raise SettingError("--summary", f"{file} cannot be written: {error.strerror}. All else is done.") from None


@contextmanager
def _speaking(*, as_json: bool = False) -> "Iterator[Out]":
    """Turn what a user can act on into one sentence and an exit code; redact the key from what is left."""
    out = Out(as_json=as_json)
    try:
        yield out
    except typer.Exit:
        raise
    except (KeyboardInterrupt, typer.Abort):
        out.notes.print("Stopped; nothing was stored.")
        raise typer.Exit(1) from None
    except Exception as error:  # noqa: BLE001 - whatever is no bug has a sentence, a bug its traceback
        from traceback import format_exception

        from pipelines.claribi_pipeline import explain
        from pipelines.redaction import without_secrets

        reason = explain(error, "the destination")
        if reason is None:
            out.notes.print(without_secrets("".join(format_exception(error))), markup=False, end="")
            out.notes.print("This is a bug; please report the lines above. Nothing of this run was loaded.")
            raise typer.Exit(1) from None
        # One line in a log, whole words on a terminal.
        whole = not out.notes.is_terminal
        told = f"error: {without_secrets(str(reason))}"
        out.notes.print(told, style="bold red", markup=False, soft_wrap=whole)
        raise typer.Exit(reason.exit_code) from None


def main() -> None:
    """Start the command."""
    app()
