"""Every fault that a server is known for, met by the real command over HTTP: how it ends, and what is there after it.

Each test begins with the warehouse of a good first run; a night has passed since. The machine itself is new.
"""

import socket
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from pipelines.sandbox import KB, Sandbox, faults
from tests.command import COLUMNS, REPORTS, Customer, organisation, truth

LIST = "*/reports/"
AN_HOUR = 3600.0

SPOKEN = {
    "pages": KB,
    "offsets": replace(KB, paging="offset", envelope="items"),
    "cursors": replace(KB, paging="cursor", counts=False),
}
"""One account, whose lists are turned over in each way."""


@pytest.fixture
def account(stage):
    """The account after its first night, by page numbers; `stage.sandbox` is what answers."""
    stage.sandbox = Sandbox(KB, organisation(nights=1))
    return stage.sandbox


@pytest.fixture
def customer(tmp_path, stage, account):
    return Customer(tmp_path, stage.url, api_key=account.account.key).holds_the_first_night()


@pytest.fixture
def paging(request, account):
    """How the account's lists are turned over; a test that wants another way than page numbers says so."""
    account.spoken = SPOKEN[request.param]


def turned_by(*ways):
    """Run a test once for each of these ways of turning pages."""
    return pytest.mark.parametrize("paging", ways, indirect=True)


def calls_of(account, path):
    return [call for call in account.calls if call.path == path]


def statuses(account, path="/api/reports/"):
    """How often each status was answered on a path; 0 is an answer that broke off."""
    found = [call.status for call in calls_of(account, path)]
    return {status: found.count(status) for status in found}


def assert_whole(customer, account, ended):
    """The run was good, and the warehouse agrees with the account in every row."""
    assert (ended.code, ended.report["outcome"], ended.report["notes"]) == (0, "done", [])
    assert_agrees(customer, account)


def assert_agrees(customer, account):
    assert customer.exported() == truth(account.organisation)
    for name in COLUMNS:
        ids = customer.ids(name)
        assert ids == sorted(set(ids))
        gone = sorted(set(ids) - {item["id"] for item in account.organisation.truth()[name]})
        assert customer.ids(name, "deleted_at IS NOT NULL") == gone


@contextmanager
def unchanged(customer):
    """Whatever happens inside, the warehouse holds exactly the rows of the last good run."""
    before = customer.tables()
    yield
    assert customer.tables() == before


# A server that wants to be left alone


@pytest.mark.parametrize("tells", ["seconds", "date", "reset", "nothing"])
def test_a_429_is_waited_out_however_it_tells_the_wait(tells, customer, account):
    account.faults.add(faults.too_many(tells, wait_s=1, path=LIST, page=3))
    ended = customer.run()
    assert statuses(account)[429] == 1
    assert ended.report["requests"]["retried"] == 1
    assert_whole(customer, account, ended)


def test_a_429_for_ever_ends_the_run_at_once_and_the_next_run_reads_the_rest(customer, account):
    before = customer.exported()["reports"]
    account.faults.add(faults.too_many("seconds", wait_s=AN_HOUR, path=LIST, page=3, times=None))
    ended = customer.run()
    assert (ended.code, ended.report["outcome"], ended.report["requests"]["waited_s"]) == (75, "later", 0)
    assert statuses(account)[429] == 1
    assert "rate limit is spent until" in ended.notes
    now, perfect = customer.exported(), truth(account.organisation)
    read = {item["id"] for item in newest_first(account)[:200]}
    assert now["reports"] == overlaid(before, perfect["reports"], read)
    assert (now["dashboards"], now["data_sources"]) == (perfect["dashboards"], perfect["data_sources"])
    assert customer.ids("reports", "deleted_at IS NOT NULL") == []

    account.faults.clear()
    assert_whole(customer, account, customer.run())


def test_a_429_for_ever_from_the_first_call_on_is_not_waited_for_either(customer, account):
    account.faults.add(faults.too_many("seconds", wait_s=AN_HOUR, times=None))
    before = customer.exported()
    ended = customer.run()
    assert (ended.code, ended.report["requests"]["total"], ended.report["requests"]["waited_s"]) == (75, 1, 0)
    assert customer.exported() == before


# A server that is not well


