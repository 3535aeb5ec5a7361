"""Nights of the real command, with a real mail server and a real receiver of web calls: who is told what, and when.

Each night is on a machine that remembers nothing: what was told is known by the warehouse alone.
"""

import io
import json
import shutil

import openpyxl
import pytest

from pipelines.sandbox import KB, Account, Organisation, Sandbox, faults
from tests.command import Customer
from tests.notify_servers import post_office, receiver

NEVER_STALE = {"WATCH__STALE_AFTER_H_BY": '{"*": "never"}', "WATCH__DASHBOARD_AFTER_H": "9000"}
"""So that nothing happens in these nights but what a test does."""
LOSING = 'Data source "HubSpot" is broken'


@pytest.fixture
def account(stage):
    """A small account in which all is well."""
    stage.sandbox = Sandbox(KB, Organisation(reports=30))
    for source in stage.sandbox.organisation.truth()["data_sources"]:
        stage.sandbox.organisation.edit("data_sources", source["id"], status="active")
    return stage.sandbox


@pytest.fixture
def hubspot(account):
    """The id of the source that breaks."""
    return next(one["id"] for one in account.organisation.truth()["data_sources"] if one["name"] == "HubSpot")


@pytest.fixture
def customer(tmp_path, stage, account):
    return Customer(tmp_path, stage.url, api_key=account.account.key, retry_tries=1, **NEVER_STALE)


def night(customer, account, *words, **settings):
    """A night passes in which nothing happens, and the command runs on a fresh machine."""
    account.organisation.advance(1, activity=0)
    shutil.rmtree(customer.dlt_folder, ignore_errors=True)
    return customer.run(*words, **settings)


def test_a_source_breaks_and_is_mended_and_each_is_told_once_by_mail_and_chat(customer, account, hubspot):
    with post_office() as office, receiver() as chat:
        told = {"NOTIFY__URLS": f"{office.url()}, json://{chat.host}"}
        assert night(customer, account, **told).code == 0
        assert (office.mails, chat.calls) == ([], [])

        account.organisation.edit("data_sources", hubspot, status="error")
        broken = night(customer, account, **told)
        assert (broken.code, broken.report["outcome"]) == (0, "done")
        assert [one["title"] for one in broken.report["watch"]["problems"]] == [LOSING]
        (mail,), (call,) = office.mails, chat.calls
        assert mail.message["Subject"] == call.json["title"] == f"clariBI Morgenrot Coffee Roasters: {LOSING}"
        assert call.json["message"] == f"New: {LOSING}"
        assert "Open it in clariBI to see why" in mail.part("plain")
        assert "AI credits" in mail.part("html")  # the digest's short form

        again = night(customer, account, **told)
        assert [one["title"] for one in again.report["watch"]["problems"]] == [LOSING]
        assert (len(office.mails), len(chat.calls)) == (1, 1)

        account.organisation.edit("data_sources", hubspot, status="active")
        mended = night(customer, account, "run", **told)
        assert f"no longer so: {LOSING}" in mended.stdout
        assert "All well." in mended.stdout
        assert len(office.mails) == len(chat.calls) == 2
        assert chat.calls[1].json["message"] == f"No longer so: {LOSING}"


def test_a_notice_that_was_refused_is_sent_by_the_next_run_and_the_load_stays(customer, account, hubspot):
    account.organisation.edit("data_sources", hubspot, status="error")
    with post_office(refused=["ops@example.com"]) as office:
        told = {"NOTIFY__URLS": office.url(), "NOTIFY__DELIVER": "usage, reports"}
        refused = night(customer, account, **told)
        assert (refused.code, refused.report["outcome"], refused.report["exit_code"]) == (1, "done", 1)
        assert "no such mailbox" in refused.notes
        assert len(customer.ids("reports")) == 30
        assert office.mails == []

        office.refused.clear()
        assert night(customer, account, **told).code == 0
        (mail,) = office.mails
        assert LOSING in mail.message["Subject"]
        ((name, _, content),) = mail.attachments()
        book = openpyxl.load_workbook(io.BytesIO(content))
        assert name == "claribi.xlsx"
        assert {sheet.title: sheet.max_row for sheet in book} == {"usage": 1 + 2, "reports": 1 + 30}

        night(customer, account, **told)  # nothing new: the tables alone
        assert [mail.message["Subject"] for mail in office.mails[1:]] == [
            "clariBI Morgenrot Coffee Roasters: the tables you asked for"
        ]


