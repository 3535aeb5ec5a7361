"""Tables with one row a run: the account, its usage, and the run itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.claribi.changes import Comparison
from pipelines.claribi.errors import DialectGone, NotFound, Paused, ScopeMissing, SettingError
from pipelines.claribi.frames import normalise
from pipelines.claribi.rows import to_batch
from pipelines.claribi.run import Counts, Run
from pipelines.claribi.schema import EXPORT_RUNS, ORGANIZATION, USAGE, Table
from pipelines.claribi.shelf import Batch, Shelf


def organization(run: Run) -> Iterator[Batch]:
    """Whose account it is: read first, so that two accounts never mix in one destination."""
    if run.stopped:
        return
    try:
        batch = _batch(run, ORGANIZATION, run.client.identity().body)
    except Paused as problem:
        run.problems.append(problem)
        return
    except NotFound as problem:
        if run.switch_dialect or "dialect" not in run.state:
            raise
        raise DialectGone(problem.path) from problem
    (found,) = batch["organization"]["id"].to_pylist()
    known = run.state.get("organization") or _held_organization(run, found)
    if known != found and not run.switched:
        raise SettingError(
            "api_key",
            f"belongs to the organization {found}, but the destination holds the organization {known}. "
            "Give each account a destination of its own.",
        )
    run.state["organization"] = found
    with Shelf("organization", {}) as shelf:
        shelf.put(batch)
        what = Comparison(run.held, shelf, ["organization"]).sort(batch)
    run.counts["organization"] = Counts(seen=1, new=len(what.new), changed=len(what.changed))
    if len(what.either):
        yield batch


def _held_organization(run: Run, found: str) -> str:
    """The organisation whose rows are there, though this pipeline's state does not know it; `found` where none are."""
    rows = run.held.read("organization")
    ids = [one for batch in rows or () for one in batch["id"].to_pylist()]
    return found if found in ids or not ids else ids[0]


def usage(run: Run) -> Iterator[Batch]:
    """What is used of the plan, as it is now."""
    if run.stopped:
        return
    try:
        yield _batch(run, USAGE, run.client.get(resource="usage").body)
    except (Paused, ScopeMissing) as problem:
        run.problems.append(problem)


def export_runs(run: Run) -> Iterator[Batch]:
    """The run itself, read last and committed with its rows: where this row stands, the run is whole."""
    run.remember_itself()
    row = {
        "run_id": run.run_id,
        "trigger": run.trigger,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.clock().isoformat(),
        "outcome": run.outcome,
        "requests": run.calls.total,
        "waited_s": round(run.calls.waited_s, 3),
        "rows": {name: counts.written for name, counts in sorted(run.counts.items())},
    }
    yield _batch(run, EXPORT_RUNS, row)


def _batch(run: Run, table: Table, body: Mapping[str, Any]) -> Batch:
    frames = normalise([body], table, run.started_at, {table.name: run.held.kinds(table.name)})
    run.note(frames.notes)
    run.counts[table.name] = Counts(seen=1, new=1)
    return to_batch(frames, table)
