"""How a dialect of clariBI's documentation puts the organisation into words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from zlib import crc32

from pipelines.sandbox.content import Item
from pipelines.sandbox.ids import Ids
from pipelines.sandbox.organisation import Kind, Order

Prefix = Literal["/api/", "/api/v1/"]
KeyScheme = Literal["api-key", "x-api-key", "bearer"]
Envelope = Literal["results", "items", "data", "list"]
Paging = Literal["page", "offset", "cursor", "link"]

_DETAILS = frozenset({"description", "insights", "data_quality_metrics", "widgets"})
"""What lists may leave to the detail."""
_STAMPS = frozenset({"updated_at", "last_refresh"})
"""By which a list tells that a dashboard has changed."""
_UNSPOKEN = {"type": frozenset({"source_type", "row_count"}), "source_type": frozenset({"type", "engine"})}


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One dialect: switches that can be turned one by one with `dataclasses.replace`."""

    name: str
    prefix: Prefix = "/api/"
    key_scheme: KeyScheme = "api-key"
    """The one way in which the key is accepted."""
    jwt: bool = True
    """Whether /api/auth/login/ gives access tokens, and lists accept them."""
    envelope: Envelope = "results"
    """The key the rows are under; `list` is a bare list."""
    paging: Paging = "page"
    """`page`, `page_size`; `offset`, `limit`; a `next_cursor` to send back as `cursor`; or a `next` link alone."""
    counts: bool = True
    """Whether lists tell how many objects there are."""
    past_the_end: Literal["empty", "404"] = "empty"
    """What a page number beyond the last page gets."""
    ids: Ids = "int"
    order: Order = "newest"
    """Order of the reports; dashboards and data sources come oldest first."""
    title_label: Literal["title", "name"] = "title"
    source_label: Literal["type", "source_type"] = "type"
    """`type` with `engine`, or `source_type` with `row_count`."""
    plan_label: Literal["plan", "tier", "subscription_tier"] = "plan"
    organization_in_login: Literal["text", "object"] = "object"
    details_in_list: bool = True
    """Whether lists carry `insights`, `widgets`, `description` and the like, or the detail alone does."""
    stamps_in_list: bool = True
    """Whether the list of dashboards carries `updated_at` and `last_refresh`, or the detail alone does."""
    widgets_under: Literal["widgets", "configuration"] = "widgets"
    sources_listed: Literal["all", "active"] = "all"
    errors: Literal["message", "detail"] = "message"
    """`{error, message, status}` or `{detail}`."""

    def __post_init__(self) -> None:
        if self.envelope == "list" and self.paging in ("cursor", "link"):
            raise ValueError("a bare list has no room for a cursor: page it by page or offset")

    @property
    def default_key(self) -> str:
        """The key the sandbox accepts unless another is set; its beginning is the one this dialect's pages show."""
        return "claribi_sk_sandbox" if self.key_scheme == "api-key" else "claribi_key_sandbox"

    def words(self, kind: Kind, item: Item, now: datetime, *, in_list: bool) -> Item:
        """One object as this dialect serves it; `now` dates the signature of a report's file."""
        left_out = _DETAILS if in_list and not self.details_in_list else frozenset[str]()
        if in_list and not self.stamps_in_list:
            left_out |= _STAMPS
        if kind == "data_sources":
            left_out = _UNSPOKEN[self.source_label]
        labels = {
            "title": self.title_label,
            "period_start": "report_period_start",
            "period_end": "report_period_end",
        }
        said = {labels.get(name, name): value for name, value in item.items() if name not in left_out}
        said["id"] = self.id(item["id"])
        if said.get("download_url"):
            said["download_url"] = signed(said["download_url"], now)
        if self.widgets_under == "configuration" and "widgets" in said:
            said["configuration"] = {"layout": "grid", "columns": 12, "widgets": said.pop("widgets")}
        return said

    def id(self, text: str) -> int | str:
        """An id as this dialect's JSON has it."""
        return int(text) if self.ids == "int" else text

    def usage(self, usage: Item) -> Item:
        """The body of `billing/usage/` or `usage/`."""
        return {self.plan_label if name == "subscription_tier" else name: usage[name] for name in usage}

    def organization(self, organization: Item) -> Item:
        """The organisation as an object inside another answer."""
        return {
            "id": self.id(organization["id"]),
            "name": organization["name"],
            self.plan_label: organization["plan"],
        }

    def error(self, status: int, error: str, message: str) -> Mapping[str, Any]:
        """An error's body."""
        if self.errors == "detail":
            return {"detail": message}
        return {"error": error, "message": message, "status": status}


def signed(url: str, now: datetime) -> str:
    """A link that works for a day, as object storage gives it: its query changes though the file does not."""
    expires = int(now.timestamp()) + 86_400
    return f"{url}?X-Expires={expires}&X-Signature={crc32(f'{url}{expires}'.encode()):08x}"


KB = Spoken(name="kb", past_the_end="404", errors="detail")
"""The knowledge base: /api/, `Authorization: Api-Key`, `results` by page number, whole numbers as ids, newest first."""

V1 = Spoken(
    name="v1",
    prefix="/api/v1/",
    key_scheme="bearer",
    envelope="data",
    paging="cursor",
    counts=False,
    ids="uuid",
    plan_label="tier",
    details_in_list=False,
    sources_listed="active",
)
"""The developer reference: /api/v1/, `Authorization: Bearer`, `data` by cursor, UUIDs, active sources alone."""

OFFSET = Spoken(
    name="offset",
    prefix="/api/v1/",
    key_scheme="x-api-key",
    envelope="items",
    paging="offset",
    ids="short",
    order="oldest",
    title_label="name",
    source_label="source_type",
    plan_label="subscription_tier",
    organization_in_login="text",
)
"""The shapes of the MCP twin: /api/v1/, `X-API-Key`, `items` by limit and offset, short ids, `name`, oldest first."""

DIALECTS = {spoken.name: spoken for spoken in (KB, V1, OFFSET)}
"""The presets by the names the command takes."""
