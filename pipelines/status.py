"""What a destination knows of its last run: for people in the morning, and for a monitor that wants an exit code.

clariBI is not called and no key is needed. Looking changes nothing, neither there nor in the folder of a run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dlt

from destinations.duckdb_file import wait_until_free
from pipelines.claribi.schema import TABLES
from pipelines.claribi_pipeline import DATASET, duckdb_file, is_missing, make_pipeline, place_of, state_of
from pipelines.destination_rows import DestinationRows
from pipelines.watch.tables import WATCHED

LOCK_WAIT_S = 10.0
"""A run holds a DuckDB file while it loads, which is short; `status` waits so long for it."""
TOO_OLD = 6


@dataclass(frozen=True)
class Status:
    """What there is; times are UTC, ISO 8601."""

    destination: str
    place: str
    organization: dict[str, Any] | None = None
    """`id`, `name` and `plan`."""
    dialect: dict[str, str] | None = None
    last_run: dict[str, str] | None = None
    """The last run that was loaded: `run_id`, `outcome`, `at`."""
    last_good_run: dict[str, str] | None = None
    """The last one that could read everything."""
    age_h: float | None = None
    """Hours since the last good run."""
    max_age_h: float | None = None
    tables: dict[str, int] = field(default_factory=dict)
    """Rows by table, those marked as deleted included."""

    @property
    def problem(self) -> str:
        """Why the destination is not as fresh as was asked for, as a sentence; empty where it is."""
        if self.max_age_h is None:
            return ""
        if self.age_h is None:
            return "There never was a good run. Start one: claribi-export run"
        if self.age_h > self.max_age_h:
            return (
                f"The last good run was {self.age_h:,.1f} hours ago, which is more than {self.max_age_h:g}. "
                "Look at the schedule and at the output of the runs since."
            )
        return ""

    @property
    def exit_code(self) -> int:
        """6 where there is a problem, else 0."""
        return TOO_OLD if self.problem else 0

    def to_json(self) -> dict[str, Any]:
        """Give it in the shape of `status --json`."""
        return {"exit_code": self.exit_code, "problem": self.problem or None, **asdict(self)}


def look_at(destination: str, max_age_h: float | None = None) -> Status:
    """Read the state and the tables' sizes from the destination."""
    with looked_into(destination) as pipeline:
        place = place_of(pipeline.destination)
        held, state = DestinationRows(pipeline), state_of(pipeline)
        counts = held.counts([*TABLES, *(table.name for table in WATCHED)])
        return Status(
            destination,
            place,
            organization=_organization(held, state.get("organization")),
            dialect=state.get("dialect"),
            last_run=state.get("last_run"),
            last_good_run=state.get("last_good_run"),
            age_h=_age_h(state.get("last_good_run")),
            max_age_h=max_age_h,
            tables={name: count for name, count in counts.items() if count is not None},
        )


@contextmanager
def looked_into(destination: str) -> Iterator[dlt.Pipeline]:
    """Open a destination for looking alone; one that is not there yet knows nothing, and is not made by it."""
    with TemporaryDirectory(prefix="claribi-export-") as folder:
        pipeline = make_pipeline(destination, folder=Path(folder))
        if not is_missing(pipeline):
            if destination == "duckdb":
                wait_until_free(duckdb_file(), DATASET, LOCK_WAIT_S)
            pipeline.sync_destination()
        yield pipeline


def _organization(held: DestinationRows, known: str | None) -> dict[str, Any] | None:
    """The organisation that the destination belongs to."""
    if known is None:
        return None
    reader = held.read("organization")
    rows: list[dict[str, Any]] = reader.read_all().to_pylist() if reader else []
    found = next((row for row in rows if row["id"] == known), {})
    return {"id": known, "name": found.get("name"), "plan": found.get("plan")}


def _age_h(run: dict[str, str] | None) -> float | None:
    if run is None:
        return None
    return round((datetime.now(UTC) - datetime.fromisoformat(run["at"])).total_seconds() / 3600, 3)
