"""A load folded into the table that is stored: pure SQL, run by DuckDB, so a million rows make no Python objects.

The order of the rows is a promise: a row that a load brings again stays in its place, new rows come last, in the order
in which they arrived. Every relation here carries that order in `_dlt_position`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, cast

import duckdb
from dlt.common.schema.typing import TColumnSchema

Columns = dict[str, TColumnSchema]
"""Columns by name, in stored order; of dlt's column schema only what `type_of` keeps."""

Sort = tuple[tuple[str, str], ...]
"""Columns to sort by, each with `asc` or `desc`."""

POSITION = "_dlt_position"
MEMORY = "200MB"
"""Enough for millions of rows of usual width, and little enough for a small runner."""
MISFIT = "a value does not fit its column"
"""How DuckDB's error begins when `fold` met one; the rest of the text names column and value."""

Way = Literal["append", "replace", "delete-insert", "upsert", "insert-only"]

_NEW = 1 << 40  # New rows sort behind every stored one without counting those first.
_SQL_TYPES = {
    "text": "VARCHAR",
    "json": "VARCHAR",
    "bool": "BOOLEAN",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "binary": "BLOB",
    "wei": "DECIMAL(38,0)",
}


@dataclass(frozen=True)
class Table:
    """A table as it is stored, or as it is to be: its columns, and the relation that holds its rows.

    `relation` is a view or table of the connection, already quoted. It has `columns` under their names, each with the
    type that `sql_type` gives, and beside them `_dlt_position` (BIGINT): the row's place, unique and ascending, not
    dense. A relation has no order of its own: read it with `ORDER BY {order}`. `key` is the primary key, if it has one.
    """

    relation: str
    columns: Columns
    key: tuple[str, ...] = ()
    sort: Sort = ()
    """What the user wants the rows sorted by; rows that are equal keep their place."""

    @property
    def order(self) -> str:
        """For a query that gives the columns as they are."""
        return ", ".join([*(f"{quoted(name)} {way} NULLS LAST" for name, way in self.sort), POSITION])

    @property
    def order_of_origin(self) -> str:
        """For a query that gives other values under the columns' names: ORDER BY would take those."""
        terms = [f"{self.relation}.{quoted(name)} {way} NULLS LAST" for name, way in self.sort]
        return ", ".join([*terms, POSITION])


@dataclass(frozen=True)
class Plan:
    """How a load's rows join a table: the columns to keep, in order, and dlt's hints."""

    columns: Columns
    way: Way
    incoming: Columns
    """The columns that the load may bring; some of them only steer the fold and are not kept."""
    key: tuple[str, ...] = ()
    merge_key: tuple[str, ...] = ()
    hard_delete: str | None = None
    """Column that marks rows to delete: true, or, in a column of another type, anything but null."""
    dedup_sort: tuple[str, str] | None = None
    """Column and `asc` or `desc`: which of several rows with one key wins. Without it the last to arrive."""
    sort: Sort = ()


def type_of(column: TColumnSchema) -> TColumnSchema:
    """Of a column's hints those that make its type, plain enough for JSON."""
    hints = ("name", "data_type", "precision", "scale", "timezone")
    return cast("TColumnSchema", {hint: column.get(hint) for hint in hints if column.get(hint) is not None})


def sql_type(column: TColumnSchema) -> str:
    """The DuckDB type of a column; JSON is text, because a store keeps it letter for letter."""
    kind, precision = column["data_type"], column.get("precision")
    if kind == "bigint":
        return "HUGEINT" if (precision or 0) > 64 else "BIGINT"
    if kind == "decimal":
        return f"DECIMAL({precision or 38},{column.get('scale') or 0})"
    if kind == "timestamp":
        if column.get("timezone", True):
            return "TIMESTAMP WITH TIME ZONE"
        return "TIMESTAMP_NS" if (precision or 0) > 6 else "TIMESTAMP"
    return _SQL_TYPES[str(kind)]


def quoted(name: str) -> str:
    """An identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text for SQL."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def workbench(memory: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """A private DuckDB that never takes much memory: what does not fit goes to a temporary folder."""
    with TemporaryDirectory(prefix="claribi-export-") as spill:
        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": memory,
                "threads": 1,  # A second one would need as much memory again, and gains little on one file.
                "temp_directory": spill,
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


def fold(
    connection: duckdb.DuckDBPyConnection, name: str, stored: Table | None, files: Sequence[Path], plan: Plan
) -> Table:
    """The table as it is after the load, as a view over the stored rows and the load's parquet files."""
    incoming, before = quoted(f"incoming {name}"), quoted(f"before {name}")
    connection.execute(f"CREATE VIEW {incoming} AS {_incoming(connection, name, files, plan)}")
    connection.execute(f"CREATE VIEW {before} AS {_before(stored, plan)}")
    gone, survivors = quoted(f"gone {name}"), quoted(f"survivors {name}")
    connection.execute(f"CREATE TEMP TABLE {survivors} AS {_survivors(incoming, before, plan)}")
    connection.execute(f"CREATE TEMP TABLE {gone} AS {_gone(incoming, before, plan)}")
    kept = ", ".join(quoted(column) for column in plan.columns)
    after = quoted(f"after {name}")
    connection.execute(
        f"""CREATE VIEW {after} AS
        SELECT {kept}, {POSITION} FROM {before} ANTI JOIN {gone} USING ({POSITION})
        UNION ALL
        SELECT {kept}, coalesce(_dlt_place, {_NEW} + {POSITION}) FROM {incoming} JOIN {survivors} USING ({POSITION})"""
    )
    return Table(after, plan.columns, plan.key, plan.sort)


