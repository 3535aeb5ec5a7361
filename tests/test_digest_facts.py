"""What the digest gathers from the tables, and the sentences it makes of it."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from pipelines.claribi.schema import DASHBOARDS, DATA_SOURCES, EXPORT_RUNS, REPORTS, TABLES, USAGE
from pipelines.digest.facts import Meter, RunLine, Widget
from pipelines.digest.gathering import MOST_WIDGETS, gather
from pipelines.digest.sentences import change, outlook, quiet_days, state, took, usage_title, widget_title
from pipelines.watch.tables import ALERTS
from pipelines.watch.usage import Forecast, Point
from tests.digest_account import NIGHTS, NOW, SETTINGS, empty, frame, thirty_nights

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FORECAST = Forecast(
    metric="ai_credits",
    per_day=182.4,
    per_day_low=150,
    per_day_high=213,
    left=826,
    exhausted_on=date(2026, 11, 28),
    earliest=date(2026, 11, 27),
    latest=date(2026, 11, 29),
    resets_on=date(2026, 12, 1),
    since=datetime(2026, 11, 1, tzinfo=UTC),
    days=23,
)


def gathered(**tables):
    return gather(thirty_nights() | tables, NOW, SETTINGS)


def meter(used=4174, metric="ai_credits", forecast=None):
    points = [Point(NOW - 3 * DAY, 10, 5000), Point(NOW, used, 5000)]
    return Meter(metric, points, (80, 95), forecast)


def run(days_ago, outcome="done", **given):
    at = NOW - days_ago * DAY
    told = {"took_s": 6.6, "requests": 20, "waited_s": 0.0, "rows": 4} | given
    return RunLine(started_at=at, outcome=outcome, **told)


def report(number, at, status="completed", **given):
    return {"id": str(number), "title": f"Report {number}", "status": status, "created_at": at} | given


def test_thirty_nights_on_one_page():
    facts = gathered()
    assert (facts.organization, facts.plan, facts.headline) == ("Morgenrot Coffee Roasters", "enterprise", "6 problems")
    assert [alert.severity for alert in facts.alerts] == ["critical", *["warning"] * 5]
    assert [(meter.name, int(meter.newest.percent), meter.level) for meter in facts.meters] == [
        ("AI credits", 83, "warning"),
        ("Data sources", 36, "well"),
    ]
    assert [(source.name, source.state, source.trouble) for source in facts.sources[:3]] == [
        ("HubSpot", "error", True),
        ("Stripe payments", "stale", True),
        ("Budget 2026.xlsx", "ok", False),
    ]
    assert [len(board.widgets) for board in facts.boards] == [10, 10, 10, 10]
    assert (len(facts.runs), facts.last_run.started_at, facts.busiest_day) == (30, NIGHTS[-1], 96)
    assert facts.widget_days == (date(2026, 10, 25), date(2026, 11, 23))


@pytest.mark.parametrize("tables", [{}, empty()])
def test_tables_that_do_not_exist_yet_make_a_page_that_says_so(tables):
    facts = gather(tables, NOW, SETTINGS)
    assert (facts.headline, facts.organization, facts.widget_days) == ("Nothing exported yet", "clariBI", None)
    assert (facts.alerts, facts.meters, facts.sources, facts.boards, facts.runs) == ([], [], [], [], [])


def test_all_is_well_without_an_alert_and_without_trouble():
    facts = gathered(alerts=frame(ALERTS), data_sources=frame(DATA_SOURCES), usage=frame(USAGE))
    assert (facts.headline, facts.unwatched) == ("All well", False)


@pytest.mark.parametrize("quiet", ["data_sources", "usage"])
def test_trouble_that_no_rule_has_been_run_on_is_never_called_well(quiet):
    facts = gathered(alerts=frame(ALERTS), **{quiet: frame(TABLES[quiet])})
    assert (facts.headline, facts.unwatched) == ("Not all well", True)


def test_an_alert_that_was_cleared_long_ago_is_not_news():
    given = {"subject": "usage", "severity": "warning", "title": "", "text": "", "raised_at": NOW - 9 * DAY}
    rows = [given | {"rule": str(days), "cleared_at": NOW - days * DAY} for days in (0.5, 3)]
    assert [alert.rule for alert in gathered(alerts=frame(ALERTS, *rows)).cleared] == ["0.5"]


@pytest.mark.parametrize(
    ("started_h_ago", "since_h_ago"),
    [((), 24), ((0,), 24), ((0, 1), 24), ((0, 24.2), 24.2), ((0, 96, 120), 96)],
    ids=["no run", "first run", "two within a day", "nightly", "after a pause"],
)
def test_news_are_what_came_since_the_run_before_and_within_a_day_at_least(started_h_ago, since_h_ago):
    rows = [{"run_id": str(hours), "started_at": NOW - hours * HOUR} for hours in started_h_ago]
    assert gathered(export_runs=frame(EXPORT_RUNS, *rows)).reports.since == NOW - since_h_ago * HOUR


def test_a_report_is_news_by_its_last_change_and_deleted_ones_never_are():
    rows = [
        report(1, NOW - 30 * DAY),
        report(2, NOW - 30 * DAY, completed_at=NOW - HOUR),
        report(3, NOW - 2 * HOUR, "pending"),
        report(4, NOW - 3 * HOUR, "failed"),
        report(5, NOW - HOUR, deleted_at=NOW),
        report(6, NOW - 30 * DAY, "failed"),
    ]
    reports = gathered(reports=frame(REPORTS, *rows)).reports
    assert [line.title for line in reports.new] == ["Report 2", "Report 3"]
    assert [line.title for line in reports.failed] == ["Report 4"]


def test_a_failed_report_stays_on_the_page_as_long_as_its_alert_is_open():
    alert = {"rule": "report_failed", "subject": "reports/6", "severity": "warning", "raised_at": NOW}
    told = gathered(reports=frame(REPORTS, report(6, NOW - 6 * DAY, "failed")), alerts=frame(ALERTS, alert))
    assert [line.title for line in told.reports.failed] == ["Report 6"]


def test_a_table_of_reports_may_lack_what_nobody_has_filled_yet():
    rows = frame(REPORTS, report(1, NOW)).drop(columns=["completed_at", "deleted_at", "web_url"])
    assert [line.title for line in gathered(reports=rows).reports.new] == ["Report 1"]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://claribi.com/r/1", "https://claribi.com/r/1"),
        ("javascript:alert(1)", ""),
        ("http://claribi.com", ""),
        (" https://x", ""),
        (None, ""),
    ],
)
def test_only_safe_addresses_become_links(url, kept):
    told = gathered(reports=frame(REPORTS, report(1, NOW, web_url=url)))
    assert [line.url for line in told.reports.new] == [kept]


def test_widgets_of_deleted_dashboards_and_without_a_series_are_left_out():
    boards = [{"id": "0", "name": "Gone", "deleted_at": NOW}, {"id": "1", "name": "Here"}, {"id": "9", "name": "Empty"}]
    assert [board.name for board in gathered(dashboards=frame(DASHBOARDS, *boards)).boards] == ["Here"]


def test_more_widgets_than_a_page_holds_are_counted(monkeypatch):
    assert MOST_WIDGETS >= 40
    monkeypatch.setattr("pipelines.digest.gathering.MOST_WIDGETS", 13)
    facts = gathered()
    assert ([len(board.widgets) for board in facts.boards], facts.widgets_left_out) == ([10, 3], 27)


@pytest.mark.parametrize(("used", "level"), [(3999, "well"), (4000, "warning"), (4750, "critical"), (6000, "critical")])
def test_a_meter_is_judged_by_its_thresholds(used, level):
    assert meter(used).level == level


def test_a_meter_without_thresholds_is_not_judged():
    assert replace(meter(6000), thresholds=()).level == "well"


@pytest.mark.parametrize(("outcome", "level"), [("done", "well"), ("later", "warning"), ("partial", "critical")])
def test_a_run_is_judged_by_its_outcome(outcome, level):
    assert run(0, outcome).level == level


RATE = "About 182 a day (150 to 213, from 23 days)."
ANEW = "the counter begins anew on 2026-12-01."
LATER = replace(FORECAST, exhausted_on=date(2026, 12, 4), earliest=date(2026, 12, 2), latest=None)


@pytest.mark.parametrize(
    ("forecast", "sentence"),
    [
        (
            FORECAST,
            f"{RATE} Used up around 2026-11-28 (between 2026-11-27 and 2026-11-29); {ANEW}",
        ),
        (
            replace(FORECAST, latest=None),
            f"{RATE} Used up around 2026-11-28 (between 2026-11-27 and never); {ANEW}",
        ),
        (LATER, f"{RATE} They last until the counter begins anew on 2026-12-01."),
        (
            replace(LATER, earliest=date(2026, 11, 30)),
            f"{RATE} They last until the counter begins anew on 2026-12-01; on busy days they would end on 2026-11-30.",
        ),
        (None, "No forecast yet: it takes three days of use since the counter began anew."),
    ],
)
def test_how_long_the_credits_last_is_said_in_words(forecast, sentence):
    assert outlook(meter(forecast=forecast)) == sentence


def test_what_does_not_begin_anew_or_is_used_up_has_no_outlook():
    assert [outlook(meter(metric="data_sources")), outlook(meter(used=5000))] == ["", ""]


def test_the_days_without_a_run_are_named_and_many_are_counted():
    assert quiet_days([run(0), run(1), run(3)]) == "No run on 2026-11-22."
    days = "2026-11-12, 2026-11-13, 2026-11-14, 2026-11-15, 2026-11-16"
    assert quiet_days([run(0), run(13)]) == f"No run on {days} and 7 more."
    assert quiet_days([run(0), run(0.1), run(1)]) == ""


def test_a_run_that_waited_says_how_long():
    told = [took(run(0)), took(run(0, took_s=218.4, waited_s=212.2)), took(run(0, took_s=None))]
    assert told == ["6.6 s", "218 s, 212 s waiting", ""]


@pytest.mark.parametrize(("first", "last", "said"), [(80, 100, "+25.0 %"), (-80, -100, "−25.0 %"), (0, 5, "")])
def test_the_change_of_a_widget_is_measured_from_its_first_day(first, last, said):
    assert change(Widget("NPS", [(date(2026, 11, 1), first), (date(2026, 11, 2), last)], None)) == said


def test_a_widget_of_one_day_has_not_changed():
    assert change(Widget("NPS", [(date(2026, 11, 1), 4)], None)) == ""


def test_charts_are_told_in_words():
    widget = Widget("NPS", [(date(2026, 11, 1), 41), (date(2026, 11, 2), 44)], 50)
    assert widget_title(widget) == "NPS: 44 on 2026-11-02, target 50; lowest 41, highest 44 since 2026-11-01"
    expected = "Data sources: 4,174 of 5,000 used on 2026-11-24, 10 on 2026-11-21."
    assert usage_title(meter(metric="data_sources")) == expected


def test_a_healthy_source_keeps_the_word_that_claribi_has_for_it():
    broken, *_, healthy = gathered().sources
    assert [state(broken), state(healthy), state(replace(healthy, status=""))] == ["error", "active", "unknown"]
