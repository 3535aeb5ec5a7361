"""Writes the pages that follow from the code and the lock: `make docs`. A test holds the pages to it."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from pipelines.claribi.schema import TABLES, Column, Table
from pipelines.watch.tables import WATCHED

HERE = Path(__file__).parent
LOCK = HERE.parent / "requirements-run.lock"

TABLES_HEAD = """\
# Tables

<!-- Written by `make docs` from the schema; do not edit. -->

What a run writes, in the schema `claribi`. Every table is merged on its key, so a run may be repeated as often as you
like and no row is ever there twice.

| type | in DuckDB | in CSV files | in Google Sheets |
| --- | --- | --- | --- |
| text | `VARCHAR` | as it is; `""` when empty | text |
| timestamp | `TIMESTAMP WITH TIME ZONE` | ISO 8601 with `Z` | date and time, UTC |
| bigint | `BIGINT` | digits | number, or text beyond 15 digits |
| double | `DOUBLE` | shortest form that reads back the same | number |
| bool | `BOOLEAN` | `true`, `false` | TRUE, FALSE |
| date | `DATE` | `2026-01-31` | date |
| json | `JSON` | JSON with sorted keys | the same, as text |

Null is `NULL`, an empty cell, an empty cell.

A field that no table here names becomes a column of its own at the table's end: a number, text or flag under its own
type, an object or a list as JSON. Where the columns would be more than 50, or the name or the type is taken, it goes
into `extra`. Tables whose rows are replaced together with their parent have one column more, `_removed`, which is null
in every row: it is how a parent without children says so. Tables that begin with `_dlt` are dlt's own; the export's
memory is in them, so keep them.
"""

LICENCES_HEAD = """\
# Licences of what is installed

<!-- Written by `make docs` from requirements-run.lock and what each package says of itself; do not edit. -->

`claribi-export` is under Apache-2.0. These are the packages that an installation brings, with the extras `postgres`,
`sheets` and `watch`, at their locked versions and as each declares its licence. None is changed, none is part of the
wheel. What a package carries inside itself (pyarrow, numpy, duckdb and vl-convert bring compiled libraries) is named in
its own notices. Packages for Windows alone are left out: the export does not run there.

A package whose licence is unknown, or not one that an Apache-2.0 project may depend on, fails the tests.
psycopg2-binary is under the LGPL: it comes with the extra `postgres` alone, unchanged, and can be replaced.

| package | version | licence |
| --- | --- | --- |
"""

ALLOWED = {
    *("0BSD", "AFL-2.1", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0"),
    *("MPL-2.0", "PSF-2.0", "Zlib"),
}
EXCEPTIONS = {"psycopg2-binary": "LGPL with exceptions"}
"""A copyleft licence, where an unchanged package of an extra is under it."""

SPELLED = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache v2": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""Words of older metadata, as SPDX has them; BSD where nobody says which one."""


def tables_page() -> str:
    """Every table with its key, how it is written, and every column."""
    return "\n".join([TABLES_HEAD, *(_table(table) for table in (*TABLES.values(), *WATCHED))])


def _table(table: Table) -> str:
    rows = "\n".join(_column(table, column) for column in table.columns)
    return f"""\
## {table.name}

{table.about}

Key: {_code(table.key)}. {_written(table)}

| column | type | what it holds | clariBI's field |
| --- | --- | --- | --- |
{rows}
"""


def _written(table: Table) -> str:
    if table.merge_key:
        return (
            f"Written by merge: whenever a parent changes, all rows of one `{table.merge_key}` are replaced together."
        )
    if "deleted_at" in (column.name for column in table.columns):
        return "Written by merge: the latest answer replaces the row; what is gone keeps its row and gets `deleted_at`."
    return "Written by merge on the key."


def _column(table: Table, column: Column) -> str:
    name = f"**`{column.name}`**" if column.name in table.key else f"`{column.name}`"
    return f"| {name} | {column.kind} | {column.about} | {_code(column.fields)} |"


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def licences_page() -> str:
    """Every locked package of a run with its licence."""
    rows = [f"| {name} | {version} | {licence(name) or 'unknown'} |" for name, version in locked()]
    return LICENCES_HEAD + "\n".join(rows) + "\n"


def locked() -> Iterator[tuple[str, str]]:
    """Name and version of each package in the lock; of one that depends on Python's version, all its versions."""
    versions: dict[str, list[str]] = {}
    for line in re.findall(r"^([\w.-]+==[^\\\n]+)", LOCK.read_text(), re.M):
        wanted = Requirement(line)
        if "'win32'" not in line and "'nt'" not in line:
            versions.setdefault(wanted.name, []).append(str(wanted.specifier).removeprefix("=="))
    yield from ((name, ", ".join(found)) for name, found in versions.items())


def licence(name: str) -> str:
    """What an installed package declares, as SPDX where it can be told; empty where it says nothing."""
    told = distribution(name).metadata
    classified = [one.rpartition(" :: ")[2] for one in told.get_all("Classifier") or () if one.startswith("License ::")]
    short = (told.get("License") or "").strip()
    said = told.get("License-Expression") or (short if 0 < len(short) < 40 else " AND ".join(classified))
    return SPELLED.get(said, said)


def may_be_used(name: str, said: str) -> bool:
    """Whether a licence, in SPDX's words, is one that this project may depend on."""
    if EXCEPTIONS.get(name) == said:
        return True
    return all(any(one in ALLOWED for one in part.strip("()").split(" OR ")) for part in said.split(" AND "))


PAGES = {"tables.md": tables_page, "licences.md": licences_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page())
        sys.stdout.write(f"docs/{name}\n")
