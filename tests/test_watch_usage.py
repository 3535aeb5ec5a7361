from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.claribi.schema import ORGANIZATION, USAGE
from pipelines.sandbox import Organisation
from pipelines.watch.settings import WatchSettings
from pipelines.watch.usage import forecast, look_at_usage, metrics, points

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NOBODY = pd.DataFrame(columns=[column.name for column in ORGANIZATION.columns])


def frame(table, rows):
    """The rows as a destination gives them back: the table's columns first, then unknown ones."""
    columns = [column.name for column in table.columns]
    more = [name for row in rows for name in row if name not in columns]
    made = pd.DataFrame(rows, columns=list(dict.fromkeys([*columns, *more])))
    for column in table.columns:
        if column.kind == "timestamp":
            made[column.name] = pd.to_datetime(made[column.name], utc=True)
    return made


def usage(*rows):
    return frame(USAGE, list(rows))


def counted(*counts, limit=1500, last=NOW):
    """One row a day that ends at `last`."""
    start = last - (len(counts) - 1) * DAY
    return usage(
        *(
            {"captured_at": start + place * DAY, "ai_credits_used": used, "ai_credits_limit": limit}
            for place, used in enumerate(counts)
        )
    )


def look(usage, organization=NOBODY, settings=None, now=NOW):
    return look_at_usage(usage, organization, settings or WatchSettings(), now)


def told(findings):
    return [(finding.rule, finding.subject, finding.severity) for finding in findings]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"ai_credits_used": 1199, "ai_credits_limit": 1500}, []),
        ({"ai_credits_used": 1200, "ai_credits_limit": 1500}, [("usage", "ai_credits", "warning")]),
        ({"ai_credits_used": 1425, "ai_credits_limit": 1500}, [("usage", "ai_credits", "critical")]),
        ({"ai_credits_used": 1600, "ai_credits_limit": 1500}, [("usage", "ai_credits", "critical")]),
        ({"ai_credits_remaining": 100, "ai_credits_limit": 1500}, [("usage", "ai_credits", "warning")]),
        ({"ai_credits_remaining": 100}, []),
        ({"ai_credits_used": 5, "ai_credits_limit": 0}, []),
        ({"ai_credits_used": 5, "ai_credits_limit": -1}, []),
        ({"data_sources_used": 9, "data_sources_limit": 10}, [("usage", "data_sources", "warning")]),
        ({"users_used": 3, "max_users": 3}, [("usage", "users", "critical")]),
        ({"storage_gb_used": 4.9, "storage_gb_limit": 5.0}, [("usage", "storage_gb", "critical")]),
        ({"exports_used": 9, "exports_limit": 10}, [("usage", "exports", "warning")]),
        ({"users_used": "many", "max_users": 3}, []),
        ({"max_users": 3, "storage_gb_limit": 5.0}, []),
        ({}, []),
    ],
)
def test_a_share_is_told_at_its_highest_threshold(row, expected):
    assert told(look(usage({"captured_at": NOW} | row))) == expected


def test_no_history_tells_nothing():
    assert look(usage()) == []


def test_a_metric_may_have_thresholds_of_its_own():
    settings = WatchSettings(usage_thresholds_by={"ai_credits": (10, 20, 30), "data_sources": ()})
    row = {"captured_at": NOW, "ai_credits_used": 25, "ai_credits_limit": 100}
    full = {"data_sources_used": 10, "data_sources_limit": 10}
    assert told(look(usage(row | full), settings=settings)) == [("usage", "ai_credits", "warning")]


def test_a_share_says_how_much_since_when_and_what_to_do():
    (finding,) = look(counted(1190, 1260, 1265, 1265))
    assert finding.title == "AI credits: 84 % used"
    assert finding.since == NOW - 2 * DAY
    assert finding.text == (
        "1,265 of 1,500 AI credits are used, 80 % or more since 2026-11-18 04:00 UTC. "
        "Spend less until the counter begins anew with the billing month, or take a larger plan."
    )


