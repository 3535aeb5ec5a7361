"""The exporter beside dlt's `rest_api` source and beside the least there is to do: clariBI's reports into DuckDB.

    python -m benchmarks export [--reports 100000] [--rounds 3] [--million]

The sandbox serves ready-made pages of 100 over loopback from a process of its own. Each contender runs in a process of
its own too, all of them once a round, and is compared with what the others took in the same round. The whole process is
measured, imports included; its start-up is what it takes for a list of one page.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
KEY = "claribi_sk_sandbox"
PAGE_ROWS = 100
LATENCY_S = 0.05
TITLES = {
    "ours": "claribi-export run",
    "rest_api": "dlt rest_api",
    "rest_api_tuned": "dlt rest_api, tuned",
    "floor": "floor",
}
RATIOS = (("rest_api", "ours"), ("rest_api_tuned", "ours"), ("ours", "floor"))
MB_OF_MAXRSS = 1 / 1_048_576 if sys.platform == "darwin" else 1 / 1024
SERVE = """
from pipelines.sandbox import run_sandbox
run_sandbox("kb", 0, reports={}, limit=10**9, latency_s={}, on_ready=lambda sandbox: print(sandbox.url, flush=True))
"""


class Cost(NamedTuple):
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


Costs = dict[str, list[list[Cost]]]
"""By contender and round: the first load, then the nights after it."""


def main() -> None:
    """Measure what the arguments say and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--million", action="store_true", help="a million reports, by the exporter alone; minutes")
    arguments = parser.parse_args()
    if arguments.million:
        show("1,000,000 reports", measure(1_000_000, 1, ["ours"], nights=1))
        return
    rounds = arguments.rounds
    startup = measure(PAGE_ROWS, rounds)
    show(f"{PAGE_ROWS} reports on one page: the start-up", startup)
    costs = measure(arguments.reports, rounds, nights=1)
    show(f"{arguments.reports:,} reports", costs)
    compare(costs)
    compare(costs, startup)
    costs = measure(arguments.reports, rounds, ["ours", "rest_api", "floor"], latency_s=LATENCY_S)
    show(f"{arguments.reports:,} reports, {LATENCY_S * 1000:.0f} ms a page", costs)
    compare(costs)


def measure(
    reports: int, rounds: int, contenders: Sequence[str] = tuple(TITLES), *, nights: int = 0, latency_s: float = 0.0
) -> Costs:
    """Let each contender load the list once a round, and as many nights after it, in an order that changes."""
    costs: Costs = {name: [] for name in contenders}
    with sandbox(reports, latency_s) as url:
        with folder() as unmeasured:  # it makes the pages ready
            run(unmeasured, "floor", url, KEY)
        for number in range(rounds):
            turn = number % len(contenders)
            for name in (*contenders[turn:], *contenders[:turn]):
                with folder() as place:
                    costs[name].append([run(place, name, url, KEY) for _ in range(1 + nights)])
                    run(place, "check", str(reports))
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return costs


def run(place: Path, *command: str) -> Cost:
    """One process from its start to its end; the benchmark ends when it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(ROOT), "DLT_DATA_DIR": str(place / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    began = time.perf_counter()
    with (place / "log").open("w") as log:
        words = [sys.executable, "-m", "benchmarks.contenders", *command]
        process = subprocess.Popen(words, cwd=place, env=environment, stdout=log, stderr=log)
        _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(place / 'log').read_text()}")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MB_OF_MAXRSS)


@contextmanager
def sandbox(reports: int, latency_s: float) -> Iterator[str]:
    """The sandbox in a process of its own; gives its address."""
    words = [sys.executable, "-c", SERVE.format(reports, latency_s)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.terminate()
        process.wait()


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one contender's files."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def middle(costs: Costs, name: str, night: int = 0) -> Cost:
    """The medians of all rounds."""
    return Cost(*map(median, zip(*(nights[night] for nights in costs[name]), strict=True)))


def show(title: str, costs: Costs) -> None:
    """Print a table of what was measured."""
    rounds = next(iter(costs.values()))
    heads = ("first load", "the night after")[: len(rounds[0])]
    print(f"\n{title}; medians of {len(rounds)}")
    print(f"  {'':<22}" + "".join(f"{head:>28}" for head in heads))
    print(f"  {'':<22}" + f"{'wall s':>12} {'CPU s':>7} {'MB':>7}" * len(heads))
    for name in costs:
        cells = (middle(costs, name, night) for night in range(len(heads)))
        print(f"  {TITLES[name]:<22}" + "".join(f"{c.wall_s:>12.1f} {c.cpu_s:>7.1f} {c.peak_mb:>7.0f}" for c in cells))


def compare(costs: Costs, startup: Costs | None = None) -> None:
    """Print how much one takes of what another one took in the same round, for the first load."""
    title = "how much it takes without the start-up of each" if startup else "how much one takes of the other"
    print(f"  {title:<43}{'wall':>12}{'CPU':>8}")
    for one, other in (pair for pair in RATIOS if set(pair) <= set(costs)):
        cells = ""
        for what in (0, 1):
            off = [middle(startup, name)[what] if startup else 0.0 for name in (one, other)]
            pairs = zip(costs[one], costs[other], strict=True)
            ratio = median((mine[0][what] - off[0]) / (theirs[0][what] - off[1]) for mine, theirs in pairs)
            cells += f"{ratio:>{8 if what else 12}.2f}"
        print(f"    {f'{TITLES[one]} : {TITLES[other]}':<41}{cells}")


if __name__ == "__main__":
    main()
