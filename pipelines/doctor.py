"""Finds out what a run would meet, step by step, and says what to do about it. Loads nothing, remembers nothing."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from pipelines.account_checks import ACCOUNT_CHECKS
from pipelines.checks import Check, attempt
from pipelines.claribi.client import Client
from pipelines.claribi.errors import ComeBackLater
from pipelines.claribi.settings import ClaribiSettings, load_settings
from pipelines.destination_check import check_destination

PATIENCE_S = 10.0
"""Somebody is waiting for the answer: limits are waited for, and calls tried again, less than at night."""
TRIES = 2


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order in which a run would meet them."""

    destination: str
    calls: int
    """Made to clariBI."""
    checks: list[Check]

    @property
    def exit_code(self) -> int:
        """That of the first check that failed; a warning is no failure."""
        return next((check.exit_code for check in self.checks if check.result == "fail"), 0)

    def to_json(self) -> dict[str, Any]:
        """Give the findings in the shape of `doctor --json`."""
        return {"exit_code": self.exit_code, **asdict(self)}


def examine(destination: str) -> Diagnosis:
    """Check the settings, the account, each list and the destination; what fails does not stop the others."""
    found: list[ClaribiSettings] = []
    checks = [attempt("settings", partial(_settings, found), destination)]
    calls = 0
    if found:
        with Client(found[0]) as client:
            checks += _examine_account(client, destination)
            calls = client.calls.total
    else:
        checks += [_skipped(name, "settings") for name in ACCOUNT_CHECKS]
    checks.append(attempt("destination", partial(check_destination, destination), destination))
    return Diagnosis(destination, calls, checks)


def _settings(found: list[ClaribiSettings]) -> Check:
    settings = load_settings()
    way = f"AUTH_SCHEME {settings.auth_scheme}" if settings.scheme else "how to send it is found out"
    what = "Email and password are" if settings.scheme == "jwt" else "The key is"
    facts = {"base_url": settings.base_url, "auth_scheme": settings.auth_scheme}
    settings.max_wait = min(settings.max_wait, PATIENCE_S)
    settings.retry_tries = min(settings.retry_tries, TRIES)
    found.append(settings)
    return Check("settings", "ok", f"{what} set, for {settings.base_url}; {way}.", facts=facts)


def _examine_account(client: Client, destination: str) -> Iterator[Check]:
    """Make the checks that call clariBI, as long as a call can still say something."""
    stopped_by = ""
    for name, look in ACCOUNT_CHECKS.items():
        if stopped_by:
            yield _skipped(name, stopped_by)
            continue
        check = attempt(name, partial(look, client), destination)
        yield check
        if check.result == "fail" and (name == "dialect" or check.exit_code == ComeBackLater.exit_code):
            stopped_by = name


def _skipped(name: str, failed: str) -> Check:
    return Check(name, "skip", f"Not checked, since the check of {failed} failed.")
