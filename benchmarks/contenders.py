"""The ways to bring clariBI's reports into DuckDB that `benchmarks.export` measures, each in a process of its own.

    python -m benchmarks.contenders floor http://127.0.0.1:40123 claribi_sk_sandbox

Each writes `warehouse.duckdb` in the working folder; called once more in the same folder, it is the next night. Each
imports only what it needs, since imports are part of what is measured.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

FILE = "warehouse.duckdb"
PAGE = {"page_size": 100, "limit": 100, "page": 1}
"""Everybody asks in the same words: the sandbox keeps pages ready by the words they were asked for with."""
BATCH_ROWS = 10_000


def ours(url: str, key: str) -> None:
    """The command itself: `claribi-export run --only reports`."""
    from pipelines.cli import main

    os.environ |= {"SOURCES__CLARIBI__BASE_URL": url, "SOURCES__CLARIBI__API_KEY": key}
    sys.argv = ["claribi-export", "run", "--only", "reports", "--json"]
    main()


def rest_api(url: str, key: str, nesting: int | None = None) -> None:
    """Dlt's own `rest_api` source, merged on the key from Parquet files; nested lists become child tables."""
    import dlt
    from dlt.sources.rest_api import rest_api_source

    source = rest_api_source(
        {
            "client": {
                "base_url": f"{url}/api/",
                "headers": {"Authorization": f"Api-Key {key}"},
                "paginator": {"type": "json_link", "next_url_path": "next"},
            },
            "resources": [
                {
                    "name": "reports",
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "endpoint": {"path": "reports/", "params": PAGE, "data_selector": "results"},
                }
            ],
        },
        max_table_nesting=nesting,
    )
    pipeline = dlt.pipeline("bench", destination=dlt.destinations.duckdb(FILE), dataset_name="claribi")
    pipeline.run(source, loader_file_format="parquet").raise_on_failed_jobs()


def rest_api_tuned(url: str, key: str) -> None:
    """The same with what makes it faster: nested values stay JSON, and files between dlt's steps are not compressed."""
    import dlt

    dlt.config["data_writer.disable_compression"] = True
    rest_api(url, key, nesting=0)


def floor(url: str, key: str) -> None:
    """The least there is to do: httpx, orjson and pyarrow, and each batch merged by DuckDB's own API.

    No proof that the list is whole, no comparison, no state, no retry, and no columns but those written here.
    """
    import duckdb
    import pyarrow as pa

    db = duckdb.connect(FILE)
    db.execute("CREATE SCHEMA IF NOT EXISTS claribi")
    for items in _batches(url, key):
        insights = [
            {"report_id": str(item["id"]), "position": position, **insight}
            for item in items
            for position, insight in enumerate(item["insights"])
        ]
        for name, keys, rows in (
            ("reports", "id", _columns(items)),
            ("report_insights", "report_id, position", pa.Table.from_pylist(insights)),
        ):
            db.register("rows", rows)
            db.execute(f"CREATE TABLE IF NOT EXISTS claribi.{name} AS FROM rows LIMIT 0")
            db.execute(
                f"MERGE INTO claribi.{name} USING rows USING ({keys}) "
                "WHEN MATCHED THEN UPDATE BY NAME WHEN NOT MATCHED THEN INSERT BY NAME"
            )
    db.close()


def _batches(url: str, key: str) -> Iterator[list[dict[str, Any]]]:
    from urllib.parse import urlencode

    import httpx
    import orjson

    link: str | None = f"{url}/api/reports/?{urlencode(PAGE)}"
    items: list[dict[str, Any]] = []
    with httpx.Client(headers={"Authorization": f"Api-Key {key}"}) as client:
        while link:
            page = orjson.loads(client.get(link).raise_for_status().content)
            items += page["results"]
            link = page["next"]
            if len(items) >= BATCH_ROWS or not link:
                yield items
                items = []


def _columns(items: list[dict[str, Any]]) -> Any:
    """The reports with the columns and types that the exporter gives them."""
    import orjson
    import pyarrow as pa

    def column(name: str) -> Any:
        values = [item[name] for item in items]
        if name == "data_quality_metrics":
            return pa.array([orjson.dumps(value).decode() for value in values])
        if name.endswith("_at"):
            return pa.array(values, pa.string()).cast(pa.timestamp("us", "UTC"))
        if name.startswith("report_period"):
            return pa.array(values, pa.string()).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        return pa.array([str(value) for value in values]) if name == "id" else pa.array(values, pa.string())

    return pa.table({name: column(name) for name in items[0] if name != "insights"})


def check(reports: str) -> None:
    """See that the warehouse holds every report once."""
    import duckdb

    with duckdb.connect(FILE, read_only=True) as db:
        found = db.execute("SELECT count(*), count(DISTINCT id) FROM claribi.reports").fetchall()
    if found != [(int(reports), int(reports))]:
        raise SystemExit(f"{reports} reports should be there; rows and different ids are {found}")


if __name__ == "__main__":
    contender, *where = sys.argv[1:]
    globals()[contender](*where)