def test_the_newest_row_counts_in_whatever_order_they_come():
    rows = counted(1450, 10).iloc[::-1]
    assert look(rows) == []
    assert [point.used for point in points(rows, "ai_credits")] == [1450, 10]


def test_every_counter_with_a_limit_is_a_metric():
    assert metrics(usage({"users_used": 1, "calls_used": 2})) == {
        "ai_credits": "ai_credits_limit",
        "data_sources": "data_sources_limit",
        "users": "max_users",
    }


@pytest.mark.parametrize(
    ("counts", "per_day", "exhausted_on", "resets_on"),
    [
        ((0, 100, 200), 100, date(2026, 12, 3), date(2026, 12, 1)),
        ((0, 200, 400, 600), 200, date(2026, 11, 24), date(2026, 12, 1)),
        ((900, 1400, 0, 200, 400), 200, date(2026, 11, 25), date(2026, 12, 18)),  # began anew two days ago
        ((0, 200, 900, 600, 800), 200, date(2026, 11, 23), date(2026, 12, 1)),  # one wild day, and given back
    ],
)
def test_the_day_of_exhaustion_comes_from_the_days_since_the_counter_began_anew(
    counts, per_day, exhausted_on, resets_on
):
    found = forecast(counted(*counts), NOW)
    assert (found.per_day, found.exhausted_on, found.resets_on) == (per_day, exhausted_on, resets_on)
    assert found.earliest <= found.exhausted_on
    assert found.latest is None or found.exhausted_on <= found.latest


@pytest.mark.parametrize(
    "counts",
    [
        (),
        (100,),
        (100, 200),
        (1300, 1400, 0, 100),  # two days since the reset
        (100, 100, 100),  # nothing is being used
        (1400, 1500, 1500),  # nothing is left
        (100, 100.01, 100.02),  # would last for centuries
    ],
)
def test_there_is_no_forecast_without_three_days_a_rate_and_something_left(counts):
    assert forecast(counted(*counts), NOW) is None


def test_many_runs_on_one_day_are_one_point():
    rows = [
        {"captured_at": NOW + timedelta(minutes=minute), "ai_credits_used": minute, "ai_credits_limit": 1500}
        for minute in range(60)
    ]
    assert forecast(usage(*rows), NOW + DAY) is None


def test_what_was_recorded_later_than_now_is_not_known_yet():
    assert forecast(counted(0, 100, 200, 300), NOW - DAY).per_day == 100
    assert forecast(counted(0, 100, 200), NOW - DAY) is None


def test_a_reset_that_is_seen_late_was_on_the_first_of_the_month():
    before, after = counted(900, 1000, last=NOW - 21 * DAY), counted(50, 100, 150, last=NOW - 16 * DAY)
    found = forecast(pd.concat([before, after], ignore_index=True), NOW)
    assert (found.since, found.days, found.resets_on) == (NOW - 18 * DAY, 3, date(2026, 12, 1))


def test_the_error_of_the_estimate_is_stated():
    found = forecast(counted(0, 10, 60, 80, 200, 230), NOW)
    assert found.per_day_low < found.per_day < found.per_day_high
    assert found.earliest < found.exhausted_on < found.latest
    pauses = forecast(counted(0, 0, 0, 100, 200, 300, 400), NOW)
    assert (pauses.per_day_low, pauses.latest) == (0, None)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 200, 400, 600), [("usage_forecast", "ai_credits", "warning")]),
        ((0, 100, 200), []),  # the new month comes first
        ((0, 60, 120), []),
    ],
)
def test_a_forecast_is_told_when_the_credits_end_before_they_come_anew(counts, expected):
    assert told(look(counted(*counts))) == expected