def test_a_500_for_ever_on_page_7_ends_after_bounded_tries_with_the_last_good_rows(customer, account):
    account.faults.add(faults.server_error(500, path=LIST, page=7, times=None))
    with unchanged(customer):
        ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (1, "failed")
    assert statuses(account)[500] == 5
    assert "/api/reports/" in ended.notes
    assert "Something went wrong on our side." in ended.notes


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.server_error(503, path=LIST, page=4), id="503"),
        pytest.param(faults.reset(path=LIST, page=4), id="reset before the body"),
        pytest.param(faults.truncated(path=LIST, page=4), id="half of the body"),
        pytest.param(faults.cut_json(path=LIST, page=4), id="truncated JSON"),
    ],
)
def test_what_goes_wrong_once_is_read_again(fault, customer, account):
    account.faults.add(fault)
    ended = customer.run()
    assert ended.report["requests"]["retried"] == 1
    assert_whole(customer, account, ended)


def test_a_stalled_body_is_given_up_and_read_again(customer, account):
    account.faults.add(faults.stalled(path=LIST, page=4))
    ended = customer.run(timeout=2)
    assert statuses(account)[0] == 1
    assert_whole(customer, account, ended)


def test_pages_that_are_asked_for_at_once_survive_several_faults_together(customer, account):
    account.latency_s = 0.03  # longer than a server that is too quick to gain by it
    account.faults.add(
        faults.server_error(503, path=LIST, page=2),
        faults.reset(path=LIST, page=3),
        faults.cut_json(path=LIST, page=4),
        faults.too_many("seconds", wait_s=1, path=LIST, page=6),
    )
    ended = customer.run()
    assert ended.report["requests"]["retried"] >= 4
    assert_whole(customer, account, ended)


def test_pages_that_are_asked_for_at_once_end_together(customer, account):
    account.latency_s = 0.03
    account.faults.add(faults.server_error(500, path=LIST, page=3, times=None))
    with unchanged(customer):
        assert customer.run().code == 1


# A server that says no


def test_a_401_at_the_start_ends_the_run_with_the_servers_reason(customer, account):
    account.faults.add(faults.unauthorized(times=None))
    with unchanged(customer):
        ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (3, "failed")
    assert "This API key has been revoked." in ended.notes
    assert "Settings > Developer > API Keys" in ended.notes


def test_a_401_before_any_good_run_leaves_no_warehouse(tmp_path, stage, account):
    account.faults.add(faults.unauthorized(times=None))
    newcomer = Customer(tmp_path, stage.url, api_key=account.account.key)
    ended = newcomer.run()
    assert ended.code == 3
    assert "This API key has been revoked." in ended.notes
    assert ended.report["requests"]["total"] <= 6


@turned_by("cursors")
def test_a_401_in_mid_run_keeps_the_last_good_rows(customer, account, paging):
    account.faults.add(faults.unauthorized(path=LIST, page=4, times=None))
    with unchanged(customer):
        ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (3, "failed")
    assert "This API key has been revoked." in ended.notes


@pytest.mark.parametrize("resource", ["reports", "dashboards"])
def test_a_403_on_one_list_skips_it_and_still_exports_the_others(resource, customer, account):
    account.account.permissions -= {f"{resource}:read"}
    before = customer.exported()
    ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (3, "refused")
    assert f"{resource}:read" in ended.notes
    assert_others_are_exported(customer, account, resource, before)


def test_a_403_that_names_no_permission_is_told_with_the_one_that_is_needed(customer, account):
    account.faults.add(faults.forbidden(path="*/data-sources/", times=None))
    before = customer.exported()
    ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (3, "refused")
    assert "data_sources:read" in ended.notes
    assert_others_are_exported(customer, account, "data_sources", before)


def assert_others_are_exported(customer, account, resource, before):
    """All lists agree with the account but that of `resource` and its child table, which are as they were."""
    now, perfect = customer.exported(), truth(account.organisation)
    skipped = {"reports": "report_insights", "dashboards": "dashboard_widgets"}.get(resource)
    for name in now:
        assert now[name] == (before if name in (resource, skipped) else perfect)[name]


# A server whose answers must not be believed


@turned_by("offsets")
def test_a_page_of_html_among_the_data_is_not_taken_for_data(customer, account, paging):
    account.faults.add(faults.html(200, path=LIST, page=5, times=None))
    with unchanged(customer):
        ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (4, "failed")
    assert "text/html" in ended.notes
    assert "Sign in" in ended.notes


def test_a_renamed_envelope_is_refused_with_the_names_that_were_seen(customer, account):
    account.faults.add(faults.renamed_envelope("records", path=LIST, times=None))
    with unchanged(customer):
        ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (4, "failed")
    assert "records" in ended.notes


@turned_by("pages", "cursors")
def test_a_server_that_ignores_the_page_is_found_out(customer, account, paging):
    account.faults.add(faults.page_ignored(path=LIST, times=None))
    with unchanged(customer):
        ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (4, "failed")
    assert len(calls_of(account, "/api/reports/")) <= 30


