"""How long is waited for clariBI: hints of every shape, one pause for all threads, one budget for a run."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from pipelines.claribi.errors import CallsSpent, ComeBackLater, Paused, Stopped
from pipelines.claribi.pace import SYSTEM_CLOCK, Pace, asked_wait, retry_after, until_reset, until_tomorrow
from tests.fake_clock import FakeClock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def headers(**named):
    return httpx.Headers({name.replace("_", "-"): str(value) for name, value in named.items()})


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("7", 7.0),
        ("0.2", 1.0),
        ("0", 1.0),
        ("-5", 1.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 1.0),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        (10**9, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value, wait_s):
    assert retry_after(headers(Retry_After=value), NOW) == wait_s


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (int(NOW.timestamp()) + 120, 120.0),
        (NOW.timestamp() + 0.5, 0.5),
        (300, 300.0),
        (0, None),
        (int(NOW.timestamp()), None),
        (int(NOW.timestamp()) - 10, None),
        (int(NOW.timestamp()) + 10 * 86_400, None),
        (int(NOW.timestamp() + 120) * 1000, None),
        ("tomorrow", None),
    ],
)
def test_a_reset_is_read_as_epoch_seconds_or_as_seconds_left(value, wait_s):
    assert until_reset(headers(X_RateLimit_Reset=value), NOW) == wait_s


def test_retry_after_goes_before_the_reset():
    assert asked_wait(headers(Retry_After=7, X_RateLimit_Reset=3000), NOW) == 7.0
    assert asked_wait(headers(Retry_After="soon", X_RateLimit_Reset=3000), NOW) == 3000.0
    assert asked_wait(headers(X_RateLimit_Reset=NOW.timestamp() + 0.2), NOW) == 1.0
    assert asked_wait(headers(), NOW) is None


def test_a_pause_holds_back_whoever_comes():
    clock = FakeClock()
    pace = Pace(clock, 900)
    pace.pause(2.5)
    pace.wait_turn()
    assert (clock.sleeps, pace.calls.waited_s) == ([1.0, 1.0, 0.5], 2.5)
    pace.wait_turn()
    assert clock.slept_s == 2.5


def test_threads_that_wait_together_are_charged_once():
    clock = FakeClock()
    pace = Pace(clock, max_wait_s=100)
    for wait_s in (60, 60, 61, 30):
        pace.pause_for_limit(wait_s)
    assert pace.calls.waited_s == 61


def test_a_wait_that_does_not_fit_into_the_run_is_refused_at_once():
    clock = FakeClock()
    pace = Pace(clock, max_wait_s=100)
    pace.pause_for_limit(60)
    pace.wait_turn()
    with pytest.raises(ComeBackLater) as problem:
        pace.pause_for_limit(41)
    assert (problem.value.wait_s, problem.value.at) == (41, clock.now() + timedelta(seconds=41))
    assert clock.slept_s == 60
    pace.pause_for_limit(40)


def test_pauses_between_tries_are_not_taken_from_the_budget():
    pace = Pace(FakeClock(), max_wait_s=10)
    pace.pause(60)
    pace.wait_turn()
    pace.pause_for_limit(10)
    assert pace.calls.waited_s == 70


def test_closing_sends_home_whoever_waits():
    class Interrupted(FakeClock):
        def sleep(self, seconds):
            super().sleep(seconds)
            pace.close()

    clock = Interrupted()
    pace = Pace(clock, 900)
    pace.pause(600)
    with pytest.raises(RuntimeError, match="closed"):
        pace.wait_turn()
    assert clock.sleeps == [1.0]


def test_an_answer_that_was_overtaken_gives_no_call_back_and_a_new_window_does():
    pace = Pace(FakeClock(), 900)
    for left, reset in ((998, 600), (997, 600), (996, 600), (997, 600)):
        pace.note(headers(X_RateLimit_Remaining=left, X_RateLimit_Reset=reset))
    assert pace.calls.left_in_window == 996
    pace.note(headers(X_RateLimit_Remaining=999, X_RateLimit_Reset=3600))
    assert pace.calls.left_in_window == 999


def test_what_an_answer_says_of_the_limit_is_put_down():
    clock = FakeClock()
    pace = Pace(clock, 900)
    told = []
    pace.on_call = lambda calls: told.append(calls.left_in_window)
    pace.note(headers(X_RateLimit_Limit=1000, X_RateLimit_Remaining=847, X_RateLimit_Reset=600))
    assert (pace.calls.limit, pace.calls.left_in_window) == (1000, 847)
    assert pace.calls.reset_at == clock.now() + timedelta(minutes=10)
    pace.note(headers(X_RateLimit_Remaining="many"))
    pace.note(headers())
    assert (pace.calls.left_in_window, told) == (847, [847, 847, 847])


def test_the_system_clock_speaks_utc():
    assert SYSTEM_CLOCK.now().utcoffset() == timedelta(0)
    before = SYSTEM_CLOCK.monotonic()
    SYSTEM_CLOCK.sleep(0)
    assert SYSTEM_CLOCK.monotonic() >= before


def window(pace, left, *, limit=100, reset=600):
    told = {"X_RateLimit_Remaining": left, "X_RateLimit_Reset": reset}
    pace.note(headers(**told, **({"X_RateLimit_Limit": limit} if limit else {})))


def turns(pace, most):
    """How many calls may be made, one after the other, and what ended them."""
    for number in range(most):
        try:
            with pace.turn("reports", again=False):
                pass
        except Paused as problem:
            return number, problem
        if pace.calls.left_in_window is not None:
            window(pace, pace.calls.left_in_window - 1, limit=pace.calls.limit)
    return most, None


@pytest.mark.parametrize(("limit", "left"), [(100, 15), (None, 100)])
def test_the_reserve_is_left_for_others(limit, left):
    pace = Pace(FakeClock(), max_wait_s=0, reserve=0.1)
    window(pace, left, limit=limit)
    made, problem = turns(pace, 200)
    assert (made, type(problem), pace.calls.left_in_window) == (left - 10, ComeBackLater, 10)
    assert problem.wait_s == 600


def test_a_reserve_that_is_reached_is_waited_out_when_the_wait_fits():
    clock = FakeClock()
    pace = Pace(clock, max_wait_s=900, reserve=0.1)
    window(pace, 10)
    assert turns(pace, 1) == (1, None)
    assert (clock.slept_s, pace.calls.waited_s) == (600, 600)


def test_without_a_word_of_the_limit_calls_are_made():
    assert turns(Pace(FakeClock(), max_wait_s=0, reserve=0.1), 50) == (50, None)


def test_no_more_calls_than_allowed_are_made_and_none_once_it_is_stopped():
    pace = Pace(FakeClock(), max_wait_s=0, max_calls=3)
    made, problem = turns(pace, 10)
    assert (made, type(problem)) == (3, CallsSpent)
    pace = Pace(FakeClock(), max_wait_s=0)
    pace.stop()
    made, problem = turns(pace, 10)
    assert (made, type(problem), problem.exit_code) == (0, Stopped, 75)


def test_the_first_answer_tells_the_time():
    pace = Pace(FakeClock(), 0)
    pace.note(headers(Date="Thu, 01 Jan 2026 00:00:00 GMT"))
    pace.note(headers(Date="Fri, 02 Jan 2026 00:00:00 GMT"))
    assert pace.calls.server_time == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_day_ends_at_midnight_utc():
    assert until_tomorrow(NOW) == 12 * 3600
