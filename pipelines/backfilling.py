"""Joins source and destination for a backfill: slice after slice is read, compared, and loaded with its place.

A backfill has a pipeline of its own in the dataset of the nightly runs, so that its state never touches theirs. It
keeps nothing on this machine: all that it knows comes from the destination, so it goes on from any machine.
"""

from collections.abc import Callable, Iterator
from copy import copy
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.pipeline.state_sync import load_pipeline_state_from_destination

from pipelines.alone import alone
from pipelines.claribi.backfill import Backfill, Slice, Wanted
from pipelines.claribi.backfill_rows import batches
from pipelines.claribi.client import SYSTEM_CLOCK, Calls, Clock
from pipelines.claribi.errors import ComeBackLater, Paused, Shrunk
from pipelines.claribi.forecast import Forecast, forecast
from pipelines.claribi.run import Run
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi.shelf import Batch
from pipelines.claribi.snapshots import export_runs, organization
from pipelines.claribi.walk import Proof
from pipelines.claribi.windows import Window, check
from pipelines.claribi_pipeline import (
    explain,
    fewer_collections,
    held_open,
    load,
    make_pipeline,
    no_empty_file,
    pipeline_name,
    source_of,
    stoppable,
    take_schema,
)
from pipelines.destination_rows import DestinationRows
from pipelines.report import BackfillReport, make_backfill_report

SHORT_WAIT_S = 60.0
"""Before a longer wait for the limit, what was read is loaded."""
READ_AGAIN = 3
"""How often in a row a slice is read again because a nightly run landed meanwhile."""


class Sofar(NamedTuple):
    """How a backfill is getting on."""

    backfill: Backfill
    seen: int
    """Reports that were read."""
    calls: Calls
    waiting_until: datetime | None = None
    """UTC; None while it reads."""


OnProgress = Callable[[Sofar], None]


def backfill(
    settings: ClaribiSettings,
    destination: str,
    wanted: Wanted,
    *,
    max_requests: int | None = None,
    dry_run: bool = False,
    on_progress: OnProgress = lambda _: None,
    clock: Clock = SYSTEM_CLOCK,
) -> BackfillReport:
    """Read a window of the reports, or as much of it as the calls allow, and report.

    What a user can act on is in the report with its exit code; a bug is raised. A dry run loads nothing.
    """
    run = _run(settings, max_requests, clock)
    told: Backfill | None = None
    estimate: Forecast | None = None
    rows: dict[str, int | None] = {}
    reason = None
    try:
        if wanted.until:
            check(Window(wanted.since, wanted.until))
        with (
            stoppable(run),
            fewer_collections(),
            no_empty_file(destination),
            alone(destination, "backfill"),
            TemporaryDirectory(prefix="claribi-export-") as folder,
        ):
            job = Job(run, settings, destination, Path(folder), on_progress)
            told = job.begin(wanted)
            if told and dry_run:
                estimate = forecast(run, told)
            elif told:
                job.go(told)
            rows = DestinationRows(job.pipeline).counts(run.counts)
    except Paused as problem:
        run.problems.append(problem)  # a dry run's: nothing is loaded
    except Exception as error:
        reason = explain(error, destination)
        if reason is None:
            raise
    finally:
        run.close()
    return make_backfill_report(run, destination, rows, told, estimate, reason)


def _run(settings: ClaribiSettings, max_requests: int | None, clock: Clock) -> Run:
    """A run that ends where it had to wait for long: then what was read is to be loaded first."""
    started = clock.now()
    reading = copy(settings)
    reading.max_wait = min(SHORT_WAIT_S, settings.max_wait)
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"
    return Run(
        reading,
        run_id=run_id,
        trigger="backfill",
        started_at=started,
        max_calls=max_requests,
        clock=clock.now,
        timer=clock,
    )


