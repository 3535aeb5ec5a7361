"""The sandbox over HTTP, as a client really sees it."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from pipelines.sandbox import DIALECTS, KB, OFFSET, V1, Limits, Organisation, Sandbox, faults, serve
from pipelines.sandbox.app import RESOURCES

KINDS = {kind: word for word, kind in RESOURCES.items()}
PRESETS = list(DIALECTS.values())
COMBINATIONS = [
    replace(KB, name="page numbers in a bare list", envelope="list", past_the_end="empty"),
    replace(KB, name="offsets in a bare list", envelope="list", paging="offset", order="none"),
    replace(KB, name="offsets with links", paging="offset", order="oldest"),
    replace(KB, name="results by a link with a cursor", paging="link", counts=False, order="none"),
    replace(V1, name="data by a link with a cursor", paging="link"),
    replace(V1, name="data by cursor, oldest first, counted", order="oldest", counts=True),
    replace(OFFSET, name="items by page number", paging="page", order="none"),
]


class Clock:
    """Epoch seconds that pass only when told."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


def headers(scheme, secret):
    return {"X-API-Key": secret} if scheme == "x-api-key" else {"Authorization": f"{scheme.title()} {secret}"}


@pytest.fixture
def calling(stage):
    """Opens a served sandbox, with a client that has its key and whose paths begin below the dialect's prefix."""

    @contextmanager
    def opened(spoken=KB, reports=30, **arguments):
        sandbox = stage.sandbox = Sandbox(spoken, Organisation(reports=reports), **arguments)
        key = headers(spoken.key_scheme, sandbox.account.key)
        with httpx.Client(base_url=stage.url + spoken.prefix, headers=key, timeout=5) as client:
            yield sandbox, client

    return opened


def at(client, path):
    """An address outside the dialect's prefix."""
    return client.base_url.copy_with(path=path)


def rows_of(body):
    return body if isinstance(body, list) else next(body[name] for name in ("results", "items", "data") if name in body)


def pages(client, spoken, word, size=100, most=12):
    """A plain walk, as a script would do it; it proves nothing about completeness."""
    place = {"page": 1} if spoken.paging == "page" else {"offset": 0} if spoken.paging == "offset" else {}
    for _ in range(most):
        answer = client.get(f"{word}/", params={"page_size": size, "limit": size, **place})
        if answer.status_code == 404 and spoken.past_the_end == "404":
            return
        yield (body := answer.raise_for_status().json())
        if spoken.paging == "page":
            place = {"page": place["page"] + 1}
        elif spoken.paging == "offset":
            place = {"offset": place["offset"] + size}
        elif spoken.paging == "cursor":
            place = {"cursor": body["next_cursor"]}
        else:
            place = {name: value[0] for name, value in parse_qs(urlsplit(body["next"] or "").query).items()}
        if place.get("cursor", "more") is None or not place or len(rows_of(body)) < size:
            return


def walked(client, spoken, word, size=100):
    return [row for body in pages(client, spoken, word, size) for row in rows_of(body)]


def ids_of(rows):
    return [str(row["id"]) for row in rows]


# What each dialect says


@pytest.mark.parametrize("spoken", PRESETS + COMBINATIONS, ids=lambda spoken: spoken.name)
def test_a_walk_meets_every_object_once_in_every_dialect(calling, spoken):
    with calling(spoken, reports=257) as (sandbox, client):
        sandbox.organisation.advance(3)
        truth = sandbox.organisation.truth()
        for kind, word in KINDS.items():
            expected = truth[kind]
            if kind == "data_sources" and spoken.sources_listed == "active":
                expected = [source for source in expected if source["status"] == "active"]
            rows = walked(client, spoken, word)
            assert sorted(ids_of(rows)) == sorted(item["id"] for item in expected)
            label = spoken.title_label if kind == "reports" else "name"
            assert {str(row["id"]): row[label] for row in rows} == {
                item["id"]: item["title" if kind == "reports" else "name"] for item in expected
            }


def test_reports_come_in_the_order_that_the_dialect_says(calling):
    told = {}
    for order in ("newest", "oldest", "none"):
        with calling(replace(KB, order=order), reports=50) as (_, client):
            told[order] = [row["id"] for row in walked(client, KB, "reports", size=50)]
    assert told["oldest"] == list(range(1, 51))
    assert told["newest"] == list(range(50, 0, -1))
    assert sorted(told["none"]) == told["oldest"] != told["none"] != told["newest"]