def _before(stored: Table | None, plan: Plan) -> str:
    """The stored rows with the columns that the table is to have; a new column is null in them."""
    held: Mapping[str, TColumnSchema] = stored.columns if stored and plan.way != "replace" else {}
    columns = ", ".join(
        f"{quoted(name) if name in held else 'NULL'}::{sql_type(column)} AS {quoted(name)}"
        for name, column in plan.columns.items()
    )
    if stored and plan.way != "replace":
        return f"SELECT {columns}, {POSITION} FROM {stored.relation}"
    return f"SELECT {columns}, NULL::BIGINT AS {POSITION} WHERE false"


def _incoming(connection: duckdb.DuckDBPyConnection, table: str, files: Sequence[Path], plan: Plan) -> str:
    """The load's rows in the types that the table has, in the order in which they arrived."""
    paths = ", ".join(literal(str(path)) for path in files)
    source = f"read_parquet([{paths}], union_by_name = true)"
    there = {row[0]: str(row[1]) for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    columns = ", ".join(
        f"{_cast(table, name, there[name], column) if name in there else f'NULL::{sql_type(column)}'} AS {quoted(name)}"
        for name, column in plan.incoming.items()
    )
    return f"SELECT {columns}, row_number() OVER () AS {POSITION} FROM {source}"


def _cast(table: str, name: str, given: str, column: TColumnSchema) -> str:
    """One column in its stored type; a value that does not fit is an error, and 1.5 is never rounded to fit."""
    value, wanted = quoted(name), sql_type(column)
    if given == wanted:
        return value
    if wanted == "VARCHAR":
        is_nested = column["data_type"] == "json" and given != "VARCHAR"
        return f"to_json({value})::VARCHAR" if is_nested else f"{value}::VARCHAR"
    cast = f"try_cast({value} AS {wanted})"
    fits = f"{cast} IS NOT NULL"
    if wanted in ("BIGINT", "HUGEINT"):
        fits += f" AND coalesce(try_cast({value} AS DOUBLE) = trunc(try_cast({value} AS DOUBLE)), true)"
    refusal = literal(f"{MISFIT}: {table}.{name} is {wanted}, the load brings ")
    return f"CASE WHEN {value} IS NULL OR {fits} THEN {cast} ELSE error({refusal} || {value}::VARCHAR) END"


def _survivors(incoming: str, before: str, plan: Plan) -> str:
    """The load's rows that stay, by position, and the place of a row that the table has already.

    Every name that is not a column's begins with `_dlt_`: a table may have a column of any other name, and DuckDB takes
    `b.id` for a field of a column `b` before it takes it for a column of a table `b`.
    """
    if plan.way in ("append", "replace") or not plan.key:
        return f"SELECT {POSITION}, NULL::BIGINT AS _dlt_place FROM {incoming} WHERE {_alive(plan)}"
    keys = ", ".join(quoted(column) for column in plan.key)
    latest = f"{POSITION} ASC" if plan.way == "insert-only" else f"{POSITION} DESC"
    if plan.dedup_sort:
        latest = f"{quoted(plan.dedup_sort[0])} {plan.dedup_sort[1]} NULLS LAST, {latest}"
    unknown = "HAVING min(_dlt_held_at) IS NULL" if plan.way == "insert-only" else ""
    return f"""
        WITH _dlt_winners AS (
            SELECT {keys}, {POSITION}, {_alive(plan)} AS _dlt_alive FROM {incoming}
            QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {latest}) = 1
        ), _dlt_held AS (SELECT {keys}, {POSITION} AS _dlt_held_at FROM {before})
        SELECT {POSITION}, min(_dlt_held_at) AS _dlt_place FROM _dlt_winners LEFT JOIN _dlt_held USING ({keys})
        WHERE _dlt_alive GROUP BY {POSITION} {unknown}"""


def _gone(incoming: str, before: str, plan: Plan) -> str:
    """Places of the stored rows that the load replaces or deletes."""
    wanted = [plan.key] if plan.way in ("delete-insert", "upsert") else []
    if plan.way == "delete-insert":
        wanted.append(plan.merge_key)
    matches = [
        f"SELECT {POSITION} FROM {before} SEMI JOIN (SELECT {keys} FROM {incoming}) USING ({keys})"
        for keys in (", ".join(map(quoted, columns)) for columns in wanted if columns)
    ]
    return " UNION ".join(matches) or f"SELECT {POSITION} FROM {before} WHERE false"


def _alive(plan: Plan) -> str:
    """SQL condition: the row is not marked deleted. Only a merge deletes."""
    if plan.hard_delete is None or plan.way in ("append", "replace"):
        return "true"
    column = quoted(plan.hard_delete)
    is_flag = plan.incoming[plan.hard_delete]["data_type"] == "bool"
    return f"{column} IS DISTINCT FROM true" if is_flag else f"{column} IS NULL"
