"""One request out, one answer in: httpx's transport without its Client.

The Client would follow redirects with the key, keep cookies and log every address; it also costs a quarter more
CPU for a page. What is left of it here is the environment's proxies (HTTPS_PROXY, NO_PROXY …) and certificates
(SSL_CERT_FILE). Nothing adds a credential that was not passed in: no .netrc, no user in a URL.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from pipelines.claribi.settings import LOOPBACK

# Their lower levels print addresses and headers.
for name in ("httpx", "httpcore"):
    logging.getLogger(name).setLevel(logging.WARNING)

LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=30.0)
HEADERS = {
    "Accept": "application/json, */*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "claribi-export",
}


class Trouble(Exception):
    """One try that failed in a way that another may mend; `status` where an answer came, `wait_s` where it said."""

    def __init__(self, reason: str, *, status: int | None = None, wait_s: float | None = None) -> None:
        self.reason, self.status, self.wait_s = reason, status, wait_s
        super().__init__(reason)


class Wire:
    """Connections that are kept open, one pool for each host; may be shared by threads."""

    def __init__(self, timeout_s: float, transport: httpx.BaseTransport | None = None) -> None:
        self._extensions = {"timeout": httpx.Timeout(timeout_s).as_dict()}
        self._timeout_s = timeout_s
        self._given = transport
        self._pools: dict[tuple[str, str], httpx.HTTPTransport] = {}
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Close the connections and open no more; a transport that was passed in stays open."""
        with self._lock:
            self._closed = True
            while self._pools:
                self._pools.popitem()[1].close()

    def exchange(self, method: str, url: str, headers: Mapping[str, str], json: Any = None) -> httpx.Response:
        """Send one request and read the whole answer; raises `Trouble` when none came, or only a part."""
        try:
            request = httpx.Request(method, url, headers={**HEADERS, **headers}, json=json, extensions=self._extensions)
            response = self._transport_to(url).handle_request(request)
            try:
                response.read()
            finally:
                response.close()
        except (httpx.RequestError, httpx.InvalidURL) as error:
            reason = self._describe(error)
        else:
            return response
        raise Trouble(reason)  # out here, so that nothing holds on to the request and its key

    def _transport_to(self, url: str) -> httpx.BaseTransport:
        if self._given:
            return self._given
        parts = urlsplit(url)
        with self._lock:
            if self._closed:
                raise RuntimeError("the client has been closed")
            place = (parts.scheme, parts.netloc)
            if place not in self._pools:
                self._pools[place] = httpx.HTTPTransport(limits=LIMITS, proxy=proxy_to(url))
            return self._pools[place]

    def _describe(self, error: Exception) -> str:
        match error:
            case httpx.ConnectTimeout():
                return f"no connection within {self._timeout_s:g} s."
            case httpx.TimeoutException():
                return f"silence for {self._timeout_s:g} s."
            case httpx.ConnectError() | httpx.ProxyError():
                return f"no connection ({error})."
            case httpx.DecodingError():
                return "its compressed body could not be read."
            case httpx.LocalProtocolError():  # its text quotes the header, and with it the key
                return "the request could not be written."
            case _:
                return f"the connection broke ({str(error).rstrip('.') or type(error).__name__})."


def proxy_to(url: str) -> str | None:
    """The proxy that the environment names for an address; never one for this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
