"""What a rule finds, and what is told of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Severity = Literal["warning", "critical"]
NoticeKind = Literal["raised", "reminded", "cleared"]


@dataclass(frozen=True)
class Finding:
    """One rule's word on one subject. The same trouble has the same rule and subject in every run."""

    rule: str
    """Such as `usage`, `source_error`, `report_overdue`."""
    subject: str
    """What it is about, the same as long as the trouble is: `ai_credits`, `data_sources/12`."""
    severity: Severity
    title: str
    """One line for a person."""
    text: str
    """What happened, since when, and the next step; plain text."""
    since: datetime | None = None
    """Since when it has been so, UTC; None where nobody knows."""


@dataclass(frozen=True)
class Notice:
    """Something to tell people: a finding that is new, still there after a while, or gone."""

    kind: NoticeKind
    finding: Finding
    raised_at: datetime
    """When it was first found, UTC."""
