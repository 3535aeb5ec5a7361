"""The run report: what one run did, as the JSON that scripts read and the row that `export_runs` keeps."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.claribi.answers import redact
from pipelines.claribi.backfill import Backfill
from pipelines.claribi.dialect import Dialect
from pipelines.claribi.forecast import Forecast
from pipelines.claribi.run import Counts, Run
from pipelines.claribi.schema import TABLES
from pipelines.claribi.windows import Window
from pipelines.watch.watched import Watched


@dataclass
class Report:
    """One run. Times are UTC, ISO 8601; `rows` of a table is what the destination holds now, null where unknown."""

    run_id: str
    outcome: str
    exit_code: int
    destination: str
    dialect: dict[str, str] | None
    started_at: str
    finished_at: str
    requests: dict[str, Any]
    tables: dict[str, dict[str, int | None]]
    walks: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    watch: Watched | None = None
    """What the rules found afterwards, as `watch --json` tells it; null where they were not run."""

    def to_json(self) -> dict[str, Any]:
        """Give the report in the shape of `run --json`."""
        return asdict(self) | {"watch": self.watch.to_json() if self.watch else None}


def make_report(run: Run, destination: str, rows: dict[str, int | None], error: Exception | None = None) -> Report:
    """Report on a run that has ended; `rows` are the tables' sizes after it, `error` is what made it fail."""
    spoken = run.state.get("dialect")
    notes = [*run.notes, *(str(problem) for problem in run.problems), *([str(error)] if error else [])]
    return Report(
        run_id=run.run_id,
        outcome="failed" if error else run.outcome,
        exit_code=getattr(error, "exit_code", 1) if error else run.exit_code,
        destination=destination,
        dialect=Dialect.from_state(spoken).to_state() if spoken else None,
        started_at=_stamp(run.started_at),
        finished_at=_stamp(run.clock()),
        requests={
            "total": run.calls.total,
            "by_resource": dict(run.calls.by_resource),
            "retried": run.calls.retried,
            "waited_s": round(run.calls.waited_s, 3),
            "left_in_window": run.calls.left_in_window,
            "unchanged": run.calls.unchanged,
            "why": {name: dict(reasons) for name, reasons in run.why.items()},
        },
        tables={
            name: {
                "seen": counts.seen,
                "new": counts.new,
                "changed": counts.changed,
                "deleted": counts.deleted,
                "rows": rows.get(name),
            }
            for name, counts in _in_order(run.counts)
        },
        walks={
            name: {
                "pages": proof.pages,
                "order": proof.order,
                "complete": proof.complete,
                "rewalked": proof.rewalked,
                "known_before": _stamp(proof.known_before) if proof.known_before else None,
                "resumed": proof.resumed,
            }
            for name, proof in run.walks.items()
        },
        notes=[redact(note, run.secrets()) for note in notes],
    )


@dataclass
class BackfillReport(Report):
    """A run report of a backfill."""

    window: dict[str, str] | None = None
    """`since` and `until`, UTC; null where the reading had to end before it was known."""
    ledger: list[dict[str, Any]] = field(default_factory=list)
    """What has been read by now, with the backfills before: windows, and whether with `details`."""
    left: list[dict[str, str]] = field(default_factory=list)
    """What is left of the window, newest first: the same command goes on there."""
    details: int = 0
    """Details that were read."""
    estimate: dict[str, Any] | None = None
    """Of a dry run: reports, pages, details, calls, per_hour, hours."""


def make_backfill_report(
    run: Run,
    destination: str,
    rows: dict[str, int | None],
    backfill: Backfill | None,
    estimate: Forecast | None,
    error: Exception | None = None,
) -> BackfillReport:
    """Report on a backfill that has ended."""
    report = BackfillReport(**vars(make_report(run, destination, rows, error)))
    if backfill:
        report.window, report.details = _window(backfill.window), backfill.asked
        report.ledger = [_window(Window.from_state(one)) | {"details": one["details"]} for one in backfill.ledger]
        report.left = [_window(one) for one in backfill.gaps(backfill.progress)]
    if estimate:
        report.estimate = asdict(estimate) | {"calls": estimate.calls, "hours": estimate.hours}
    return report


def _window(window: Window) -> dict[str, str]:
    return {"since": _exact(window.since), "until": _exact(window.until)}


def _exact(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _in_order(counts: dict[str, Counts]) -> list[tuple[str, Counts]]:
    """The tables as the documentation lists them."""
    return [(name, counts[name]) for name in TABLES if name in counts]


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
