from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.watch.alerts import advance, told
from pipelines.watch.finding import Finding, Notice
from pipelines.watch.tables import ALERTS, arrow

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REMIND_AFTER_H = 168
BROKEN = Finding("source_error", "data_sources/1", "critical", "Orders is broken", "Open it.", NOW - HOUR)
SHORT = Finding("usage", "ai_credits", "warning", "AI credits: 84 % used", "Spend less.", NOW - HOUR)


class Account:
    """The table `alerts` in a destination, and the people who are told."""

    def __init__(self):
        self.rows = {}
        self.inbox = []
        self.lost = []
        """Notices that could not be sent."""

    def run(self, *findings, now=NOW, unknown=(), sent=True):
        """One run from a machine that remembers nothing; gives its notices."""
        step = advance(self.frame(), findings, now, REMIND_AFTER_H, unknown)
        self.merge(step.rows)
        if sent:
            self.merge(told(step.rows, step.notices, now))
        (self.inbox if sent else self.lost).extend((now, notice) for notice in step.notices)
        return step.notices

    def merge(self, rows):
        self.rows |= {(row["rule"], row["subject"], row["raised_at"]): row for row in rows}

    def frame(self):
        return arrow(ALERTS, list(self.rows.values())).to_pandas()

    def open(self):
        return [row for row in self.rows.values() if row["cleared_at"] is None]


def kinds(notices):
    return [(notice.kind, notice.finding.subject) for notice in notices]


def test_a_finding_is_raised_once_reminded_after_a_while_and_cleared_once():
    account = Account()
    assert account.run(SHORT) == [Notice("raised", SHORT, NOW)]
    assert account.run(SHORT, now=NOW + DAY) == []
    assert account.run(SHORT, now=NOW + 7 * DAY) == [Notice("reminded", SHORT, NOW)]
    assert account.run(SHORT, now=NOW + 8 * DAY) == []
    assert account.run(now=NOW + 9 * DAY) == [Notice("cleared", SHORT, NOW)]
    assert account.run(now=NOW + 10 * DAY) == []
    assert list(account.rows.values()) == [
        {
            "rule": "usage",
            "subject": "ai_credits",
            "raised_at": NOW,
            "severity": "warning",
            "title": "AI credits: 84 % used",
            "text": "Spend less.",
            "since": NOW - HOUR,
            "last_told_at": NOW + 7 * DAY,
            "cleared_at": NOW + 9 * DAY,
            "cleared_told_at": NOW + 9 * DAY,
        }
    ]


def test_what_comes_back_is_a_new_alert():
    account = Account()
    account.run(SHORT)
    account.run(now=NOW + DAY)
    assert account.run(SHORT, now=NOW + 2 * DAY) == [Notice("raised", SHORT, NOW + 2 * DAY)]
    assert len(account.rows) == 2


def test_an_alert_says_what_was_found_last():
    account = Account()
    account.run(SHORT)
    account.run(replace(SHORT, title="AI credits: 85 % used"), now=NOW + DAY)
    assert [row["title"] for row in account.open()] == ["AI credits: 85 % used"]
    assert [notice.finding.title for notice in account.run(now=NOW + 2 * DAY)] == ["AI credits: 85 % used"]


@pytest.mark.parametrize(
    ("worse", "again"),
    [
        ({}, []),
        ({"severity": "critical"}, ["raised"]),
        ({"since": NOW + HOUR}, ["raised"]),  # it went away and came again between two runs, or the next threshold
        ({"since": NOW - 2 * HOUR}, []),
        ({"since": None}, []),
        ({"title": "AI credits: 90 % used"}, []),
    ],
)
def test_what_gets_worse_is_told_at_once_and_once(worse, again):
    account = Account()
    account.run(SHORT)
    finding = replace(SHORT, **worse)
    assert [notice.kind for notice in account.run(finding, now=NOW + DAY)] == again
    assert account.run(finding, now=NOW + 2 * DAY) == []
    assert [row["raised_at"] for row in account.open()] == [NOW]


def test_what_gets_less_bad_is_not_told_until_it_is_worse_again():
    account = Account()
    account.run(replace(SHORT, severity="critical"))
    assert account.run(SHORT, now=NOW + DAY) == []
    assert kinds(account.run(replace(SHORT, severity="critical"), now=NOW + 2 * DAY)) == [("raised", "ai_credits")]


def test_a_notice_that_could_not_be_sent_is_due_in_the_next_run():
    account = Account()
    assert kinds(account.run(SHORT, sent=False)) == [("raised", "ai_credits")]
    assert account.run(SHORT, now=NOW + DAY) == [Notice("raised", SHORT, NOW)]
    worse = replace(SHORT, severity="critical")
    assert kinds(account.run(worse, now=NOW + 2 * DAY, sent=False)) == [("raised", "ai_credits")]
    assert account.run(worse, now=NOW + 3 * DAY) == [Notice("raised", worse, NOW)]
    assert kinds(account.run(worse, now=NOW + 10 * DAY, sent=False)) == [("reminded", "ai_credits")]
    assert kinds(account.run(worse, now=NOW + 11 * DAY)) == [("reminded", "ai_credits")]
    assert kinds(account.run(now=NOW + 12 * DAY, sent=False)) == [("cleared", "ai_credits")]
    assert account.run(now=NOW + 13 * DAY) == [Notice("cleared", worse, NOW)]
    assert account.run(now=NOW + 14 * DAY) == []


