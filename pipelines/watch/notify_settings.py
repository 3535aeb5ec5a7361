"""What a user may set about notices: whom to tell, what to attach, and what is refused before a run begins."""

import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final, cast, get_args
from urllib.parse import urlsplit

import dlt
import httpx

from pipelines.claribi.errors import SettingError
from pipelines.claribi.schema import TABLES
from pipelines.watch.address import INSTALL, Address, host_of, read_addresses
from pipelines.watch.attachment import Form
from pipelines.watch.tables import WATCHED

DELIVERABLE: Final = [*TABLES, *(table.name for table in WATCHED)]
_URLS: Final = re.compile(r"[\s,'\"]*[\s,][\s'\"]*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""What parts two addresses; a comma inside of one, as between two recipients, does not."""
_NAMES: Final = re.compile(r"[\s,'\"]+")


@dataclass(frozen=True)
class NotifySettings:
    """`NOTIFY__…`: from the environment, `.dlt/secrets.toml` (the addresses) or `.dlt/config.toml` (the rest)."""

    addresses: tuple[Address, ...] = ()
    heartbeat_url: str | None = field(default=None, repr=False)
    deliver: tuple[str, ...] = ()
    """Tables that go with the mail."""
    form: Form = "xlsx"
    max_attachment_mb: float = 15
    """All files together, before the mail's encoding adds a third."""


def load_notify_settings() -> NotifySettings:
    """Read `NOTIFY__…`; raise `SettingError` when something cannot work. Empty counts as not set.

    Under these names alone, and the addresses without saying that they are text: dlt would not take them for secrets.
    """
    settings = NotifySettings(
        addresses=tuple(read_addresses(_urls())),
        heartbeat_url=_heartbeat_url(),
        deliver=_deliver(),
        form=_form(),
        max_attachment_mb=_max_attachment_mb(),
    )
    if settings.deliver and settings.addresses and not any(address.is_mail for address in settings.addresses):
        raise SettingError("NOTIFY__DELIVER", "names tables, but no address of NOTIFY__URLS is a mail (mailto://…).")
    if settings.deliver and settings.form == "xlsx" and find_spec("xlsxwriter") is None:
        raise SettingError("NOTIFY__DELIVER", f"names tables, but what writes workbooks is not installed: {INSTALL}")
    return settings


def known_addresses() -> list[str]:
    """The addresses that are set, whether or not they can work: all of them are secrets."""
    beat: Any = dlt.secrets.get("notify.heartbeat_url")
    return [*_urls(), *filter(None, [str(beat or "").strip()])]


def _urls() -> list[str]:
    urls: Any = dlt.secrets.get("notify.urls")
    return _listed(urls, _URLS)


def _listed(value: Any, between: re.Pattern[str]) -> list[str]:
    """A list, or the text of an environment variable: a list as any language writes it, or words."""
    if isinstance(value, str):
        text = value.strip()
        value = between.split(text.strip("[]").strip(" \t\r\n,'\"") if text.startswith("[") else text)
    return [text for item in value or () if (text := str(item).strip())]


def _heartbeat_url() -> str | None:
    value: Any = dlt.secrets.get("notify.heartbeat_url")
    url = str(value or "").strip()
    if not url:
        return None
    try:
        usable = httpx.URL(url).scheme in ("https", "http") and bool(host_of(url)) and urlsplit(url).port != 0
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise SettingError("NOTIFY__HEARTBEAT_URL", "is no address that begins with https:// and names a host.")
    return url


def _deliver() -> tuple[str, ...]:
    names = _listed(dlt.config.get("notify.deliver"), _NAMES)
    for name in names:
        if name not in DELIVERABLE:
            raise SettingError("NOTIFY__DELIVER", f"names {name!r}; the tables are {', '.join(DELIVERABLE)}.")
    return tuple(dict.fromkeys(names))


def _form() -> Form:
    form = str(dlt.config.get("notify.format") or "").strip().lower() or "xlsx"
    if form not in get_args(Form):
        raise SettingError("NOTIFY__FORMAT", f"is {form!r}; it may be {' or '.join(get_args(Form))}.")
    return cast("Form", form)


def _max_attachment_mb() -> float:
    value: Any = dlt.config.get("notify.max_attachment_mb")
    if value is None or not str(value).strip():
        return NotifySettings.max_attachment_mb
    try:
        limit = float(value)
    except (TypeError, ValueError):
        limit = 0
    if not 0 < limit <= 1000:
        raise SettingError("NOTIFY__MAX_ATTACHMENT_MB", f"is {value!r}; it may be megabytes above 0, such as 15.")
    return limit
