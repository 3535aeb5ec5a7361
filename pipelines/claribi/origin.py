"""Which addresses are clariBI's own: the only place the key is sent to."""

from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pipelines.claribi.settings import LOOPBACK

PORTS = {"https": 443, "http": 80}


class Origin:
    """Scheme, host and port of the base URL."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self._base = base
        self._scheme, self._host, self._port = _place(parts)

    def __str__(self) -> str:
        return self._base

    def own(self, url: str) -> str | None:
        """The same address, put together anew on this origin; None when it leads elsewhere.

        Django behind a proxy that ends TLS writes http:// into its links: they mean this host, and are asked for
        over https.
        """
        try:
            parts = urlsplit(url)
            scheme, host, port = _place(parts)
        except ValueError:
            return None
        same = (scheme, host, port) == (self._scheme, self._host, self._port)
        plain = (scheme, host, port) == ("http", self._host, 80) and (self._scheme, self._port) == ("https", 443)
        if not (same or plain):
            return None
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
        return f"{self._base}{path}?{query}" if query else f"{self._base}{path}"


def joined(base: str, target: str) -> str:
    """The address that a link or a redirect found at `base` leads to; one that cannot be read stays as it is."""
    try:
        return urljoin(base, target)
    except ValueError:
        return target


def host_of(url: str) -> str:
    """Host and port of an address, for an error's text; never a user or a password."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "no host"
    except ValueError:
        return "an address that cannot be read"


def safe_elsewhere(url: str) -> bool:
    """Whether a download may be fetched from another host: over https, or from this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def _place(parts: SplitResult) -> tuple[str, str, int | None]:
    """Raises `ValueError` for a port that is none."""
    return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme)
