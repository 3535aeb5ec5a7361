from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.claribi.schema import DASHBOARDS, EXPORT_RUNS, REPORTS
from pipelines.watch.reports import look_at_reports, rhythms
from pipelines.watch.settings import WatchSettings

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)  # a Friday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def frame(table, rows):
    """The rows as a destination gives them back."""
    made = pd.DataFrame(rows, columns=[*(column.name for column in table.columns)])
    for column in table.columns:
        if column.kind == "timestamp":
            made[column.name] = pd.to_datetime(made[column.name], utc=True)
    return made


def look(reports=(), dashboards=(), runs=(), given=None, now=NOW):
    return look_at_reports(
        frame(REPORTS, list(reports)),
        frame(DASHBOARDS, list(dashboards)),
        frame(EXPORT_RUNS, list(runs)),
        given or WatchSettings(),
        now,
    )


def report(number=1, status="completed", created=NOW - DAY, title="Revenue", **more):
    return {"id": str(number), "title": title, "status": status, "created_at": created} | more


def runs(*days_ago, outcome="done"):
    return [{"run_id": f"{outcome}{ago}", "started_at": NOW - ago * DAY, "outcome": outcome} for ago in days_ago]


def subjects(findings):
    return [finding.subject for finding in findings]


NIGHTLY = runs(*range(30))


@pytest.mark.parametrize(
    ("failed", "ran", "told"),
    [
        ({}, NIGHTLY, True),
        ({"created": NOW - 6 * DAY}, NIGHTLY, True),
        ({"created": NOW - 9 * DAY}, NIGHTLY, False),
        ({"created": NOW - 9 * DAY, "completed_at": NOW - DAY}, NIGHTLY, True),
        ({"created": NOW - 9 * DAY}, runs(0, 10), True),  # nobody has looked in between
        ({"created": NOW - 9 * DAY}, runs(0, 10) + runs(8, outcome="partial"), True),
        ({"created": NOW - 11 * DAY}, runs(0, 10), False),
        ({"created": NOW - 6 * DAY}, [], True),
        ({"created": NOW - 9 * DAY}, [], False),
        ({"created": NOW - 9 * DAY}, runs(0), False),
        ({"created": None, "completed_at": None}, NIGHTLY, False),
        ({"deleted_at": NOW}, NIGHTLY, False),
        ({"title": None}, NIGHTLY, True),
        ({"status": "cancelled"}, NIGHTLY, False),
        ({"status": "pending"}, NIGHTLY, False),
    ],
)
def test_a_failed_report_is_told_for_a_week_after_a_run_could_see_it(failed, ran, told):
    found = look([report(**{"number": 7, "status": "failed"} | failed)], runs=ran)
    assert [(finding.rule, finding.subject) for finding in found] == ([("report_failed", "reports/7")] if told else [])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"created": NOW - HOUR}, False),
        ({"created": NOW - 2 * DAY}, True),
        ({"created": NOW - HOUR, "status": "failed"}, True),
        ({"created": NOW - HOUR, "status": "generating"}, True),
        ({"created": NOW - HOUR, "title": "Costs"}, True),
        ({"created": NOW - HOUR, "title": None}, True),
    ],
)
def test_a_later_report_of_the_same_title_ends_it(other, told):
    found = look([report(1, "failed"), report(**{"number": 2} | other)])
    assert ("reports/1" in subjects(found)) == told


def test_a_failed_report_says_where_to_look():
    failed = report(7, "failed", title="Board\npack", web_url="https://claribi.example/reports/7")
    (finding,) = look([failed])
    assert (finding.title, finding.severity, finding.since) == ('Report "Board pack" failed', "warning", NOW - DAY)
    assert finding.text.startswith(
        "clariBI could not make it at 2026-11-19 04:00 UTC. Open it in clariBI (https://claribi.example/reports/7) to"
    )


def arrivals(*hours_ago, title="Revenue"):
    return [report(place, created=NOW - hours * HOUR, title=title) for place, hours in enumerate(hours_ago)]


def every(days, times, last_h, title="Revenue"):
    """A title that came `times` times, `days` apart, the last time `last_h` hours ago."""
    return arrivals(*(last_h + place * days * 24 for place in range(times)), title=title)


