"""The page and the mail as text: complete, small, and nothing of a hostile title gets through."""

import html
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from pipelines.digest.charts import runs_chart, usage_chart, widget_chart
from pipelines.digest.gathering import gather
from pipelines.digest.page import MOST_ROWS, mail_body, render
from tests.digest_account import HOSTILE, NOW, SETTINGS, empty, thirty_nights


def facts(title=None):
    return gather(thirty_nights(title), NOW, SETTINGS)


def test_thirty_nights_and_forty_widgets_stay_below_half_a_megabyte():
    page = render(facts())
    assert page.count("<h4>") == 40
    assert len(page.encode()) < 500_000


def test_the_same_facts_make_the_same_page():
    assert render(facts()) == render(facts())


def test_the_page_names_nothing_that_a_browser_would_fetch():
    page = render(facts())
    assert "<script" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert set(re.findall(r'(?:src|href)="([^"#]*)', page)) - {""} == {
        "data:,",
        *(f"https://claribi.example/dashboards/{number}" for number in range(4)),
        *(line.url for line in facts().reports.new + facts().reports.failed),
    }


def test_an_account_without_anything_gets_a_sentence_in_each_section():
    page = render(gather(empty(), NOW, SETTINGS))
    for sentence in (
        "Nothing has been looked at yet.",
        "No usage has been recorded yet.",
        "No data source has been exported yet.",
        "No report has failed since",
        "No new report has come either.",
        "No widget with a single number has been exported yet.",
        "No run has been loaded yet.",
    ):
        assert sentence in page


def test_an_account_that_is_well_says_so():
    page = render(replace(facts(), alerts=[], cleared=[], sources=[], meters=[]))
    assert "<h1>All well</h1>" in page
    assert "Nothing is wrong with the usage, the data sources, the reports and the dashboards." in page


def test_trouble_without_an_alert_names_the_command_that_looks():
    told = replace(facts(), alerts=[], cleared=[])
    assert "yet the sections below show trouble" in render(told)
    assert "<code>claribi-export watch</code>" in render(told)
    assert all("Not all well" in part for part in mail_body(told))


def test_a_crowd_of_one_kind_hides_no_other_problem():
    (critical, *_) = told = facts().alerts
    crowd = [replace(told[-1], rule="report_failed", title=f"Report {number} failed") for number in range(50)]
    page = html.unescape(
        render(replace(facts(), alerts=[critical, *crowd, replace(told[-1], rule="usage", title="Credits")]))
    )
    places = [page.index(title) for title in (critical.title, "Credits", "Report 0 failed")]
    assert places == sorted(places)
    assert page.count("<h3><bdi>Report") == 3
    assert "And 47 more of this kind:" in page
    assert ("<li><bdi>Report 39 failed" in page, "<li><bdi>Report 40 failed" in page) == (True, False)


def test_a_mail_does_not_repeat_what_it_has_told():
    (first, second, *_) = facts().alerts
    for part in mail_body(facts(), {(first.rule, first.subject)}):
        assert first.title not in html.unescape(part)
        assert second.title in html.unescape(part)
        assert second.text not in html.unescape(part)
        assert "6 problems" in part


def test_long_lists_are_cut_and_the_rest_is_counted():
    told = facts()
    page = render(replace(told, sources=told.sources * 10))
    assert page.count("<small><bdi>hubspot</bdi></small>") == MOST_ROWS // 9 + 1
    assert f"And {90 - MOST_ROWS} more." in page


def test_a_long_title_is_cut():
    assert "x" * 139 + "…" in render(facts("x" * 5000))
    assert "x" * 140 not in render(facts("x" * 5000))


@pytest.mark.parametrize("made", [render, lambda told: mail_body(told)[1]], ids=["page", "mail"])
def test_a_hostile_title_is_shown_and_never_obeyed(made):
    html = made(facts(HOSTILE))
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "{{7*7}}" in html
    for part in ("<img", "<script", "javascript:"):
        assert part not in html


def test_charts_are_pictures_with_a_title_in_the_colours_of_the_page():
    told = facts()
    widget = told.boards[0].widgets[0]
    charts = [
        usage_chart(told.meters[0], HOSTILE),
        widget_chart(widget, told.widget_days, HOSTILE),
        runs_chart(told.runs, HOSTILE),
    ]
    for chart in charts:
        image = ElementTree.fromstring(chart)
        assert (image.get("role"), image[0].text) == ("img", HOSTILE)
        painted = {element.get(name) for element in image.iter() for name in ("fill", "stroke")} - {None, "none"}
        assert painted
        assert all(colour.startswith("var(--") for colour in painted)


def test_a_widget_of_one_day_and_one_value_is_a_dot():
    widget = facts().boards[0].widgets[0]
    first = replace(widget, days=[(widget.days[0][0], 0.0)], target=None)
    chart = widget_chart(first, (first.days[0][0], first.days[0][0]), "NPS")
    assert 'stroke-linecap="round"' in chart
    assert "NaN" not in chart


def test_a_run_of_nothing_but_trouble_is_drawn():
    bad = [replace(run, outcome="partial", requests=0) for run in facts().runs[:1]]
    assert "var(--bad)" in runs_chart(bad, "Runs")


def test_the_mail_is_short_and_brings_its_style_in_each_element():
    text, html = mail_body(facts())
    assert text.startswith('6 problems - Morgenrot Coffee Roasters\n\nCRITICAL: Data source "HubSpot" is broken\n')
    assert "AI credits: 4,174 of 5,000 (83 %). About 182 a day" in text
    assert "failed: Board pack – 2026 Q4" in text
    assert "Last run: 2026-11-24 03:10 UTC, done, 23 calls." in text
    for part in ("<style", "<svg", "class=", "<script"):
        assert part not in html
    assert len(html) < 20_000


def test_the_plain_text_of_a_mail_is_not_escaped():
    assert "Morgenrot & Söhne <GmbH>" in mail_body(replace(facts(), organization="Morgenrot & Söhne <GmbH>"))[0]


def test_the_mail_of_an_account_without_anything_is_not_empty():
    text, html = mail_body(gather({}, NOW, SETTINGS))
    assert text.startswith("Nothing exported yet - clariBI\n")
    assert "Nothing exported yet" in html
    assert "No run has been loaded yet." in text
