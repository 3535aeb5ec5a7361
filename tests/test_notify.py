"""Sending: what arrives at real mail and web servers, what is said when it does not, and no secrets."""

import logging
import socket
from datetime import UTC, datetime
from io import BytesIO

import openpyxl
import pandas as pd
import pytest

from pipelines.claribi.errors import SettingError
from pipelines.watch import notify
from pipelines.watch.address import read_addresses
from pipelines.watch.attachment import Attached, File, attach
from pipelines.watch.finding import Finding, Notice
from pipelines.watch.message import Message, compose
from pipelines.watch.notify import Failure, heartbeat, send
from tests.notify_servers import LOGIN, certificate, post_office, receiver

NIGHT = datetime(2026, 11, 24, 3, 4, tzinfo=UTC)
TITLE = '"<img src=x onerror=alert(1)> @everyone" is in error'
MESSAGE = compose(
    "Acme",
    None,
    [
        Notice("raised", Finding("source_error", "data_sources/7", "critical", TITLE, "Look at it.", NIGHT), NIGHT),
        Notice("cleared", Finding("usage", "ai_credits", "warning", "AI credits are at 96 %", "", NIGHT), NIGHT),
    ],
)
TOLD_LATER = "Check that address; what nobody could be told is told by the next run."
TOKEN = "T0psecret-t0ken"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(notify, "BEAT_PAUSE_S", 0)


def sent(*urls, message=MESSAGE, files=(), **how):
    return send(message, read_addresses(urls), files, **how)


def said(failures):
    return [(failure.whom, failure.reason) for failure in failures]


def test_a_mail_arrives_as_text_and_as_html():
    with post_office() as office:
        assert sent(office.url()) == []
    (mail,) = office.mails
    assert mail.to == ["ops@example.com"]
    assert mail.message["Subject"] == MESSAGE.subject == "clariBI Acme: 1 problem, 1 gone"
    assert mail.message["From"] == "nightly@example.com"
    assert mail.message.get_content_type() == "multipart/alternative"
    assert mail.part("html") == MESSAGE.html.strip()
    words = [line.strip(" *") for line in MESSAGE.text.splitlines() if line.strip()]
    assert [word for word in words if word.lower() not in mail.part("plain").lower()] == []


def test_a_hostile_title_stays_text_in_a_mail():
    with post_office() as office:
        assert sent(office.url()) == []
    (mail,) = office.mails
    assert "<img" not in mail.part("html")
    assert "&lt;img src=x onerror=alert(1)&gt; @everyone" in mail.part("html")
    assert TITLE in mail.part("plain")


def test_a_title_with_line_breaks_makes_no_header():
    title = "Sales\r\nBcc: thief@example.com\r\n\r\nbody"
    message = compose("Acme", None, [Notice("raised", Finding("r", "s", "warning", title, "x"), NIGHT)])
    with post_office() as office:
        assert sent(office.url(), message=message) == []
    (mail,) = office.mails
    assert mail.to == ["ops@example.com"]
    assert mail.message["Bcc"] is None
    assert mail.message["Subject"] == "clariBI Acme: Sales Bcc: thief@example.com body"


def test_an_address_may_ask_for_a_mail_of_text_alone():
    with post_office() as office:
        assert sent(office.url(options="&format=text")) == []
    (mail,) = office.mails
    assert mail.message.get_content_type() == "text/plain"
    assert mail.part("plain") == MESSAGE.text.strip()


def test_a_workbook_that_arrives_with_a_mail_opens():
    attached = attach({"reports": pd.DataFrame({"id": ["1", "2"], "title": ["=1+1", "Sales"]})}, "xlsx", 1)
    with post_office() as office:
        message = compose("Acme", None, [], attached)
        assert sent(office.url(), message=message, files=attached.files) == []
    (mail,) = office.mails
    assert mail.message["Subject"] == "clariBI Acme: the tables you asked for"
    assert "claribi.xlsx: reports (2 rows)." in mail.part("plain")
    ((name, kind, content),) = mail.attachments()
    assert (name, kind) == ("claribi.xlsx", attached.files[0].mime_type)
    sheet = openpyxl.load_workbook(BytesIO(content))["reports"]
    assert list(sheet.values) == [("id", "title"), ("1", "=1+1"), ("2", "Sales")]
    assert sheet["B2"].data_type == "s"


