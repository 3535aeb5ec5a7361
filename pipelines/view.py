"""A destination as the rules and the digest see it: its tables as frames, and what clariBI was last asked."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import dlt
import pandas as pd

from pipelines.claribi.errors import NothingRead
from pipelines.claribi_pipeline import state_of
from pipelines.destination_rows import DestinationRows
from pipelines.digest.facts import Facts
from pipelines.digest.gathering import gather
from pipelines.watch.health import SOURCE_RULES
from pipelines.watch.reports import DASHBOARD_COLUMNS, DASHBOARD_RULES, REPORT_COLUMNS, REPORT_RULES
from pipelines.watch.settings import WatchSettings
from pipelines.watch.tables import ALERTS, records
from pipelines.watch.usage import ORGANIZATION_RULES, USAGE_RULES

RULES: Final = {
    "organization": ORGANIZATION_RULES,
    "usage": USAGE_RULES,
    "data_sources": SOURCE_RULES,
    "dashboards": DASHBOARD_RULES,
    "reports": REPORT_RULES,
}
"""What cannot be told while a resource is not read."""

JUDGED: Final = (
    *("alerts", "data_source_events", "data_sources", "organization", "usage", "reports", "dashboards", "export_runs"),
)
"""The tables that the rules look at."""
SHOWN: Final = (*JUDGED, "dashboard_widgets", "widget_history")
"""The tables of a digest."""
COLUMNS: Final = {
    "reports": REPORT_COLUMNS,
    "dashboards": DASHBOARD_COLUMNS,
    "dashboard_widgets": ("dashboard_id", "widget_id", "position", "title", "target"),
}
"""All that is read of the large ones."""


@dataclass(frozen=True)
class Reading:
    """What the last run that was loaded has asked of clariBI."""

    at: datetime
    """ClariBI's own time, UTC."""
    read: frozenset[str]
    wanted: frozenset[str]

    @property
    def unknown(self) -> list[str]:
        """The rules that nothing can be said of."""
        return [rule for name, rules in RULES.items() if name not in self.read for rule in rules]


class View:
    """One destination; its pipeline has been synchronised."""

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self._held = DestinationRows(pipeline)
        self.state: dict[str, Any] = state_of(pipeline)

    @cached_property
    def reading(self) -> Reading:
        """The last reading; raises `NothingRead` where there was none."""
        if "last_reading" not in self.state:
            raise NothingRead
        last = self.state["last_reading"]
        wanted = {*last["wanted"], "organization"} if last["wanted"] else RULES
        return Reading(datetime.fromisoformat(last["at"]), frozenset(last["read"]), frozenset(wanted))

    @cached_property
    def remembers(self) -> bool:
        """Whether the destination takes all there is to know of an alert."""
        taken = self._held.takes(ALERTS.name)
        return taken is None or taken >= {column.name for column in ALERTS.columns}

    @property
    def listed_in_part(self) -> bool:
        """Whether the account's list of data sources promises active ones only."""
        return bool(self.state.get("dialect", {}).get("prefix") == "/api/v1/")

    @property
    def organization(self) -> str:
        """The organisation's name; empty where the destination does not hold it."""
        rows = records(self.table("organization"))
        return next((str(row["name"]) for row in rows if row.get("name")), "")

    def whole(self, name: str) -> pd.DataFrame:
        """A table with all of its columns."""
        return self._held.frame(name)

    def table(self, name: str) -> pd.DataFrame:
        """A table for the rules: of the large ones some columns, of the organisations the one that is exported."""
        rows = self._held.frame(name, COLUMNS.get(name, ()))
        return rows[rows["id"] == self.state.get("organization")] if name == "organization" and len(rows) else rows

    def facts(self, settings: WatchSettings) -> Facts:
        """What a digest says, as of the last reading."""
        at = self.reading.at
        return gather({name: self.table(name) for name in SHOWN}, at, settings)
