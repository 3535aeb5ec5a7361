"""A destination that is a dictionary: what the source yields is merged as dlt would merge it, in a moment.

For proofs of the reading that take hundreds of runs; what real destinations do with the same rows is tested beside it.
"""

import copy
import json

import pyarrow as pa

from pipelines.claribi import ALWAYS, READERS
from pipelines.claribi.rows import REMOVED, json_columns
from pipelines.claribi.run import Run
from pipelines.claribi.schema import TABLES
from pipelines.report import make_report
from tests.nightly import LISTS, OWN, Nightly, alive, in_order


class Memory:
    """The `Held` of a run; rows and state of a run are kept together, or not at all."""

    def __init__(self):
        self.tables, self.state, self._fields, self._json = {}, {}, {}, {}

    # What a run asks

    def read(self, table):
        if table not in self._fields:
            return None
        schema = pa.schema(list(self._fields[table].items()))
        return pa.Table.from_pylist(list(self.tables[table].values()), schema).to_reader()

    def takes(self, _table):
        return None

    def kinds(self, table):
        words = {pa.string(): "text", pa.int64(): "bigint", pa.float64(): "double", pa.bool_(): "bool"}
        words |= {pa.date32(): "date", pa.timestamp("us", "UTC"): "timestamp"}
        told = {name: words[kind] for name, kind in self._fields.get(table, {}).items() if not name.startswith("_")}
        return told | dict.fromkeys(self._json.get(table, ()), "json")

    # What a run brings

    def export(self, settings, *, killed_after=None, **options):
        """Run once; with `killed_after` it dies at that batch, and nothing of it is kept."""
        run = Run(settings, run_id="memory", held=self, state=copy.deepcopy(self.state), **options)
        brought = []
        try:
            for name, read in READERS.items():
                for batch in read(run) if run.wants(name) or name in ALWAYS else ():
                    brought.append(batch)
                    if killed_after is not None and len(brought) > killed_after:
                        return None
        finally:
            run.close()
        for name in LISTS:
            ids = [one for batch in brought if name in batch for one in batch[name]["id"].to_pylist()]
            assert len(ids) == len(set(ids)), f"an object of {name} came twice in one load"
        for batch in brought:
            for name, rows in batch.items():
                self._merge(TABLES[name], rows)
        self.state = run.state
        return make_report(run, "memory", {})

    def _merge(self, spec, rows):
        held = self.tables.setdefault(spec.name, {})
        self._json.setdefault(spec.name, set()).update(json_columns(rows))
        self._fields.setdefault(spec.name, {}).update(zip(rows.schema.names, rows.schema.types, strict=True))
        came = rows.to_pylist()
        if spec.merge_key:
            parents = {row[spec.merge_key] for row in came}
            for key in [key for key, row in held.items() if row[spec.merge_key] in parents]:
                del held[key]
        for row in came:
            if not row.get(REMOVED):
                held[tuple(row[name] for name in spec.key)] = row

    # What came of it

    def rows(self, table):
        """All rows as `Nightly.rows` gives them."""
        parsed = self._json.get(table, ())
        names = [name for name in self._fields.get(table, ()) if name not in OWN]
        rows = [{name: row.get(name) for name in names} for row in self.tables.get(table, {}).values()]
        for row in rows:
            row |= {name: json.loads(row[name]) for name in parsed if row[name] is not None}
        return in_order(table, rows)

    def alive(self):
        """The rows of what is not deleted, as `Nightly.perfect` has them."""
        return alive(self.rows)


class Quick(Nightly):
    """The same account, exported into memory by a machine that never remembers anything."""

    def __init__(self, *given, **organisation):
        super().__init__(*given, **organisation)
        self.memory = Memory()

    def export(self, _destination="", *, settings=None, **options):
        self.sandbox.calls.clear()
        return self.memory.export(settings or self.settings(), **options)

    def forget(self):
        pass

    def rows(self, table):
        return self.memory.rows(table)
