"""The smallest clariBI there is: a function for httpx's MockTransport, and the settings that lead to it."""

import json
import threading

import httpx

from pipelines.claribi.client import Client
from pipelines.claribi.dialect import Dialect
from pipelines.claribi.settings import ClaribiSettings
from tests.fake_clock import FakeClock

KEY = "claribi_sk_live_0123456789abcdef"
PASSWORD = "correct horse battery staple"
ACCOUNT = {"organization": {"id": 1, "name": "Acme", "plan": "professional"}}
SPOKEN = Dialect("/api/", "api-key")


def settings(**changes):
    """Settings as if they had been read, with `changes`; resolved by hand, so that no file or environment matters."""
    made = ClaribiSettings()
    for name, value in {"api_key": KEY, "base_url": "https://claribi.test", **changes}.items():
        setattr(made, name, value)
    made.on_resolved()
    return made


def answer(body, status=200, **headers):
    """A JSON answer; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named)


class Api:
    """Answers calls by a function of the request, or in turn from a list, whose last answer then stays."""

    def __init__(self, answers):
        self.requests = []
        self._answers = answers
        self._lock = threading.Lock()

    def __call__(self, request):
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        found = (
            self._answers(request) if callable(self._answers) else self._answers[min(number, len(self._answers)) - 1]
        )
        if isinstance(found, Exception):
            raise found
        # A response may be read once only, and may be wanted again.
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    @property
    def paths(self):
        return [request.url.path for request in self.requests]


def client_of(answers, *, dialect=SPOKEN, clock=None, **changes):
    """A client of an `Api`, which is returned with it."""
    api = Api(answers)
    client = Client(
        settings(**changes), dialect=dialect, transport=httpx.MockTransport(api), clock=clock or FakeClock()
    )
    return client, api


def how(request):
    """The scheme a request was sent with, by its header; several joined by +."""
    found = [request.headers["authorization"].split()[0]] if "authorization" in request.headers else []
    return "+".join(found + ["X-API-Key"] * ("x-api-key" in request.headers))


def sent(request):
    """The JSON object of a POST."""
    return json.loads(request.content)
