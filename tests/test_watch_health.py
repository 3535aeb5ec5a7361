from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.claribi.schema import DATA_SOURCES
from pipelines.sandbox import Organisation
from pipelines.watch.health import SOURCE_RULES, look_at_sources
from pipelines.watch.settings import NEVER, WatchSettings
from pipelines.watch.tables import DATA_SOURCE_EVENTS

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GOOD = {
    "id": "1",
    "name": "Orders",
    "type": "database",
    "engine": "postgresql",
    "status": "active",
    "last_synced_at": NOW - HOUR,
    "created_at": NOW - 100 * DAY,
}


def frame(table, rows):
    """The rows as a destination gives them back."""
    made = pd.DataFrame(rows, columns=[column.name for column in table.columns])
    for column in table.columns:
        if column.kind == "timestamp":
            made[column.name] = pd.to_datetime(made[column.name], utc=True)
    return made


def look(*sources, events=(), given=None, now=NOW, listed_in_part=False):
    return look_at_sources(
        frame(DATA_SOURCES, list(sources)),
        frame(DATA_SOURCE_EVENTS, list(events)),
        given or WatchSettings(),
        now,
        listed_in_part,
    )


def happened(*events, source="1"):
    """Events of one source, told as a word and how long ago."""
    return [{"data_source_id": source, "event": event, "at": NOW - ago} for event, ago in events]


def words(events):
    return [event["event"] for event in events]


@pytest.mark.parametrize(
    ("source", "state", "rule", "severity", "since"),
    [
        ({}, "ok", None, None, None),
        ({"status": "preprocessing"}, "ok", None, None, None),
        ({"status": None}, "ok", None, None, None),
        ({"status": "error"}, "error", "source_error", "critical", NOW - HOUR),
        ({"status": "ERROR"}, "error", "source_error", "critical", NOW - HOUR),
        ({"status": "failed", "last_synced_at": None}, "error", "source_error", "critical", NOW - 100 * DAY),
        ({"status": "error", "last_synced_at": NOW - 9 * DAY}, "error", "source_error", "critical", NOW - 9 * DAY),
        ({"status": "paused", "last_synced_at": NOW - 72 * HOUR}, "paused", None, None, None),
        (
            {"status": "paused", "last_synced_at": NOW - 73 * HOUR},
            "paused",
            "source_paused",
            "warning",
            NOW - 73 * HOUR,
        ),
        ({"last_synced_at": NOW - 26 * HOUR}, "ok", None, None, None),
        ({"last_synced_at": NOW - 27 * HOUR}, "stale", "source_stale", "warning", NOW - HOUR),
        ({"last_synced_at": NOW + HOUR}, "ok", None, None, None),
        ({"last_synced_at": None, "created_at": NOW - 25 * HOUR}, "ok", None, None, None),
        (
            {"last_synced_at": None, "created_at": NOW - 28 * HOUR},
            "never synced",
            "source_never_synced",
            "warning",
            NOW - 2 * HOUR,
        ),
        ({"last_synced_at": None, "created_at": None}, "ok", None, None, None),
        ({"deleted_at": NOW - HOUR}, "vanished", "source_vanished", "warning", NOW - HOUR),
        ({"deleted_at": NOW - HOUR, "status": "error"}, "vanished", "source_vanished", "warning", NOW - HOUR),
    ],
)
def test_a_source_that_nobody_has_noted_before_is_judged_by_what_clariBI_tells(source, state, rule, severity, since):
    health = look(GOOD | source)
    (row,) = health.table
    assert (row.state, row.trouble) == (state, rule is not None)
    told = [(finding.rule, finding.subject, finding.severity, finding.since) for finding in health.findings]
    assert told == ([(rule, "data_sources/1", severity, since)] if rule else [])


