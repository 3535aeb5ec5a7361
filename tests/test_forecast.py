"""What a backfill costs, how long the rest takes, and how both are told."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipelines.backfill_screens import backfill_progress, backfill_screen, reports_left, sofar_told
from pipelines.backfilling import Sofar
from pipelines.claribi.client import Calls
from pipelines.claribi.forecast import Forecast, per_hour, seconds_left
from pipelines.claribi.windows import Window
from pipelines.report import BackfillReport

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def calls(limit=1_000, left=400, reset_min=30, **more):
    return Calls(limit=limit, left_in_window=left, reset_at=NOW + timedelta(minutes=reset_min), **more)


@pytest.mark.parametrize(("limit", "hourly"), [(60, 54), (300, 270), (1_000, 900), (5_000, 4_500), (None, None)])
def test_a_tenth_of_the_limit_is_left_to_others(limit, hourly):
    assert per_hour(Calls(limit=limit), 0.1) == hourly


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        (300, 300 * 0.1),  # what this hour still has
        (301, 1_800 + 0.1),  # one has to wait for the next
        (300 + 900, 1_800 + 90),
        (300 + 901, 1_800 + 3_600 + 0.1),
        (300 + 20 * 900, 1_800 + 19 * 3_600 + 90),
    ],
)
def test_calls_beyond_this_hours_wait_for_the_next_ones(more, seconds):
    assert seconds_left(more, calls(), 0.1, NOW, 0.1) == pytest.approx(seconds)


def test_where_no_limit_is_told_calls_take_as_long_as_they_took():
    assert seconds_left(50, Calls(), 0.1, NOW, 0.2) == pytest.approx(10)


def test_a_forecast_counts_calls_and_hours():
    told = Forecast(reports=20_000, pages=200, details=20_000, per_hour=900)
    assert (told.calls, told.hours) == (20_200, 22.44)
    assert Forecast(1, 1, 1, None).hours is None


def sofar(*, read_days, seen, left=None, asks=True, waiting_until=None):
    window = Window(NOW - 100 * DAY, NOW)
    rest = Window(window.since, NOW - read_days * DAY)
    gaps = [rest] if rest.since < rest.until else []
    backfill = SimpleNamespace(window=window, gaps=lambda _: gaps, progress=None, left=left, asks=asks)
    return Sofar(backfill, seen, calls(total=seen + 10), waiting_until)


@pytest.mark.parametrize(
    ("one", "left"),
    [
        (sofar(read_days=25, seen=100), 300),
        (sofar(read_days=25, seen=100, left=120), 120),  # the window begins before the first report
        (sofar(read_days=0, seen=0, left=500), 500),
        (sofar(read_days=0, seen=0), None),
        (sofar(read_days=100, seen=400), 0),
    ],
)
def test_the_rest_of_a_window_is_as_dense_as_what_was_read_and_not_more_than_there_is(one, left):
    assert reports_left(one) == left


def test_progress_says_how_far_it_is_and_when_it_ends():
    one = sofar(read_days=25, seen=1_000, waiting_until=NOW + timedelta(minutes=30))
    assert sofar_told(one, 0.1, NOW - timedelta(seconds=101), NOW) == (
        "1,000 read, 1,010 calls, about 3,000 left, 3 h 30 min, waiting for the limit until 12:30:00 UTC"
    )


def test_without_a_terminal_a_wait_is_a_line_of_its_own():
    console = Console(record=True, width=200, force_terminal=False)
    with backfill_progress(console, 0.1, lambda: NOW) as tell:
        tell(sofar(read_days=25, seen=10))
        tell(sofar(read_days=25, seen=20, waiting_until=NOW))
    (line,) = console.export_text().splitlines()
    assert line.startswith("reports: 20 read, 30 calls, about 60 left, ")
    assert line.endswith("waiting for the limit until 12:00:00 UTC")


def report(**more):
    window = {"since": "2025-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    requests = {"total": 12, "retried": 0, "waited_s": 0, "left_in_window": 988}
    told = {"run_id": "1", "outcome": "done", "exit_code": 0, "destination": "duckdb", "dialect": None}
    told |= {"started_at": "", "finished_at": "", "requests": requests, "tables": {}, "walks": {}, "window": window}
    return BackfillReport(**(told | more))


def shown(one):
    console = Console(record=True, width=120, force_terminal=False)
    console.print(backfill_screen(one))
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def test_a_dry_run_is_shown_as_what_it_would_take():
    estimate = {"reports": 20_000, "pages": 200, "details": 20_000, "calls": 20_200, "per_hour": 900, "hours": 22.44}
    assert shown(report(estimate=estimate)) == [
        "Reports created from 2025-01-01 00:00:00 to before 2026-01-01 00:00:00 UTC",
        "20,000 reports: 200 pages and 20,000 details",
        "20,200 calls, 22.4 hours at 900 calls an hour",
        "12 calls, 988 left this hour",
        "Dry run: nothing was loaded.",
    ]


def test_what_is_left_is_shown():
    left = [{"since": "2025-01-01T00:00:00Z", "until": "2025-06-01T00:00:00Z"}]
    walks = {"reports": {"pages": 7}}
    assert shown(report(outcome="later", exit_code=75, left=left, walks=walks, details=650, notes=["Stopped."]))[
        1:
    ] == [
        "12 calls, 988 left this hour",
        "reports: 7 pages, 650 details",
        "left: from 2025-01-01 00:00:00 to before 2025-06-01 00:00:00 UTC",
        "note: Stopped.",
        "Not finished; what was read is loaded, and the same command goes on.",
    ]
