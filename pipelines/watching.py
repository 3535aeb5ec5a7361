"""Looks at what a destination holds, keeps the alerts there, and tells people: after a run, or by itself as `watch`.

The rules see the destination alone, as it was when clariBI was last read. So any machine finds the same, and none
repeats or forgets what another one has told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import dlt

from pipelines.claribi_pipeline import keep
from pipelines.view import JUDGED, RULES, View
from pipelines.watch.alerts import Advance, advance, told
from pipelines.watch.attachment import Attached, attach
from pipelines.watch.finding import Finding, Notice
from pipelines.watch.health import look_at_sources
from pipelines.watch.message import FINE, RunWord, compose
from pipelines.watch.notify import Failure, send
from pipelines.watch.notify_settings import NotifySettings
from pipelines.watch.reports import look_at_reports
from pipelines.watch.settings import WatchSettings
from pipelines.watch.tables import ALERTS, DATA_SOURCE_EVENTS, Row, records
from pipelines.watch.usage import look_at_usage
from pipelines.watch.watched import Problem, Watched

NO_MEMORY: Final = (
    "Nobody was told of problems: the destination does not take the whole table alerts, so it could not be remembered "
    "what was told. Add alerts to the tables that the destination takes."
)


@dataclass(frozen=True)
class Sent:
    """What became of a message."""

    arrived: bool = False
    """Whether at least one address took it."""
    failures: Sequence[Failure] = ()


@dataclass(frozen=True)
class _Judged:
    """What the rules say of a destination, and what that makes of its alerts."""

    step: Advance
    events: list[Row]
    """The new rows of `data_source_events`."""
    stored: list[Row]
    """All alerts, as they were before."""

    @property
    def changed(self) -> list[Row]:
        """The alerts that are to be written."""
        return [row for row in self.step.rows if row not in self.stored]

    @property
    def open(self) -> list[Row]:
        """The alerts that are open now; the worst first, then the newest."""
        laid = {tuple(row[name] for name in ALERTS.key): row for row in (*self.stored, *self.step.rows)}
        still = sorted((laid[key] for key in sorted(laid)), key=lambda row: row["raised_at"], reverse=True)
        return sorted(
            (row for row in still if row["cleared_at"] is None), key=lambda row: row["severity"] != "critical"
        )


def watch(
    pipeline: dlt.Pipeline,
    settings: WatchSettings,
    notify: NotifySettings,
    run: RunWord | None = None,
    *,
    rules: bool = True,
    deliver: bool = False,
) -> Watched:
    """Look, keep what was found, and tell people what they do not know.

    The pipeline has been synchronised. `run` is how the run just before has ended; `deliver` attaches the tables of
    NOTIFY__DELIVER; without `rules` nothing is looked for, and people are told the rest.
    """
    view = View(pipeline)
    judged = _judge(view, settings) if rules else _Judged(Advance([], []), [], [])
    keep(pipeline, {DATA_SOURCE_EVENTS.name: judged.events, ALERTS.name: judged.changed})
    step = judged.step if view.remembers else Advance([], [])
    sent = _tell(view, notify, settings, run, step.notices, deliver=deliver)
    if sent.arrived:
        stamped = told(step.rows, step.notices, view.reading.at)
        keep(pipeline, {ALERTS.name: [row for row in stamped if row not in step.rows]})
    silenced = judged.step.notices and notify.addresses and not view.remembers
    return _watched(view, judged, sent, [NO_MEMORY] if silenced else [], rules=rules)


def tell(
    notify: NotifySettings,
    organisation: str,
    run: RunWord | None,
    notices: Sequence[Notice] = (),
    attached: Attached | None = None,
    overview: tuple[str, str] | None = None,
) -> Sent:
    """Send the one message of a run, if there is anything to say and somebody to say it to."""
    message = compose(organisation, run, notices, attached, overview) if notify.addresses else None
    if message is None:
        return Sent()
    failures = send(message, notify.addresses, attached.files if attached else ())
    return Sent(len(failures) < len(notify.addresses), failures)


def _judge(view: View, settings: WatchSettings) -> _Judged:
    """Run the rules that can be told, and bring the alerts forward."""
    reading, tables = view.reading, {name: view.table(name) for name in JUDGED}
    sources, events = tables["data_sources"], tables["data_source_events"]
    health = look_at_sources(sources, events, settings, reading.at, view.listed_in_part)
    found: list[Finding] = [
        *look_at_usage(tables["usage"], tables["organization"], settings, reading.at),
        *health.findings,
        *look_at_reports(tables["reports"], tables["dashboards"], tables["export_runs"], settings, reading.at),
    ]
    known = [finding for finding in found if finding.rule not in reading.unknown]
    alerts = tables["alerts"]
    if len(alerts):  # a destination gives rows in any order; a message should not
        alerts = alerts.sort_values(list(ALERTS.key))
    step = advance(alerts, known, reading.at, settings.remind_after_h, reading.unknown)
    return _Judged(step, health.events if "data_sources" in reading.read else [], records(alerts))


def _tell(
    view: View,
    notify: NotifySettings,
    settings: WatchSettings,
    run: RunWord | None,
    notices: Sequence[Notice],
    *,
    deliver: bool,
) -> Sent:
    """Tell of the run and of what was found; a mail gets the digest's short form and the tables, too."""
    mailed = any(address.is_mail for address in notify.addresses)
    tables = {name: view.whole(name) for name in notify.deliver} if mailed and deliver else {}
    attached = attach(tables, notify.form, notify.max_attachment_mb) if tables else None
    something = notices or attached or (run and run.exit_code not in FINE)
    overview = _overview(view, settings, notices) if mailed and something else None
    return tell(notify, view.organization, run, notices, attached, overview)


def _overview(view: View, settings: WatchSettings, notices: Sequence[Notice]) -> tuple[str, str]:
    """The short form of the digest, as text and as HTML; what the mail has just told it does not repeat."""
    from pipelines.digest.page import mail_body  # below it are jinja2 and vl_convert, of an extra

    return mail_body(view.facts(settings), {(one.finding.rule, one.finding.subject) for one in notices})


def _watched(view: View, judged: _Judged, sent: Sent, notes: list[str], *, rules: bool) -> Watched:
    reading = view.reading
    over = [row for row in judged.changed if row["cleared_at"] == reading.at and not row["cleared_told_at"]]
    return Watched(
        looked_at=_iso(reading.at),
        problems=[_problem(row) for row in judged.open],
        cleared=[_problem(row) for row in over],
        left_out=[name for name in RULES if rules and name not in reading.wanted],
        not_read=[name for name in RULES if rules and name in reading.wanted - reading.read],
        told=sent.arrived,
        failed=bool(sent.failures),
        notes=[*notes, *map(str, sent.failures)],
    )


def _problem(row: Row) -> Problem:
    words: dict[str, Any] = {name: row[name] for name in ("rule", "subject", "severity", "title", "text")}
    return Problem(**words, since=_iso(row["since"]) if row["since"] else None, raised_at=_iso(row["raised_at"]))


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