def test_the_envelopes_of_the_presets(calling):
    envelopes = {}
    for spoken in PRESETS:
        with calling(spoken) as (_, client):
            body = client.get("reports/", params={"page_size": 10, "limit": 10}).json()
            origin = str(at(client, "/")).rstrip("/")
        body[spoken.envelope] = len(body[spoken.envelope])
        envelopes[spoken.name] = {
            name: value.removeprefix(origin) if isinstance(value, str) else value for name, value in body.items()
        }
    assert envelopes == {
        "kb": {"results": 10, "count": 30, "next": "/api/reports/?page_size=10&limit=10&page=2", "previous": None},
        "v1": {"data": 10, "next_cursor": envelopes["v1"]["next_cursor"]},
        "offset": {"items": 10, "total": 30, "limit": 10, "offset": 0},
    }
    assert envelopes["v1"]["next_cursor"]


def test_a_page_has_20_rows_unless_asked_and_never_more_than_100(calling):
    with calling(reports=150) as (_, client):
        counted = [len(client.get("reports/", params=query).json()["results"]) for query in ({}, {"page_size": 1000})]
    assert counted == [20, 100]


def test_a_page_beyond_the_last_is_404_or_empty_as_the_dialect_says(calling):
    with calling(KB) as (_, client):
        beyond = client.get("reports/?page=3")
    assert (beyond.status_code, beyond.json()) == (404, {"detail": "Invalid page."})
    with calling(OFFSET) as (_, client):
        assert client.get("reports/?offset=500").json()["items"] == []


def test_a_data_source_in_each_dialect(calling):
    said = {}
    for spoken in PRESETS:
        with calling(spoken) as (_, client):
            said[spoken.name] = rows_of(client.get("data-sources/").json())[0]
    ids = [said[spoken.name].pop("id") for spoken in PRESETS]
    always = {
        "name": "Production PostgreSQL",
        "status": "active",
        "last_synced_at": "2025-12-29T16:22:00Z",
        "created_at": said["kb"]["created_at"],
    }
    assert said == {
        "kb": always | {"type": "database", "engine": "postgresql"},
        "v1": always | {"type": "database", "engine": "postgresql"},
        "offset": always | {"source_type": "database", "row_count": said["offset"]["row_count"]},
    }
    assert (ids[0], len(ids[1]), ids[2][:2]) == (1, 36, "s_")


def test_a_list_that_leaves_the_details_out_has_them_in_the_detail(calling):
    with calling(V1) as (sandbox, client):
        report = next(told for told in sandbox.organisation.truth()["reports"] if told["insights"])
        dashboard = next(told for told in sandbox.organisation.truth()["dashboards"] if told["widgets"])
        listed = [set(rows_of(client.get(path).json())[0]) for path in ("reports/", "dashboards/")]
        detailed = client.get(f"reports/{report['id']}/").json(), client.get(f"dashboards/{dashboard['id']}/").json()
    left_out = {"insights", "data_quality_metrics", "description", "widgets"}
    assert [names & left_out for names in listed] == [set(), set()]
    assert detailed[0]["insights"] == report["insights"]
    assert detailed[0]["data_quality_metrics"] == report["data_quality_metrics"]
    assert [widget["id"] for widget in detailed[1]["widgets"]] == [widget["id"] for widget in dashboard["widgets"]]


def test_widgets_may_be_in_the_configuration(calling):
    with calling(replace(KB, widgets_under="configuration")) as (sandbox, client):
        dashboard = sandbox.organisation.truth()["dashboards"][0]
        said = client.get("dashboards/1/").json()
    assert "widgets" not in said
    assert len(said["configuration"]["widgets"]) == len(dashboard["widgets"]) > 0


def test_a_source_that_is_not_active_is_missing_from_the_list_and_has_its_detail(calling):
    with calling(V1) as (sandbox, client):
        broken = next(told for told in sandbox.organisation.truth()["data_sources"] if told["status"] == "error")
        assert broken["id"] not in ids_of(walked(client, V1, "data-sources"))
        assert client.get(f"data-sources/{broken['id']}/").json()["status"] == "error"


def test_data_sources_can_be_narrowed_and_an_unknown_choice_is_a_field_error(calling):
    with calling() as (_, client):
        narrowed = client.get("data-sources/", params={"status": "error", "type": "api"}).json()["results"]
        unknown = client.get("data-sources/?status=broken")
    assert {(source["status"], source["type"]) for source in narrowed} == {("error", "api")}
    assert (unknown.status_code, unknown.json()) == (400, {"status": ['"broken" is not a valid choice.']})


@pytest.mark.parametrize("spoken", PRESETS, ids=lambda spoken: spoken.name)
def test_a_deleted_object_is_gone_from_the_list_and_its_detail_is_404(calling, spoken):
    with calling(spoken) as (sandbox, client):
        id = sandbox.organisation.truth()["reports"][4]["id"]
        assert client.get(f"reports/{id}/").status_code == 200
        sandbox.organisation.delete("reports", id)
        gone = client.get(f"reports/{id}/")
        assert id not in ids_of(walked(client, spoken, "reports"))
    message = f"Report with ID {id} not found"
    body = {"detail": message} if spoken is KB else {"error": "not_found", "message": message, "status": 404}
    assert (gone.status_code, gone.json()) == (404, body)