def test_a_run_that_fails_is_told_with_its_reason_and_the_monitor_hears_of_each_run(customer, account):
    with receiver() as chat, receiver() as monitor:
        told = {"NOTIFY__URLS": f"json://{chat.host}", "NOTIFY__HEARTBEAT_URL": f"http://{monitor.host}/ping/8c1f"}
        account.faults.add(faults.unauthorized(path="*/auth/status/", times=None))
        failed = night(customer, account, **told)
        assert failed.code == 3
        (call,) = chat.calls
        assert call.json["title"] == "clariBI: the export failed"
        assert failed.report["notes"][-1] in call.json["message"].replace("…", "") or "refused" in call.json["message"]
        assert [one.path for one in monitor.calls] == ["/ping/8c1f/start", "/ping/8c1f/fail"]
        assert monitor.calls[1].body.decode() == failed.report["notes"][-1]

        account.faults.clear()
        assert night(customer, account, **told).code == 0
        assert [one.path for one in monitor.calls[2:]] == ["/ping/8c1f/start", "/ping/8c1f"]

        no_key = night(customer, account, api_key="", **told)
        assert (no_key.code, no_key.stdout) == (2, "")
        assert "SOURCES__CLARIBI__API_KEY" in chat.calls[-1].json["message"]
        assert monitor.calls[-1].path == "/ping/8c1f/fail"

        before = len(chat.calls), len(monitor.calls)
        assert night(customer, account, "run", "--dry-run", **told).code == 0
        assert (len(chat.calls), len(monitor.calls)) == before


def test_a_monitor_that_is_down_is_a_note_and_a_limit_is_no_failure(customer, account, hubspot):
    account.organisation.edit("data_sources", hubspot, status="error")
    with receiver() as chat, receiver(404, 404) as monitor:
        told = {"NOTIFY__URLS": f"json://{chat.host}", "NOTIFY__HEARTBEAT_URL": f"http://{monitor.host}/secret-path"}
        good = night(customer, account, **told)
        assert (good.code, len(chat.calls)) == (0, 1)
        assert "The heartbeat (start) did not reach" in good.notes
        assert "The heartbeat (success) did not reach" in good.notes
        assert "secret-path" not in good.stdout + good.stderr

        account.faults.add(faults.too_many(wait_s=3600, path="*/reports/", times=None))
        later = night(customer, account, **told)
        assert (later.code, later.report["outcome"]) == (75, "later")
        assert len(chat.calls) == 1
        assert monitor.calls[-1].path == "/secret-path"


def test_watch_says_6_with_problems_4_where_it_cannot_tell_and_0_when_all_is_well(customer, account, hubspot):
    nothing = customer.run("watch", "--from-destination")
    assert (nothing.code, nothing.stdout) == (4, "")
    assert "holds no run yet" in nothing.stderr
    assert not customer.warehouse.exists()

    assert night(customer, account, "run", "--no-watch").code == 0
    assert customer.tables()["alerts"] == []
    account.organisation.edit("data_sources", hubspot, status="error")
    account.calls.clear()
    live = night(customer, account, "watch", "--json")
    assert live.code == 6
    found = json.loads(live.stdout)
    assert ([one["title"] for one in found["problems"]], found["exit_code"]) == ([LOSING], 6)
    assert (found["left_out"], found["not_read"]) == (["dashboards", "reports"], [])
    assert [call.path for call in account.calls] == ["/api/auth/status/", "/api/billing/usage/", "/api/data-sources/"]

    account.calls.clear()
    account.organisation.edit("data_sources", hubspot, status="active")
    stored = night(customer, account, "watch", "--from-destination")
    assert (stored.code, account.calls) == (6, [])
    assert LOSING in stored.stdout
    assert night(customer, account, "watch").code == 0


def test_watch_cannot_tell_what_the_key_may_not_read(tmp_path, stage, account):
    blind = account.account.permissions - {"usage:read"}
    stage.sandbox = Sandbox(KB, account.organisation, Account(key="claribi_sk_blind", permissions=blind))
    customer = Customer(tmp_path, stage.url, api_key=stage.sandbox.account.key, **NEVER_STALE)
    ended = customer.run("watch")
    assert ended.code == 4
    assert "Could not be read, so nobody knows: usage." in ended.stdout
    assert "usage:read" in ended.stdout
    broken = customer.run("watch", api_key="wrong")
    assert (broken.code, broken.stdout) == (3, "")


def test_a_digest_is_one_file_of_what_is_held_and_asks_nobody(customer, account):
    nothing = customer.run("digest")
    assert (nothing.code, list(customer.folder.glob("*.html"))) == (4, [])
    assert night(customer, account).code == 0
    account.calls.clear()
    ended = customer.run("digest", "--json", "--output", "page.html")
    assert (ended.code, json.loads(ended.stdout)) == (0, {"file": "page.html", "headline": "All well"})
    assert account.calls == []
    page = (customer.folder / "page.html").read_text()
    assert "Morgenrot Coffee Roasters" in page
    assert "Nothing is wrong" in page
    nowhere = customer.run("digest", "--output", "no/such/folder/page.html")
    assert (nowhere.code, "--output" in nowhere.stderr) == (2, True)
