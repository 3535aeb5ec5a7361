"""Alerts: what was found is told once, again after a while, and once more when it is well. Pure.

One alert for each rule and subject, a row of `alerts`:

    found for the first time      raised                 last_told_at stays null until somebody could be told
    found again                   nothing, or            reminded when remind_after_h have passed since last_told_at
    found again, and worse        raised once more       the severity rose, or it began anew since people were told
    not found any more            cleared                cleared_told_at stays null until somebody could be told

The state is in the destination. A run merges the rows of `advance` first, sends the notices, and merges the rows of
`told` only when that worked; so whatever a run could not send is due in the next one, from any machine.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Final

import pandas as pd

from pipelines.watch.finding import Finding, Notice
from pipelines.watch.tables import Row, records

_Step = tuple[Row, Notice | None]
Subject = tuple[str, str]
"""Rule and subject: what there is one open alert for at most."""

RECOVERY_IS_NEWS: Final = timedelta(days=7)
"""A recovery that nobody could be told of for so long is told no more."""
_RANKS: Final = {"warning": 0, "critical": 1}
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Advance:
    """What one run's findings make of the alerts."""

    rows: list[Row]
    """Whole rows of `alerts` to merge: those that changed, and those that a notice is about."""
    notices: list[Notice]
    """What people should be told now; the most severe first, recoveries last."""


def advance(
    alerts: pd.DataFrame,
    findings: Iterable[Finding],
    now: datetime,
    remind_after_h: float,
    unknown: Collection[str] = (),
) -> Advance:
    """Bring all of the table `alerts` forward to `now`.

    `unknown` are the rules that could not be evaluated: their open alerts stay, as if they were found again.
    """
    stored = records(alerts)
    held, spare = _open(stored)
    found = {key: _finding(row) for key, row in held.items() if row["rule"] in unknown} | _by_subject(findings)
    steps: list[_Step] = [(row | {"cleared_at": now, "cleared_told_at": now}, None) for row in spare]
    for key, finding in found.items():
        steps += _again(held[key], finding, now, remind_after_h) if key in held else [_raised(finding, now)]
    steps += [_recovered(row | {"cleared_at": now}) for key, row in held.items() if key not in found]
    steps += [_recovered(row) for row in stored if _untold_recovery(row, now)]
    notices = [notice for _, notice in steps if notice]
    notices.sort(key=lambda notice: (notice.kind == "cleared", -_RANKS[notice.finding.severity]))
    return Advance([row for row, _ in steps], notices)


def told(rows: Iterable[Row], notices: Iterable[Notice], now: datetime) -> list[Row]:
    """Give the rows of an `Advance` once more, stamped for those of its notices that people have got."""
    kinds = {(notice.finding.rule, notice.finding.subject, notice.raised_at): notice.kind for notice in notices}
    stamped = []
    for row in rows:
        kind = kinds.get((row["rule"], row["subject"], row["raised_at"]))
        stamp = {"cleared_told_at": now} if kind == "cleared" else {"last_told_at": now} if kind else {}
        stamped.append(row | stamp)
    return stamped


def _raised(finding: Finding, now: datetime) -> _Step:
    row = asdict(finding) | {"raised_at": now, "last_told_at": None, "cleared_at": None, "cleared_told_at": None}
    return row, Notice("raised", finding, now)


def _again(row: Row, finding: Finding, now: datetime, remind_after_h: float) -> Iterator[_Step]:
    """An open alert whose trouble was found again; nothing where nothing is to be stored or told."""
    current, told_at = row | asdict(finding), row["last_told_at"]
    if told_at is None or _worse(row, finding):
        # The stamp goes first: if this cannot be sent, the next run must not take the earlier telling for this one.
        yield current | {"last_told_at": None}, Notice("raised", finding, row["raised_at"])
    elif (now - told_at) / _HOUR >= remind_after_h:
        yield current, Notice("reminded", finding, row["raised_at"])
    elif current != row:
        yield current, None


def _worse(row: Row, finding: Finding) -> bool:
    """More severe, or begun anew since people were told: the next threshold, a source that broke once more."""
    begun_anew = finding.since is not None and finding.since > row["last_told_at"]
    return _RANKS[finding.severity] > _RANKS[row["severity"]] or begun_anew


def _recovered(row: Row) -> _Step:
    return row, Notice("cleared", _finding(row), row["raised_at"])


def _untold_recovery(row: Row, now: datetime) -> bool:
    cleared_at = row["cleared_at"]
    return cleared_at is not None and row["cleared_told_at"] is None and now - cleared_at <= RECOVERY_IS_NEWS


def _open(stored: Iterable[Row]) -> tuple[dict[Subject, Row], list[Row]]:
    """The open alert of each subject, and others that two machines raised at the same time."""
    rows = sorted((row for row in stored if row["cleared_at"] is None), key=lambda row: row["raised_at"])
    held: dict[Subject, Row] = {}
    spare = [row for row in rows if held.setdefault((row["rule"], row["subject"]), row) is not row]
    return held, spare


def _by_subject(findings: Iterable[Finding]) -> dict[Subject, Finding]:
    """One finding for each rule and subject, the most severe."""
    ordered = sorted(findings, key=lambda finding: _RANKS[finding.severity])
    return {(finding.rule, finding.subject): finding for finding in ordered}


def _finding(row: Row) -> Finding:
    """What was found when the row was last written."""
    return Finding(**{field.name: row[field.name] for field in fields(Finding)})
