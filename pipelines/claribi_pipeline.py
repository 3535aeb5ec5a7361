"""Joins source and destination: runs an export and reports on it. The only module that knows both sides."""

import copy
import gc
import hashlib
import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.destination import Destination, TLoaderFileFormat
from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import (
    DestinationException,
    DestinationTerminalException,
    DestinationUndefinedEntity,
    UnknownDestinationModule,
)
from dlt.common.exceptions import MissingDependencyException
from dlt.common.pipeline import get_dlt_pipelines_dir
from dlt.common.schema import Schema
from dlt.common.schema.utils import new_table
from dlt.extract import DltResource
from dlt.pipeline.exceptions import PipelineStepFailed

from destinations.duckdb_file import drop_if_empty, wait_until_free
from destinations.errors import ColumnTypeChanged, DestinationError, LoadFailed, StoreUnusable
from pipelines.claribi import ALWAYS, READERS, check_choice, claribi_source
from pipelines.claribi.errors import ClaribiError, ExtraMissing, SettingError
from pipelines.claribi.run import Run
from pipelines.claribi.schema import TABLES, Table
from pipelines.claribi.settings import ClaribiSettings
from pipelines.destination_rows import DestinationRows
from pipelines.report import Report, make_report
from pipelines.watch.tables import WATCHED, Row, arrow

DATASET = "claribi"
SCHEMA = "claribi"
"""The name of the source, which is that of dlt's schema, too."""
DUCKDB_FILE = "warehouse.duckdb"
LOCK_WAIT_S = 60.0
KEPT_S = 86_400.0
"""How long dlt's files of a run that has ended stay on this machine."""
DUCKDB_LIMITS = {"memory_limit": "300MB", "threads": 2}
"""DuckDB takes most of a machine's memory unless it is told not to; beyond this it works on disk. A million reports
are merged within it."""
EXTRAS = {
    "apprise": "watch",
    "google": "sheets",
    "gspread": "sheets",
    "jinja2": "watch",
    "markupsafe": "watch",
    "starlette": "sandbox",
    "uvicorn": "sandbox",
    "vl_convert": "watch",
    "xlsxwriter": "watch",
}
"""Modules that only some users need, and the extra that brings them."""

DEFAULTS = {
    # dlt tells its makers about every run unless it is told not to.
    "runtime.dlthub_telemetry": False,
    # dlt's record of each run keeps every error word for word on this machine, whatever a server or a bug put into it.
    "enable_runtime_trace": False,
    # One resource after the other, in the order of `READERS`: the run's own row must be the last.
    "extract.next_item_mode": "fifo",
    # Two large tables at once take twice the memory, and a file has one writer anyway.
    "load.workers": 1,
    # Or a copy of what was loaded last stays in the destination, after a first load as large as the tables.
    "load.truncate_staging_dataset": True,
}


def export(
    settings: ClaribiSettings,
    destination: str,
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
    overwrite: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **options: Any,
) -> Report:
    """Run once and report. What a user can act on is in the report with its exit code; a bug is raised.

    `options` are those of `Run`: `trigger`, `allow_shrink`, `switch_dialect`, `sweep`, `on_progress`. A dry run reads
    everything, loads nothing and remembers nothing.
    """
    started = clock()
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"
    run = Run(settings, run_id=run_id, only=only, started_at=started, clock=clock, **options)
    try:
        with stoppable(run), fewer_collections(), no_empty_file(destination):
            check_choice(only)
            pipeline = make_pipeline(destination, overwrite=overwrite)
            run.note(synchronise(pipeline))
            run.held = held = DestinationRows(pipeline)
            if dry_run:
                _read(run, pipeline)
            else:
                source = source_of(run)
                # So that queries and people find both tables before there is a row.
                source.resources.add(*(_own(table, []) for table in WATCHED if not held.kinds(table.name)))
                load(pipeline, source)
                held = DestinationRows(pipeline)
                run.note(held.facts())
            rows = held.counts(run.counts)
    except Exception as error:
        reason = explain(error, destination)
        if reason is None:
            raise
        return make_report(run, destination, {}, reason)
    finally:
        run.close()
    return make_report(run, destination, rows)