def test_a_next_that_repeats_is_not_followed_for_ever(customer, account):
    for paging in ("pages", "cursors"):
        account.spoken = SPOKEN[paging]
        account.faults.clear()
        account.calls.clear()
        account.faults.add(faults.repeated_next(path=LIST, page=3, times=None))
        with unchanged(customer):
            ended = customer.run()
        assert (ended.code, ended.report["outcome"]) == (4, "failed")
        assert len(calls_of(account, "/api/reports/")) <= 10


@pytest.mark.parametrize(("paging", "page"), [("pages", 1), ("cursors", 3)], indirect=["paging"])
def test_a_next_on_another_host_is_refused_and_that_host_never_called(page, customer, account, paging):
    with another_host() as (address, connections):
        account.faults.add(faults.foreign_next(address, path=LIST, page=page, times=None))
        with unchanged(customer):
            ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (4, "failed")
    assert address in ended.notes
    assert connections == []


@contextmanager
def another_host():
    """A listener that belongs to nobody; gives its address, and a list of what each caller sent."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()

        def listen():
            while not ended.is_set():
                try:
                    caller, _ = listener.accept()
                except TimeoutError:
                    continue
                with caller:
                    heard.append(caller.recv(65_536))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", heard
        finally:
            ended.set()
            thread.join()


# A list that moves


@turned_by("pages", "cursors")
def test_an_empty_page_in_the_middle_is_asked_for_once_more(customer, account, paging):
    account.faults.add(faults.empty_page(path=LIST, page=4))
    assert_whole(customer, account, customer.run())


def test_a_page_that_stays_empty_leaves_the_list_unproven_and_nothing_deleted(customer, account):
    before = customer.exported()["reports"]
    account.faults.add(faults.empty_page(path=LIST, page=4, times=None))
    ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (4, "partial")
    assert not ended.report["walks"]["reports"]["complete"]
    every = newest_first(account)
    read = {item["id"] for item in every[:300] + every[400:]}
    perfect = truth(account.organisation)
    assert customer.exported()["reports"] == overlaid(before, perfect["reports"], read)
    assert customer.ids("reports", "deleted_at IS NOT NULL") == []


@pytest.mark.parametrize(("change", "latency_s"), [(faults.row_deleted, 0.0), (faults.row_inserted, 0.03)])
def test_a_list_that_changes_while_it_is_read_is_read_again(change, latency_s, customer, account):
    account.latency_s = latency_s
    account.faults.add(change(path=LIST, page=3))
    ended = customer.run()
    assert ended.report["walks"]["reports"]["rewalked"] == 1
    assert_whole(customer, account, ended)


def test_a_row_that_comes_or_goes_while_cursors_are_followed_does_no_harm(customer, account):
    account.spoken = SPOKEN["cursors"]
    account.faults.add(faults.row_deleted(path=LIST, page=2), faults.row_inserted(path=LIST, page=3))
    assert customer.run().code == 0
    account.faults.clear()
    # What came and went during the walk is the next whole one's.
    assert_whole(customer, account, customer.run("run", "--json", "--sweep"))


# A list that shrinks


def test_nothing_where_yesterday_were_hundreds_deletes_nothing(customer, account):
    account.faults.add(faults.zero_rows(path=LIST, times=None))
    with unchanged(customer):
        ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (4, "failed")
    assert f"{REPORTS} of the {REPORTS} reports" in ended.notes
    assert "--allow-shrink" in ended.notes


def test_nothing_where_yesterday_were_a_few_is_asked_for_one_by_one(customer, account):
    account.faults.add(faults.zero_rows(path="*/dashboards/", times=None))
    ended = customer.run()
    assert (ended.code, ended.report["outcome"]) == (4, "partial")
    assert "The list of dashboards could not be proven whole: it came empty" in ended.notes
    assert ended.report["tables"]["dashboards"]["deleted"] == 0
    assert_agrees(customer, account)


def test_what_is_really_gone_goes_with_allow_shrink(customer, account):
    for report in account.organisation.truth()["reports"]:
        account.organisation.delete("reports", report["id"])
    with unchanged(customer):
        assert customer.run().code == 4
    ended = customer.run("run", "--json", "--allow-shrink")
    assert ended.report["tables"]["reports"]["deleted"] == len(customer.ids("reports"))
    assert_whole(customer, account, ended)


# What the tests above compare with


def newest_first(account):
    """The reports in the order of the list."""
    return account.organisation.truth()["reports"][::-1]


def overlaid(before, perfect, read):
    """The rows of the last run, and over them those of the objects that this run has read."""
    rows = {row["id"]: row for row in before} | {row["id"]: row for row in perfect if row["id"] in read}
    return sorted(rows.values(), key=lambda row: row["id"])