def test_a_raw_object_is_served_word_for_word(calling):
    raw = {"id": "=1+1", "title": 'a "quoted"\n💥', "Title": [], "big": 2**70, "x": 0.1, "created_at": "yesterday"}
    with calling() as (sandbox, client):
        sandbox.organisation.put_raw("reports", raw)
        assert client.get("reports/").json()["results"][0] == raw
        assert client.get("reports/%3D1+1/").json() == raw


def test_a_change_is_seen_at_once(calling):
    with calling() as (sandbox, client):
        before = client.get("reports/").json()
        assert client.get("reports/").json() == before
        sandbox.organisation.edit_report(30, title="Fresh")
        assert client.get("reports/").json()["results"][0]["title"] == "Fresh"


@pytest.mark.parametrize("spoken", PRESETS, ids=lambda spoken: spoken.name)
def test_a_quiet_night_changes_nothing_in_a_list_but_the_signatures(calling, spoken):
    def lists():
        texts = [client.get(f"{word}/?page_size=100&limit=100").text for word in RESOURCES]
        return texts, [re.sub(r"\?X-Expires=\d+&X-Signature=\w+", "", text) for text in texts]

    with calling(spoken, reports=90) as (sandbox, client):
        sandbox.organisation.advance(3)
        before, before_unsigned = lists()
        sandbox.organisation.advance(2, activity=0)
        after, after_unsigned = lists()
    assert after_unsigned == before_unsigned
    assert [then == now for then, now in zip(before, after, strict=True)] == [False, True, True]


