"""The one message of a run: its subject, its forms, and what a hostile title may not do in any of them."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.watch.attachment import Attached
from pipelines.watch.finding import Finding, Notice
from pipelines.watch.message import LONGEST_SHORT, LONGEST_SUBJECT, RunWord, compose

NIGHT = datetime(2026, 11, 24, 3, 4, tzinfo=UTC)
EARLIER = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
FAILED = RunWord("20261124T030405Z-abc", "failed", 3, ("clariBI refused the key.", "Make a new one."))
GOOD = RunWord("20261124T030405Z-abc", "done", 0, ("csv_files: 3 files written.",))


def notice(kind="raised", title="AI credits are at 96 %", severity="warning", text="96 of 100.", since=None, rule="r"):
    return Notice(kind, Finding(rule, title, severity, title, text, since), EARLIER)


def test_the_forms_of_a_message():
    message = compose(
        "Acme",
        FAILED,
        [
            notice("cleared", "CRM was in error", since=EARLIER),
            notice("reminded", "Sales is overdue"),
            notice("raised", "Sheets is stale"),
            notice("raised", severity="critical", text="96 of 100.\n\nBuy more.", since=NIGHT),
        ],
        Attached((), ("claribi.xlsx: reports (2 rows).",)),
    )
    assert message.subject == "clariBI Acme: the export failed, 2 problems, 1 still there, 1 gone"
    assert message.level == "failure"
    assert message.text == (
        """clariBI Acme: the export failed, 2 problems, 1 still there, 1 gone

THE EXPORT

* The run failed; nothing of it was loaded. (critical)
  clariBI refused the key.
  Make a new one.
  Run 20261124T030405Z-abc.

NEW

* AI credits are at 96 % (critical)
  96 of 100.
  Buy more.
  Since 2026-11-24 03:04 UTC.

* Sheets is stale
  96 of 100.

STILL SO

* Sales is overdue
  96 of 100.
  Since 2026-11-20 01:00 UTC.

NO LONGER SO

* CRM was in error
  It had been so since 2026-11-20 01:00 UTC.

ATTACHED

* claribi.xlsx: reports (2 rows).
"""
    )
    assert message.short == (
        """The export: The run failed; nothing of it was loaded. clariBI refused the key.
