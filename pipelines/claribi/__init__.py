"""The source: every table that clariBI's API gives, for any dlt pipeline.

    import dlt
    from pipelines.claribi import claribi_source

    dlt.pipeline("claribi__duckdb", destination="duckdb", dataset_name="claribi").run(
        claribi_source(), loader_file_format="parquet"
    )

`claribi-export run` does the same and adds what a nightly job needs: it compares with the destination, so that only
new and changed rows are loaded and deletions are found, finishes what a crash left, and reports.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import dlt
import pyarrow as pa
from dlt.extract import DltResource

from pipelines.claribi.errors import SettingError
from pipelines.claribi.reading import objects
from pipelines.claribi.rows import REMOVED, json_columns
from pipelines.claribi.run import Run
from pipelines.claribi.schema import TABLES, Table, family
from pipelines.claribi.settings import load_settings
from pipelines.claribi.shelf import Batch
from pipelines.claribi.snapshots import export_runs, organization, usage

READERS: dict[str, Callable[[Run], Iterator[Batch]]] = {
    "organization": organization,  # one row; key id
    "usage": usage,  # a row a run; key captured_at
    "data_sources": partial(objects, name="data_sources"),  # key id
    "dashboards": partial(objects, name="dashboards"),  # key id; with dashboard_widgets and widget_history
    "reports": partial(objects, name="reports"),  # key id; with report_insights
    "export_runs": export_runs,  # a row a run; key run_id; last, so that it tells of the others
}
"""What is read, in the order of importance: when the rate limit ends a run early, the small tables are there.

No list can be asked for what changed since a date, so there is no cursor that the server knows: each list is walked
as far as new objects reach, and compared with the destination. Every table is merged on its key."""

ALWAYS = ("organization", "export_runs")
"""Read whatever was chosen: the first keeps two accounts from mixing, the last says that the run was whole."""

CHOICES = tuple(name for name in READERS if name not in ALWAYS)


@dlt.source(
    name="claribi",
    max_table_nesting=0,
    # New columns are welcome; a column that changes its type ends the run before anything is loaded. That cannot
    # happen to our frames, which put what does not fit into `extra`: this is the second lock on that door.
    schema_contract={"tables": "evolve", "columns": "evolve", "data_type": "freeze"},
)
def claribi_source(run: Run | None = None, only: Sequence[str] = ()) -> Iterator[DltResource]:
    """Give a resource for each table; `only` leaves out all but the named ones of `CHOICES`.

    Without a `run` the settings are read from dlt's configuration and every row is loaded, whatever is there; with one,
    the run says what is read.
    """
    check_choice(run.only if run else only)
    run = run or Run(load_settings(), run_id=uuid4().hex, only=only)
    for name, read in (run.readers or READERS).items():
        if run.wants(name) or name in ALWAYS:
            pages = dlt.resource(_with_state(run, read), name=f"{name}_read", selected=False)
            yield from (pages | _resource(table) for table in family(TABLES[name]))


def check_choice(only: Sequence[str]) -> None:
    """Refuse a name that is none of `CHOICES`."""
    for name in only:
        if name not in CHOICES:
            raise SettingError("--only", f"names {name!r}; known are {', '.join(CHOICES)}.")


def _with_state(run: Run, read: Callable[[Run], Iterator[Batch]]) -> Callable[[], Iterator[Batch]]:
    """Read with dlt's state of this source, which only exists while dlt extracts."""

    def batches() -> Iterator[Batch]:
        run.state = dlt.current.source_state()
        yield from read(run)

    return batches


def _resource(table: Table) -> DltResource:
    """One table out of the batches that it shares with its family."""

    def rows(batch: Batch) -> Iterator[Any]:
        if table.name in batch:
            yield _with_json_hints(table, batch[table.name])

    columns: dict[str, Any] = {name: {"data_type": "json"} for name in table.json_columns()}
    if table.merge_key:
        columns[REMOVED] = {"hard_delete": True}
    resource = dlt.transformer(rows, name=table.name, primary_key=table.key, columns=columns)
    resource.apply_hints(
        # Without `deduplicated`, though the shelf gives each object once: after a kill between a file's copy into the
        # staging table and dlt's note of it the file is copied once more, and dlt's sort is what keeps one of the two.
        write_disposition={"disposition": "merge", "strategy": "delete-insert"},
        merge_key=table.merge_key,
    )
    return resource


def _with_json_hints(table: Table, rows: pa.Table) -> Any:
    """Tell dlt of JSON columns that no document names: to Arrow they are text."""
    unknown = [name for name in json_columns(rows) if table.column(name) is None]
    if not unknown:
        return rows
    return dlt.mark.with_hints(rows, dlt.mark.make_hints(columns={name: {"data_type": "json"} for name in unknown}))
