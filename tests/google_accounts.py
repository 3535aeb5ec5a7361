"""Google's token endpoints on loopback: service-account JWTs, workload identity federation, impersonation."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

PROVIDER = "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/github/providers/repo"
AUDIENCE = "https://oauth2.googleapis.com/token"  # google-auth names it whatever the token_uri is
SUBJECT = "urn:ietf:params:oauth:token-type:jwt"


class Identity(NamedTuple):
    """Whose token it is and what it may do; a federated principal has no address."""

    email: str | None
    scopes: frozenset[str]


@cache
def key_pair() -> tuple[str, bytes]:
    """A private key (PEM text) and its public half (PEM), made once."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public


class Accounts:
    """Issues tokens and knows whose they are."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.identities: dict[str, Identity] = {}
        self.revoked: set[str] = set()
        self.subject_token = "token-of-the-workflow"

    def service_account(self, email: str) -> dict[str, str]:
        """The JSON a person downloads for a service account."""
        return {
            "type": "service_account",
            "project_id": "example-project",
            "private_key_id": "1",
            "private_key": key_pair()[0],
            "client_email": email,
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }

    def federation(self, subject_file: str, email: str | None) -> dict[str, Any]:
        """The configuration that keyless workflows leave; without an address there is no impersonation."""
        info: dict[str, Any] = {
            "type": "external_account",
            "audience": PROVIDER,
            "subject_token_type": SUBJECT,
            "token_url": f"{self.url}/sts/v1/token",
            "credential_source": {"file": subject_file},
        }
        if email:
            path = f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
            info["service_account_impersonation_url"] = self.url + path
        return info

    def known(self, authorization: str) -> Identity | None:
        """Whose Authorization header this is."""
        return self.identities.get(authorization.removeprefix("Bearer "))

    def token(self, path: str, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and answer of one request to a token endpoint."""
        if path.endswith(":generateAccessToken"):
            return self._impersonated(path, authorization, body)
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        return self._from_jwt(form) if path == "/token" else self._federated(form)

    def _from_jwt(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            claims = jwt.decode(form["assertion"], certs=key_pair()[1], audience=AUDIENCE)
        except (KeyError, ValueError) as problem:
            return 400, {"error": "invalid_grant", "error_description": f"Invalid JWT Signature. {problem}"}
        if claims["iss"] in self.revoked:
            return 400, {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
        token = self.issue(claims["iss"], claims.get("scope", ""))
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 3599}

    def _federated(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if form.get("audience") != PROVIDER or form.get("subject_token") != self.subject_token:
            return 400, {"error": "invalid_grant", "error_description": "The given credential is rejected."}
        token = self.issue(None, form.get("scope", ""))
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return 200, {"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3599}

    def _impersonated(self, path: str, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.known(authorization) is None:
            return 401, {"error": {"code": 401, "message": "Unauthenticated", "status": "UNAUTHENTICATED"}}
        email = path.rpartition("/")[2].removesuffix(":generateAccessToken")
        token = self.issue(email, " ".join(json.loads(body)["scope"]))
        expiry = datetime.now(UTC) + timedelta(hours=1)
        return 200, {"accessToken": token, "expireTime": f"{expiry:%Y-%m-%dT%H:%M:%SZ}"}

    def issue(self, email: str | None, scopes: str) -> str:
        """A new token."""
        token = f"ya29.{secrets.token_hex(8)}"
        self.identities[token] = Identity(email, frozenset(scopes.split()))
        return token