def test_csv_files_arrive_one_a_table():
    attached = attach({"reports": pd.DataFrame({"id": ["1"]}), "usage": pd.DataFrame({"id": ["2"]})}, "csv", 1)
    with post_office() as office:
        assert sent(office.url(), files=attached.files) == []
    (mail,) = office.mails
    assert mail.attachments() == [
        ("reports.csv", "text/csv", "\ufeffid\r\n1\r\n".encode()),
        ("usage.csv", "text/csv", "\ufeffid\r\n2\r\n".encode()),
    ]
    assert mail.part("html") == MESSAGE.html.strip()


def test_a_mail_of_many_lines_arrives_whole():
    notices = [
        Notice("raised", Finding(f"r{n}", f"s/{n}", "warning", f"Source {n} is in error", "x" * 200), NIGHT)
        for n in range(500)
    ]
    message = compose("Acme", None, notices)
    with post_office() as office:
        assert sent(office.url(), message=message) == []
    (mail,) = office.mails
    assert mail.part("html") == message.html.strip()
    assert "Source 499 is in error" in mail.part("plain")


def test_a_mail_goes_over_starttls_with_a_login(monkeypatch, tmp_path):
    with post_office(certificate=certificate(monkeypatch, tmp_path)) as office:
        assert sent(office.secure_url()) == []
    assert [mail.to for mail in office.mails] == [["ops@example.com"]]


