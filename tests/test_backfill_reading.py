"""What a backfill reads of a list, in every order and way of paging, however often it is stopped; nothing is loaded."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines.claribi.backfill import Backfill, Wanted
from pipelines.claribi.errors import CallsSpent, WalkBroken
from pipelines.claribi.forecast import forecast
from pipelines.claribi.run import Run
from pipelines.claribi.windows import INSTANT, read_moment
from pipelines.sandbox import KB, OFFSET, V1
from pipelines.sandbox.faults import page_ignored, row_deleted, zero_rows
from tests.backfills import LONG_AGO, Account
from tests.stage import finish_calls

APART = replace(KB, details_in_list=False)
WAYS = {
    "kb": KB,
    "kb, details apart": APART,
    "kb, oldest first": replace(APART, order="oldest"),
    "kb, no order": replace(APART, order="none"),
    "cursor": V1,
    "cursor with a total": replace(V1, counts=True),
    "cursor, oldest first": replace(V1, order="oldest"),
    "cursor, no order": replace(V1, order="none"),
    "link": replace(APART, paging="link", past_the_end="empty"),
    "offset": OFFSET,
    "offset, newest first": replace(OFFSET, order="newest", details_in_list=False),
    "a bare list without a total": replace(KB, envelope="list", counts=False),
}
"""Each order and each way of paging, some with details apart."""


IN_ORDER = [name for name in WAYS if name != "cursor, oldest first" and "no order" not in name]
"""In any other list the page on which a backfill was stopped is gone through anew, and what the destination holds of it
is not asked for again; here it holds nothing."""
WINDOWS = [("2025-01-01", "2025-10-01"), ("2020-01-01", "2024-11-20"), ("2025-12-01", "2027-01-01")]
"""In the middle of the list, at its oldest end, at its newest."""


class Reading:
    """Reads windows of an account, as commands do that know nothing but what the one before has left."""

    def __init__(self, account):
        self.account = account
        self.memory, self.objects, self.problem = {}, {}, None

    def go(self, since=LONG_AGO, until=None, *, details=True, again=False, most=None):
        """One command; the backfill that it was. Its problem, if any, is kept."""
        since, until = (read_moment("--x", one) if isinstance(one, str) else one for one in (since, until))
        self.account.sandbox.calls.clear()
        run = Run(self.account.settings(), run_id="1", max_calls=most)
        try:
            run.client.identity()
            backfill = Backfill(run, Wanted(since, until, details, again), self.memory)
            self.problem = None
            while not backfill.finished and not self.problem:
                found = backfill.read()
                backfill.accept(found)
                self.objects |= found.objects
                self.problem = found.problem
            self.memory = json.loads(json.dumps(backfill.memory(ended=True)))
        finally:
            run.close()
            finish_calls()
        return backfill

    def forecast(self, since, until):
        """What `--dry-run` says."""
        run = Run(self.account.settings(), run_id="1")
        try:
            wanted = Wanted(read_moment("--x", since), read_moment("--x", until), details=True)
            run.client.identity()
            return forecast(run, Backfill(run, wanted, self.memory))
        finally:
            run.close()

    def ids(self):
        """Of the reports that were read."""
        return sorted(self.objects)

    def whole(self):
        """Whether all there is to know was read of each of them."""
        return all(is_whole for _, is_whole in self.objects.values())


@pytest.fixture
def reading(tmp_path, stage, monkeypatch):
    """Read an account with five pages of reports, one a day; call it with a dialect."""

    def made(spoken=APART, **organisation):
        told = {"reports": 450, "history_days": 450} | organisation
        account = Account(tmp_path, stage, monkeypatch, spoken, **told)
        account.finish_all()
        return Reading(account)

    yield made
    finish_calls()


def ids_between(account, since, until=None):
    return sorted(row["id"] for row in account.truth(since, until)["reports"])


@pytest.mark.parametrize("spoken", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_is_read_as_a_forecast_has_said(reading, spoken, window):
    made = reading(spoken)
    told = made.forecast(*window)
    backfill = made.go(*window)
    assert (made.ids(), made.whole(), made.problem) == (ids_between(made.account, *window), True, None)
    assert (told.reports, told.pages, told.details) == (len(made.objects), backfill.walked, backfill.asked)
    asked = made.account.read[1]
    assert sorted(asked) == ([] if spoken.details_in_list else made.ids())


@pytest.mark.parametrize(("name", "most"), [*((name, 61) for name in WAYS), *((name, 9) for name in IN_ORDER)])
def test_a_backfill_that_is_stopped_again_and_again_reads_the_same(reading, name, most):
    made = reading(WAYS[name])
    window, read = ("2025-03-01", "2025-06-01"), []
    commands = 0
    for _ in range(80):
        made.go(*window, most=most)
        read, commands = read + made.account.read[1], commands + 1
        if made.problem is None:
            break
        assert isinstance(made.problem, CallsSpent)
    assert (made.ids(), made.whole(), made.problem) == (ids_between(made.account, *window), True, None)
    assert name not in IN_ORDER or len(read) <= len(made.objects) + 4 * commands


def test_what_comes_before_the_window_is_not_read(reading):
    for order in ("newest", "oldest"):
        made = reading(replace(APART, order=order), reports=3_000, history_days=3_000)
        made.go("2021-01-01", "2021-01-10", details=False)
        assert made.ids() == ids_between(made.account, "2021-01-01", "2021-01-10")
        assert made.account.read[0] <= 8


def test_going_on_takes_three_calls(reading):
    for order in ("newest", "oldest"):
        made = reading(replace(APART, order=order), reports=3_000, history_days=3_000)
        made.go("2019-01-01", "2023-01-01", most=150)
        before = set(made.ids())
        made.go("2019-01-01", "2023-01-01", most=23)
        calls = made.account.sandbox.calls
        # Whose account it is, the page with the last report, and where that was the last on it the next one.
        assert sum(call.path.endswith(("/reports/", "/status/")) for call in calls) <= 3
        assert len(set(made.ids()) - before) >= 15


def test_the_ends_of_a_window_are_exact(reading):
    made = reading()
    first, last = made.account.created(120), made.account.created(20)
    made.go(first, last)
    assert made.ids() == ids_between(made.account, first, last)
    moments = [item["created_at"] for item, _ in made.objects.values()]
    assert (len(moments), min(moments)[:19], last.isoformat()[:19] in {one[:19] for one in moments}) == (
        100,
        first.isoformat()[:19],
        False,
    )


def test_an_again_that_was_stopped_goes_on_and_does_not_begin_anew(reading):
    made = reading()
    window, read = ("2025-03-01", "2025-06-01"), []
    made.go(*window)
    for _ in range(9):
        made.go(*window, again=True, most=30)
        read += made.account.read[1]
        if made.problem is None:
            break
    assert made.problem is None
    assert set(read) == set(made.ids())
    assert len(read) <= 1.3 * len(made.objects)


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_new_and_deleted_reports_while_it_is_stopped_move_nothing(reading, order):
    made = reading(replace(APART, order=order))
    account, window, deleted = made.account, ("2024-11-01", "2025-11-01"), set()
    before = set(ids_between(account, *window))
    for number in range(40):
        made.go(*window, most=29)
        if made.problem is None:
            break
        account.organisation.advance(1, activity=0)
        for _ in range(33 * (number % 3)):
            account.organisation.add_report()
        gone = account.organisation.numbers("reports", "newest")[60 + 3 * number]
        deleted.add(str(gone))
        account.organisation.delete("reports", gone)
    assert made.problem is None
    assert before - deleted <= set(made.ids()) <= before


def test_a_deletion_between_two_pages_lets_no_report_slip_by(reading):
    made = reading(KB)
    account, before = made.account, set(ids_between(made.account, LONG_AGO))
    account.sandbox.faults.add(row_deleted(path="*/reports/", page=2))
    made.go()
    assert len(before - set(made.ids())) <= 1  # the deleted one itself
    assert set(made.ids()) <= before


def test_a_list_that_gives_the_same_page_wherever_it_is_asked_is_not_taken_for_an_empty_window(reading):
    made = reading(KB)
    made.account.sandbox.faults.add(page_ignored(path="*/reports/", times=None))
    with pytest.raises(WalkBroken):
        made.go("2024-11-01", "2025-02-01")
    assert (made.objects, made.memory) == ({}, {})


def test_an_empty_list_is_not_remembered_as_read(reading):
    for spoken in (KB, V1, OFFSET, WAYS["kb, no order"]):
        made = reading(spoken)
        made.account.sandbox.faults.add(zero_rows(path="*/reports/", times=None))
        made.go("2025-01-01", "2025-12-01")
        made.account.sandbox.faults.clear()
        made.go("2025-01-01", "2025-12-01", most=150)
        made.account.sandbox.faults.add(zero_rows(path="*/reports/", times=None))
        made.go("2025-01-01", "2025-12-01")
        made.account.sandbox.faults.clear()
        made.go("2025-01-01", "2025-12-01")
        assert made.ids() == ids_between(made.account, "2025-01-01", "2025-12-01")


def test_a_list_that_turns_out_to_be_in_no_order_is_read_whole(reading):
    made = reading()
    organisation = made.account.organisation
    for number in organisation.numbers("reports", "newest")[150:250:7]:
        organisation.set("reports", number, {"created_at": made.account.created(0) - timedelta(days=number % 300)})
    made.go("2025-01-01", "2025-12-01")
    assert made.ids() == ids_between(made.account, "2025-01-01", "2025-12-01")


def test_what_was_read_is_told_as_a_window_while_it_goes_on(reading):
    made = reading()
    backfill = made.go("2025-01-01", "2025-06-01", most=40)
    (left,) = backfill.gaps(backfill.progress)
    assert left.since == read_moment("--x", "2025-01-01")
    # Of the moment at which the last one was created there may be more.
    assert made.ids() == ids_between(made.account, left.until - INSTANT, "2025-06-01")
