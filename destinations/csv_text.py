"""Cells of a CSV file and the values they stand for, as SQL for DuckDB: `written` and `parsed` are inverse.

| value | cell |
| --- | --- |
| null | nothing between the commas |
| empty text | `""` |
| text, JSON | as it is; quoted where it holds a comma, a quote or a line break |
| whole number, decimal, date, time | `42`, `1.50`, `2026-11-24`, `04:05:06.5` |
| float | the shortest text that reads back as the same float |
| true, false | `true`, `false` |
| timestamp | `2026-11-24T04:05:06Z`, microseconds only where there are some; without `Z` when it has no zone |
| bytes | base64 |

With `excel` a text cell that a spreadsheet program would run as a formula gets an apostrophe in front. A text that has
apostrophes before such a character gets one more, so that every text reads back as it was.
"""

from dlt.common.schema.typing import TColumnSchema

from destinations.fold import Columns, literal, quoted, sql_type

TEXTS = ("text", "json", "binary")
LONGEST_LINE = 16_000_000
"""Bytes of one row, the longest that is read back."""

_FORMULA = "'^''*[=+\\-@\\t\\r]'"


def written(column: TColumnSchema, excel: bool) -> str:
    """The cell for a value of this column."""
    name, kind = quoted(str(column["name"])), column["data_type"]
    if kind == "timestamp":
        zoned = column.get("timezone", True)
        moment = f"make_timestamp(epoch_us({name}))" if zoned else name
        return f"replace({moment}::VARCHAR, ' ', 'T')" + (" || 'Z'" if zoned else "")
    cell = f"to_base64({name})" if kind == "binary" else name
    if excel and kind in TEXTS:
        return f"CASE WHEN {is_formula(cell)} THEN '''' || {cell} ELSE {cell} END"
    return cell


def parsed(column: TColumnSchema, excel: bool) -> str:
    """The value of a cell that `read_csv` delivers in the type of `cell_type`."""
    value, kind = quoted(str(column["name"])), column["data_type"]
    if excel and kind in TEXTS:
        value = f"CASE WHEN {value}[1] = '''' AND {is_formula(value)} THEN {value}[2:] ELSE {value} END"
    return f"from_base64({value})" if kind == "binary" else value


def is_formula(cell: str) -> str:
    """SQL condition: a spreadsheet program would run this text, or `written` guards it for its apostrophes."""
    return f"regexp_matches({cell}, {_FORMULA})"


def cell_type(column: TColumnSchema) -> str:
    """The type in which `read_csv` is to deliver a cell."""
    return "VARCHAR" if column["data_type"] in TEXTS else sql_type(column)


def read_csv(file: str, columns: Columns, crlf: bool) -> str:
    """A FROM clause for one of our files; every cell as `cell_type` says."""
    types = ", ".join(f"{literal(name)}: {literal(cell_type(column))}" for name, column in columns.items())
    line_end = "\\r\\n" if crlf else "\\n"
    return (
        f"read_csv({literal(file)}, columns = {{{types}}}, auto_detect = false, header = true, delim = ',', "
        f"quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false, new_line = '{line_end}', "
        f"max_line_size = {LONGEST_LINE}, buffer_size = {2 * LONGEST_LINE})"
    )


def write_csv(query: str, file: str) -> str:
    """A statement that writes a query's rows, in its order, into a new file with line feeds."""
    return (
        f"COPY ({query}) TO {literal(file)} "
        "(FORMAT csv, HEADER, DELIMITER ',', QUOTE '\"', ESCAPE '\"', NULLSTR '', USE_TMP_FILE false)"
    )