@pytest.mark.parametrize(
    ("before", "source", "new", "rule", "since"),
    [
        ([("appeared", 9 * DAY)], {}, [], None, None),
        ([("appeared", 9 * DAY)], {"status": "error"}, ["error"], "source_error", NOW),
        ([("appeared", 9 * DAY), ("error", 2 * DAY)], {"status": "error"}, [], "source_error", NOW - 2 * DAY),
        ([("appeared", 9 * DAY), ("error", 2 * DAY)], {}, ["recovered"], None, None),
        ([("appeared", 9 * DAY), ("error", 2 * DAY)], {"status": "paused"}, ["paused"], None, None),
        ([("appeared", 9 * DAY), ("paused", 2 * DAY)], {"status": "paused"}, [], None, None),
        ([("appeared", 9 * DAY), ("paused", 4 * DAY)], {"status": "paused"}, [], "source_paused", NOW - 4 * DAY),
        ([("appeared", 9 * DAY), ("paused", 4 * DAY)], {"status": "error"}, ["error"], "source_error", NOW),
        ([("error", 5 * DAY), ("recovered", 4 * DAY)], {"status": "error"}, ["appeared", "error"], "source_error", NOW),
        (
            [("appeared", 9 * DAY)],
            {"last_synced_at": NOW - 30 * HOUR},
            ["stale"],
            "source_stale",
            NOW - 4 * HOUR,
        ),
        (
            [("appeared", 9 * DAY), ("stale", 2 * DAY)],
            {"last_synced_at": NOW - 70 * HOUR},
            [],
            "source_stale",
            NOW - 2 * DAY,
        ),
        ([("appeared", 9 * DAY), ("stale", 2 * DAY)], {}, ["fresh"], None, None),
        ([("appeared", 9 * DAY)], {"deleted_at": NOW - HOUR}, ["vanished"], "source_vanished", NOW),
        (
            [("appeared", 9 * DAY), ("vanished", 2 * DAY)],
            {"deleted_at": NOW - 2 * DAY},
            [],
            "source_vanished",
            NOW - 2 * DAY,
        ),
        ([("appeared", 99 * DAY), ("vanished", 8 * DAY)], {"deleted_at": NOW - 8 * DAY}, [], None, None),
        ([("appeared", 9 * DAY), ("vanished", 2 * DAY)], {}, ["returned"], None, None),
        ([("vanished", 2 * DAY)], {"status": "error"}, ["returned", "error"], "source_error", NOW),
        ([("vanished", 4 * DAY), ("returned", 2 * DAY)], {"deleted_at": NOW}, ["vanished"], "source_vanished", NOW),
        ([("appeared", 9 * DAY), ("a word of the future", HOUR)], {}, [], None, None),
    ],
)
def test_what_was_noted_before_decides_what_is_new_and_since_when(before, source, new, rule, since):
    health = look(GOOD | source, events=happened(*before))
    assert words(health.events) == new
    assert [(finding.rule, finding.since) for finding in health.findings] == ([(rule, since)] if rule else [])


def test_the_order_in_which_a_destination_gives_the_events_does_not_matter():
    events = happened(("appeared", 9 * DAY), ("error", 5 * DAY), ("recovered", 4 * DAY), ("error", 2 * DAY))
    (finding,) = look(GOOD | {"status": "error"}, events=events[::-1]).findings
    assert finding.since == NOW - 2 * DAY


def test_an_event_is_a_whole_row():
    health = look(GOOD | {"status": "error"})
    about = {"data_source_id": "1", "name": "Orders", "status": "error", "last_synced_at": NOW - HOUR}
    assert health.events == [
        about | {"at": NOW - 100 * DAY, "event": "appeared", "about": "clariBI shows it."},
        about | {"at": NOW - HOUR, "event": "error", "about": "Its status is error."},
    ]


def test_what_was_gone_before_anybody_watched_is_no_news():
    health = look(GOOD | {"deleted_at": NOW - 8 * DAY})
    assert (health.findings, health.events, health.table) == ([], [], [])


def test_sources_that_cannot_all_be_listed_vanish_with_a_reason():
    (finding,) = look(GOOD | {"deleted_at": NOW}, listed_in_part=True).findings
    assert finding.text == (
        "clariBI does not show it any more, since 2026-11-20 04:00 UTC. It last synced at 2026-11-20 03:00 UTC. "
        "/api/v1/ lists active sources only: it may be broken, paused or deleted. Look for it in clariBI."
    )
    (finding,) = look(GOOD | {"deleted_at": NOW}).findings
    assert "lists active sources only" not in finding.text


OWN_LIMIT = "A limit of its own goes under [watch.stale_after_h_by], by its name or type"


