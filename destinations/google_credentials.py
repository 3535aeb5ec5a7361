"""Who the export is to Google: a service account's key, keyless federation, or the machine's own login."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from dlt.common.configuration import NotResolved, configspec
from dlt.common.configuration.specs import CredentialsConfiguration
from dlt.common.typing import TSecretStrValue

from destinations.sheets_errors import SheetsSetting

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SCOPES = ("https://www.googleapis.com/auth/spreadsheets",)
"""All the export asks for: it opens spreadsheets by their id, so it needs no right to see a person's Drive."""

HOW = "Set it to a service account's JSON, to the path of a file of it, or leave it out on a machine that is logged in."


class Login(NamedTuple):
    """Credentials of google-auth, and the address that a spreadsheet has to be shared with."""

    credentials: "Credentials"
    address: str


@configspec
class GoogleCredentials(CredentialsConfiguration):
    """`DESTINATION__GOOGLE_SHEETS__CREDENTIALS`: the JSON itself, a path to it, single fields of it, or nothing."""

    client_email: str | None = None
    private_key: TSecretStrValue | None = dataclasses.field(default=None, repr=False)
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    info: Annotated[dict[str, Any] | None, NotResolved()] = dataclasses.field(default=None, repr=False)
    """What the JSON said, if that is how they were given."""

    def parse_native_representation(self, native_value: Any) -> None:
        """Take the JSON, as text or parsed, or a path to it."""
        self.info = _info(native_value)

    def to_native_representation(self) -> dict[str, Any] | None:
        """The parsed JSON; None for the machine's own login."""
        if self.info is None and self.client_email and self.private_key:
            fields = {"client_email": self.client_email, "private_key": self.private_key, "token_uri": self.token_uri}
            return {"type": "service_account", **fields}
        return self.info

    def login(self) -> Login:
        """Make the credentials; no request is made yet. Raise `SheetsSetting` when they cannot work."""
        info = self.to_native_representation()
        if info is None and (path := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")):
            info = _info(path)
        if info is None:
            return _machine_login()
        try:
            return _login(info)
        except (ValueError, KeyError) as error:
            # The cause may quote the key, so it stays out.
            raise SheetsSetting("credentials", f"holds {_kind(info)} that cannot be used. {HOW}") from _quiet(error)


def _login(info: dict[str, Any]) -> Login:
    from google.oauth2 import credentials as person
    from google.oauth2 import service_account

    match info.get("type"):
        case "service_account":
            robot = service_account.Credentials.from_service_account_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]  # google-auth
            return Login(robot, info["client_email"])
        case "external_account":
            return _federated(info)
        case "authorized_user":
            login = person.Credentials.from_authorized_user_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]  # google-auth
            return Login(login, "the person who logged in")
        case _:
            raise SheetsSetting("credentials", f"holds {_kind(info)}, which is not known. {HOW}")


def _federated(info: dict[str, Any]) -> Login:
    """Workload identity federation; without a service account behind it there is no address to share with."""
    from google.auth import aws, identity_pool, pluggable

    url = str(info.get("service_account_impersonation_url") or "")
    if not url:
        raise SheetsSetting(
            "credentials",
            "holds a federated identity without a service account, which a spreadsheet cannot be shared with. "
            "Give google-github-actions/auth the input service_account as well.",
        )
    source = info.get("credential_source") or {}
    kind = aws if "environment_id" in source else pluggable if "executable" in source else identity_pool
    # google.auth.default() would ask the Cloud Resource Manager for the project's name first.
    credentials = kind.Credentials.from_info(info, scopes=SCOPES)
    return Login(credentials, url.rpartition("/")[2].partition(":")[0])


def _machine_login() -> Login:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
    except DefaultCredentialsError:
        raise SheetsSetting("credentials", f"is not set, and this machine is not logged in to Google. {HOW}") from None
    return Login(credentials, getattr(credentials, "service_account_email", None) or "the account of this machine")


def _info(given: Any) -> dict[str, Any]:
    """The JSON that a setting holds or points to. No text of it goes into an error: it holds a key."""
    if isinstance(given, Mapping):
        return dict(given)
    text = str(given).strip()
    if not text:
        raise SheetsSetting("credentials", "is set but empty. In GitHub Actions: the secret does not exist.")
    if not text.startswith("{"):
        try:
            text = Path(text).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise SheetsSetting("credentials", f"is no JSON and no readable file ({error.strerror}). {HOW}") from None
    try:
        info = json.loads(text)
    except ValueError:
        raise SheetsSetting("credentials", f"is no valid JSON. {HOW}") from None
    if not isinstance(info, dict):
        raise SheetsSetting("credentials", f"is no JSON object. {HOW}")
    return info


def _kind(info: dict[str, Any]) -> str:
    return f"JSON of type {info.get('type')!r}"


def _quiet(error: Exception) -> Exception:
    """The kind of an error without its text."""
    return RuntimeError(type(error).__name__)
