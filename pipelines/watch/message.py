"""The one message of a run: what is new, what is still so, what is no longer so, and how the run itself failed.

Titles and texts come from clariBI, so they are taken for hostile: text stays text in the mail's HTML, a title cannot
break out of its line, and in a chat it calls nobody (`@everyone`) and hides no link.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Literal

from pipelines.watch.attachment import Attached
from pipelines.watch.finding import Notice, NoticeKind
from pipelines.watch.words import stamp

Level = Literal["info", "success", "warning", "failure"]

FINE: Final = (0, 75)
"""Exit codes of a run that needs nobody: done, or stopped by a limit with its place kept."""
OUTCOMES: Final = {
    "failed": "The run failed; nothing of it was loaded.",
    "partial": "The run was loaded, but not proven whole.",
    "refused": "The run was loaded, but clariBI refused a part.",
}
HEADINGS: Final[dict[NoticeKind, str]] = {"raised": "New", "reminded": "Still so", "cleared": "No longer so"}
MOST_OF_A_RULE: Final = 5
"""Items of one rule in a section; thirty failed reports are one piece of news."""
LONGEST_SUBJECT: Final = 120
LONGEST_LINE: Final = 200
LONGEST_SHORT: Final = 900
"""Characters of the short form; the strictest of the chats takes 1,000."""
_CALLS: Final = re.compile(r"(?<!\w)@(?=\w)|<(?=[!@#])|\](?=\()")
"""Where a chat would begin to call somebody or to hide a link."""

_BODY: Final = (
    "margin:0;padding:20px;background:#fff;color:#111;font:16px/1.45 'Helvetica Neue',Helvetica,Arial,sans-serif"
)
_QUIET: Final = "margin:0;color:#5c5c5c;font-size:14px"
_BARS: Final = {"critical": "#c4122f", "warning": "#8a5300", "well": "#1a7f37", "": "#d9d9d9"}


@dataclass(frozen=True)
class RunWord:
    """How a run ended."""

    run_id: str
    outcome: str
    """As in the run report: done, later, partial, refused or failed."""
    exit_code: int
    sentences: tuple[str, ...] = ()
    """What went wrong and the next step, the most telling first."""


@dataclass(frozen=True)
class Message:
    """One message in the forms that mails and chats take."""

    subject: str
    text: str
    html: str
    """A whole document."""
    short: str
    """For chats, at most 900 characters; empty when there is nothing to tell but what is attached to the mail."""
    level: Level


@dataclass(frozen=True)
class _Item:
    title: str
    lines: tuple[str, ...] = ()
    mark: str = ""


@dataclass(frozen=True)
class _Section:
    heading: str
    items: tuple[_Item, ...]


def compose(
    organisation: str,
    run: RunWord | None,
    notices: Sequence[Notice],
    attached: Attached | None = None,
    overview: tuple[str, str] | None = None,
) -> Message | None:
    """Write the message of one run; None when there is nothing to tell.

    `overview` is the digest for the mail's end, as text and as HTML that is safe already; alone it is no reason to
    write to anybody.
    """
    broken = run if run and run.exit_code not in FINE else None
    words = attached.words if attached else ()
    if not (broken or notices or words):
        return None
    told = [*_run_section(broken), *_notice_sections(notices)]
    sections = [*told, *([_Section("Attached", tuple(map(_Item, words)))] if words else [])]
    name = _line(f"clariBI {organisation}")
    subject = _cut(f"{name}: {_headline(broken, notices)}", LONGEST_SUBJECT)
    text, html = overview or ("", "")
    return Message(
        subject, _text(subject, sections, text), _html(subject, sections, html), _short(told), _level(broken, notices)
    )


def _run_section(run: RunWord | None) -> Iterator[_Section]:
    if run:
        title = OUTCOMES.get(run.outcome, f"The run ended with exit code {run.exit_code}.")
        yield _Section("The export", (_Item(title, (*run.sentences, f"Run {run.run_id}."), "critical"),))


def _notice_sections(notices: Sequence[Notice]) -> Iterator[_Section]:
    for kind, heading in HEADINGS.items():
        # The critical ones first.
        of_kind = sorted((one for one in notices if one.kind == kind), key=lambda one: one.finding.severity)
        if of_kind:
            yield _Section(heading, tuple(_items(of_kind)))


def _items(notices: Sequence[Notice]) -> Iterator[_Item]:
    """An item each, rule by rule in the order of their first; of a rule that has many, how many more there are."""
    by_rule: dict[str, list[Notice]] = {}
    for notice in notices:
        by_rule.setdefault(notice.finding.rule, []).append(notice)
    for rule, of_rule in by_rule.items():
        yield from map(_item, of_rule[:MOST_OF_A_RULE])
        if (more := len(of_rule) - MOST_OF_A_RULE) > 0:
            mark = _item(of_rule[-1]).mark
            yield _Item(f"and {more:,} more of this kind", (f"All are in the table alerts, as {rule}.",), mark)


def _item(notice: Notice) -> _Item:
    found = notice.finding
    if notice.kind == "cleared":
        return _Item(_line(found.title), (f"It had been so since {stamp(found.since or notice.raised_at)}.",), "well")
    # A new one was found just now, which needs no saying.
    since = found.since or (notice.raised_at if notice.kind == "reminded" else None)
    lines = [*map(_line, found.text.splitlines()), f"Since {stamp(since)}." if since else ""]
    return _Item(_line(found.title), tuple(filter(None, lines)), found.severity)


def _headline(run: RunWord | None, notices: Sequence[Notice]) -> str:
    """What the subject says: the one thing there is, or how many there are of each kind."""
    if not run and len(notices) == 1:
        return f"{'no longer so: ' if notices[0].kind == 'cleared' else ''}{_line(notices[0].finding.title)}"
    kinds = [notice.kind for notice in notices]
    new, still, gone = (kinds.count(kind) for kind in HEADINGS)
    parts = [
        "the export failed" if run and run.outcome == "failed" else "the export has a problem" if run else "",
        f"{new} problem{'s' * (new != 1)}" if new else "",
        f"{still} still there" if still else "",
        f"{gone} gone" if gone else "",
    ]
    return ", ".join(filter(None, parts)) or "the tables you asked for"


def _level(run: RunWord | None, notices: Sequence[Notice]) -> Level:
    """How loud a chat should show it."""
    open_ones = [notice.finding.severity for notice in notices if notice.kind != "cleared"]
    if run or "critical" in open_ones:
        return "failure"
    if open_ones:
        return "warning"
    return "success" if notices else "info"


def _text(subject: str, sections: Sequence[_Section], overview: str) -> str:
    """Write plain text: a line for each title, what belongs to it indented."""
    parts = [subject]
    for section in sections:
        parts.append(f"\n{section.heading.upper()}")
        for item in section.items:
            critical = " (critical)" if item.mark == "critical" else ""
            parts.append("\n".join([f"\n* {item.title}{critical}", *(f"  {line}" for line in item.lines)]))
    return "\n".join([*parts, *(["\n\n" + overview.strip()] if overview else []), ""])


def _html(subject: str, sections: Sequence[_Section], overview: str) -> str:
    """Write a document whose styles stand in its elements, as mail programs want it."""
    parts = [f'<h1 style="margin:0;font-size:24px;line-height:1.2">{escape(subject)}</h1>']
    for section in sections:
        parts.append('<hr style="margin:28px 0 0;border:0;border-top:2px solid #111">')
        parts.append(f'<h2 style="margin:8px 0;font-size:16px;line-height:1.3">{escape(section.heading)}</h2>')
        parts += map(_html_item, section.items)
    inside = "\n".join([*parts, *(['<hr style="margin:28px 0;border:0">', _inside(overview)] if overview else [])])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(subject)}</title></head>\n'
        f'<body style="{_BODY}">\n<div style="max-width:600px;margin:0 auto;overflow-wrap:anywhere">\n{inside}\n'
        "</div>\n</body></html>\n"
    )


def _html_item(item: _Item) -> str:
    lines = "".join(f'<p style="{_QUIET}">{escape(line)}</p>' for line in item.lines)
    critical = " (critical)" if item.mark == "critical" else ""
    bar = f"margin:16px 0 0;padding-left:12px;border-left:3px solid {_BARS[item.mark]}"
    return f'<div style="{bar}"><p style="margin:0"><strong>{escape(item.title)}</strong>{critical}</p>{lines}</div>'


def _inside(document: str) -> str:
    """What stands between a document's body tags; all of it where there are none."""
    body = re.search(r"<body[^>]*>(.*)</body>", document, re.DOTALL | re.IGNORECASE)
    return body[1] if body else document


def _short(sections: Sequence[_Section]) -> str:
    """One line a title, as many as fit, and how many more there are."""
    lines = [
        _harmless(_cut(_line(f"{section.heading}: {' '.join([item.title, *_told_in_short(section, item)])}")))
        for section in sections
        for item in section.items
    ]
    kept: list[str] = []
    while lines and sum(map(len, kept)) + len(kept) + len(lines[0]) < LONGEST_SHORT - 80:  # room for the last line
        kept.append(lines.pop(0))
    return "\n".join(
        [
            *kept,
            *([f"… and {len(lines)} more; `claribi-export watch --from-destination` shows them all."] if lines else []),
        ]
    )


def _told_in_short(section: _Section, item: _Item) -> Sequence[str]:
    """Of a broken run its first sentence too: the title alone says nothing."""
    return item.lines[:1] if section.heading == "The export" else ()


def _harmless(text: str) -> str:
    return _CALLS.sub(lambda found: f"{found[0]}\u200b", text)


def _line(text: str) -> str:
    """The text on one line of printable characters: a subject with a line break would be a header of its own."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _cut(text: str, longest: int = LONGEST_LINE) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"
