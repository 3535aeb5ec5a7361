"""One run as a nightly job needs it: export, look for problems, tell people, and tell a monitor that it ran.

What follows the load never undoes it: whatever goes wrong there is said in the report, changes the exit code, and is
tried again by the next run.
"""

import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pipelines.alone import alone
from pipelines.claribi.errors import AlreadyRunning, LookFailed, NothingRead
from pipelines.claribi.settings import load_settings
from pipelines.claribi_pipeline import explain, export, is_missing, make_pipeline, synchronise
from pipelines.redaction import without_secrets
from pipelines.report import Report
from pipelines.watch.message import FINE, RunWord
from pipelines.watch.notify import Beat, heartbeat
from pipelines.watch.notify_settings import NotifySettings, load_notify_settings
from pipelines.watch.settings import WatchSettings, load_watch_settings
from pipelines.watch.watched import Watched
from pipelines.watching import tell, watch

LIVE: Final = ("usage", "data_sources")
"""What `watch` reads: each is one call or two."""
MOST_SENTENCES: Final = 5
"""So many of a report's notes go with the message of a run that had a problem."""


def run_nightly(
    destination: str, *, rules: bool = True, dry_run: bool = False, overwrite: bool = False, **options: Any
) -> Report:
    """Run once, look at what is held then, and tell; `options` are those of `export`.

    Without `rules` nothing is looked for, but a failure is told all the same. A dry run tells nobody anything. What a
    user can act on before the run begins is raised, as a bug is; people are told of both.
    """
    if dry_run:
        with alone(destination):
            return export(load_settings(), destination, dry_run=True, **options)
    notify = load_notify_settings()
    late = _beat(notify, "start")
    try:
        with alone(destination):
            settings = load_watch_settings()
            report = export(load_settings(), destination, overwrite=overwrite, **options)
            report.notes += late
            follow(report, settings, notify, rules=rules, overwrite=overwrite)
    except AlreadyRunning:
        raise  # the other run tells what there is to tell, to people and to the monitor
    except Exception as error:
        reason, exit_code = _reason(error, destination)
        tell(notify, "", RunWord("", "failed", exit_code, (reason,)))
        _beat(notify, "failure", reason)
        raise
    ended: Beat = "success" if report.exit_code in FINE else "failure"
    report.notes += _beat(notify, ended, "\n".join(_word(report).sentences))
    return report


def follow(
    report: Report, settings: WatchSettings, notify: NotifySettings, *, rules: bool = True, overwrite: bool = False
) -> None:
    """Look and tell after a run; the report takes in what came of it."""
    word = _word(report)
    if report.outcome == "failed":
        report.notes += map(str, tell(notify, "", word).failures)
        return
    try:
        pipeline = make_pipeline(report.destination, overwrite=overwrite)
        seen = watch(pipeline, settings, notify, word, rules=rules, deliver=True)
    except Exception as error:  # noqa: BLE001 - the load is in, and the report must say so
        reason, exit_code = _reason(error, report.destination)
        _take_in(report, exit_code, [f"The run is loaded, but looking for problems failed. {reason}"])
        return
    report.watch = seen if rules else None
    _take_in(report, seen.exit_code if seen.failed else 0, seen.notes)


def look_now(destination: str, **options: Any) -> Watched:
    """Read the usage and the data sources, and look; reports and dashboards count as they were.

    Raises `LookFailed` when nothing could be read. A data source or the usage alone that could not be read is named in
    the answer.
    """
    settings, notify = load_watch_settings(), load_notify_settings()
    with alone(destination):
        report = export(load_settings(), destination, only=LIVE, trigger="watch", **options)
        if report.outcome == "failed":
            raise LookFailed(report.notes[-1], report.exit_code)
        seen = watch(make_pipeline(destination), settings, notify)
    return replace(seen, notes=[*report.notes, *seen.notes])


def look_again(destination: str) -> Watched:
    """Look at what the destination holds, as of its last run, without a call to clariBI."""
    settings, notify = load_watch_settings(), load_notify_settings()
    pipeline = make_pipeline(destination)
    if is_missing(pipeline):
        raise NothingRead
    with alone(destination):
        notes = synchronise(pipeline)
        seen = watch(pipeline, settings, notify)
    return replace(seen, notes=[*notes, *seen.notes])


def _take_in(report: Report, exit_code: int, notes: list[str]) -> None:
    """What went wrong after the load counts where the run itself was fine."""
    report.notes += map(without_secrets, notes)
    if report.exit_code in FINE and exit_code:
        report.exit_code = exit_code


def _word(report: Report) -> RunWord:
    """The run for a message: what it failed of stands last in its notes."""
    return RunWord(report.run_id, report.outcome, report.exit_code, tuple(reversed(report.notes))[:MOST_SENTENCES])


def _beat(notify: NotifySettings, kind: Beat, text: str = "") -> list[str]:
    failure = heartbeat(notify.heartbeat_url, kind, text) if notify.heartbeat_url else None
    return [str(failure)] if failure else []


def _reason(error: Exception, destination: str) -> tuple[str, int]:
    """What a user can act on, or which bug it is and where; and the exit code."""
    reason = explain(error, destination)
    if reason is not None:
        return without_secrets(str(reason)), reason.exit_code
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}"
    return without_secrets(f"That is a bug, please report it: {type(error).__name__}: {error} ({place})."), 1
