"""HTTP on loopback, and Google's way to word answers and errors."""

import json
import socket
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

STATUS_NAMES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 501: "UNIMPLEMENTED"}


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=UTF-8"


def google_error(status: int, message: str, name: str, reason: str = "", **metadata: str) -> Answer:
    """An error as Google words it."""
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        info = {"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata}
        error["details"] = [info]
    return Answer(status, json.dumps({"error": error}).encode())


def over_quota(kind: str) -> Answer:
    """The answer to a request too many in one minute."""
    metric = f"{kind.title()} requests"
    return google_error(
        429,
        f"Quota exceeded for quota metric '{metric}' and limit '{metric} per minute per user' of service "
        "'sheets.googleapis.com' for consumer 'project_number:123'.",
        "RESOURCE_EXHAUSTED",
        "RATE_LIMIT_EXCEEDED",
        quota_limit=f"{kind.title()}RequestsPerMinutePerUser",
        service="sheets.googleapis.com",
    )


def without_defaults(value: Any) -> Any:
    """Answers leave out zero, false and empty fields, as Google's do; cells of values.* are kept as they are."""
    if isinstance(value, dict):
        kept = {}
        for name, item in value.items():
            item = item if name == "values" else without_defaults(item)
            if item or (name == "values" and item):
                kept[name] = item
        return kept
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    return value


def handler(handle: Callable[[str, str, Any, bytes], Answer | None]) -> type[BaseHTTPRequestHandler]:
    """A handler that answers with what `handle` says; None resets the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body leave together

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = handle(self.command, self.path, self.headers, body)
            if answer is None:
                self._reset()
                return
            truncated = answer.content_type == "truncated"
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json" if truncated else answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) // 2] if truncated else answer.body)
            self.wfile.flush()
            self.close_connection = truncated

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            """Say nothing: the tests read `calls`."""

    return Handler