def source_of(run: Run) -> Any:
    """The source of a run. Its schema names every table and column there is, whatever the run reads.

    So a destination may be told to take, leave or sort any of them. What has not been met has no type, and dlt makes no
    table or column of it.
    """
    source = claribi_source(run, run.only)  # what is not given, dlt looks for in the environment: a variable ONLY
    for table in (*TABLES.values(), *WATCHED):
        if table.name not in source.schema.tables:
            columns: list[Any] = [{"name": column.name} for column in table.columns]
            source.schema.update_table(new_table(table.name, columns=columns))
    return source


def state_of(pipeline: dlt.Pipeline) -> dict[str, Any]:
    """What the export remembers in a destination."""
    return dict(pipeline.state.get("sources", {}).get("claribi", {}))


def keep(pipeline: dlt.Pipeline, rows: Mapping[str, list[Row]]) -> None:
    """Merge rows of our own tables, `alerts` and `data_source_events`, in a load of their own; no rows, no load."""
    resources = [_own(table, rows[table.name]) for table in WATCHED if rows.get(table.name)]
    if resources:
        load(pipeline, resources)


def default_destination() -> str:
    """The destination that the settings name."""
    return str(dlt.config.get("export.destination") or "duckdb")


def load(pipeline: dlt.Pipeline, source: Any) -> None:
    """Read what a source gives, and bring it and the state into the destination."""
    pipeline.extract(source, loader_file_format=_file_format(pipeline))
    pipeline.normalize()
    pa.default_memory_pool().release_unused()  # what the reading took, before DuckDB takes its share
    with held_open(pipeline):
        pipeline.load()


def make_pipeline(
    destination: str, *, overwrite: bool = False, folder: Path | None = None, name: str = ""
) -> dlt.Pipeline:
    """Give the pipeline for one destination; nothing is opened or called yet.

    Its name carries the destination, and its working folder the destination's place: what one destination was told
    must never be taken for what another one knows. An empty `folder` instead makes it know nothing but what the
    destination tells. With another `name` its state is another one.
    """
    for key, value in DEFAULTS.items():
        if dlt.config.get(key) is None:
            dlt.config[key] = value
    _silence()
    target = make_destination(destination, overwrite=overwrite)
    return dlt.pipeline(
        name or pipeline_name(destination),
        destination=target,
        dataset_name=DATASET,
        pipelines_dir=str(folder or folder_of(destination, target)),
    )


def folder_of(destination: str, target: Destination[Any, Any]) -> Path:
    """Where this machine keeps what belongs to one destination at one place."""
    place = hashlib.blake2b(f"{destination} {place_of(target)}".encode(), digest_size=8).hexdigest()
    return Path(get_dlt_pipelines_dir()) / f"claribi-export-{place}"


def pipeline_name(destination: str) -> str:
    """Of the nightly runs, which keep their state under it."""
    return f"claribi__{destination}"


def make_destination(name: str, *, overwrite: bool = False) -> Any:
    """Find a destination by its name: ours, or any that dlt knows."""
    if name == "duckdb":
        # As text it would be parsed as a connection string first, each of the many times dlt looks at it.
        return dlt.destinations.duckdb({"database": str(duckdb_file()), "global_config": DUCKDB_LIMITS})
    try:
        options: dict[str, Any] = {"overwrite": True} if overwrite else {}
        return Destination.from_reference(name, **options)
    except UnknownDestinationModule:
        raise SettingError(
            "--destination",
            f"is {name!r}, which neither this project nor dlt knows. Known are duckdb, csv_files, google_sheets "
            "and dlt's own, such as postgres, motherduck or bigquery.",
        ) from None


