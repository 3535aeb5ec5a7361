"""The page and the mail: facts in, HTML and text out.

The page is one file that needs nothing else: no script, no font, no picture from anywhere. Its own policy forbids a
browser to load or to run anything, should a title ever get past the escaping.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipelines.digest.charts import runs_chart, usage_chart, widget_chart
from pipelines.digest.facts import Facts
from pipelines.digest.sentences import FILTERS, ago

MOST_ROWS: Final = 40
"""Rows of one list; the rest is counted, so that the page of a large account stays a page."""
MOST_OF_A_RULE: Final = 3
"""Problems of one rule that are shown with their text; of the others the titles."""
MOST_MAILED: Final = 10
CHARTS: Final = {"usage_chart": usage_chart, "widget_chart": widget_chart, "runs_chart": runs_chart}


def render(facts: Facts) -> str:
    """Draw the page: one HTML file."""
    return _environment().get_template("page.html").render(facts=facts, most=MOST_ROWS, most_of_a_rule=MOST_OF_A_RULE)


def mail_body(facts: Facts, told: Collection[tuple[str, str]] = ()) -> tuple[str, str]:
    """Give the short form for a mail: plain text, and HTML that styles each element, as mail programs want it.

    `told` are rule and subject of the problems that the mail has named already; the others, which were told in earlier
    mails, then stand there by their titles.
    """
    besides = [alert for alert in facts.alerts if (alert.rule, alert.subject) not in told]
    cleared = [alert for alert in facts.cleared if (alert.rule, alert.subject) not in told]
    environment = _environment()
    text, html = (
        environment.get_template(name).render(
            facts=facts, brief=bool(told), alerts=besides, cleared=cleared, most=MOST_MAILED
        )
        for name in ("mail.txt", "mail.html")
    )
    return text, html


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(enabled_extensions=("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS | CHARTS
    environment.globals["ago"] = ago
    return environment