@pytest.mark.parametrize(
    ("source", "title", "sentences"),
    [
        (
            {"status": "error"},
            'Data source "Orders" is broken',
            [
                "Its status is error, since 2026-11-20 03:00 UTC.",
                "It last synced at 2026-11-20 03:00 UTC.",
                "Open it in clariBI to see why; often it is an expired login, a quota or a timeout.",
            ],
        ),
        (
            {"status": "paused", "last_synced_at": NOW - 4 * DAY},
            'Data source "Orders" has been paused for 4 days',
            [
                "Paused since 2026-11-16 04:00 UTC.",
                "It last synced at 2026-11-16 04:00 UTC.",
                "Resume it in clariBI, or raise WATCH__PAUSED_AFTER_H if it is meant to rest longer.",
            ],
        ),
        (
            {"last_synced_at": NOW - 30 * HOUR},
            'Data source "Orders" has not synced for 30 hours',
            [
                "It last synced at 2026-11-18 22:00 UTC.",
                "26 hours are allowed.",
                "Look at its schedule in clariBI.",
                f'{OWN_LIMIT}; an uploaded file has no schedule: "never".',
            ],
        ),
        (
            {"last_synced_at": None, "name": None},
            "Data source 1 has never synced",
            [
                "It has brought no data within the 26 hours that are allowed, which were over at 2026-08-13 06:00 UTC.",
                "Look at it in clariBI.",
                f'{OWN_LIMIT}: "never" where no sync time is to be expected.',
            ],
        ),
    ],
)
def test_a_finding_says_what_happened_since_when_and_what_to_do(source, title, sentences):
    (finding,) = look(GOOD | source).findings
    assert (finding.title, finding.text) == (title, " ".join(sentences))


@pytest.mark.parametrize(
    ("by", "state"),
    [
        ({}, "stale"),
        ({"Ord*": 48}, "ok"),
        ({"database": 48}, "ok"),
        ({"postgresql": NEVER}, "ok"),
        ({"Orders": 1}, "stale"),
    ],
)
def test_a_source_may_have_a_limit_of_its_own(by, state):
    (row,) = look(GOOD | {"last_synced_at": NOW - 30 * HOUR}, given=WatchSettings(stale_after_h_by=by)).table
    assert row.state == state


def test_the_table_shows_trouble_first_then_by_name():
    sources = [
        GOOD | {"id": "1", "name": "beta"},
        GOOD | {"id": "2", "name": "Zeta", "status": "error", "engine": None, "source_type": "jira"},
        GOOD | {"id": "3", "name": "Alpha", "last_synced_at": None, "created_at": None, "type": None, "engine": None},
        GOOD | {"id": "4", "name": "gone", "deleted_at": NOW - 8 * DAY},
    ]
    table = look(*sources).table
    assert [(row.id, row.name, row.kind, row.age_h) for row in table] == [
        ("2", "Zeta", "jira", 1),
        ("3", "Alpha", "", None),
        ("1", "beta", "postgresql", 1),
    ]


def test_no_sources_tell_nothing():
    health = look()
    assert (health.findings, health.events, health.table) == ([], [], [])


def test_thirty_nights_of_the_sandbox_add_up_to_one_story():
    organisation, events = Organisation(reports=1), []
    for _ in range(30):
        organisation.advance()
        sources = organisation.truth()["data_sources"]
        seen = look(*sources, events=events, now=organisation.now)
        events += seen.events
        again = look(*sources, events=events, now=organisation.now)
        assert (again.events, again.findings) == ([], seen.findings)
    assert {"appeared", "error", "recovered", "stale", "fresh"} <= set(words(events))
    keys = [(event["data_source_id"], event["at"], event["event"]) for event in events]
    assert len(keys) == len(set(keys))


moments = st.one_of(st.none(), st.integers(-24 * 40, 30).map(lambda hours: NOW + hours * HOUR))
states = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["active", "error", "paused", "failed", "preprocessing", None]),
        "last_synced_at": moments,
        "created_at": moments,
        "deleted_at": moments,
        "name": st.sampled_from(["Orders", "", None]),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(states, st.integers(-5, 200), st.sampled_from([1, 26, 500])), min_size=1, max_size=6))
def test_whatever_happens_a_second_look_finds_nothing_new(story):
    """Clocks that jump back and limits that change included."""
    events, now = [], NOW
    for state, hours, limit in story:
        now += hours * HOUR
        given = WatchSettings(stale_after_h=limit)
        seen = look(GOOD | state, events=events, given=given, now=now)
        events += seen.events
        again = look(GOOD | state, events=events, given=given, now=now)
        assert again.events == []
        assert (again.findings, again.table) == (seen.findings, seen.table)
        assert len(seen.findings) <= 1
        assert {finding.rule for finding in seen.findings} <= set(SOURCE_RULES)
