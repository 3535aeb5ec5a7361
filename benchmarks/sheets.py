"""Google Sheets: requests and bytes of a first load and of a night, over the test server.

A night brings 1 % changed and 1 % new rows of a table of 15 columns. Requests and bytes are exact; the seconds are this
machine's, server included, and say nothing of Google's.

python -m benchmarks.sheets
python -m benchmarks.sheets 1000 10000
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from destinations.fold import Columns
from tests.sheets_lab import Lab
from tests.sheets_server import SheetsServer

SIZES = (1_000, 10_000, 100_000)
TARGET_MB = {1_000: 0.02, 10_000: 0.19, 100_000: 1.9}
TARGET_CALLS = 3
NIGHTFALL = datetime(2026, 1, 1, 3, tzinfo=UTC)
KINDS = {
    "id": "text",
    "title": "text",
    "status": "text",
    "description": "text",
    "output_format": "text",
    "created_at": "timestamp",
    "completed_at": "timestamp",
    "period_start": "date",
    "pages": "bigint",
    "views": "bigint",
    "score": "double",
    "quality": "json",
    "is_public": "bool",
    "web_url": "text",
    "deleted_at": "timestamp",
}
COLUMNS: Columns = {name: {"name": name, "data_type": kind} for name, kind in KINDS.items()}  # type: ignore[typeddict-item]  # a literal by construction


class Cost(NamedTuple):
    """What one load took; the read that proves it is counted apart."""

    calls: int
    sent_mb: float
    read_mb: float
    proof_mb: float
    seconds: float


def report(number: int, title: str = "Weekly report") -> dict[str, Any]:
    """One made-up report, about as long as a real one."""
    created = NIGHTFALL + timedelta(minutes=number)
    return {
        "id": f"{number:08}",
        "title": f"{title} {number}",
        "status": "completed",
        "description": "Sales by region",
        "output_format": "pdf",
        "created_at": created,
        "completed_at": created + timedelta(seconds=95.25),
        "period_start": created.date(),
        "pages": number % 40,
        "views": number * 7 % 1000,
        "score": number / 7,
        "quality": '{"crm":0.98,"erp":1}',
        "is_public": number % 3 == 0,
        "web_url": f"https://claribi.com/r/{number}",
        "deleted_at": None if number % 50 else created,
    }


def night(rows: int) -> list[dict[str, Any]]:
    """Every hundredth row changed, and one per cent of new ones."""
    changed = [report(number, "Corrected report") for number in range(0, rows, 100)]
    return changed + [report(rows + number) for number in range(rows // 100)]


def measured(server: SheetsServer, load: Callable[[], None]) -> Cost:
    """The cost of one load."""
    server.calls.clear()
    began = time.perf_counter()
    load()
    seconds = time.perf_counter() - began
    *calls, proof = [call for call in server.calls if call.kind != "token"]
    reads = sum(call.received for call in calls if call.kind == "read")
    sent = sum(call.sent for call in calls)
    return Cost(len(calls), sent / 1e6, reads / 1e6, proof.received / 1e6, seconds)


def main() -> None:
    """Print one line for each load."""
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    print("  rows  load   calls  sent MB  read MB  proof MB  seconds   target")
    for rows in sizes:
        server = SheetsServer()
        with TemporaryDirectory() as folder:
            lab = Lab(server, Path(folder))
            first = [report(number) for number in range(rows)]
            costs = {
                "first": measured(server, lambda lab=lab, first=first: lab.job("1", first, columns=COLUMNS)),
                "night": measured(server, lambda lab=lab, rows=rows: lab.job("2", night(rows), columns=COLUMNS)),
            }
            assert len(lab.rows("reports")) == rows + rows // 100
            assert server.problems() == []
        server.close()
        for load, cost in costs.items():
            target = f"{TARGET_CALLS} calls, {TARGET_MB[rows]} MB" if load == "night" and rows in TARGET_MB else ""
            print(
                f"{rows:>6,}  {load}  {cost.calls:>6}  {cost.sent_mb:>7.3f}  {cost.read_mb:>7.2f}  "
                f"{cost.proof_mb:>8.3f}  {cost.seconds:>7.2f}   {target}"
            )


if __name__ == "__main__":
    main()