New: AI credits are at 96 %
New: Sheets is stale
Still so: Sales is overdue
No longer so: CRM was in error"""
    )
    assert texts(message.html)[:6] == [
        message.subject,
        message.subject,
        "The export",
        "The run failed; nothing of it was loaded.",
        "(critical)",
        "clariBI refused the key.",
    ]


@pytest.mark.parametrize(
    ("run", "notices", "subject", "level"),
    [
        (GOOD, [notice()], "clariBI Acme: AI credits are at 96 %", "warning"),
        (GOOD, [notice("cleared")], "clariBI Acme: no longer so: AI credits are at 96 %", "success"),
        (None, [notice("reminded", severity="critical")], "clariBI Acme: AI credits are at 96 %", "failure"),
        (GOOD, [notice(), notice()], "clariBI Acme: 2 problems", "warning"),
        (GOOD, [notice("cleared", severity="critical")] * 2, "clariBI Acme: 2 gone", "success"),
        (GOOD, [notice("reminded")] * 2, "clariBI Acme: 2 still there", "warning"),
        (FAILED, [], "clariBI Acme: the export failed", "failure"),
        (FAILED, [notice()], "clariBI Acme: the export failed, 1 problem", "failure"),
        (RunWord("r", "partial", 4), [], "clariBI Acme: the export has a problem", "failure"),
    ],
)
def test_a_subject_says_what_there_is(run, notices, subject, level):
    message = compose("Acme", run, notices)
    assert (message.subject, message.level) == (subject, level)


@pytest.mark.parametrize("run", [None, GOOD, RunWord("r", "later", 75, ("The rate limit is spent.",))])
def test_where_there_is_nothing_to_tell_there_is_no_message(run):
    assert compose("Acme", run, []) is None
    assert compose("Acme", run, [], Attached((), ()), ("all well", "<p>all well</p>")) is None


def test_tables_alone_are_a_mail_that_says_what_they_are_and_nothing_for_a_chat():
    message = compose("", GOOD, [], Attached((), ("claribi.xlsx: reports (2 rows).", "reports: cut.")))
    assert message.subject == "clariBI: the tables you asked for"
    assert message.short == ""
    assert message.level == "info"
    assert "* claribi.xlsx: reports (2 rows).\n\n* reports: cut.\n" in message.text
    assert "claribi.xlsx: reports (2 rows)." in texts(message.html)


def test_the_digest_stands_at_the_end_of_the_mail():
    page = '<!doctype html><html><head><title>x</title></head><body style="margin:0"><p>Usage</p></body></html>'
    message = compose("Acme", None, [notice()], overview=("Usage: 12 of 100.\n", page))
    assert message.text.endswith("  96 of 100.\n\n\nUsage: 12 of 100.\n")
    assert message.html.count("<body") == message.html.count("<html") == message.html.count("<title>") == 1
    assert texts(message.html)[-1] == "Usage"


def test_many_notices_are_counted_where_a_chat_takes_no_more():
    notices = [notice(title=f"Source {n} {'is in error ' * 5}", rule=f"rule {n}") for n in range(300)]
    message = compose("Acme", None, notices)
    *lines, last = message.short.splitlines()
    assert len(message.short) <= LONGEST_SHORT
    assert lines[0].startswith("New: Source 0 is in error")
    assert last == f"… and {300 - len(lines)} more; `claribi-export watch --from-destination` shows them all."
    assert "Source 299" in message.text


def test_of_a_rule_with_much_news_five_are_named_and_the_rest_is_counted():
    failed = [notice(title=f"Report {n} failed", rule="report_failed") for n in range(9)]
    message = compose("Acme", None, [*failed, notice(severity="critical"), notice("cleared", rule="report_failed")])
    assert message.subject == "clariBI Acme: 10 problems, 1 gone"
    told = [line for line in message.text.splitlines() if line.startswith("* ")]
    assert told == [
        "* AI credits are at 96 % (critical)",
        *(f"* Report {n} failed" for n in range(5)),
        "* and 4 more of this kind",
        "* AI credits are at 96 %",
    ]
    assert "  All are in the table alerts, as report_failed." in message.text
    assert "New: and 4 more of this kind" in message.short


@given(title=st.text(), text=st.text(), organisation=st.text())
def test_no_text_of_the_api_breaks_out_of_its_place(title, text, organisation):
    message = compose(organisation, None, [notice(title=title, text=text), notice("cleared", title=title)])
    plain = compose("x", None, [notice(title="x", text="x\n" * len(text.splitlines())), notice("cleared", title="x")])
    assert set(tags(message.html)) == set(tags(plain.html))
    assert message.subject.isprintable()
    assert len(message.subject) <= LONGEST_SUBJECT
    assert len(message.short.splitlines()) == 2
    assert message.text.count("\n* ") == plain.text.count("\n* ") == 2


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("@everyone @here", "@\u200beveryone @\u200bhere"),
        ("<!channel> <@U123> <#C1>", "<\u200b!channel> <\u200b@\u200bU123> <\u200b#C1>"),
        ("[Sales](http://evil.example)", "[Sales]\u200b(http://evil.example)"),
        ("mail ops@example.com at 5 @ night", "mail ops@example.com at 5 @ night"),
    ],
)
def test_in_a_chat_a_title_calls_nobody_and_hides_no_link(title, shown):
    assert compose("Acme", None, [notice(title=title)]).short == f"New: {shown}"


class Reader(HTMLParser):
    """What a mail program sees: tags and texts."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, _attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def tags(html):
    return read(html).tags


def texts(html):
    return read(html).texts
