"""Whether a destination could be written to now; nothing is left in it."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import cast

import dlt

from destinations.duckdb_file import wait_until_free
from destinations.errors import DestinationError, StoreUnusable
from pipelines.checks import Check
from pipelines.claribi_pipeline import DATASET, make_pipeline, place_of

LOCK_WAIT_S = 3.0
"""Somebody is waiting for the answer; a run waits longer."""


def check_destination(destination: str) -> Check:
    """Check one destination by its name; raises what a run would raise."""
    with TemporaryDirectory(prefix="claribi-export-") as folder:
        pipeline = make_pipeline(destination, folder=Path(folder))
        return CHECKS.get(destination, _answers)(pipeline, place_of(pipeline.destination))


def _duckdb(_: dlt.Pipeline, place: str) -> Check:
    wait_until_free(Path(place), DATASET, LOCK_WAIT_S)
    return _writable(place)


def _csv_files(_: dlt.Pipeline, place: str) -> Check:
    folder = Path(place)
    there = next(one for one in (folder, *folder.parents) if one.exists())
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        raise StoreUnusable(folder, f"{error.strerror}.") from None
    return _writable(place)


def _google_sheets(pipeline: dlt.Pipeline, place: str) -> Check:
    from destinations.google_sheets import GoogleSheetsConfiguration, diagnose

    config = pipeline.destination.configuration(GoogleSheetsConfiguration())
    findings = diagnose(cast("GoogleSheetsConfiguration", config))
    facts = {"place": place, "findings": [finding._asdict() for finding in findings]}
    if failed := [finding.text for finding in findings if not finding.ok]:
        return Check("destination", "fail", " ".join(failed), exit_code=DestinationError.exit_code, facts=facts)
    return Check("destination", "ok", " ".join(finding.text for finding in findings), facts=facts)


def _answers(pipeline: dlt.Pipeline, place: str) -> Check:
    """Of any other only that it can be reached and read: writing to it would leave something there."""
    pipeline.sync_destination()
    says = f"{place} answers; whether it can be written to, the first run tells."
    return Check("destination", "ok", says, facts={"place": place})


def _writable(place: str) -> Check:
    says = f"{place} can be written to." if Path(place).exists() else f"{place} is not there yet; a run makes it."
    return Check("destination", "ok", says, facts={"place": place})


CHECKS: dict[str, Callable[[dlt.Pipeline, str], Check]] = {
    "duckdb": _duckdb,
    "csv_files": _csv_files,
    "google_sheets": _google_sheets,
}
"""How to look at a destination where more can be said than that it answers."""
