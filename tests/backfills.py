"""What the tests of backfills share: an account that is read by them, and moments at which they are stopped."""

import os
import random
import signal
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from pipelines.backfilling import backfill
from pipelines.claribi.backfill import Wanted
from pipelines.claribi.windows import read_moment
from tests.fake_clock import FakeClock
from tests.nightly import Nightly
from tests.stage import finish_calls

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
CALL_S = 0.04
"""What a call takes on the clock of these tests: 150 ms, four at once."""


class Killed(BaseException):
    """The process is gone: nothing of ours gets to see this one."""


class Account(Nightly):
    """An account whose reports are read by backfills, on a machine that remembers nothing of them."""

    def backfill(self, since=LONG_AGO, until=None, destination="duckdb", *, details=False, again=False, **options):
        """One command; only its calls are on the sandbox afterwards. Times may be given as text."""
        self.sandbox.calls.clear()
        settings = options.pop("settings", None) or self.settings()
        moments = [read_moment("--x", one) if isinstance(one, str) else one for one in (since, until)]
        return backfill(settings, destination, Wanted(*moments, details, again), **options)

    def good_backfill(self, *window, **options):
        """One that reads all of its window without a word."""
        report = self.backfill(*window, **options)
        assert (report.exit_code, report.outcome, report.notes, report.left) == (0, "done", [], [])
        return report

    @property
    def read(self):
        """What the last command read of the reports: pages, and ids of details."""
        below = [path.partition("/reports/")[2].strip("/") for path in self.paths() if "/reports/" in path]
        return below.count(""), [one for one in below if one]

    def held(self):
        """The reports and their insights that are alive in the warehouse."""
        reports = [row for row in self.rows("reports") if row["deleted_at"] is None]
        return {"reports": reports, "report_insights": self.rows("report_insights")}

    def truth(self, since=LONG_AGO, until=None):
        """What `held` is to be after a backfill of a window with all details."""
        perfect = self.perfect()
        since, until = (read_moment("--x", one) if isinstance(one, str) else one for one in (since, until))
        reports = [
            row
            for row in perfect["reports"]
            if row["created_at"] >= since and not (until and row["created_at"] >= until)
        ]
        ids = {row["id"] for row in reports}
        return {
            "reports": reports,
            "report_insights": [row for row in perfect["report_insights"] if row["report_id"] in ids],
        }

    def finish_all(self):
        """No report is left unfinished."""
        for number in sorted(self.organisation.open):
            self.organisation.set("reports", number, {"status": "completed"})

    def created(self, place):
        """When the report at a place of the list, from the newest on, was created."""
        return self.organisation.item("reports", self.organisation.numbers("reports", "newest")[place])["created_at"]


class Told(NamedTuple):
    """What a backfill took that was stopped again and again."""

    calls: int
    least: float
    """Pages and details, each once."""
    commands: int
    hours: float
    """On the clock, waits included."""


def stopped_backfill(account, stops, seed):
    """Read everything with details under 1,000 calls an hour, stopped so often, each time on a fresh machine.

    A third of the stops are Ctrl-C at a random call, a third `--max-requests`, a third kills at a random moment.
    """
    draw, clock = random.Random(seed), Stopping()
    account.sandbox.limits.limit, account.sandbox.limits.clock = 1_000, clock.epoch
    least = account.organisation.shelves["reports"].last * 1.01
    often, apart_s = round(2 * least / stops), 2 * 3600 * least / 900 / stops
    kinds = [("stop", "kill", "max")[number % 3] for number in range(stops)]
    calls, commands, report = 0, 0, None
    while report is None or report.exit_code == 75:
        assert commands < stops + 5
        commands += 1
        kind, most = (kinds.pop() if kinds else None), None
        if kind == "stop":
            clock.arm("stop", at_call=draw.randrange(20, often))
        elif kind == "kill":
            clock.arm("kill", at_s=clock.passed_s + draw.uniform(0, apart_s))
        elif kind == "max":
            most = draw.randrange(10, often)
        with suppress(Killed):
            waits = account.settings(max_wait=1e9)
            report = account.backfill(details=True, max_requests=most, clock=clock, settings=waits)
            assert report.exit_code in (0, 75), report.notes
        finish_calls()
        clock.disarm()
        calls += len(account.sandbox.calls)
    return Told(calls, least, commands, clock.passed_s / 3600)


class Stopping(FakeClock):
    """A clock on which calls take time, and which ends whatever runs at a moment (`at_s`) or at a call (`at_call`)."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.disarm()

    def arm(self, how, *, at_s=None, at_call=None):
        """`how` is `stop`, as Ctrl-C, or `kill`; `at_call` counts from now on."""
        self.how, self.at_s = how, at_s
        self.at_call = None if at_call is None else self.calls + at_call

    def disarm(self):
        self.how = self.at_s = self.at_call = None

    @property
    def passed_s(self):
        """Seconds since its beginning."""
        return super().monotonic()

    def epoch(self):
        """The same clock for the sandbox."""
        return self.now().timestamp()

    def monotonic(self):
        """Asked once before each call."""
        self.calls += 1
        self.advance(CALL_S)
        self._strike()
        return super().monotonic()

    def sleep(self, seconds):
        super().sleep(seconds)
        self._strike()

    def _strike(self):
        over = self.at_s is not None and self.passed_s >= self.at_s
        over = over or (self.at_call is not None and self.calls >= self.at_call)
        if not over:
            return
        how = self.how
        self.disarm()
        if how == "stop":
            os.kill(os.getpid(), signal.SIGINT)
        elif how == "kill":
            raise Killed
