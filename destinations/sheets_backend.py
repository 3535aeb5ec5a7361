"""A spreadsheet as a backend of `table_store`: read once a run, compared, written in one step."""

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import duckdb

from destinations.fold import Table
from destinations.sheets_api import SheetsApi
from destinations.sheets_diff import Rules, Stored, is_technical, plan_table, stored_relation
from destinations.sheets_errors import TabChanged
from destinations.sheets_look import Look
from destinations.sheets_outcome import rows_after
from destinations.sheets_plan import TabPlan
from destinations.sheets_reader import Seen, cells_of, see
from destinations.sheets_writer import Writer

FRESH_S = 600.0
"""How long what was read is good for a plan; a run that takes longer reads again."""
LONGEST_TITLE = 100


@dataclass(frozen=True)
class Settings:
    """What the user decides about tabs."""

    rules: Rules
    takes: Callable[[str], bool]
    order: Sequence[str]
    """Of new tabs; those that it does not name follow by the alphabet."""
    growing: frozenset[str]
    overwrite: bool


class Spreadsheet:
    """The backend. It remembers what it has read until it writes, so that a night needs two reads for all tables."""

    def __init__(self, api: SheetsApi, settings: Settings) -> None:
        self.facts: dict[str, int] = {}
        self._api, self._settings = api, settings
        self._seen: Seen | None = None
        self._seen_at = 0.0
        self._stored: dict[str, Stored] = {}
        self._held = 0

    @contextmanager
    def lock(self) -> Iterator[None]:
        """No lock: a batch that rests on a stale plan is refused. What was read too long ago is read again."""
        if not self._held and time.monotonic() - self._seen_at > FRESH_S:
            self._seen = None
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def read(self, connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> dict[str, Table]:
        """A view over the cells of each table; raise `TabChanged` for a tab that is gone."""
        seen = self._look()
        self._stored = {}
        for name in names:
            if name in seen.rows:
                tab, rows = seen.look.tabs[name], seen.rows[name]
                found = [(number, cells_of(tab, row)) for number, row in rows.data]
                self._stored[name] = Stored(tab, rows, stored_relation(connection, name, tab.columns, found))
            elif name in seen.look.rows and self._is_ours(name) and not self._settings.overwrite:
                raise TabChanged(name, MISSING)
        return {name: stored.relation for name, stored in self._stored.items()}

    def commit(self, connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table | None], load_id: str) -> None:
        """Write what changes in one batch; raise `OutOfDate` when another run was faster."""
        seen, facts = self._look(), {"cells_cut": 0, "repairs": 0}
        plans = self._plans(connection, seen.look, tables, facts)
        dropped = [self._stored[name].tab for name, table in tables.items() if table is None and name in self._stored]
        self._seen = None
        look = Writer(self._api, load_id or secrets.token_hex(8), facts).commit(seen.look, plans, dropped)
        if look is not None and not any(plan.sort for plan in plans):
            # What was true when we read and wrote is the start of the run's next load.
            rows = {**seen.rows, **{plan.table: rows_after(plan) for plan in plans}}
            self._seen = Seen(look, {name: rows[name] for name in look.tabs if name in rows})
        calls = {name: round(count) for name, count in asdict(self._api.counted()).items()}
        self.facts = {**facts, "rows_removed_by_people": sum(seen.removed.values()), **calls}

    def _look(self) -> Seen:
        if self._seen is None:
            self._seen, self._seen_at = see(self._api, self._is_ours, self._settings.growing), time.monotonic()
        return self._seen

    def _is_ours(self, name: str) -> bool:
        return is_technical(name) or self._settings.takes(name)

    def _plans(
        self,
        connection: duckdb.DuckDBPyConnection,
        look: Look,
        tables: Mapping[str, Table | None],
        facts: dict[str, int],
    ) -> list[TabPlan]:
        titles = {sheet.title.lower() for sheet in look.sheets}
        rank = {name: place for place, name in enumerate(self._settings.order)}
        plans = []
        for name, table in sorted(tables.items(), key=lambda item: (rank.get(item[0], len(rank)), item[0])):
            if table is not None:
                title = free_title(name, titles)
                stored = self._stored.get(name)
                plans.append(plan_table(connection, name, table, stored, title, self._settings.rules, facts))
                titles.add(plans[-1].title.lower())
        return [plan for plan in plans if plan.changes_anything]


MISSING = (
    "was deleted. Nothing was written. Bring it back (File > Version history), or run with --overwrite: it is made "
    "again with the rows of that load, and a backfill brings the rest."
)


def free_title(table: str, taken: Collection[str]) -> str:
    """A title for a new tab that no other tab has: `reports`, or `reports (2)` beside a person's own."""
    title, number = table[:LONGEST_TITLE], 2
    while title.lower() in taken:
        title = f"{table[: LONGEST_TITLE - 6]} ({number})"
        number += 1
    return title
