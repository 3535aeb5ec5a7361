"""What a load changes in a tab: stored rows become a typed relation, and what the fold made of it is compared with it.

DuckDB finds the rows that may differ; only those become cells and are compared as Sheets can keep them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from destinations.cells import (
    MAX_CHARACTERS,
    Cell,
    Column,
    Row,
    characters,
    column_of,
    cut,
    from_cell,
    hints,
    is_too_long,
    packed,
    same_rows,
    to_cell,
)
from destinations.fold import POSITION, Table, quoted, sql_type
from destinations.sheets_errors import CellRefused
from destinations.sheets_look import Tab, new_number
from destinations.sheets_plan import TabPlan, TabRows, reconcile

PIECE = 10_000
LARGEST = 999_999_999_999_999
ARROW_TYPES: dict[str, Any] = {
    "text": pa.string(),
    "json": pa.string(),
    "bool": pa.bool_(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "binary": pa.binary(),
}


@dataclass
class Rules:
    """What the user decides about cells."""

    cut_long: bool = False
    exact_timestamps: bool = False
    sort: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass
class Stored:
    """A table as its tab holds it."""

    tab: Tab
    rows: TabRows
    relation: Table


def is_technical(table: str) -> bool:
    """Whether a table is dlt's own: hidden, and nobody's business."""
    return table.startswith("_dlt_")


def plan_table(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: Table,
    stored: Stored | None,
    title: str,
    rules: Rules,
    facts: dict[str, int],
) -> TabPlan:
    """The way from the stored rows to the table as it is to be; `title` is for a new tab."""
    tab = stored.tab if stored else None
    columns = _columns(name, table, tab, long_numbers(connection, table), rules)
    plan = TabPlan(
        name,
        columns,
        table.key,
        tab,
        tab.sheet.sheet_id if tab else new_number(),
        tab.sheet.title if tab else title,
        stored.rows if stored else TabRows(),
        is_technical(name),
        sort=[_sort_spec(entry, columns) for entry in rules.sort.get(name, ())],
        note_id=tab.note_id if tab else new_number(),
    )
    _compare(connection, table, stored, plan, rules, facts)
    return plan


def _compare(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    stored: Stored | None,
    plan: TabPlan,
    rules: Rules,
    facts: dict[str, int],
) -> None:
    """Fill the plan: which rows change in place, which go, which are new."""
    project = plan.project
    old = {number: project(row) for number, row in plan.before.data}
    known = None if stored is None or _is_rewrite(plan) else stored.relation
    appends = []
    for position, row in candidates(connection, table, plan.columns, known):
        cells = _fitting(plan, row, rules, facts)
        if position not in old:
            appends.append(cells)
        elif plan.reorders or not same_rows(old[position], cells):
            plan.updates[position] = cells
    gone = missing(connection, table, stored.relation) if stored else []
    # A replaced table comes as all rows gone and all rows new: those of one key are one row that stays.
    reconcile(plan, [(number, old[number]) for number in gone], appends, lambda _: True)


def _is_rewrite(plan: TabPlan) -> bool:
    """Whether every row must be looked at: columns stand elsewhere now, or change between number and text."""
    if plan.tab is None:
        return True
    old = {column.name: column for column in plan.tab.columns}
    return plan.reorders or any(column.name in old and old[column.name] != column for column in plan.columns)


def _columns(name: str, table: Table, tab: Tab | None, long: Collection[str], rules: Rules) -> tuple[Column, ...]:
    """The table's columns; one that once needed text stays text, or it would change to and fro."""
    texts = {column.name for column in tab.columns if column.as_text} if tab else set()
    exact = rules.exact_timestamps or is_technical(name)

    def as_text(column: Column) -> bool:
        if column.data_type == "timestamp":
            return exact
        return column.data_type == "wei" or (
            column.data_type in ("bigint", "decimal") and column.name in texts | set(long)
        )

    plain = [column_of(column, given) for column, given in table.columns.items()]
    return tuple(column._replace(as_text=as_text(column)) for column in plain)


def _sort_spec(entry: str, columns: Sequence[Column]) -> tuple[int, str]:
    """`created_at desc` -> its place and Google's word."""
    name, _, direction = entry.partition(" ")
    order = "DESCENDING" if direction.strip().lower() == "desc" else "ASCENDING"
    return [column.name for column in columns].index(name), order


def _fitting(plan: TabPlan, row: list[Cell], rules: Rules, facts: dict[str, int]) -> list[Cell]:
    """A row that Sheets will take, or an error that says where it will not: one long cell fails the whole load."""
    if plan.hidden:
        cells = packed(row)
        return cells + [None] * (plan.tab.sheet.width - len(cells) if plan.tab else 0)
    key = [row[place] for place in plan.places]
    if plan.key and not any(cell is not None for cell in key):
        problem = "is empty, so the row could not be found again. Give it a key, or leave the table out."
        raise CellRefused(plan.table, "without a key", ", ".join(plan.key), problem)
    for place, cell in enumerate(row):
        if isinstance(cell, str) and is_too_long(cell):
            if not rules.cut_long:
                raise CellRefused(plan.table, _in_words(key), plan.columns[place].name, _too_long(cell))
            row[place] = cut(cell)
            facts["cells_cut"] = facts.get("cells_cut", 0) + 1
    return row