@pytest.mark.parametrize(
    ("came", "overdue"),
    [
        (every(1, 12, last_h=20), False),
        (every(1, 12, last_h=36), False),
        (every(1, 12, last_h=37), True),
        (every(1, 12, last_h=36 + 7 * 24), True),
        (every(1, 12, last_h=37 + 7 * 24), False),  # stopped on purpose
        (every(1, 4, last_h=37), True),
        (every(1, 3, last_h=37), False),  # three times are no rhythm
        (every(7, 4, last_h=10.4 * 24), False),
        (every(7, 4, last_h=10.6 * 24), True),
        (every(7, 4, last_h=38 * 24), True),
        (every(7, 4, last_h=39 * 24), False),
        (every(30, 5, last_h=44 * 24), False),
        (every(30, 5, last_h=46 * 24), True),
        (arrivals(40, 65, 88, 113, 135), True),  # nearly daily
        (arrivals(40, 64, 88, 136, 160, 184), True),  # daily with one gap
        (arrivals(40, 60, 110, 140, 220), False),  # now and then
        (arrivals(40, 41, 42, 43, 44, 45), False),  # six times on one day
        ([], False),
    ],
)
def test_a_title_that_came_regularly_is_overdue_by_half_its_gap(came, overdue):
    assert [finding.rule for finding in look(came)] == (["report_overdue"] if overdue else [])


def weekdays_until(last, weeks=2):
    """A report at eight on every working day until `last`."""
    days = [last - day * DAY for day in range(7 * weeks)]
    return [report(place, created=day) for place, day in enumerate(days) if day.weekday() < 5]


@pytest.mark.parametrize(
    ("now", "overdue"),
    [
        (datetime(2026, 11, 21, 23, tzinfo=UTC), False),  # Saturday night
        (datetime(2026, 11, 22, 23, tzinfo=UTC), False),
        (datetime(2026, 11, 23, 19, tzinfo=UTC), False),
        (datetime(2026, 11, 23, 21, tzinfo=UTC), True),  # Monday evening
    ],
)
def test_a_report_of_working_days_is_not_missed_on_a_weekend(now, overdue):
    came = weekdays_until(datetime(2026, 11, 20, 8, tzinfo=UTC))
    assert bool(look(came, now=now)) == overdue


def test_whoever_failed_or_was_deleted_came_too():
    came = every(1, 5, last_h=20)
    came[0] |= {"status": "failed", "deleted_at": NOW}
    assert look(came) == []


def test_each_title_has_its_own_rhythm():
    came = every(1, 6, last_h=40) + every(7, 6, last_h=40, title="Costs") + arrivals(50, 51, title=None)
    assert subjects(look(came)) == ["Revenue"]
    assert [(rhythm.title, rhythm.gap, rhythm.times) for rhythm in rhythms(frame(REPORTS, came))] == [
        ("Costs", 7 * DAY, 6),
        ("Revenue", DAY, 6),
    ]


def test_a_rhythm_that_changed_counts_as_it_is_now():
    came = every(1, 12, last_h=48 * 24) + every(7, 12, last_h=8 * 24)
    assert look(came) == []


def test_an_overdue_title_says_its_rhythm():
    (finding,) = look(every(1, 6, last_h=40))
    assert finding.title == 'Report "Revenue" has not come'
    assert finding.since == NOW - 16 * HOUR
    assert finding.text == (
        "It came every 24 hours (6 times were looked at), the last time at 2026-11-18 12:00 UTC; the next one was due "
        "around 2026-11-19 12:00 UTC. Look at its schedule in clariBI: it may be paused, failed, or renamed."
    )


@pytest.mark.parametrize(
    ("dashboard", "told"),
    [
        ({"last_refresh": NOW - 168 * HOUR}, False),
        ({"last_refresh": NOW - 169 * HOUR}, True),
        ({"last_refresh": None}, False),
        ({"last_refresh": NOW - 999 * HOUR, "deleted_at": NOW}, False),
    ],
)
def test_a_dashboard_is_old_after_a_week(dashboard, told):
    found = look(dashboards=[{"id": "3", "name": "Sales"} | dashboard])
    assert [(finding.rule, finding.subject) for finding in found] == (
        [("dashboard_old", "dashboards/3")] if told else []
    )


def test_an_old_dashboard_says_how_old_its_numbers_are():
    sales = {"id": "3", "name": "Sales", "last_refresh": NOW - 9 * DAY, "web_url": "https://claribi.example/d/3"}
    (finding,) = look(dashboards=[sales])
    assert (finding.title, finding.since) == ('Dashboard "Sales" shows numbers that are 9 days old', NOW - 2 * DAY)
    assert finding.text.startswith("It was last refreshed at 2026-11-11 04:00 UTC. Refresh it in clariBI (https://")
    assert look(dashboards=[sales], given=WatchSettings(dashboard_after_h=10 * 24)) == []


def test_tables_that_do_not_exist_yet_tell_nothing():
    assert look() == []
    assert look_at_reports(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), WatchSettings(), NOW) == []


arrived = st.tuples(
    st.sampled_from(["a", "b", None]), st.sampled_from(["completed", "failed", None]), st.integers(0, 60)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(arrived, max_size=25))
def test_no_history_of_reports_breaks_the_rules(history):
    reports = [report(place, status, NOW - ago * DAY, title) for place, (title, status, ago) in enumerate(history)]
    found = look(reports)
    assert len({(finding.rule, finding.subject) for finding in found}) == len(found)
    assert all(finding.since <= NOW for finding in found)
