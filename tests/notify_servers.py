"""A mail server and a receiver of web calls, both real, on loopback; they keep what arrives."""

import json
import ssl
import threading
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

LOGIN = ("nightly", "sesame-opens-42")


class PostOffice(Controller):
    """A mail server that turns the recipients in `refused` away; with a certificate it wants STARTTLS and `LOGIN`."""

    def __init__(self, refused=(), certificate=None):
        self.mails, self.refused = [], set(refused)
        secure = {}
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            secure = {"tls_context": context, "require_starttls": True, "auth_required": True}
        super().__init__(self, hostname="127.0.0.1", port=0, authenticator=self._login, **secure)

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]  # the free one that 0 stood for
        super()._trigger_server()

    @staticmethod
    def _login(_server, _session, _envelope, _mechanism, data):
        right = (data.login.decode(), data.password.decode()) == LOGIN
        return AuthResult(success=right, handled=False)

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if address in self.refused:
            return f"550 5.1.1 <{address}>: no such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):
        self.mails.append(Mail(envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"

    def url(self, to="ops@example.com", options=""):
        """The address for `NOTIFY__URLS`, without TLS."""
        return f"mailto://127.0.0.1:{self.port}?from=nightly@example.com&to={to}{options}"

    def secure_url(self, password=LOGIN[1], to="ops@example.com"):
        """The address for `NOTIFY__URLS` with STARTTLS and a login."""
        options = f"mode=starttls&from=nightly@example.com&to={to}"
        return f"mailtos://{LOGIN[0]}:{password}@localhost:{self.port}?{options}"


class Mail(NamedTuple):
    """A mail that arrived."""

    to: list
    message: object

    def part(self, kind):
        """The text of its body as `plain` or `html`, with the line ends of this machine."""
        return self.message.get_body((kind,)).get_content().replace("\r\n", "\n").strip()

    def attachments(self):
        """Name, type and content of each file."""
        return [
            (one.get_filename(), one.get_content_type(), one.get_payload(decode=True))
            for one in self.message.iter_attachments()
        ]


@contextmanager
def post_office(**how):
    """Open a mail server for a while."""
    office = PostOffice(**how)
    office.start()
    try:
        yield office
    finally:
        office.stop()


def certificate(monkeypatch, folder):
    """A certificate for localhost that this process trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    return authority.issue_cert("localhost")


class Call(NamedTuple):
    """A web call that arrived."""

    method: str
    path: str
    body: bytes

    @property
    def json(self):
        """Its body."""
        return json.loads(self.body)


class Receiver:
    """A web server; it answers with the statuses in `answers`, and then with 200; None means never."""

    def __init__(self, answers=()):
        self.calls, self.answers = [], list(answers)
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def host(self):
        """Host and port."""
        return f"127.0.0.1:{self.server.server_port}"

    def _handler(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                receiver.calls.append(Call(self.command, self.path, body))
                status = receiver.answers.pop(0) if receiver.answers else 200
                if status is None:
                    receiver.closing.wait(60)
                    return
                self.send_response(status)
                self.send_header("Location", f"http://{receiver.host}/elsewhere")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args):
                pass

        return Handler


@contextmanager
def receiver(*answers):
    """Open a web server for a while."""
    opened = Receiver(answers)
    thread = threading.Thread(target=opened.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield opened
    finally:
        opened.closing.set()
        opened.server.shutdown()
        opened.server.server_close()
        thread.join(10)