def _too_long(text: str) -> str:
    return (
        f"holds {characters(text):,} characters, a cell of Google Sheets at most {MAX_CHARACTERS:,}. Nothing was "
        "written. Leave the column out (DESTINATION__GOOGLE_SHEETS__COLUMNS), or set "
        'DESTINATION__GOOGLE_SHEETS__LONG_CELLS="cut" to keep its beginning with a visible mark.'
    )


def _in_words(key: Sequence[Cell]) -> str:
    return ", ".join(str(cell)[:40] for cell in key if cell is not None)


def stored_relation(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[Column], rows: Sequence[tuple[int, Row]]
) -> Table:
    """A view over the rows of a tab, each at the position of its row in the grid."""
    arrays = [_array(column, [row[place] for _, row in rows]) for place, column in enumerate(columns)]
    positions = pa.array([number for number, _ in rows], pa.int64())
    cells, view = f"cells of {table}", quoted(f"sheet {table}")
    connection.register(cells, pa.table([*arrays, positions], [*(c.name for c in columns), POSITION]))
    # What a person typed may not fit: such a cell is null, and stays as it is until the source brings a new value.
    typed = [f"TRY_CAST({quoted(c.name)} AS {sql_type(hints(c))}) AS {quoted(c.name)}" for c in columns]
    connection.execute(f"CREATE VIEW {view} AS SELECT {', '.join([*typed, POSITION])} FROM {quoted(cells)}")
    return Table(view, {column.name: hints(column) for column in columns})


def long_numbers(connection: duckdb.DuckDBPyConnection, table: Table) -> set[str]:
    """Columns of whole or decimal numbers with more digits than Sheets keeps; they are written as text."""
    tests = {}
    for name, column in table.columns.items():
        field = quoted(name)
        if column["data_type"] == "bigint":
            tests[name] = f"bool_or({field} NOT BETWEEN -{LARGEST} AND {LARGEST})"
        elif column["data_type"] == "decimal" and (column.get("precision") or 38) > 15:
            digits = f"trim(regexp_replace({field}::VARCHAR, '[-.]', '', 'g'), '0')"
            tests[name] = f"bool_or(length({digits}) > 15)"
    if not tests:
        return set()
    (found,) = connection.execute(f"SELECT {', '.join(tests.values())} FROM {table.relation}").fetchall()
    return {name for name, is_long in zip(tests, found, strict=True) if is_long}


def candidates(
    connection: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[Column], stored: Table | None
) -> Iterator[tuple[int, list[Cell]]]:
    """Position and cells of every row that may differ from `stored`, in the table's order; without it, of all."""
    names = [quoted(column.name) for column in columns]
    source = f"SELECT {', '.join(names)}, {POSITION} FROM {table.relation}"
    if stored is not None:
        there = [
            quoted(c.name) if c.name in stored.columns else f"NULL::{sql_type(hints(c))} AS {quoted(c.name)}"
            for c in columns
        ]
        source += f" EXCEPT SELECT {', '.join(there)}, {POSITION} FROM {stored.relation}"
    for batch in connection.sql(f"SELECT * FROM ({source}) ORDER BY {table.order}").to_arrow_reader(PIECE):
        cells = [[to_cell(c, value) for value in batch.column(n).to_pylist()] for n, c in enumerate(columns)]
        yield from zip(batch.column(len(columns)).to_pylist(), map(list, zip(*cells, strict=True)), strict=True)


def missing(connection: duckdb.DuckDBPyConnection, table: Table, stored: Table) -> list[int]:
    """Positions of the stored rows that the folded table no longer has."""
    query = f"SELECT {POSITION} FROM {stored.relation} EXCEPT SELECT {POSITION} FROM {table.relation} ORDER BY 1"
    return [row[0] for row in connection.execute(query).fetchall()]


def _array(column: Column, cells: Sequence[Cell]) -> Any:
    """One column as Arrow. Numbers wider than 64 bits travel as text; DuckDB gives them their type."""
    values = [from_cell(column, cell) for cell in cells]
    if column.data_type == "timestamp":
        return pa.array(values, pa.timestamp("us", "UTC" if column.timezone else None))
    if column.data_type in ("decimal", "wei") or (column.data_type == "bigint" and (column.precision or 0) > 64):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if column.data_type == "bigint":
        values = [value if value is not None and -(2**63) <= value < 2**63 else None for value in values]
    return pa.array(values, ARROW_TYPES[column.data_type])