def test_a_certificate_of_nobody_we_know_gets_no_login_and_no_mail(monkeypatch, tmp_path):
    unknown = certificate(monkeypatch, tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE")
    with post_office(certificate=unknown) as office:
        (failure,) = sent(office.secure_url())
    assert failure.whom == "NOTIFY__URLS, number 1: E-Mail (mailtos://localhost)"
    assert "certificate verify failed" in failure.reason
    assert office.mails == []


def test_a_refused_login_says_so(monkeypatch, tmp_path):
    with post_office(certificate=certificate(monkeypatch, tmp_path)) as office:
        failures = sent(office.secure_url(password="not-the-password"))
    assert said(failures) == [
        ("NOTIFY__URLS, number 1: E-Mail (mailtos://localhost)", "535 5.7.8 Authentication credentials invalid.")
    ]
    assert office.mails == []


def test_a_refused_recipient_says_so_and_the_other_gets_the_mail():
    with post_office(refused=["gone@example.com"]) as office:
        failures = sent(office.url(to="ops@example.com,gone@example.com"))
    assert said(failures) == [
        ("NOTIFY__URLS, number 1: E-Mail (mailto://127.0.0.1)", "550 5.1.1 <***@***>: no such mailbox here.")
    ]
    assert [mail.to for mail in office.mails] == [["ops@example.com"]]


def test_a_web_call_gets_the_short_form_and_no_files():
    file = File("reports.csv", "text/csv", b"id\r\n")
    with receiver() as web:
        assert sent(f"json://{web.host}/{TOKEN}", files=[file]) == []
    (call,) = web.calls
    assert call.path == f"/{TOKEN}"
    assert call.json["title"] == MESSAGE.subject
    assert call.json["message"] == MESSAGE.short
    assert call.json["attachments"] == []
    assert call.json["type"] == "failure"


def test_a_chat_gets_the_short_form_and_calls_nobody():
    with receiver() as web:
        assert sent(f"mmost://{web.host}/{TOKEN}") == []
    (call,) = web.calls
    assert call.path == f"/hooks/{TOKEN}"
    assert call.json["text"] == f"{MESSAGE.subject}\r\n{MESSAGE.short}"
    assert "@everyone" not in call.json["text"]
    assert "icon_url" not in call.json


def test_tables_alone_are_no_message_for_a_chat():
    tables = compose("Acme", None, [], Attached((), ("claribi.xlsx: reports (2 rows).",)))
    with receiver() as web, post_office() as office:
        assert sent(f"json://{web.host}/", office.url(), message=tables) == []
    assert web.calls == []
    assert len(office.mails) == 1


def test_a_server_that_refuses_a_web_call_is_named_with_its_status():
    with receiver(500) as web:
        failures = sent(f"json://{web.host}/{TOKEN}")
    assert [(failure.what, failure.whom) for failure in failures] == [
        ("The notice", "NOTIFY__URLS, number 1: JSON (json://127.0.0.1)")
    ]
    assert "500" in failures[0].reason


def test_a_redirect_is_not_followed():
    with receiver(307) as web:
        assert len(sent(f"json://{web.host}/{TOKEN}")) == 1
    assert [call.path for call in web.calls] == [f"/{TOKEN}"]


def test_one_dead_address_keeps_no_other_from_its_notice():
    with post_office() as office, receiver() as web:
        failures = sent(f"json://127.0.0.1:{free_port()}/x", office.url(), f"json://{web.host}/x")
    assert [failure.whom for failure in failures] == ["NOTIFY__URLS, number 1: JSON (json://127.0.0.1)"]
    assert "Connection refused" in failures[0].reason
    assert (len(office.mails), len(web.calls)) == (1, 1)


def test_a_server_that_never_answers_is_left_after_the_time_there_is():
    with receiver(None) as web:
        failures = sent(f"json://{web.host}/x", within_s=0.2)
    assert failures == [
        Failure(
            "The notice",
            "NOTIFY__URLS, number 1: JSON (json://127.0.0.1)",
            "it did not answer within 0.2 seconds.",
            TOLD_LATER,
        )
    ]


def test_a_mail_server_that_never_speaks_is_left_after_the_time_there_is():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"mailto://127.0.0.1:{mute.getsockname()[1]}?from=a@example.com&to=b@example.com"
        assert [failure.reason for failure in sent(url, within_s=0.2)] == ["it did not answer within 0.2 seconds."]


def test_a_service_that_breaks_is_a_failure_and_no_crash():
    with post_office() as office:
        (address,) = read_addresses([office.url()])
        (failure,) = send(Message("subject", "text", None, "short", "info"), [address])
    assert failure.reason != ""
    assert office.mails == []


def test_nothing_of_an_address_is_ever_said(monkeypatch, tmp_path, caplog, capfd):
    """Whatever fails, at every level of every log: not the key, not the password, not a recipient."""
    caplog.set_level(logging.DEBUG)
    secrets = [TOKEN, "wr0ng-passw0rd", "gone@example.com", "ops-team@example.com", LOGIN[0], "0123456789abcdef0123"]
    told = []
    with (
        post_office(certificate=certificate(monkeypatch, tmp_path)) as secure,
        post_office(refused=["gone@example.com"]) as plain,
        receiver(404, 500, 404) as web,
    ):
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # the test's own mail server
        addresses = read_addresses(
            [
                secure.secure_url(password="wr0ng-passw0rd", to="ops-team@example.com"),
                plain.url(to="gone@example.com"),
                plain.url(to="ops-team@example.com"),
                f"json://{TOKEN}:{TOKEN}@{web.host}/{TOKEN}?+X-Key={TOKEN}",
                f"mmost://{web.host}/{TOKEN}",
                f"json://127.0.0.1:{free_port()}/{TOKEN}",
            ]
        )
        told += send(MESSAGE, addresses)
        told.append(heartbeat(f"http://{web.host}/0123456789abcdef0123", "success"))
        told.append(heartbeat(f"http://127.0.0.1:{free_port()}/0123456789abcdef0123", "failure"))
    assert len(told) == 7
    printed = "".join(capfd.readouterr()) + caplog.text + "".join(map(str, [*told, *addresses])) + repr(addresses)
    assert [secret for secret in secrets if secret in printed] == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", "Slack (slack://)"),
        ("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "Slack (https://)"),
        ("discord://123456789012345678/abcdefabcdefabcdefabcdefabcdef", "Discord (discord://)"),
        ("tgram://123456789:abcdefg_hijklmnop12345678901234567/1234", "Telegram (tgram://)"),
        ("mailtos://user:pass@gmail.com?to=a@example.com", "E-Mail (mailtos://smtp.gmail.com)"),
        ("mailtos://user:pass@example.com?smtp=mx.example.com", "E-Mail (mailtos://mx.example.com)"),
    ],
)
def test_an_address_is_shown_by_its_service_and_its_server_but_not_where_a_key_stands_there(url, shown):
    assert [str(address) for address in read_addresses([url])] == [f"NOTIFY__URLS, number 1: {shown}"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nosuch://key-0123456789/x", "nosuch://…"),
        ("slack://key-0123456789", "slack://…"),
        ("mailto://key-0123456789", "mailto://…"),
        ("key-0123456789", "unknown://…"),
        ("key-0123456789-key-0123456789://x", "unknown://…"),
    ],
)
def test_an_address_that_cannot_be_used_is_named_by_its_place_and_its_scheme(url, shown, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SettingError) as refused:
        read_addresses(["json://localhost/x", url])
    assert str(refused.value) == (
        f"NOTIFY__URLS holds an address that cannot be used, number 2 of 2 ({shown}). "
        "How each service's address is written: https://appriseit.com/services/"
    )
    assert "key-0123456789" not in "".join(capfd.readouterr()) + caplog.text


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("pipelines.watch.address.find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"not installed: pip install 'claribi-export\[watch\]'"):
        read_addresses(["json://localhost/x"])
    assert read_addresses([]) == []


@pytest.mark.parametrize(
    ("kind", "path"), [("start", "/ping/1/start"), ("success", "/ping/1"), ("failure", "/ping/1/fail")]
)
@pytest.mark.parametrize("end", ["", "/"])
def test_a_heartbeat_says_how_far_the_run_is(kind, path, end):
    with receiver() as web:
        assert heartbeat(f"http://{web.host}/ping/1{end}", kind, "12 rows – done") is None
    assert [(call.path, call.body.decode()) for call in web.calls] == [(path, "12 rows – done")]


def test_a_heartbeat_keeps_the_addresss_own_words():
    with receiver() as web:
        assert heartbeat(f"http://{web.host}/ping/1?key=a%20b", "failure") is None
    assert [call.path for call in web.calls] == ["/ping/1/fail?key=a%20b"]


def test_a_heartbeat_is_tried_again_when_the_monitor_stumbles():
    with receiver(503, 500) as web:
        assert heartbeat(f"http://{web.host}/ping/1", "success") is None
    assert len(web.calls) == 3


def test_a_heartbeat_that_is_refused_is_not_tried_again():
    with receiver(404) as web:
        failure = heartbeat(f"http://{web.host}/ping/1", "start")
    assert len(web.calls) == 1
    assert str(failure) == (
        "The heartbeat (start) did not reach NOTIFY__HEARTBEAT_URL (http://127.0.0.1): it answered with HTTP 404. "
        "Check that address; the run went on without it."
    )


def test_a_monitor_that_never_answers_is_left_after_the_time_there_is():
    with receiver(None) as web:
        failure = heartbeat(f"http://{web.host}/ping/1", "start", within_s=0.2)
    assert failure.reason == "it did not answer within 0.2 seconds."


@pytest.mark.parametrize("url", ["http://[", "ftp://example.com/x", "http://127.0.0.1:99999/", "", "http://"])
def test_a_heartbeat_to_no_address_is_a_failure_and_no_crash(url):
    assert isinstance(heartbeat(url, "success"), Failure)


def free_port():
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