def is_missing(pipeline: dlt.Pipeline) -> bool:
    """Whether there is nothing yet where the destination is to be; to look into it would make it."""
    here = pipeline.destination.destination_name in ("duckdb", "csv_files")
    return here and not Path(place_of(pipeline.destination)).exists()


def duckdb_file() -> Path:
    """The DuckDB file that the settings name; dlt counts a path as a secret, since it may hold a token."""
    configured: str | None = dlt.secrets.get("destination.duckdb.credentials")  # of no type: see settings._secret
    return Path((configured or DUCKDB_FILE).removeprefix("duckdb:///")).absolute()


def synchronise(pipeline: dlt.Pipeline) -> list[str]:
    """Bring the local folder to what the destination knows, a crashed run's load first; say what was found."""
    wait_for(pipeline)
    notes = []
    if pipeline.has_pending_data:
        try:
            # Not `run()`: it looks at the destination first, and where that is empty still, drops what is pending.
            pipeline.normalize()
            with held_open(pipeline):
                pipeline.load()
            notes.append("An earlier run had ended before its load did; its load was finished first.")
        except PipelineStepFailed as error:
            if not (_can_never_load(error) or _spoiled(pipeline)):
                raise
            pipeline.abort_packages()
            notes.append(
                "An earlier run left a load that can never succeed; it was dropped and read again. The reason: "
                + _first_line(list(_chain(error))[-1])
            )
    pipeline.sync_destination()
    take_schema(pipeline)
    _sweep(Path(pipeline.working_dir))
    return notes


def take_schema(pipeline: dlt.Pipeline) -> None:
    """Take over the newest schema that the destination has: there are two pipelines, and the other may have written it.

    dlt itself looks for a schema only where the pipeline's own state has changed.
    """
    stored = None
    with suppress(DestinationUndefinedEntity), pipeline.destination_client() as client:
        if isinstance(client, WithStateSync):
            stored = client.get_stored_schema(SCHEMA)
    known = pipeline.default_schema.stored_version_hash if pipeline.default_schema_name else None
    if stored and stored.version_hash != known:
        schema = Schema.from_stored_schema(json.loads(stored.schema))
        pipeline._inject_schema(schema)  # dlt has no other way to do this without its own look at the state


