"""One run against one account: what it was told, what it remembers, and what it found."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from pipelines.claribi.changes import Held, NothingHeld, Sorted
from pipelines.claribi.client import SYSTEM_CLOCK, Calls, Client, Clock
from pipelines.claribi.dialect import Dialect
from pipelines.claribi.errors import ClaribiError, Paused, SettingError, WalkUnproven
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi.shelf import Batch, take
from pipelines.claribi.walk import Proof

if TYPE_CHECKING:
    from pipelines.claribi.objects import Objects


@dataclass
class Counts:
    """What one run found in one table."""

    seen: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0

    @property
    def written(self) -> int:
        """Rows that the destination has to take."""
        return self.new + self.changed + self.deleted


@dataclass
class Run:
    """What the resources share.

    A resource that the key may not read is skipped, and the rate limit may end the reading early: both are kept in
    `problems`, and what was read is still loaded. Any other error is raised, and nothing of the run is loaded.
    """

    settings: ClaribiSettings
    run_id: str
    only: Sequence[str] = ()
    """What the run is meant to read, but for the account and itself; empty: everything."""
    trigger: str = "manual"
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    held: Held = field(default_factory=NothingHeld)
    allow_shrink: bool = False
    switch_dialect: bool = False
    sweep: bool = False
    """Read the whole list of reports, whether or not that is due."""
    max_calls: int | None = None
    """As many calls may be made; None: as many as the rate limit allows."""
    transport: httpx.BaseTransport | None = None
    timer: Clock = SYSTEM_CLOCK
    """What waits are measured by."""
    on_progress: Callable[[str, int, Calls], None] = lambda _table, _rows, _calls: None
    """Called with a table's name, its rows read so far and the calls made so far."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    """This machine's time, UTC; another one where nights are played."""

    readers: "Mapping[str, Callable[[Run], Iterator[Batch]]] | None" = None
    """By table, what gives its rows and those of the tables that belong to it; None: walks over the lists."""
    state: MutableMapping[str, Any] = field(default_factory=dict)
    """dlt's state of the source; it is committed together with the rows."""
    counts: dict[str, Counts] = field(default_factory=dict)
    walks: dict[str, Proof] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[ClaribiError] = field(default_factory=list)
    switched: bool = False
    """Whether this run found another prefix than the runs before it: ids of one say nothing under the other."""
    calls: Calls = field(default_factory=Calls)
    why: dict[str, Counter[str]] = field(default_factory=dict)
    """For each list, how many calls were made for which reason."""
    lists: "dict[str, Objects] | None" = None
    """What was read of the lists, by name; None before that."""
    closing: ExitStack = field(default_factory=ExitStack)
    """What is to be closed with the run."""
    _client: Client | None = None
    _stop_asked: bool = False

    @property
    def client(self) -> Client:
        """The client, which speaks the account's dialect: the remembered one, or the one found out by the first use."""
        if self._client is None:
            client = Client(
                self.settings,
                dialect=self._remembered(),
                transport=self.transport,
                clock=self.timer,
                max_calls=self.max_calls,
            )
            if self._stop_asked:
                client.stop()
            self.calls = client.calls
            self._remember(client.connect())
            self._client = client
        return self._client

    @property
    def now(self) -> datetime:
        """ClariBI's own time when the run began, UTC; where it does not tell, this machine's."""
        return self.calls.server_time or self.started_at

    @property
    def read(self) -> list[str]:
        """The resources that were read as far as they were meant to: what holds of them now is known."""
        doubtful = {problem.resource for problem in self.problems if isinstance(problem, WalkUnproven)}
        proven = [name for name, proof in self.walks.items() if proof.complete or proof.known_before]
        walked = [name for name in proven if name not in doubtful]
        return [*(name for name in ("organization", "usage") if name in self.counts), *walked]

    @property
    def stopped(self) -> bool:
        """Whether the reading has ended early: the rate limit is spent, or somebody stopped it."""
        return any(isinstance(problem, Paused) for problem in self.problems)

    @property
    def exit_code(self) -> int:
        """The worst of the problems; coming back later is the mildest, since the next run sees to it by itself."""
        codes = [problem.exit_code for problem in self.problems]
        return min(codes, default=0)

    @property
    def outcome(self) -> str:
        """One word for the run: done, refused, partial or later."""
        return {0: "done", 3: "refused", 4: "partial", 75: "later"}.get(self.exit_code, "failed")

    def wants(self, name: str) -> bool:
        """Whether a table is to be read in this run."""
        return not self.only or name in self.only

    def count(self, main: str, parents: dict[str, str], batch: Batch, what: Sorted) -> None:
        """Add what became of a batch of objects; how many of them were seen is for the caller to say."""
        counts = self.counts.setdefault(main, Counts())
        counts.new, counts.changed = counts.new + len(what.new), counts.changed + len(what.changed)
        new, changed = (take(batch, main, parents, rows) for rows in (what.new, what.changed))
        for name in batch.keys() - {main}:
            counts, before, now = self.counts.setdefault(name, Counts()), what.replaced.get(name, 0), len(changed[name])
            counts.seen += len(batch[name])
            counts.new += len(new[name]) + max(0, now - before)
            counts.changed += min(now, before)
            counts.deleted += max(0, before - now)

    def note(self, sentences: Iterable[str]) -> None:
        """Keep sentences for the run report, each once."""
        self.notes += [sentence for sentence in sentences if sentence not in self.notes]

    def remember_itself(self) -> None:
        """Note in the state how the last run, and the last good one, had ended, and what was read; others look there.

        A run that was told to leave something out is no good run: it may be made every hour beside a nightly one that
        has stopped.
        """
        last = {"run_id": self.run_id, "outcome": self.outcome, "at": self.clock().isoformat(timespec="seconds")}
        self.state["last_run"] = last
        self.state["last_reading"] = {"at": self.now.isoformat(), "read": self.read, "wanted": list(self.only)}
        if not self.problems and not self.only:
            self.state["last_good_run"] = last

    def secrets(self) -> list[str]:
        """What must never be printed or stored."""
        return self._client.secrets() if self._client else self.settings.secrets()

    def stop(self) -> None:
        """End the reading at the next call: what was read by then is loaded. May be called by a signal's handler."""
        self._stop_asked = True
        if self._client is not None:
            self._client.stop()

    def close(self) -> None:
        """Close the connections and files."""
        self.closing.close()
        self.lists = None
        if self._client is not None:
            self._client.close()

    def _remembered(self) -> Dialect | None:
        """The dialect of earlier runs, unless the user asks for another one or logs in another way by now."""
        if self.switch_dialect or "dialect" not in self.state:
            return None
        dialect = Dialect.from_state(self.state["dialect"])
        fits = dialect.scheme == self.settings.scheme or (self.settings.scheme is None and dialect.scheme != "jwt")
        return dialect if fits and self.settings.prefix in (None, dialect.prefix) else None

    def _remember(self, dialect: Dialect) -> None:
        before = self.state.get("dialect", {}).get("prefix", dialect.prefix)
        self.switched = before != dialect.prefix
        if self.switched and not self.switch_dialect:
            raise SettingError(
                "base_url",
                f"leads to {dialect.prefix}, but the destination holds what was read under {before}, where ids may "
                "differ. Set it back, or go on with --switch-dialect: objects with other ids are new then, and those "
                "that the new list does not have are marked deleted.",
            )
        self.state["dialect"] = dialect.to_state()
