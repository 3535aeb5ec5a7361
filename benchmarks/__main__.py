"""Run the benchmarks: all of them, or those that are named; what follows a single name is passed on.

python -m benchmarks
python -m benchmarks export --million
"""

import subprocess
import sys
from importlib.util import find_spec

NAMES = tuple(name for name in ("export", "csv_merge", "sheets", "backfill") if find_spec(f"benchmarks.{name}"))


def main() -> None:
    """Run each in a process of its own, so that none is measured with what another one left in memory."""
    name, *options = sys.argv[1:] or [""]
    if name not in ("", *NAMES):
        raise SystemExit(f"no benchmark is called {name}; there are {', '.join(NAMES)}")
    for one in [name] if name else NAMES:
        subprocess.run([sys.executable, "-m", f"benchmarks.{one}", *options], check=True)


if __name__ == "__main__":
    main()