def explain(error: BaseException, destination: str) -> ClaribiError | DestinationError | None:
    """Find what a user can act on in a chain of exceptions; None means a bug."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, ClaribiError | DestinationError):
            return link
    for link in chain:
        if isinstance(link, ModuleNotFoundError) and (module := (link.name or "").partition(".")[0]) in EXTRAS:
            return ExtraMissing(module, EXTRAS[module])
        if isinstance(link, MissingDependencyException) and "dlt[postgres]" in link.dependencies:
            return ExtraMissing("psycopg2", "postgres")
        if isinstance(link, ConfigurationException | MissingDependencyException):
            return SettingError("--destination", f"{destination} cannot be used: {link}")
    if any(isinstance(link, DestinationException) for link in chain):
        return LoadFailed(destination, _first_line(chain[-1]))
    if any(isinstance(link, PipelineStepFailed) and link.step == "sync" for link in chain):
        # dlt passes the driver's own error on when it cannot even connect.
        return StoreUnusable(destination, _first_line(chain[-1]))
    return None


def _own(table: Table, rows: list[Row]) -> DltResource:
    return dlt.resource(
        [arrow(table, rows)],
        name=table.name,
        primary_key=table.key,
        write_disposition={"disposition": "merge", "strategy": "delete-insert"},
    )


def _read(run: Run, pipeline: dlt.Pipeline) -> None:
    """Read what a run would read and let it go; counts and proofs are what remains."""
    run.state = copy.deepcopy(state_of(pipeline))
    for name, read in READERS.items():
        if name != "export_runs" and (run.wants(name) or name in ALWAYS):
            for _ in read(run):
                pass


def _sweep(folder: Path) -> None:
    """Remove what earlier runs left in dlt's folder, which dlt never does: what was loaded, and broken-off reads.

    Only what is a day old: another run may be under way.
    """
    for left in (*folder.glob("load/loaded/*"), *folder.glob("normalize/*")):
        if left.is_dir() and left.name != "extracted" and time.time() - left.stat().st_mtime > KEPT_S:
            shutil.rmtree(left, ignore_errors=True)


def _file_format(pipeline: dlt.Pipeline) -> TLoaderFileFormat:
    """Parquet where the destination takes it without a driver that we do not bring; else its own choice."""
    capabilities = pipeline.destination.capabilities()
    needs_driver = capabilities.loader_file_format_selector is not None
    taken = not needs_driver and "parquet" in (capabilities.supported_loader_file_formats or ())
    return "parquet" if taken else capabilities.preferred_loader_file_format


def place_of(target: Destination[Any, Any]) -> str:
    """Where a destination lies: a file, a folder, a host; without a password."""
    config = target.configuration(target.spec(), accept_partial=True)
    try:
        return str(config.data_location() or config)
    except ConfigurationException:
        return str(config)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else f"{line}."


def _can_never_load(error: BaseException) -> bool:
    """Whether a pending load is beyond help, and no setting or free space would change that."""
    chain = list(_chain(error))
    ours = [link for link in chain if isinstance(link, DestinationError)]
    if ours:
        return isinstance(ours[0], ColumnTypeChanged)
    if isinstance(error, PipelineStepFailed) and error.step == "normalize":
        # Read, but not made ready: a file that a crash cut off, or dlt killed between two steps that belong together.
        # It would fail for ever, and clariBI still has all of it.
        return True
    return any(isinstance(link, DestinationTerminalException) for link in chain)


def _spoiled(pipeline: dlt.Pipeline) -> bool:
    """Whether a pending load has a file that cannot be read: DuckDB says the same of it as of a broken connection."""
    for load_id in pipeline.list_normalized_load_packages():
        for job in pipeline.get_load_package_info(load_id).jobs["new_jobs"]:
            if job.file_path.endswith(".parquet"):
                try:
                    pq.read_metadata(job.file_path)
                except (pa.ArrowException, OSError):
                    return True
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _silence() -> None:
    """Keep a remark out of the log that every run would repeat and nobody can act on."""
    # We say which text columns hold JSON; dlt remarks that Arrow calls them text, once a frame.
    logging.getLogger("dlt").addFilter(lambda record: "column hints were different" not in record.getMessage())


def wait_for(pipeline: dlt.Pipeline) -> None:
    """Return once no other process holds a DuckDB file; other destinations see to that themselves."""
    if pipeline.destination.destination_name == "duckdb":
        wait_until_free(duckdb_file(), DATASET, LOCK_WAIT_S)


@contextmanager
def held_open(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Hold a DuckDB file for the whole of a load: dlt opens it anew for each step, and others could come between."""
    if pipeline.destination.destination_name != "duckdb":
        yield
        return
    wait_for(pipeline)
    with pipeline.sql_client():
        yield


@contextmanager
def stoppable(run: Run) -> Iterator[None]:
    """Let Ctrl-C, and the signal of a machine that goes down, end the reading and load what was read.

    The second one ends the process at once, as without us: nothing of the run is loaded then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def stop(_number: int, _frame: object) -> None:
        restore()
        run.stop()

    for one in before:
        signal.signal(one, stop)
    try:
        yield
    finally:
        restore()


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Keep Python from looking for cycles among a million fresh dictionaries, which have none."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def no_empty_file(destination: str) -> Iterator[None]:
    """Leave no DuckDB file behind where there was none, unless something was loaded: dlt's first look makes one."""
    file = duckdb_file() if destination == "duckdb" else None
    fresh = file is not None and not file.exists()
    try:
        yield
    finally:
        if file and fresh:
            drop_if_empty(file)
