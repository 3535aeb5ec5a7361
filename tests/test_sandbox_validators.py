"""Asking the sandbox whether anything has changed, as a client really does it."""

from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

import httpx
import pytest

from pipelines.sandbox import KB, V1, Limits, Organisation, Sandbox, faults

READS = ("reports/", "reports/3/", "dashboards/", "dashboards/3/", "data-sources/", "data-sources/3/")
ABOUT = ("auth/status/", "billing/usage/")


@pytest.fixture
def sandbox(stage):
    stage.sandbox = Sandbox(KB, Organisation(reports=30))
    return stage.sandbox


@pytest.fixture
def client(stage, sandbox):
    key = {"Authorization": f"Api-Key {sandbox.account.key}"}
    with httpx.Client(base_url=f"{stage.url}/api/", headers=key, timeout=5) as client:
        yield client


def statuses(client, paths, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [client.get(path, headers=named).status_code for path in paths]


def test_without_validators_every_answer_is_whole(sandbox, client):
    answer = client.get("reports/")
    assert {"etag", "last-modified"} & set(answer.headers) == set()
    far = format_datetime(sandbox.organisation.now + timedelta(days=99), usegmt=True)
    assert statuses(client, READS, if_none_match="*", if_modified_since=far) == [200] * 6


def test_an_etag_that_still_fits_gets_304_without_a_body(sandbox, client):
    sandbox.validators = "etag"
    for path in READS + ABOUT:
        whole = client.get(path)
        etag = whole.headers["etag"]
        again = client.get(path, headers={"If-None-Match": etag})
        assert (whole.status_code, etag[0] + etag[-1]) == (200, '""')
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert {"date", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= set(again.headers)


def test_an_if_none_match_may_be_a_list_a_weak_tag_or_a_star(sandbox, client):
    sandbox.validators = "etag"
    etag = client.get("reports/").headers["etag"]
    told = {
        condition: statuses(client, ["reports/"], if_none_match=condition)[0]
        for condition in (f'"old", {etag}', f"W/{etag}", f'W/"old",W/{etag}', "*", '"old"', etag.strip('"'), "")
    }
    assert list(told.values()) == [304, 304, 304, 304, 200, 200, 200]


def test_an_etag_is_that_of_the_page_and_not_of_the_list(sandbox, client):
    sandbox.validators = "etag"
    pages = {page: client.get(f"reports/?page_size=10&page={page}").headers["etag"] for page in (1, 2, 3)}
    sandbox.organisation.edit_report(15, title="Another")
    told = {
        page: statuses(client, [f"reports/?page_size=10&page={page}"], if_none_match=pages[page])[0] for page in pages
    }
    assert told == {1: 304, 2: 200, 3: 304}


def test_last_modified_tells_when_the_kind_last_changed(sandbox, client):
    sandbox.validators = "last-modified"
    told = {path: client.get(path).headers["last-modified"] for path in READS}
    assert [set(client.get(path).headers) & {"etag", "last-modified"} for path in ABOUT] == [set(), set()]
    sandbox.organisation.advance(2, activity=0)
    assert [statuses(client, [path], if_modified_since=told[path]) for path in READS] == [[304]] * 6
    sandbox.organisation.edit("dashboards", 5, name="Another")
    assert [statuses(client, [path], if_modified_since=told[path])[0] for path in READS] == [
        304,
        304,
        200,
        200,
        304,
        304,
    ]
    modified = parsedate_to_datetime(client.get("dashboards/").headers["last-modified"])
    assert sandbox.organisation.now - timedelta(days=1) <= modified < sandbox.organisation.now


def test_a_304_repeats_the_last_modified_and_any_later_stamp_gets_it_too(sandbox, client):
    sandbox.validators = "last-modified"
    told = client.get("reports/").headers["last-modified"]
    later = format_datetime(parsedate_to_datetime(told) + timedelta(seconds=1), usegmt=True)
    earlier = format_datetime(parsedate_to_datetime(told) - timedelta(seconds=1), usegmt=True)
    again = client.get("reports/", headers={"If-Modified-Since": later})
    assert (again.status_code, again.content, again.headers["last-modified"]) == (304, b"", told)
    assert [statuses(client, ["reports/"], if_modified_since=since) for since in (earlier, "lately", "")] == [[200]] * 3


@pytest.mark.parametrize("change", ["edit", "delete", "restore", "add", "put_raw", "advance"])
def test_no_change_hides_behind_the_stamp_of_the_one_before(sandbox, client, change):
    sandbox.validators, organisation = "last-modified", sandbox.organisation
    organisation.add_report()
    organisation.delete("reports", 9)
    told = client.get("reports/").headers["last-modified"]
    {
        "edit": lambda: organisation.edit_report(5, title="Another"),
        "delete": lambda: organisation.delete("reports", 5),
        "restore": lambda: organisation.restore("reports", 9),
        "add": lambda: organisation.add_report(),
        "put_raw": lambda: organisation.put_raw("reports", {"id": 1}),
        "advance": lambda: organisation.advance(),
    }[change]()
    organisation.advance(3, activity=0)
    assert statuses(client, ["reports/"], if_modified_since=told) == [200]


def test_a_304_is_charged_and_written_down_like_every_call(stage, client):
    sandbox = stage.sandbox = Sandbox(KB, Organisation(reports=3), limits=Limits(limit=3))
    sandbox.validators = "etag"
    etag = client.get("reports/").headers["etag"]
    told = [client.get("reports/", headers={"If-None-Match": etag}) for _ in range(3)]
    assert [(answer.status_code, answer.headers["x-ratelimit-remaining"]) for answer in told] == [
        (304, "1"),
        (304, "0"),
        (429, "0"),
    ]
    assert [call.status for call in sandbox.calls] == [200, 304, 304, 429]


def test_errors_and_struck_calls_are_never_304(sandbox, client):
    sandbox.validators = "etag"
    sandbox.faults.add(faults.renamed_envelope("rows"), faults.html(hit=2))
    told = [client.get(path, headers={"If-None-Match": "*"}) for path in ("reports/", "reports/", "reports/99/")]
    assert [(answer.status_code, "etag" in answer.headers) for answer in told] == [
        (200, True),
        (200, False),
        (404, False),
    ]
    client.headers["Authorization"] = "Api-Key wrong"
    assert statuses(client, READS, if_none_match="*") == [401] * 6


def test_a_signature_that_was_renewed_changes_the_etag_of_a_quiet_night(stage):
    sandbox = stage.sandbox = Sandbox(V1, Organisation(reports=30))
    sandbox.validators, key = "etag", {"Authorization": f"Bearer {sandbox.account.key}"}
    with httpx.Client(base_url=f"{stage.url}/api/v1/", headers=key, timeout=5) as client:
        told = {path: client.get(path).headers["etag"] for path in ("reports/", "dashboards/")}
        sandbox.organisation.advance(activity=0)
        again = {path: client.get(path, headers={"If-None-Match": etag}).status_code for path, etag in told.items()}
    assert again == {"reports/": 200, "dashboards/": 304}
