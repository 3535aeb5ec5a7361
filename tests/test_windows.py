"""Windows of time and the ledger of those that have been read."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.claribi.errors import SettingError
from pipelines.claribi.windows import Ledger, Window, check, merged, read_moment, without

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number):
    return START + number * DAY


def window(since, until):
    return Window(day(since), day(until))


windows = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: window(min(pair), max(pair)))


def days(some):
    return {number for number in range(31) for one in some if day(number) in one}


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (" 2026-01-31T06:00 ", datetime(2026, 1, 31, 6, tzinfo=UTC)),
        ("2026-01-31T06:00:00.5Z", datetime(2026, 1, 31, 6, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T06:00+02:00", datetime(2026, 1, 31, 4, tzinfo=UTC)),
    ],
)
def test_a_date_is_its_first_moment_and_a_time_without_a_zone_is_utc(text, at):
    assert read_moment("--since", text) == at


@pytest.mark.parametrize("text", ["", "yesterday", "31.01.2026", "2026-13-01", "2026-01-31 25:00"])
def test_what_is_no_date_is_refused_with_the_option_and_an_example(text):
    with pytest.raises(SettingError, match=r"^--since is .*; it must be a date such as 2026-01-31") as refused:
        read_moment("--since", text)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("until", [3, 2])
def test_a_window_in_which_nothing_can_be_is_refused(until):
    with pytest.raises(SettingError, match=r"--until is 2026-01-0.* is not after --since 2026-01-04"):
        check(Window(day(3), day(until)))


def test_a_window_has_its_beginning_and_not_its_end():
    one = window(1, 2)
    assert (day(1) in one, day(2) in one, day(2) - timedelta(microseconds=1) in one) == (True, False, True)


@given(st.lists(windows, max_size=6))
def test_merged_windows_are_the_same_moments_in_rising_order_and_apart(some):
    found = merged(some)
    assert days(found) == days(some)
    assert all(one.until < other.since for one, other in pairwise(found))


@given(st.lists(windows, max_size=5), st.lists(windows, max_size=5))
def test_what_is_left_is_what_was_not_taken_the_newest_first(some, taken):
    left = without(some, taken)
    assert days(left) == days(some) - days(taken)
    assert list(left) == sorted(left, reverse=True)


@given(st.lists(st.tuples(windows, st.booleans()), max_size=8))
def test_a_ledger_remembers_each_moment_once_and_the_most_that_was_read_of_it(entries):
    ledger = Ledger()
    for one, details in entries:
        ledger = ledger.add(one, details=details)
    whole = days([one for one, details in entries if details])
    assert days(ledger.done(details=True)) == whole
    assert days(ledger.done(details=False)) == days([one for one, _ in entries])
    assert days(ledger.whole) & days(ledger.listed) == set()
    assert Ledger.from_state(ledger.to_state()) == ledger


@given(st.lists(st.tuples(windows, st.booleans()), max_size=5), windows)
def test_a_window_that_is_to_be_read_again_is_out_of_the_ledger(entries, again):
    ledger = Ledger()
    for one, details in entries:
        ledger = ledger.add(one, details=details)
    left = ledger.remove(again)
    for details in (True, False):
        assert days(left.done(details=details)) == days(ledger.done(details=details)) - days([again])
