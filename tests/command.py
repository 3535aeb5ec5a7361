"""The real command in a process of its own, its warehouse, and the sandbox it is to agree with."""

import json
import os
import subprocess
import sys
import time
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import duckdb

from pipelines.sandbox import KB, Organisation, Sandbox, serve
from tests.forked import Forked

COMMAND = Path(sys.executable).with_name("claribi-export")
REPORTS = 720
"""Eight pages of a hundred: a fault on page 7 has pages before and after it."""
ENDS_WITHIN_S = 120

COLUMNS = {
    "reports": (
        "id",
        "title",
        "status",
        "description",
        "output_format",
        "created_at",
        "completed_at",
        "period_start",
        "period_end",
        "data_quality_metrics",
        "web_url",
        "download_url",
    ),
    "dashboards": ("id", "name", "status", "description", "is_public", "created_at", "updated_at", "last_refresh"),
    "data_sources": ("id", "name", "type", "engine", "status", "created_at", "last_synced_at"),
}
"""What is compared of each list's objects."""

CHILDREN = {
    "report_insights": ("reports", "report_id", "insights", ("title", "text")),
    "dashboard_widgets": ("dashboards", "dashboard_id", "widgets", ("type", "title")),
}
"""Child tables: of what, the column of the parent's id, the parent's field, what is compared."""


class Ended(NamedTuple):
    """A command that has ended; what it printed is text."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self):
        """The run report of `run --json`."""
        return json.loads(self.stdout)

    @property
    def notes(self):
        """What the report says in sentences, as one text."""
        return "\n".join(self.report["notes"])


class Customer:
    """A folder in which the command is run, and the account that it is run against.

    `settings` are names of `SOURCES__CLARIBI__…` or whole names of variables; nothing of the caller's environment
    reaches the command but the path.
    """

    def __init__(self, folder, url, **settings):
        self.folder, self.warehouse = folder, folder / "warehouse.duckdb"
        # Every night reads the whole list, so that a fault on a late page is met and what is held is all of the truth.
        self._settings = {"base_url": url, "retry_wait": 0.05, "max_wait": 10, "sweep_days": 1, **settings}

    def start(self, *words, **settings):
        """Start the command and give its process."""
        named = {
            name if name.isupper() else f"SOURCES__CLARIBI__{name.upper()}": str(value)
            for name, value in {**self._settings, **settings}.items()
        }
        fixed = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DLT_DATA_DIR": str(self.dlt_folder),
            "COLUMNS": "500",
            "ONLY": "what another program means by it",
        }
        if "PYTHONPATH" not in named:
            return Forked(words, cwd=self.folder, env=fixed | named)
        return subprocess.Popen(  # modules are found elsewhere, so none may be imported yet
            [COMMAND, *words],
            cwd=self.folder,
            env=fixed | named,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words, **settings):
        """Run the command, by default `run --json`, to its end."""
        process = self.start(*(words or ("run", "--json")), **settings)
        try:
            stdout, stderr = process.communicate(timeout=ENDS_WITHIN_S)
        finally:
            process.kill()
        return Ended(process.returncode, stdout, stderr)

    @property
    def dlt_folder(self):
        """What dlt keeps on this machine."""
        return self.folder / "dlt"

    def holds_the_first_night(self):
        """Put the warehouse of a first good run there; this machine itself remembers nothing of it."""
        self.warehouse.write_bytes(first_warehouse())
        return self

    def tables(self):
        """Every row of every table in the warehouse, dlt's own included."""
        with duckdb.connect(str(self.warehouse), read_only=True) as db:
            names = db.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'claribi'").fetchall()
            return {name: sorted(map(repr, db.execute(f"FROM claribi.{name}").fetchall())) for (name,) in names}

    def ids(self, table, where="true"):
        """All ids of a table in their order; one that is there twice appears twice."""
        with duckdb.connect(str(self.warehouse), read_only=True) as db:
            found = db.execute(f"SELECT id FROM claribi.{table} WHERE {where} ORDER BY id").fetchall()
        return [one for (one,) in found]

    def exported(self):
        """What the warehouse holds of what is alive, in the shape of `truth`."""
        told = {}
        with duckdb.connect(str(self.warehouse), read_only=True) as db:
            db.execute("SET timezone = 'UTC'")
            for name, columns in COLUMNS.items():
                query = f"SELECT {', '.join(columns)} FROM claribi.{name} WHERE deleted_at IS NULL"
                told[name] = [_row(columns, row) for row in db.execute(query).fetchall()]
            for name, (main, parent, _, columns) in CHILDREN.items():
                query = f"""
                    SELECT {parent}, position, {", ".join(f"child.{column}" for column in columns)}
                    FROM claribi.{name} child JOIN claribi.{main} main ON main.id = {parent} AND deleted_at IS NULL
                """
                told[name] = [_row((parent, "position", *columns), row) for row in db.execute(query).fetchall()]
        return {name: _sorted(rows) for name, rows in told.items()}


def wait_for(happened, process):
    """Return once something has happened, or the process has ended."""
    deadline = time.monotonic() + ENDS_WITHIN_S
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def organisation(nights=0):
    """The organisation of these tests, which is the same whenever it is made."""
    made = Organisation(reports=REPORTS)
    made.advance(nights)
    return made


@cache
def first_warehouse():
    """The warehouse after the first run against `organisation()`, as bytes; made by the command itself, once."""
    sandbox = Sandbox(KB, organisation())
    with TemporaryDirectory() as folder, serve(sandbox) as server:
        customer = Customer(Path(folder), server.url, api_key=sandbox.account.key)
        ended = customer.run()
        assert (ended.code, ended.stderr) == (0, "")
        assert customer.exported() == truth(sandbox.organisation)
        return customer.warehouse.read_bytes()


def truth(of):
    """What a perfect export of an organisation holds: for each table its rows, sorted."""
    perfect = of.truth()
    told = {
        name: [_row(columns, [item.get(column) for column in columns]) for item in perfect[name]]
        for name, columns in COLUMNS.items()
    }
    for name, (main, parent, field, columns) in CHILDREN.items():
        told[name] = [
            _row((parent, "position", *columns), (item["id"], position, *(child.get(column) for column in columns)))
            for item in perfect[main]
            for position, child in enumerate(item[field])
        ]
    return {name: _sorted(rows) for name, rows in told.items()}


def _row(columns, values):
    return {column: _plain(column, value) for column, value in zip(columns, values, strict=True)}


def _plain(column, value):
    """One spelling for what JSON, Python and DuckDB spell differently."""
    if value is None:
        return None
    if column == "data_quality_metrics":
        return json.loads(value) if isinstance(value, str) else value
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}" if column in ("period_start", "period_end") else f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return value


def _sorted(rows):
    return sorted(rows, key=lambda row: [str(value) for value in list(row.values())[:2]])