class Job:
    """One backfill: its pipeline, and what has been waited."""

    def __init__(
        self, run: Run, settings: ClaribiSettings, destination: str, folder: Path, on_progress: OnProgress
    ) -> None:
        self._run, self._destination, self._on_progress = run, destination, on_progress
        self._max_wait_s, self._waited_s = settings.max_wait, 0.0
        self.pipeline = make_pipeline(destination, folder=folder, name=f"{pipeline_name(destination)}__backfill")
        self._account: list[Batch] = []
        self._last_night: Any = None
        self._overtaken = 0

    def begin(self, wanted: Wanted) -> Backfill | None:
        """Find out what is known and whose account it is; None when not even that could be read."""
        with held_open(self.pipeline):
            self.pipeline.sync_destination()
            self._look()
            nightly = self._nightly()
        self._last_night = nightly.get("last_run")
        state: dict[str, Any] = dict(self.pipeline.state.get("sources", {}).get("claribi", {}))
        self._run.state = state | {name: nightly[name] for name in ("dialect", "organization") if name in nightly}
        self._account = list(organization(self._run))
        if self._run.stopped:
            return None
        memory, prefix = state.get("backfill", {}), self._run.state["dialect"]["prefix"]
        return Backfill(self._run, wanted, memory if memory.get("prefix") == prefix else {})

    def go(self, backfill: Backfill) -> None:
        """Read and load until nothing is left, or until the reading has to end."""
        self._run.on_progress = lambda _table, _rows, calls: self._tell(backfill, calls)
        ends = backfill.finished
        while not ends:
            found = backfill.read()
            with held_open(self.pipeline):
                if backfill.pages.empty:
                    self._doubt_emptiness()
                if self._was_overtaken():
                    backfill.reject()
                    found = Slice(backfill.progress, problem=found.problem)
                backfill.accept(found)
                at = self._waits_until(found.problem)
                ends = backfill.finished or (found.problem is not None and at is None)
                if found.problem and ends and not backfill.finished:
                    self._run.problems.append(self._in_own_words(found.problem))
                if found.pages or ends:
                    self._load(backfill, found, ends=ends)
            self._tell(backfill, self._run.calls, at)
            if at and not ends:
                ends = not self._wait(backfill, at)

    def _doubt_emptiness(self) -> None:
        """A list without a single report is believed only where the destination holds none either."""
        held = DestinationRows(self.pipeline).counts(["reports"])["reports"]
        if held:
            raise Shrunk("reports", held, held)
        self._run.note(["The list of reports is empty; the window is not remembered as read."])

    def _wait(self, backfill: Backfill, at: datetime) -> bool:
        """Wait for the limit until a moment, UTC; False when somebody stops it."""
        wait_s = max(0.0, (at - self._run.timer.now()).total_seconds())
        self._waited_s += wait_s
        try:
            self._run.client.wait(wait_s)
        except Paused as problem:
            self._run.problems.append(problem)
            with held_open(self.pipeline):
                self._load(backfill, Slice(backfill.progress), ends=True)
            return False
        return True

    def _was_overtaken(self) -> bool:
        """Whether a nightly run has landed since the last slice: some of its rows may be newer than those of this one.

        Then the slice is read again, but not for ever.
        """
        before, self._last_night = self._last_night, self._nightly().get("last_run")
        self._overtaken = self._overtaken + 1 if self._last_night != before else 0
        return 0 < self._overtaken <= READ_AGAIN

    def _tell(self, backfill: Backfill, calls: Calls, waiting_until: datetime | None = None) -> None:
        self._on_progress(Sofar(backfill, backfill.seen, calls, waiting_until))

    def _waits_until(self, problem: Paused | None) -> datetime | None:
        """When to go on after the limit, UTC; None where there is nothing to wait for, or no time."""
        if not isinstance(problem, ComeBackLater):
            return None
        wait_s = (problem.at - self._run.timer.now()).total_seconds()
        return problem.at if self._waited_s + wait_s <= self._max_wait_s else None

    def _in_own_words(self, problem: Paused) -> Paused:
        if isinstance(problem, ComeBackLater):
            wait_s = max(0.0, (problem.at - self._run.timer.now()).total_seconds())
            return ComeBackLater(problem.at, wait_s, self._max_wait_s)
        return problem

    def _look(self) -> None:
        """See the destination as it is now, with the columns that others may have added."""
        take_schema(self.pipeline)
        self._run.held = DestinationRows(self.pipeline)

    def _load(self, backfill: Backfill, found: Slice, *, ends: bool) -> None:
        """Compare a slice with the destination as it is now, and load what differs, and the place."""
        self._look()
        self._run.walks["reports"] = _proof(backfill)
        memory = backfill.memory(ended=ends) | {"prefix": self._run.state["dialect"]["prefix"]}
        state = {name: self._run.state[name] for name in ("dialect", "organization")} | {"backfill": memory}

        def account(run: Run) -> Iterator[Batch]:
            run.state.update(state)
            yield from self._account

        readers: dict[str, Callable[[Run], Iterator[Batch]]] = {
            "organization": account,
            "reports": lambda run: batches(run, found.whole, found.listed, found.told),
        }
        if ends:
            readers["export_runs"] = export_runs
        self._run.readers = readers
        load(self.pipeline, source_of(self._run))
        self._account = []

    def _nightly(self) -> dict[str, Any]:
        """What the nightly runs remember; empty where there was none."""
        try:
            with self.pipeline.destination_client() as client:
                if not isinstance(client, WithStateSync):
                    return {}
                state = load_pipeline_state_from_destination(pipeline_name(self._destination), client)
        except DestinationUndefinedEntity:
            return {}
        return dict((state or {}).get("sources", {}).get("claribi", {}))


def _proof(backfill: Backfill) -> Proof:
    """How the list was read; complete means that nothing of the window is left."""
    shape = backfill.pages.shape
    order = "none" if backfill.pages.scattered or shape is None else shape.order
    return Proof("reports", backfill.walked, order, backfill.finished, 0, shape.total if shape else None, 0, "")