def test_a_recovery_that_nobody_could_be_told_of_for_a_week_is_no_news():
    account = Account()
    account.run(SHORT)
    account.run(now=NOW + DAY, sent=False)
    assert account.run(now=NOW + 9 * DAY) == []


def test_a_rule_that_could_not_be_evaluated_clears_nothing():
    account = Account()
    account.run(SHORT, BROKEN)
    assert kinds(account.run(now=NOW + DAY, unknown=["usage"])) == [("cleared", "data_sources/1")]
    assert kinds(account.run(now=NOW + 8 * DAY, unknown=["usage"])) == [("reminded", "ai_credits")]
    assert kinds(account.run(now=NOW + 9 * DAY)) == [("cleared", "ai_credits")]


def test_the_most_severe_comes_first_and_recoveries_last():
    account = Account()
    gone = replace(SHORT, subject="users")
    account.run(gone)
    notices = account.run(SHORT, BROKEN, now=NOW + DAY)
    assert kinds(notices) == [("raised", "data_sources/1"), ("raised", "ai_credits"), ("cleared", "users")]


def test_two_findings_of_one_rule_and_subject_are_one_alert_as_severe_as_the_worst():
    account = Account()
    worst = replace(SHORT, severity="critical")
    assert account.run(worst, SHORT) == [Notice("raised", worst, NOW)]


def test_what_two_machines_raised_at_once_becomes_one_alert_without_a_word():
    account, other = Account(), Account()
    account.run(SHORT)
    other.run(SHORT, now=NOW + HOUR)
    account.rows |= other.rows
    assert account.run(SHORT, now=NOW + DAY) == []
    assert [row["raised_at"] for row in account.open()] == [NOW]
    assert account.run(SHORT, now=NOW + 2 * DAY) == []


def test_only_what_was_sent_is_stamped():
    step = advance(Account().frame(), [SHORT, BROKEN], NOW, REMIND_AFTER_H)
    (sent,) = (notice for notice in step.notices if notice.finding == BROKEN)
    assert [(row["subject"], row["last_told_at"]) for row in told(step.rows, [sent], NOW)] == [
        ("ai_credits", None),
        ("data_sources/1", NOW),
    ]


def test_what_stays_the_same_is_not_written_again():
    account = Account()
    account.run(SHORT)
    assert advance(account.frame(), [SHORT], NOW + DAY, REMIND_AFTER_H).rows == []


def test_a_quiet_account_has_nothing_to_tell():
    assert advance(Account().frame(), [], NOW, REMIND_AFTER_H).rows == []


nights = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("ab"), st.sampled_from(["warning", "critical"]), max_size=2),
        st.integers(1, 100).map(lambda hours: hours * HOUR),
        st.booleans(),
        st.sets(st.sampled_from("ab")),
    ),
    max_size=14,
)


@settings(max_examples=80, deadline=None)
@given(nights)
def test_whatever_happens_each_thing_is_told_once(story):
    """Findings that come, go and change, notices that are lost, rules that cannot be evaluated."""
    account, now = Account(), NOW
    for found, later, sent, unknown in story:
        now += later
        findings = [Finding(f"rule_{it}", it, severity, it, it) for it, severity in found.items() if it not in unknown]
        account.run(*findings, now=now, unknown={f"rule_{it}" for it in unknown}, sent=sent)
        subjects = [row["subject"] for row in account.open()]
        assert len(subjects) == len(set(subjects))
        assert {finding.subject for finding in findings} <= set(subjects) <= found.keys() | unknown
    now += HOUR
    still_open = [Finding(row["rule"], row["subject"], row["severity"], "", "") for row in account.open()]
    account.run(*still_open, now=now)  # a last night on which everything can be sent
    for key, row in account.rows.items():
        inbox, lost = ([one for one in of if about(one[1]) == key] for of in (account.inbox, account.lost))
        assert_told_once(row, inbox, lost)


def about(notice):
    return (notice.finding.rule, notice.finding.subject, notice.raised_at)


def assert_told_once(row, inbox, lost):
    news = [(at, notice) for at, notice in inbox if notice.kind != "cleared"]
    cleared = [at for at, notice in inbox if notice.kind == "cleared"]
    if row["cleared_at"] is None:
        assert (cleared, news[0][1].kind) == ([], "raised")
    else:
        assert cleared == ([row["cleared_told_at"]] if row["cleared_told_at"] else [])
        assert all(at >= row["cleared_at"] for at in cleared)
    for (before, _), (after, notice) in pairwise(news):
        if notice.kind == "raised":
            worse_was_lost = any(before < at < after and lost_one.kind == "raised" for at, lost_one in lost)
            assert notice.finding.severity == "critical" or worse_was_lost
        else:
            assert after - before >= REMIND_AFTER_H * HOUR
