"""One account that is exported night after night in this process, and what a perfect export of it would hold."""

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from pipelines.claribi.schema import TABLES
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi_pipeline import export, make_pipeline, take_schema
from pipelines.destination_rows import DestinationRows
from pipelines.sandbox import KB, Organisation, Sandbox
from pipelines.sandbox.listing import to_json

LISTS = ("reports", "dashboards", "data_sources")
CHILDREN = {"report_insights": ("reports", "insights"), "dashboard_widgets": ("dashboards", "widgets")}
"""Child tables: of what, and the neutral name of their rows there."""
OWN = ("_removed", "detail_read_at")
"""Columns that say how far the export is, and nothing of clariBI's objects."""
GROWN = {
    "report_insights": ("confidence", "unit", "value"),
    "dashboard_widgets": ("columns", "rows"),
}
"""Columns that no document names and the sandbox's objects have."""


class Nightly:
    """A machine with one warehouse, and the account that it exports; `stage` serves the account."""

    def __init__(self, folder, stage, monkeypatch, spoken=KB, **organisation):
        self.folder, self.stage = folder, stage
        self.warehouse, self.dlt_folder = folder / "warehouse.duckdb", folder / "dlt"
        self.sandbox = stage.sandbox = Sandbox(spoken, Organisation(**({"reports": 60} | organisation)))
        self.met = {name: {} for name in LISTS}
        """By list and id: the row that the last export which met the object had to write."""
        monkeypatch.chdir(folder)
        monkeypatch.setenv("DLT_DATA_DIR", str(self.dlt_folder))
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(self.warehouse))
        Container()[PluggableRunContext].reload()

    @property
    def organisation(self):
        return self.sandbox.organisation

    def settings(self, **given):
        settings = ClaribiSettings()
        told = {"api_key": self.sandbox.account.key, "base_url": self.stage.url, "retry_wait": 0.01, **given}
        for name, value in told.items():
            setattr(settings, name, value)
        settings.on_resolved()
        return settings

    def export(self, destination="duckdb", *, settings=None, **options):
        """Run once; only the calls of this run are on the sandbox afterwards."""
        self.sandbox.calls.clear()
        return export(settings or self.settings(), destination, **options)

    def good_export(self, destination="duckdb", **options):
        """Run once, with success and without a word but what the destination tells of its own work."""
        report = self.export(destination, **options)
        words = [note for note in report.notes if not note.startswith(f"{destination}: ")]
        assert (report.exit_code, report.outcome, words) == (0, "done", [])
        return report

    def forget(self):
        """The next run is on a fresh machine: nothing is left but the destination."""
        shutil.rmtree(self.dlt_folder, ignore_errors=True)

    def paths(self):
        """The paths of the last run's calls."""
        return [call.path for call in self.sandbox.calls]

    def written(self):
        """The tables of the last load, dlt's own left out."""
        jobs = {}
        for file in self.dlt_folder.glob("pipelines/*/*/load/loaded/*/completed_jobs/*"):
            jobs.setdefault(file.parts[-3], set()).add(file.name.partition(".")[0])
        return {name for name in jobs[max(jobs, key=float)] if not name.startswith("_dlt")}

    def query(self, sql):
        with duckdb.connect(str(self.warehouse), read_only=True) as db:
            db.execute("SET timezone = 'UTC'; USE claribi")
            return db.execute(sql).fetchall()

    def rows(self, table):
        """All rows of a table as dictionaries, sorted by key; JSON parsed, the export's own marks left out."""
        with duckdb.connect(str(self.warehouse), read_only=True) as db:
            db.execute("SET timezone = 'UTC'")
            found = db.execute(f"FROM claribi.{table}")
            names = [(column[0], str(column[1])) for column in found.description]
            rows = found.fetchall()
        return in_order(table, [_parsed(names, row) for row in rows])

    def alive(self):
        """The rows of what is not deleted, as `perfect` has them."""
        return alive(self.rows)

    def deleted(self, name):
        """The ids of a table's deleted objects."""
        return {row["id"] for row in self.rows(name) if row["deleted_at"] is not None}

    def perfect(self):
        """What a perfect export holds of what is alive now, and remember it as met."""
        spoken, truth = self.sandbox.spoken, self.organisation.truth()
        told, shown = {}, {}
        for name in LISTS:
            shown[name] = [item for item in truth[name] if self._shows(name, item)]
            told[name] = in_order(name, [_row(name, _said(spoken, name, item)) for item in shown[name]])
            self.met[name] |= {row["id"]: row for row in told[name]}
        for name, (main, field) in CHILDREN.items():
            rows = [_child(name, item["id"], place, one) for item in shown[main] for place, one in _listed(item, field)]
            told[name] = in_order(name, rows)
        return told

    def _shows(self, name, item):
        """A source that was broken from the start is in no list of active ones, and nobody knows its id."""
        filtered = name == "data_sources" and self.sandbox.spoken.sources_listed == "active"
        return not filtered or item["status"] == "active" or item["id"] in self.met[name]


def alive(rows):
    """The rows of what is not deleted, as `Nightly.perfect` has them; `rows` gives those of a table."""
    told = {name: [row for row in rows(name) if row["deleted_at"] is None] for name in LISTS}
    for name, (main, _) in CHILDREN.items():
        ids, owner = {row["id"] for row in told[main]}, TABLES[name].key[0]
        told[name] = [row for row in rows(name) if row[owner] in ids]
    return told


def held(destination, table):
    """All rows of a table as `Nightly.rows` gives them, as any destination tells them a machine that knows nothing."""
    with TemporaryDirectory() as folder:
        pipeline = make_pipeline(destination, folder=Path(folder))
        pipeline.sync_destination()
        take_schema(pipeline)
        rows = DestinationRows(pipeline)
        kinds, found = rows.kinds(table), rows.read(table).read_all().select(list(rows.kinds(table))).to_pylist()
    names = [(name, kind.upper()) for name, kind in kinds.items()]
    return in_order(table, [_parsed(names, row.values()) for row in found])


def in_order(table, rows):
    key = TABLES[table].key
    return sorted(rows, key=lambda row: [str(row[name]) for name in key])


def _said(spoken, name, item):
    """The neutral item, less what this dialect does not say of it."""
    if name == "data_sources":
        if spoken.source_label == "type":
            return item | {"source_type": None, "row_count": None}
        return item | {"type": item["source_type"], "engine": None}
    if name == "reports" and not spoken.details_in_list and item["status"] in ("pending", "generating"):
        return item | {"description": None}  # its detail is not asked for before it is finished
    return item


def _row(name, item):
    return {one.name: _plain(item.get(one.name)) for one in TABLES[name].columns if one.name not in OWN}


def _child(name, parent, position, one):
    table = TABLES[name]
    row = {column.name: _plain(one.get(column.name)) for column in table.columns}
    row |= {column: _plain(one.get(column)) for column in GROWN[name]}
    given = {"kind": one["type"]} if name == "report_insights" else {"widget_id": one["id"]}
    return row | given | {table.key[0]: parent, "position": position}


def _listed(item, field):
    return enumerate(item[field] or [])


def _plain(value):
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return json.loads(to_json(value)) if isinstance(value, dict | list) else value


def _parsed(names, row):
    return {
        name: json.loads(value) if kind == "JSON" and value is not None else value
        for (name, kind), value in zip(names, row, strict=True)
        if name not in OWN
    }
