"""A run report as Markdown, for the summary page of a workflow run."""

import html
import re

from pipelines.report import BackfillReport, Report

COLUMNS = ("seen", "new", "changed", "deleted", "rows")


def summary(report: Report) -> str:
    """Give the report as Markdown: how it ended, a table of the tables, what it took, its notes."""
    left = report.requests["left_in_window"]
    calls = f"{report.requests['total']:,} calls" + ("" if left is None else f", {left:,} left this hour")
    where = f"Into {_plain(report.destination)}, from {report.started_at} to {report.finished_at}, run {report.run_id}"
    parts = [f"### clariBI export: {report.outcome}", f"{where}: {calls}."]
    if report.tables:
        parts.append(_table(report.tables))
    if isinstance(report, BackfillReport):
        parts.append(_left(report))
    if report.notes:
        parts.append("\n".join(f"- {_plain(note)}" for note in report.notes))
    return "\n\n".join(parts) + "\n\n"


def _table(tables: dict[str, dict[str, int | None]]) -> str:
    """As on the screen: a zero is a dot, and what is not known a question mark."""
    lines = [f"| table | {' | '.join(COLUMNS)} |", f"| --- |{' ---: |' * len(COLUMNS)}"]
    for name, counts in tables.items():
        lines.append(f"| {name} | {' | '.join(_number(counts[column]) for column in COLUMNS)} |")
    return "\n".join(lines)


def _left(report: BackfillReport) -> str:
    """What a backfill has still to read, newest first."""
    if report.window is None:
        return "Nothing was read."
    windows = [f"{left['since']} to {left['until']}" for left in report.left]
    return f"Still to read: {', '.join(windows)}." if windows else "Nothing is left of the window."


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}" if value else "·"


def _plain(text: str) -> str:
    """The text with nothing in it that Markdown would read as more than text: it may quote a title or a server."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