def test_usage_and_the_organisation_are_told_under_each_dialects_own_paths(calling):
    told = {}
    for spoken in PRESETS:
        with calling(spoken) as (sandbox, client):
            sandbox.organisation.set_usage(ai_credits_used=4321)
            who = client.get("auth/status/" if spoken is KB else "auth/verify/").json()
            usage = client.get("billing/usage/" if spoken is KB else "usage/").json()
            other = client.get("usage/" if spoken is KB else "billing/usage/")
        assert (other.status_code, other.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert (usage["ai_credits_used"], usage["ai_credits_remaining"]) == (4321, 679)
        told[spoken.name] = (who["organization"][spoken.plan_label], usage[spoken.plan_label], sorted(who))
    assert told == {
        "kb": ("enterprise", "enterprise", ["organization", "user"]),
        "v1": ("enterprise", "enterprise", ["api_key", "organization", "user", "valid"]),
        "offset": ("enterprise", "enterprise", ["api_key", "organization", "user", "valid"]),
    }


def test_every_answer_is_dated_by_the_organisations_own_time(calling):
    with calling() as (sandbox, client):
        sandbox.organisation.advance(3)
        sandbox.faults.add(faults.html(502), faults.too_many(hit=2))
        answers = [client.get(path) for path in ("reports/", "reports/", "reports/", "reports/9999/", "nothing/")]
    assert [answer.status_code for answer in answers] == [502, 429, 200, 404, 404]
    assert [answer.headers.get_list("date") for answer in answers] == [["Sun, 04 Jan 2026 00:00:00 GMT"]] * 5


def test_answers_may_be_dated_by_the_machine_or_not_at_all(calling):
    with calling() as (sandbox, client):
        sandbox.date = "machine"
        before = int(time.time())
        told = client.get("reports/").headers["date"]
        after = time.time()
        sandbox.date = "none"
        undated = client.get("reports/")
    assert before <= parsedate_to_datetime(told).timestamp() <= after
    assert (undated.status_code, "date" in undated.headers) == (200, False)


# Who may ask


@pytest.mark.parametrize("spoken", PRESETS, ids=lambda spoken: spoken.name)
def test_a_dialect_takes_its_key_in_one_way_alone(calling, spoken):
    with calling(spoken) as (sandbox, client):
        statuses = {}
        for scheme in ("api-key", "x-api-key", "bearer"):
            client.headers = headers(scheme, sandbox.account.key)
            statuses[scheme] = client.get("reports/").status_code
        client.headers = headers("bearer", sandbox.account.key) | headers("x-api-key", sandbox.account.key)
        several = client.get("reports/").status_code
        client.headers = {}
        nothing = client.get("reports/").status_code
        shapes = [call.auth for call in sandbox.calls]
    expected = {"api-key": 401, "x-api-key": 401, "bearer": 401} | {spoken.key_scheme: 200}
    assert (statuses, several, nothing) == (expected, 401, 401)
    assert shapes == ["api-key", "x-api-key", "bearer", "bearer+x-api-key", "none"]


def test_a_wrong_key_is_refused_in_the_dialects_own_shape(calling):
    refused = {}
    for spoken in (KB, V1):
        with calling(spoken) as (_, client):
            answer = client.get("reports/", headers=headers(spoken.key_scheme, "claribi_key_wrong"))
        refused[spoken.name] = (answer.status_code, answer.json())
    assert refused == {
        "kb": (401, {"detail": "Invalid API key."}),
        "v1": (401, {"error": "unauthorized", "message": "Invalid API key.", "status": 401}),
    }


def test_a_missing_permission_is_named(calling):
    with calling(V1) as (sandbox, client):
        sandbox.account.permissions = frozenset({"data-sources:read", "usage:read"})
        refused = client.get("reports/")
        others = [client.get(path).status_code for path in ("data-sources/", "usage/", "auth/verify/", "dashboards/")]
    message = "This key lacks the permission reports:read."
    assert (refused.status_code, refused.json()) == (403, {"error": "forbidden", "message": message, "status": 403})
    assert others == [200, 200, 200, 403]


def test_a_plan_without_the_api_is_refused_by_name(calling):
    with calling() as (sandbox, client):
        sandbox.organisation.plan, sandbox.account.plan_has_api = "starter", False
        refused = client.get("auth/status/")
    assert (refused.status_code, refused.json()["detail"].split("; ")[1]) == (
        403,
        "Morgenrot Coffee Roasters is on Starter.",
    )


def test_a_key_ends_at_its_expiry(calling):
    clock = Clock()
    with calling(V1, limits=Limits(clock=clock)) as (sandbox, client):
        sandbox.account.expires_at = datetime.fromtimestamp(clock.now + 60, UTC)
        assert client.get("auth/verify/").json()["api_key"]["expires_at"] == "2027-01-15T08:01:00Z"
        clock.now += 60
        ended = client.get("auth/verify/")
    assert (ended.status_code, ended.json()["message"]) == (401, "This API key expired on 2027-01-15.")


def test_a_login_gives_tokens_that_run_out_and_can_be_refreshed(calling):
    clock = Clock()
    with calling(V1, limits=Limits(clock=clock)) as (sandbox, client):
        login = {"email": "demo@example.com", "password": "sandbox"}
        told = client.post(at(client, "/api/auth/login/"), json=login, headers={"Authorization": ""}).json()
        statuses = []
        client.headers = headers("bearer", told["access"])
        statuses.append(client.get("reports/").status_code)
        clock.now += sandbox.account.access_lifetime_s
        statuses.append(client.get("reports/").status_code)
        fresh = client.post(at(client, "/api/auth/token/refresh/"), json={"refresh": told["refresh"]}).json()
        client.headers = headers("bearer", fresh["access"])
        statuses.append(client.get("reports/").status_code)
        client.headers = headers("bearer", told["refresh"])
        statuses.append(client.get("reports/").status_code)
        clock.now += 7 * 86_400
        statuses.append(
            client.post(at(client, "/api/auth/token/refresh/"), json={"refresh": told["refresh"]}).status_code
        )
    assert statuses == [200, 401, 200, 401, 401]
    assert (told["user"]["organization"]["name"], list(fresh)) == ("Morgenrot Coffee Roasters", ["access"])
    assert sandbox.calls[1].auth == "jwt"
    assert sandbox.spending == []


def test_logins_that_lead_nowhere(calling):
    with calling(OFFSET) as (sandbox, client):
        good = {"email": sandbox.account.email, "password": sandbox.account.password}
        organization = client.post(at(client, "/api/auth/login/"), json=good).json()["user"]["organization"]
        wrong = client.post(at(client, "/api/auth/login/"), json=good | {"password": "guess"})
        short = client.post(at(client, "/api/auth/login/"), json={"email": "x"})
        broken = client.post(at(client, "/api/auth/login/"), content=b"email=x")
        sandbox.account.mfa_required = True
        second_factor = client.post(at(client, "/api/auth/login/"), json=good)
    assert organization == "Morgenrot Coffee Roasters"
    assert (wrong.status_code, wrong.json()["message"]) == (401, "Email or password is wrong.")
    assert (short.status_code, short.json()) == (400, {"password": ["This field is required."]})
    assert (broken.status_code, broken.json()["message"]) == (400, "The body is not a JSON object.")
    assert (second_factor.status_code, second_factor.json()) == (200, {"mfa_required": True})


def test_a_read_without_its_slash_is_redirected_and_a_post_is_not(calling):
    with calling() as (_, client):
        read = client.get("reports?page=2")
        detail = client.get("reports/7")
        post = client.post("reports")
        nothing = client.get("nothing")
    assert (read.status_code, read.headers["location"]) == (301, "/api/reports/?page=2")
    assert (detail.status_code, detail.headers["location"]) == (301, "/api/reports/7/")
    assert (post.status_code, nothing.status_code) == (404, 404)


def test_everything_that_could_cost_money_is_refused_and_counted(calling):
    with calling(V1) as (sandbox, client):
        client.get("reports/")
        costly = ["reports/generate/", "reports/1/generate/", "dashboards/1/refresh/", "reports/"]
        statuses = [client.post(path).status_code for path in costly] + [client.delete("reports/1/").status_code]
    assert statuses == [405] * 5
    assert [(call.method, call.path) for call in sandbox.spending] == [
        *(("POST", f"/api/v1/{path}") for path in costly),
        ("DELETE", "/api/v1/reports/1/"),
    ]


def test_a_download_leads_to_another_origin_by_a_signed_link(calling):
    with calling(download_origin="http://127.0.0.1:9") as (sandbox, client):
        done = next(told for told in sandbox.organisation.truth()["reports"] if told["status"] == "completed")
        sandbox.organisation.edit_report(30, status="pending", download_url=None)
        download = client.get(f"reports/{done['id']}/download/")
        listed = client.get(f"reports/{done['id']}/").json()["download_url"]
        not_ready = client.get("reports/30/download/")
    link = urlsplit(download.headers["location"])
    assert (download.status_code, link.netloc) == (302, "127.0.0.1:9")
    assert sorted(parse_qs(link.query)) == ["X-Expires", "X-Signature"]
    assert listed.partition("?")[0] == done["download_url"] != listed
    assert not_ready.status_code == 409


def test_the_key_is_never_kept(calling):
    with calling(KB) as (sandbox, client):
        client.get("reports/")
        client.get("reports/", headers=headers("bearer", sandbox.account.key))
        client.get("reports/", headers={"Authorization": f"Weird {sandbox.account.key}"})
    assert [call.auth for call in sandbox.calls] == ["api-key", "bearer", "unknown"]
    assert sandbox.account.key not in repr(sandbox.calls)


# How often


def test_every_answer_tells_what_is_left_of_the_window(calling):
    clock = Clock()
    with calling(limits=Limits(limit=3, window_s=60, clock=clock)) as (_, client):
        told = []
        for path in ("reports/", "nothing/", "reports/9999/", "reports/"):
            answer = client.get(path)
            told.append(
                (answer.status_code, *(answer.headers[f"x-ratelimit-{n}"] for n in ("limit", "remaining", "reset")))
            )
        clock.now += 60
        told.append((client.get("reports/").status_code,))
    reset = str(1_800_000_060)
    assert told == [
        (200, "3", "2", reset),
        (404, "3", "1", reset),
        (404, "3", "0", reset),
        (429, "3", "0", reset),
        (200,),
    ]


def test_each_key_has_its_own_window(calling):
    with calling(limits=Limits(limit=1)) as (_, client):
        statuses = [client.get("reports/").status_code for _ in range(2)]
        statuses.append(client.get("reports/", headers=headers("api-key", "another")).status_code)
    assert statuses == [200, 429, 401]


@pytest.mark.parametrize("by", ["the window", "a fault"])
@pytest.mark.parametrize(
    ("tells", "expected"),
    [
        ("seconds", {"retry-after": "40"}),
        ("date", {"retry-after": "Fri, 15 Jan 2027 08:00:40 GMT"}),
        ("reset", {"x-ratelimit-reset": "1800000040", "x-ratelimit-remaining": "0"}),
        ("nothing", {}),
    ],
)
def test_a_429_tells_the_wait_in_four_ways(calling, by, tells, expected):
    clock = Clock()
    limits = Limits(limit=0 if by == "the window" else 9, window_s=40, retry_after=tells, clock=clock)
    with calling(limits=limits) as (sandbox, client):
        if by == "a fault":
            sandbox.faults.add(faults.too_many(tells, wait_s=40))
        refused = client.get("reports/")
    named = {name: value for name, value in refused.headers.items() if name == "retry-after" or name in expected}
    assert (refused.status_code, named) == (429, expected)
    assert any(name.startswith("x-ratelimit") for name in refused.headers) == (tells != "nothing")
    if tells == "date":
        assert parsedate_to_datetime(named["retry-after"]).timestamp() == clock.now + 40


def test_a_spent_day_is_a_429_while_the_hour_has_calls_left(calling):
    with calling() as (sandbox, client):
        sandbox.faults.add(faults.too_many("seconds", wait_s=7200))
        refused = client.get("reports/")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7200")
    assert int(refused.headers["x-ratelimit-remaining"]) > 0


@pytest.mark.parametrize(("tells", "waits"), [("nothing", [None, None]), ("seconds", ["54000", "1"])])
def test_a_daily_limit_refuses_while_the_window_has_calls_left(calling, tells, waits):
    clock = Clock()  # it is eight in the morning
    with calling(limits=Limits(limit=2, daily=3, daily_tells=tells, clock=clock)) as (_, client):
        told = []
        for later_s in (0, 0, 0, 3600, 0, 15 * 3600 - 1, 1):
            clock.now += later_s
            answer = client.get("reports/")
            left, wait = (answer.headers.get(name) for name in ("x-ratelimit-remaining", "retry-after"))
            told.append((answer.status_code, left, wait))
    assert told == [
        (200, "1", None),
        (200, "0", None),
        (429, "0", "3600"),
        (200, "1", None),
        (429, "1", waits[0]),
        (429, "2", waits[1]),
        (200, "1", None),
    ]


def test_each_key_has_its_own_day(calling):
    with calling(limits=Limits(daily=1)) as (_, client):
        statuses = [client.get("reports/").status_code for _ in range(2)]
        statuses.append(client.get("reports/", headers=headers("api-key", "another")).status_code)
    assert statuses == [200, 429, 401]


def test_the_headers_may_leave_the_limit_out(calling):
    with calling(limits=Limits(limit=1, limit_header=False)) as (_, client):
        answers = [client.get("reports/") for _ in range(2)]
    names = [{name for name in answer.headers if name.startswith("x-ratelimit")} for answer in answers]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert names == [{"x-ratelimit-remaining", "x-ratelimit-reset"}] * 2


# What goes wrong


def outcome(client, path="reports/", **options):
    try:
        answer = client.get(path, **options)
    except httpx.HTTPError as error:
        return type(error).__name__
    return answer.status_code


@pytest.mark.parametrize("spoken", PRESETS, ids=lambda spoken: spoken.name)
def test_each_fault_of_a_whole_answer_as_a_client_sees_it(calling, spoken):
    struck = {
        faults.server_error(): 500,
        faults.server_error(503): 503,
        faults.unauthorized(): 401,
        faults.forbidden(): 403,
        faults.too_many(): 429,
        faults.html(): 200,
        faults.html(502): 502,
        faults.reset(): "ReadError",
        faults.truncated(): "RemoteProtocolError",
        faults.cut_json(): 200,
        faults.stalled(): "ReadTimeout",
    }
    with calling(spoken) as (sandbox, client):
        seen = {}
        for fault in struck:
            sandbox.faults.add(fault)
            seen[fault] = outcome(client, timeout=httpx.Timeout(5, read=0.2) if fault.kind == "stalled" else 5)
            assert outcome(client) == 200
    assert seen == struck
    broken_off = [call.status for call in sandbox.calls if call.status not in (200, 500, 503, 401, 403, 429, 502)]
    assert broken_off == [0, 0, 0]


def test_what_the_headers_of_a_broken_answer_promised(calling):
    with calling() as (sandbox, client):
        sandbox.faults.add(faults.reset(), faults.truncated(hit=2), faults.cut_json(hit=3))
        received = {}
        for kind in ("reset", "truncated", "cut_json"):
            with client.stream("GET", "reports/") as answer:
                body = b""
                try:
                    for chunk in answer.iter_bytes():
                        body += chunk
                except httpx.HTTPError:
                    pass
            received[kind] = (answer.status_code, len(body) / int(answer.headers["content-length"]), body[:11])
        whole = client.get("reports/").content
    assert received["truncated"][0] == received["cut_json"][0] == 200
    assert received["reset"] == (200, 0, b"")
    assert received["truncated"][1:] == (len(whole) // 2 / len(whole), b'{"results":')
    assert received["cut_json"][1:] == (1, b'{"results":')


def test_html_and_errors_are_what_they_say(calling):
    with calling() as (sandbox, client):
        sandbox.faults.add(faults.html(), faults.server_error(503, hit=2))
        page, error = client.get("reports/"), client.get("reports/")
    assert (page.headers["content-type"], page.text[:15]) == ("text/html; charset=utf-8", "<!doctype html>")
    assert error.json() == {"detail": "clariBI is being maintained and will be back in a moment."}


def test_a_stalled_answer_does_not_hold_the_server_back():
    with httpx.Client(timeout=5) as client:
        with serve(Sandbox(KB, Organisation(reports=3))) as running:
            running.sandbox.faults.add(faults.stalled(times=None))
            key = headers("api-key", running.sandbox.account.key)
            answer = client.send(client.build_request("GET", f"{running.url}/api/reports/", headers=key), stream=True)
            assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            answer.read()


def test_a_fault_strikes_the_calls_it_names(calling):
    with calling(reports=90) as (sandbox, client):
        sandbox.faults.add(
            faults.server_error(500, path="*/reports/", page=3, times=None),
            faults.server_error(501, path="*/reports/", hit=2, times=2),
            faults.server_error(502, path="*/reports/[0-9]*/"),
            faults.server_error(503, method="POST", path="*/login/"),
        )
        paths = ["reports/?page=3", "reports/", "reports/?page=2", "reports/?page=3", "reports/", "dashboards/"]
        seen = [client.get(path).status_code for path in [*paths, "reports/5/", "reports/5/"]]
        seen.append(client.post(at(client, "/api/auth/login/")).status_code)
        sandbox.faults.clear()
        seen.append(client.get("reports/?page=3").status_code)
    assert seen == [500, 501, 501, 500, 200, 200, 502, 200, 503, 200]


@pytest.mark.parametrize("spoken", PRESETS, ids=lambda spoken: spoken.name)
def test_a_fault_can_name_a_page_in_every_paging(calling, spoken):
    with calling(spoken, reports=50) as (sandbox, client):
        sandbox.faults.add(faults.empty_page(path="*/reports/", page=2))
        bodies = []
        for body in pages(client, spoken, "reports", size=10):
            bodies.append(body)
            if not rows_of(body):
                break
        assert [len(rows_of(body)) for body in bodies] == [10, 0]
        assert bodies[1].get("next") or bodies[1].get("next_cursor") or bodies[1].get("total") == 50
        assert len(walked(client, spoken, "reports", size=10)) == 50


@pytest.mark.parametrize("spoken", PRESETS, ids=lambda spoken: spoken.name)
def test_an_empty_list_says_that_it_is_whole(calling, spoken):
    with calling(spoken) as (sandbox, client):
        sandbox.faults.add(faults.zero_rows(path="*/reports/", times=None))
        body = client.get("reports/").json()
        assert rows_of(body) == []
        assert not any(body.get(name) for name in ("count", "total", "next", "next_cursor"))
        assert len(walked(client, spoken, "dashboards")) == 18


@pytest.mark.parametrize("spoken", PRESETS, ids=lambda spoken: spoken.name)
def test_a_server_that_ignores_the_page_gives_the_first_one_again(calling, spoken):
    with calling(spoken, reports=50) as (sandbox, client):
        sandbox.faults.add(faults.page_ignored(path="*/reports/", times=None))
        seen = [ids_of(rows_of(body)) for body in pages(client, spoken, "reports", size=10, most=4)]
    assert len(seen) == 4
    assert all(ids == seen[0] for ids in seen)


@pytest.mark.parametrize("spoken", [KB, V1, replace(V1, paging="link")], ids=lambda spoken: spoken.paging)
@pytest.mark.parametrize("page", [1, 2])
def test_a_next_that_repeats_leads_to_the_page_it_came_with(calling, spoken, page):
    def follow(client, body):
        if "next_cursor" in body:
            return client.get("reports/", params={"page_size": 10, "cursor": body["next_cursor"]}).json()
        return client.get(body["next"]).json()

    with calling(spoken, reports=50) as (sandbox, client):
        sandbox.faults.add(faults.repeated_next(path="*/reports/", page=page, times=None))
        body = client.get("reports/?page_size=10").json()
        seen = [ids_of(rows_of(body))]
        for _ in range(4):
            body = follow(client, body)
            seen.append(ids_of(rows_of(body)))
    assert [ids == seen[page - 1] for ids in seen] == [place >= page - 1 for place in range(5)]


@pytest.mark.parametrize("spoken", PRESETS, ids=lambda spoken: spoken.name)
def test_a_next_on_another_host(calling, spoken):
    with calling(spoken, reports=50) as (sandbox, client):
        sandbox.faults.add(faults.foreign_next("127.0.0.1:9", path="*/reports/"))
        body = client.get("reports/").json()
    assert (body["next"], "next_cursor" in body) == (f"http://127.0.0.1:9{spoken.prefix}reports/?page=2", False)
    assert len(rows_of(body)) == 20


@pytest.mark.parametrize("spoken", [*PRESETS, COMBINATIONS[0]], ids=lambda spoken: spoken.name)
def test_a_renamed_envelope(calling, spoken):
    with calling(spoken) as (sandbox, client):
        sandbox.faults.add(faults.renamed_envelope("rows"))
        body = client.get("reports/").json()
    assert len(body["rows"]) == 20
    assert not {"results", "items", "data"} & set(body)


def test_a_row_deleted_while_paging_hides_a_living_one_from_page_numbers_and_not_from_cursors(calling):
    missing = {}
    for spoken in PRESETS:
        with calling(spoken, reports=50) as (sandbox, client):
            sandbox.faults.add(faults.row_deleted(path="*/reports/", page=2))
            bodies = list(pages(client, spoken, "reports", size=10))
            alive = {told["id"] for told in sandbox.organisation.truth()["reports"]}
            seen = {id for body in bodies for id in ids_of(rows_of(body))}
        totals = [body.get("count", body.get("total")) for body in bodies]
        missing[spoken.name] = (len(alive), len(alive - seen), totals[0], totals[-1])
    assert missing == {"kb": (49, 1, 50, 49), "v1": (49, 0, None, None), "offset": (49, 1, 50, 49)}


def test_a_row_inserted_while_paging_shows_another_twice_where_the_newest_come_first(calling):
    twice = {}
    for spoken in PRESETS:
        with calling(spoken, reports=50) as (sandbox, client):
            sandbox.faults.add(faults.row_inserted(path="*/reports/", page=2))
            bodies = list(pages(client, spoken, "reports", size=10))
            seen = [id for body in bodies for id in ids_of(rows_of(body))]
        totals = [body.get("count", body.get("total")) for body in bodies]
        twice[spoken.name] = (len(seen) - len(set(seen)), totals[0], totals[-1])
    assert twice == {"kb": (1, 50, 51), "v1": (0, None, None), "offset": (0, 50, 51)}


def test_a_fault_that_does_not_exist_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no fault is called 'fire'; known are status, too_many"):
        faults.Fault(kind="fire")


def test_a_bare_list_cannot_be_paged_by_cursor():
    with pytest.raises(ValueError, match="a bare list has no room for a cursor"):
        replace(V1, envelope="list")


# How it is run and steered


def test_a_big_list_makes_only_the_pages_that_are_read(calling):
    with calling(OFFSET, reports=1_000_000, limits=Limits(limit=10**9)) as (_, client):
        last = client.get("reports/", params={"limit": 100, "offset": 999_950}).json()
    assert (len(last["items"]), last["total"]) == (50, 1_000_000)


def test_it_is_steered_over_http_without_a_key_and_without_a_trace(calling):
    with calling() as (sandbox, client):
        steer = httpx.Client(base_url=at(client, "/_sandbox/"))
        with steer:
            night = steer.post("advance?nights=2").json()
            truth = steer.get("truth").json()
            added = steer.post("faults", json=[{"kind": "status", "status": 503, "path": "*/reports/", "times": None}])
            unknown = [steer.post("faults", json=body) for body in ({"kind": "fire"}, {"kind": "reset", "when": 1})]
            struck = client.get("reports/").status_code
            cleared = steer.delete("faults").status_code
            calls = steer.get("calls").json()
            wrong = steer.post("advance?nights=many").status_code
    assert (night["now"], len(night["nights"])) == ("2026-01-03T00:00:00Z", 2)
    assert ids_of(truth["reports"]) == ids_of(sandbox.organisation.truth()["reports"])
    assert (added.status_code, struck, cleared, wrong) == (201, 503, 204, 400)
    assert [answer.status_code for answer in unknown] == [400, 400]
    assert "no fault is called 'fire'" in unknown[0].json()["error"]
    path = {"method": "GET", "path": "/api/reports/", "query": "", "auth": "api-key", "status": 503}
    assert calls == {"calls": [path], "spending": []}


def test_it_is_steered_from_this_machine_alone():
    async def ask(address):
        transport = httpx.ASGITransport(Sandbox(KB, Organisation(reports=1)), client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
            return (await client.get("/_sandbox/calls")).status_code

    assert [asyncio.run(ask(address)) for address in ("127.0.0.1", "::1", "192.0.2.1")] == [200, 200, 404]


def test_two_dialects_over_one_organisation_are_one_account_that_changed_its_dialect():
    organisation = Organisation(reports=5)
    titles = []
    for spoken in (KB, V1):
        with serve(Sandbox(spoken, organisation)) as running:
            key = headers(spoken.key_scheme, running.sandbox.account.key)
            rows = rows_of(httpx.get(f"{running.url}{spoken.prefix}reports/", headers=key).json())
            titles.append([row["title"] for row in rows])
            assert ids_of(rows) == [told["id"] for told in reversed(organisation.truth()["reports"])]
    assert titles[0] == titles[1]


FOREGROUND = """
import sys
from pipelines.sandbox import run_sandbox
def ready(running):
    print(running.url, running.sandbox.account.key, flush=True)
options = {"details_in_list": True, "limit": 7, "daily": 1, "validators": "etag"}
run_sandbox("v1", 0, reports=40, nights=1, **options, on_ready=ready)
print("bye", flush=True)
"""


def test_it_runs_in_the_foreground_until_it_is_interrupted():
    with subprocess.Popen([sys.executable, "-c", FOREGROUND], stdout=subprocess.PIPE, text=True) as process:
        try:
            url, key = process.stdout.readline().split()
            answer, spent = (httpx.get(f"{url}/api/v1/reports/", headers=headers("bearer", key)) for _ in range(2))
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (answer.status_code, answer.headers["x-ratelimit-limit"]) == (200, "7")
    assert (spent.status_code, "etag" in answer.headers) == (429, True)
    assert "insights" in answer.json()["data"][0]
    assert (rest, process.returncode) == ("bye\n", 0)
