"""A clock that moves only when somebody sleeps, so that no test waits."""

import threading
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Begins on 1 March 2026, noon UTC; `sleeps` are the seconds asked for, in their order."""

    def __init__(self):
        self.sleeps = []
        self._start = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self._passed_s = 0.0
        self._lock = threading.Lock()

    @property
    def slept_s(self):
        return sum(self.sleeps)

    def now(self):
        return self._start + timedelta(seconds=self._passed_s)

    def monotonic(self):
        return self._passed_s

    def sleep(self, seconds):
        with self._lock:
            self.sleeps.append(seconds)
            self._passed_s += seconds

    def advance(self, seconds):
        with self._lock:
            self._passed_s += seconds
