"""One address of `NOTIFY__URLS`: the service behind it, and what may be said of it.

An address is a secret as a whole, and for some services a key stands in its host's place. So what is said of it is its
service, its scheme and its server, where it has one. apprise, which knows the services, writes addresses and messages
into its log; nobody hears that log but this module, which takes from it why something failed.
"""

import logging
import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, unquote_plus, urlsplit

from pipelines.claribi.errors import SettingError
from pipelines.watch.attachment import File
from pipelines.watch.message import Message

if TYPE_CHECKING:
    from apprise import NotifyBase

MAILS: Final = frozenset(
    (
        *("azure", "brevo", "mailersend", "mailgun", "mailto", "mailtos", "o365"),
        *("postmark", "resend", "sendgrid", "sendpulse", "ses", "smtp2go", "sparkpost"),
    )
)
"""Schemes that send mail, which takes HTML and files; every other service gets the short form."""
PATIENCE_S: Final = 30.0
"""Longest silence of a server in one step: a mail server may think longer about a large mail than apprise waits."""
LONGEST_REASON: Final = 240
SHORTEST_SECRET: Final = 3
INSTALL: Final = "pip install 'claribi-export[watch]'"

# Its lower levels print addresses.
logging.getLogger("urllib3").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Address:
    """An address that apprise has understood."""

    url: str = field(repr=False)
    number: int
    """Its place in the setting, from 1."""
    plugin: "NotifyBase" = field(repr=False)

    def __str__(self) -> str:
        return f"NOTIFY__URLS, number {self.number}: {self.plugin.service_name} ({scheme(self.url)}://{self.server})"

    @property
    def is_mail(self) -> bool:
        """Whether it takes HTML and files."""
        return scheme(self.url) in MAILS

    @property
    def server(self) -> str:
        """The server that it names; empty where a key stands in its place."""
        if "host" not in self.plugin.template_tokens:
            return ""
        host = str(getattr(self.plugin, "smtp_host", "") or self.plugin.host or "")
        return host if re.fullmatch(r"[A-Za-z0-9.-]+", host) else ""

    def tell(self, message: Message, files: Sequence[File]) -> str | None:
        """Send to it and give why that failed, or None; what it gives or raises may hold secrets, see `struck`."""
        _heard.lines = []
        return None if self.plugin.notify(**self._content(message, files)) else _reason(_heard.lines)

    def _content(self, message: Message, files: Sequence[File]) -> dict[str, Any]:
        from apprise import AppriseAttachment
        from apprise.attachment.memory import AttachMemory

        told: dict[str, Any] = {"title": message.subject, "notify_type": message.level, "body_format": "text"}
        if not self.is_mail:
            return told | {"body": message.short}
        if files:
            memory = cast("Any", AttachMemory)  # which has no types
            told["attach"] = AppriseAttachment([memory(file.content, file.name, file.mime_type) for file in files])
        if self.plugin.resolve_format("html") == "html":  # unless the address says format=text
            return told | {"body": message.html, "body_format": "html"}
        return told | {"body": message.text}


def read_addresses(urls: Sequence[str]) -> list[Address]:
    """Understand every address; raises `SettingError` for the first that cannot work, without showing it."""
    if urls and find_spec("apprise") is None:
        raise SettingError("NOTIFY__URLS", f"is set, but what sends notices is not installed: {INSTALL}")
    addresses = []
    for number, url in enumerate(urls, start=1):
        plugin = _plugin(url)
        if plugin is None:
            raise SettingError(
                "NOTIFY__URLS",
                f"holds an address that cannot be used, number {number} of {len(urls)} ({scheme(url)}://…). "
                "How each service's address is written: https://appriseit.com/services/",
            )
        addresses.append(Address(url, number, plugin))
    return addresses


def scheme(url: str) -> str:
    """What stands before `://`; `unknown` for anything too long or too odd for one, which may be a key."""
    name, colon, _ = url.partition("://")
    return name.lower() if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,19}", name) else "unknown"


def host_of(url: str) -> str:
    """The host of a web address; empty where it cannot be read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def struck(reason: str, url: str, shown: Collection[str] = ()) -> str:
    """A reason as one sentence, not too long, without any part of the address but those that may be shown."""
    for secret in sorted(_parts(url) - set(shown), key=len, reverse=True):
        reason = reason.replace(secret, "***")
    # How Python shows the answers of a mail server: {'a recipient': (550, b'no such mailbox')}.
    reason = re.sub(r"\((\d{3}), b(['\"])(.*?)\2\)", r"\1 \3", reason)
    reason = re.sub(r"\{'[^']*': (\d{3} .*)\}", r"\1", reason)
    reason = " ".join("".join(one if one.isprintable() else " " for one in reason).split())
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[: LONGEST_REASON - 1].rstrip()}…"
    return reason if reason.endswith((".", "!", "?", "…")) else f"{reason}."


def _plugin(url: str) -> "NotifyBase | None":
    """The service behind an address; None when there is none, or when the address misses something."""
    log = logging.getLogger("apprise")
    log.handlers, log.propagate = [_ear], False
    log.setLevel(logging.DEBUG)
    from apprise import Apprise, AppriseAsset

    # No picture from elsewhere, and no redirect: it would take the message and the address's key along.
    asset = AppriseAsset(app_id="claribi-export", image_url_mask="", image_url_logo="", http_redirects=False)
    plugin = Apprise.instantiate(url, asset=asset)
    if plugin is not None:
        plugin.socket_connect_timeout = max(plugin.socket_connect_timeout, PATIENCE_S)
        plugin.socket_read_timeout = max(plugin.socket_read_timeout, PATIENCE_S)
    return plugin


def _parts(url: str) -> set[str]:
    """Whatever in an address may be secret, as it is written and as it is meant."""
    written = url.partition("://")[2]
    pieces = [piece for text in (written, unquote_plus(written)) for piece in re.split(r"[/?&=#@:,;]", text)]
    forms = {form for piece in pieces for form in (piece, unquote(piece), unquote_plus(piece))}
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


class _Ear(logging.Handler):
    """Hears what apprise writes into its log, thread by thread, and tells nobody."""

    def emit(self, record: logging.LogRecord) -> None:
        lines: list[tuple[int, str]] | None = getattr(_heard, "lines", None)
        if lines is not None:
            lines.append((record.levelno, record.getMessage()))


_heard = threading.local()
_ear: Final = _Ear()


def _reason(lines: Sequence[tuple[int, str]]) -> str:
    """Why a service failed, by what apprise wrote: the network's or the server's own words where it has them."""
    causes = [text.partition("Exception: ")[2] for level, text in lines if level == logging.DEBUG]
    warnings = [text for level, text in lines if level >= logging.WARNING]
    words = list(dict.fromkeys(filter(None, causes))) or list(dict.fromkeys(warnings))
    return "; ".join(words[:3]) or "it took nothing, and gave no reason"
