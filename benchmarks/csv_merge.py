"""CSV files: a first load of many reports and a night of few changes, in time, memory and bytes, beside others.

    python -m benchmarks.csv_merge [--reports 1000000] [--changes 10000] [--peers]

Each line is measured in a process of its own; memory is the peak of its whole life, imports included.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dlt
import numpy as np
import pyarrow as pa

BATCH = 10_000
PEERS = ("filesystem", "pandas")


def reports(ids: np.ndarray, title: str) -> pa.Table:
    """Rows with 15 columns, some 320 bytes each, as a batch of the exporter has them."""
    moment = np.datetime64("2024-01-01", "us") + ids * np.timedelta64(61, "s")
    text = ids.astype(str)
    table = pa.table(
        {
            "id": text,
            "title": np.char.add(title, text),
            "status": np.where(ids % 7 == 0, "failed", "completed"),
            "description": np.char.add("What the numbers of the month say, in some words, number ", text),
            "output_format": np.full(len(ids), "pdf"),
            "created_at": pa.array(moment, pa.timestamp("us", "UTC")),
            "completed_at": pa.array(moment + np.timedelta64(1500, "ms"), pa.timestamp("us", "UTC")),
            "period_start": pa.array(moment.astype("datetime64[D]")),
            "period_end": pa.array(moment.astype("datetime64[D]") + 30),
            "data_quality_metrics": np.char.add('{"completeness":0.97,"rows":', np.char.add(text, "}")),
            "web_url": np.char.add("https://claribi.com/reports/", text),
            "download_url": np.char.add("https://claribi.com/api/reports/", np.char.add(text, "/download")),
            "pages": ids % 40,
            "score": ids / 7.0,
            "deleted_at": pa.nulls(len(ids), pa.timestamp("us", "UTC")),
        }
    )
    return table.cast(table.schema.set(0, pa.field("id", pa.string(), nullable=False)))


def batches(ids: np.ndarray, title: str) -> Iterator[pa.Table]:
    """The reports in pieces of the size in which the exporter yields them."""
    for start in range(0, len(ids), BATCH):
        yield reports(ids[start : start + BATCH], title)


def work(tool: str, folder: str, ids: np.ndarray, title: str) -> None:
    """Load these reports with one tool."""
    if tool == "pandas":
        pa.concat_tables(batches(ids, title)).to_pandas().to_csv(Path(folder) / "reports.csv", index=False)
        return
    os.environ |= {"DLT_DATA_DIR": f"{folder}/dlt", "RUNTIME__DLTHUB_TELEMETRY": "false"}
    if tool == "csv_files":
        from destinations import csv_files

        destination, options = csv_files(folder=f"{folder}/exports"), {"loader_file_format": "parquet"}
    else:
        destination, options = dlt.destinations.filesystem(f"file://{folder}/lake"), {"loader_file_format": "csv"}
    pipeline = dlt.pipeline("benchmark", destination=destination, dataset_name="claribi")
    pipeline.run(
        batches(ids, title), table_name="reports", primary_key="id", write_disposition="merge", **options
    ).raise_on_failed_jobs()


def peak_mb() -> float:
    """The most memory this process ever held; not `ru_maxrss`, which begins with what its parent held (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(tool: str, night: bool, folder: str, arguments: argparse.Namespace) -> str:
    """One line of the table, from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.csv_merge", "--tool", tool, "--folder", folder]
    command += ["--reports", str(arguments.reports), "--changes", str(arguments.changes)] + ["--night"] * night
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    files = (file for file in Path(folder).rglob("*.csv*") if Path(folder, "dlt") not in file.parents)
    written = sum(file.stat().st_size for file in files)
    return f"{tool:<12} {'night' if night else 'first':<6} {done.stdout.strip()}  {written / 1e6:>6.0f} MB of files"


def main() -> None:
    """Measure what the arguments say; `--tool` is the inner process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--tool")
    parser.add_argument("--folder")
    parser.add_argument("--night", action="store_true")
    arguments = parser.parse_args()
    if arguments.tool:
        step = max(1, arguments.reports // arguments.changes)
        ids = np.arange(0, arguments.reports, step) if arguments.night else np.arange(arguments.reports)
        started = time.perf_counter()
        work(arguments.tool, arguments.folder, ids, "Changed " if arguments.night else "Report ")
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu = usage.ru_utime + usage.ru_stime
        seconds = time.perf_counter() - started
        print(f"{seconds:>6.1f} s  {cpu:>6.1f} s CPU  {peak_mb():>5.0f} MB of memory")
        return
    print(f"{arguments.reports:,} reports of 15 columns, then {arguments.changes:,} of them changed")
    for tool in ("csv_files", *(PEERS if arguments.peers else ())):
        with tempfile.TemporaryDirectory() as folder:
            for night in (False, True) if tool != "pandas" else (False,):
                print(measure(tool, night, folder, arguments), flush=True)


if __name__ == "__main__":
    main()
