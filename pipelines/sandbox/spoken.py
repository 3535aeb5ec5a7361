"""How a dialect of clariBI's documentation puts the organisation into words."""

from dataclasses import dataclass
from typing import Literal

from pipelines.sandbox.organisation import Ids, Order

Prefix = Literal["/api/", "/api/v1/"]
KeyScheme = Literal["api-key", "x-api-key", "bearer"]
Envelope = Literal["results", "items", "data", "list"]
Paging = Literal["page", "offset", "cursor", "link"]


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
    """`page` and `page_size`; `offset` and `limit`; an opaque `next_cursor` to send back as `cursor`; a `next` link alone."""
    counts: bool = True
    """Whether lists tell how many objects there are."""
    past_the_end: Literal["empty", "404"] = "empty"
    ids: Ids = "int"
    order: Order = "newest"
    """Order of the reports; dashboards and data sources come oldest first."""
    title_label: Literal["title", "name"] = "title"
    source_label: Literal["type", "source_type"] = "type"
    """`type` with `engine`, or `source_type` with `row_count`."""
    plan_label: Literal["plan", "tier", "subscription_tier"] = "plan"
    organization_in_login: Literal["text", "object"] = "object"
    details_in_list: bool = True
    """Whether lists carry `insights`, `widgets`, `description` and the like, or only the detail does."""
    widgets_under: Literal["widgets", "configuration"] = "widgets"
    sources_listed: Literal["all", "active"] = "all"
    errors: Literal["message", "detail"] = "message"
    """`{error, message, status}` or `{detail}`."""


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
"""The developer reference: /api/v1/, `Authorization: Bearer`, `data` with `next_cursor`, UUIDs, active sources alone."""

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
"""The MCP twin's shapes: /api/v1/, `X-API-Key`, `items` by limit and offset, short ids, `name`, `source_type`, oldest first."""

DIALECTS = {spoken.name: spoken for spoken in (KB, V1, OFFSET)}