def test_a_forecast_says_how_sure_it_is():
    (finding,) = look(counted(0, 200, 400, 600))
    assert finding.title == "The AI credits run out around 2026-11-24"
    assert finding.text == (
        "900 AI credits are left and about 200 are used a day (200 to 200, from 4 days since 2026-11-17 04:00 UTC): "
        "they end around 2026-11-24 (earliest 2026-11-24, latest 2026-11-24), and the counter likely begins anew on "
        "2026-12-01. Spend less until then, or take a larger plan."
    )


@pytest.mark.parametrize(
    ("ends_in", "severity", "stage_days"),
    [
        (timedelta(days=31), None, None),
        (timedelta(days=30), "warning", 30),
        (timedelta(days=8), "warning", 30),
        (timedelta(days=7), "critical", 7),
        (timedelta(days=2), "critical", 7),
        (timedelta(days=1), "critical", 1),
        (timedelta(minutes=5), "critical", 1),
    ],
)
def test_an_end_is_told_thirty_seven_and_one_days_before(ends_in, severity, stage_days):
    ends_at = NOW + ends_in
    organization = frame(ORGANIZATION, [{"id": "1", "key_expires_at": ends_at}])
    found = look(usage({"captured_at": NOW, "trial_ends_at": ends_at}), organization)
    expected = [("trial_end", "trial", severity), ("key_expiry", "api_key", severity)] if severity else []
    assert told(found) == expected
    assert {finding.since for finding in found} == ({ends_at - stage_days * DAY} if severity else set())


def test_an_expired_key_is_told_and_a_trial_that_is_over_is_not():
    organization = frame(ORGANIZATION, [{"id": "1", "key_expires_at": NOW - DAY}])
    (finding,) = look(usage({"captured_at": NOW, "trial_ends_at": NOW - DAY}), organization)
    assert (finding.rule, finding.severity, finding.title) == ("key_expiry", "critical", "The API key has expired")
    assert finding.text.startswith("The API key expired at 2026-11-19 04:00 UTC. Make a new one")


def test_of_two_keys_the_younger_counts():
    rows = [
        {"id": "uuid", "key_created_at": NOW - 90 * DAY, "key_expires_at": NOW},
        {"id": "1", "key_created_at": NOW - DAY, "key_expires_at": NOW + 90 * DAY},
    ]
    assert look(usage(), frame(ORGANIZATION, rows)) == []


def test_a_subscription_taken_since_ends_the_warning_of_the_trial():
    rows = [
        {"captured_at": NOW - DAY, "trial_ends_at": NOW + 3 * DAY},
        {"captured_at": NOW, "trial_ends_at": None},
    ]
    assert look(usage(*rows)) == []


def test_the_sandbox_runs_short_and_begins_anew():
    organisation = Organisation(reports=1, start=datetime(2026, 1, 1, tzinfo=UTC), plan="professional")
    rows, found = [], []
    for _ in range(65):
        organisation.advance(activity=0)
        rows.append({"captured_at": organisation.now, **organisation.usage()})
        found.append(told(look(usage(*rows), now=organisation.now)))
    assert forecast(usage(*rows), organisation.now).resets_on == date(2026, 4, 1)
    assert [("usage", "ai_credits", "warning")] in found
    assert found[31] == []


@settings(deadline=None)
@given(
    rate=st.floats(1, 50),
    wobble=st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=31),
)
def test_the_estimate_lies_near_the_true_rate_and_within_its_own_error(rate, wobble):
    counts = [rate * (place + shake) + rate for place, shake in enumerate(wobble)]
    found = forecast(counted(*counts, limit=2000), NOW)
    assert 0.2 * rate <= found.per_day <= 1.8 * rate
    assert found.per_day_low <= found.per_day <= found.per_day_high
    assert found.earliest <= found.exhausted_on
    assert found.latest is None or found.exhausted_on <= found.latest


@settings(deadline=None)
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=90), st.integers(1, 2000))
def test_no_history_breaks_the_rules(counts, limit):
    for finding in look(counted(*counts, limit=limit)):
        assert finding.since is None or finding.since <= NOW
        assert "\n" not in finding.title
