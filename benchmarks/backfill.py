"""How many calls a backfill makes that is stopped again and again, beside the least that it could make.

    python -m benchmarks backfill [--reports 20000] [--stops 40] [--seeds 1]

The account allows 1,000 calls an hour, on a clock that moves by itself: nobody waits. A third of the stops are Ctrl-C
at a random call, a third are kills at a random moment, whose load is lost, a third are `--max-requests`. Each command
begins on a machine that remembers nothing. At the end the warehouse is compared with the account.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.sandbox import KB
from tests.backfills import Account, stopped_backfill
from tests.stage import serve_stage


def main() -> None:
    """Print a line for each seed; exit 1 when something is missing or it took too many calls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=20_000)
    parser.add_argument("--stops", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    print("seed    least    calls     more  commands  hours   seconds  equal")
    with serve_stage() as stage, pytest.MonkeyPatch.context() as patch:
        rounds = [_one(stage, patch, options, seed) for seed in range(options.seeds)]
    raise SystemExit(not all(rounds))


def _one(stage: object, patch: pytest.MonkeyPatch, options: argparse.Namespace, seed: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        apart = replace(KB, details_in_list=False)
        account = Account(Path(folder), stage, patch, apart, reports=options.reports, history_days=1_000)
        account.finish_all()
        began = time.perf_counter()
        made = stopped_backfill(account, options.stops, seed)
        took_s, equal = time.perf_counter() - began, account.held() == account.truth()
        patch.undo()
    more = made.calls / made.least - 1
    print(
        f"{seed:4}  {made.least:7,.0f}  {made.calls:7,}  {more:7.2%}  {made.commands:8}  {made.hours:5.1f}"
        f"  {took_s:8.1f}  {'yes' if equal else 'NO'}",
        flush=True,
    )
    return equal and more <= 0.02


if __name__ == "__main__":
    main()
