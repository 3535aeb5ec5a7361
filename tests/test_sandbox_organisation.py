"""The sandbox's organisation: deterministic, lazy, and alive by night."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sandbox import Organisation, content
from pipelines.sandbox.ids import number_of, spell
from pipelines.sandbox.organisation import KINDS


def by_id(truth, kind="reports"):
    return {item["id"]: item for item in truth[kind]}


def test_the_same_arguments_make_the_same_organisation_and_the_same_nights():
    one, other = Organisation(reports=300), Organisation(reports=300)
    assert one.advance(10) == other.advance(3) + other.advance(7)
    assert one.truth() == other.truth()


def test_another_seed_makes_another_organisation():
    assert Organisation(reports=5, seed=1).truth() != Organisation(reports=5, seed=2).truth()


def test_it_holds_as_many_objects_as_were_asked_for():
    truth = Organisation(reports=123, dashboards=4, sources=30).truth()
    assert [len(truth[kind]) for kind in KINDS] == [123, 4, 30]
    assert len({source["name"] for source in truth["data_sources"]}) == 30


def test_an_empty_organisation_can_live_through_nights():
    organisation = Organisation(reports=0, dashboards=0, sources=0)
    assert organisation.truth()["reports"] == []
    organisation.advance(30)


def test_most_reports_are_completed_and_the_open_ones_are_the_newest():
    reports = Organisation(reports=1240).truth()["reports"]
    share = {status: sum(report["status"] == status for report in reports) / 1240 for status in ("completed", "failed")}
    assert 0.8 < share["completed"] < 0.9
    assert 0.05 < share["failed"] < 0.15
    open_at = [at for at, report in enumerate(reports) if report["status"] in content.OPEN]
    assert open_at
    assert min(open_at) >= 1240 - 12


def test_a_night_does_what_it_says():
    organisation = Organisation(reports=400)
    before = by_id(organisation.truth())
    for _ in range(12):
        [night] = organisation.advance()
        after = by_id(organisation.truth())
        assert set(after) - set(before) == set(night.added) - set(night.deleted) | set(night.returned)
        assert set(before) - set(after) == set(night.deleted) - set(night.added)
        finished = [after[id] for id in night.finished if id in after]
        assert all(report["status"] not in content.OPEN and report["completed_at"] for report in finished)
        changed = {id for id in before if id in after and after[id] != before[id]}
        assert changed == {id for id in {*night.finished, *night.edited} if id in before and id in after}
        before = after


def test_thirty_nights_show_everything_that_can_happen():
    organisation = Organisation(reports=400)
    start = organisation.truth()
    nights = organisation.advance(30)
    truth = organisation.truth()
    assert all(any(night[what] for night in nights) for what in range(5))
    assert set(by_id(truth, "dashboards")) != set(by_id(start, "dashboards"))
    moved = by_id(truth, "dashboards")["1"]["last_refresh"] > by_id(start, "dashboards")["1"]["last_refresh"]
    statuses = [[source["status"] for source in told["data_sources"]] for told in (start, truth)]
    assert (moved, statuses[0] != statuses[1]) == (True, True)


def test_scheduled_reports_come_every_night_and_every_seventh_about_the_time_before():
    organisation = Organisation(reports=60)
    came = {"Daily sales": [], "Weekly review": []}
    for night in organisation.advance(21):
        for number in map(int, night.added):
            report = organisation.item("reports", number)
            if report["title"] in came:
                came[report["title"]].append((report["created_at"], report["period_start"], report["period_end"]))
    mornings = [organisation.start + timedelta(days=day, hours=6) for day in range(21)]
    assert came["Daily sales"] == [
        (at, at.date() - timedelta(days=1), at.date() - timedelta(days=1)) for at in mornings
    ]
    assert came["Weekly review"] == [
        (at, at.date() - timedelta(days=7), at.date() - timedelta(days=1)) for at in mornings[6::7]
    ]


def test_scheduled_reports_can_stop_arriving():
    organisation = Organisation(reports=60)
    organisation.advance(2)
    organisation.series = False
    organisation.advance(2)
    titles = [report["title"] for report in organisation.truth()["reports"]]
    assert titles.count("Daily sales") == 2
    assert "Daily sales" not in {report["title"] for report in Organisation(series=False).truth()["reports"]}


def test_nothing_is_dated_in_the_future():
    organisation = Organisation(reports=400)
    organisation.advance(20)
    truth = organisation.truth()
    items = [item for kind in KINDS for item in truth[kind]]
    stamps = [item[name] for item in items for name in item if name.endswith(("_at", "_refresh"))]
    assert max(stamp for stamp in stamps if stamp) < organisation.now == datetime(2026, 1, 21, tzinfo=UTC)


def test_reports_are_numbered_in_the_order_of_their_creation():
    organisation = Organisation(reports=2000)
    organisation.advance(5)
    created = [report["created_at"] for report in organisation.truth()["reports"]]
    assert created == sorted(created)


def test_the_history_may_be_longer_so_that_reports_lie_thinner():
    organisation = Organisation(reports=730, history_days=7300)
    created = [report["created_at"] for report in organisation.truth()["reports"]]
    gaps = [later - earlier for earlier, later in pairwise(created)]
    assert (organisation.founded.year, created[0].year, created[-1].year) == (2006, 2006, 2025)
    assert timedelta(days=1) < min(gaps) < max(gaps) < timedelta(days=20)


def test_a_quiet_night_moves_the_clock_alone():
    organisation = Organisation(reports=50)
    before = organisation.truth()
    organisation.advance(3, activity=0)
    after = organisation.truth()
    assert {kind: after[kind] for kind in KINDS} == {kind: before[kind] for kind in KINDS}
    assert organisation.now == organisation.start + timedelta(days=3)


def test_a_restored_report_that_was_open_still_comes_to_an_end():
    organisation = Organisation(reports=20)
    id = organisation.add_report(status="generating", completed_at=None)
    organisation.delete("reports", id)
    organisation.restore("reports", id)
    organisation.advance(40)
    assert by_id(organisation.truth()).get(id, {"status": "deleted"})["status"] not in content.OPEN


def test_credits_grow_with_the_month_and_begin_anew():
    organisation = Organisation(reports=1)
    used = []
    for _ in range(32):
        used.append(organisation.usage()["ai_credits_used"])
        organisation.advance(activity=0)
    assert used[:31] == sorted(used[:31])
    assert used[31] == 0 < used[30] < 5000


def test_a_month_on_the_professional_plan_spends_four_fifths_of_its_credits_before_it_ends():
    organisation = Organisation(reports=1, plan="professional")
    shares = []
    for _ in range(31):
        usage = organisation.usage()
        shares.append(usage["ai_credits_used"] / usage["ai_credits_limit"])
        organisation.advance(activity=0)
    steps = [later - earlier for earlier, later in pairwise(shares)]
    assert 0.01 < min(steps) < max(steps) < 0.05
    assert (shares[0], sum(share < 0.8 for share in shares), shares[-1] < 1) == (0, 26, True)


def test_a_million_reports_cost_nothing_until_they_are_read(monkeypatch):
    made = []
    report = content.report
    monkeypatch.setattr(content, "report", lambda *told: made.append(1) or report(*told))
    organisation = Organisation(reports=1_000_000)
    organisation.advance(activity=0.01)
    numbers = organisation.numbers("reports", "newest")
    assert [organisation.item("reports", number)["id"] for number in numbers[:2]] == [str(n) for n in numbers[:2]]
    assert len(numbers) > 999_990
    assert len(made) < 20


def test_objects_can_be_added_edited_deleted_and_restored_by_hand():
    organisation = Organisation(reports=2, ids="uuid")
    id = organisation.add_report(title="By hand", priority=3)
    organisation.edit_report(id, title="Renamed")
    report = by_id(organisation.truth())[id]
    assert (report["title"], report["priority"], report["status"]) == ("Renamed", 3, "completed")
    organisation.delete("reports", id)
    assert id not in by_id(organisation.truth())
    organisation.restore("reports", id)
    assert by_id(organisation.truth())[id] == report
    source = organisation.add("data_sources", status="error")
    assert by_id(organisation.truth(), "data_sources")[source]["status"] == "error"


def test_what_does_not_exist_cannot_be_changed():
    organisation = Organisation(reports=2)
    with pytest.raises(LookupError, match="no object 3 among the reports"):
        organisation.edit_report(3, title="x")
    with pytest.raises(LookupError, match="no deleted object 1 among the reports"):
        organisation.restore("reports", "1")


def test_a_raw_object_is_kept_as_it_was_put_and_can_be_deleted():
    organisation = Organisation(reports=1)
    raw = {"id": "d'oh 💥", "title": None, "n": 2**70}
    organisation.put_raw("reports", raw)
    assert organisation.truth()["reports"][1] == raw
    organisation.delete("reports", raw["id"])
    assert len(organisation.truth()["reports"]) == 1


def test_ids_can_be_spelled_anew_while_the_objects_stay():
    organisation = Organisation(reports=3)
    titles = {ids: [] for ids in ("int", "uuid", "short")}
    for ids in titles:
        organisation.ids = ids
        titles[ids] = [(report["title"], report["created_at"]) for report in organisation.truth()["reports"]]
    assert titles["int"] == titles["uuid"] == titles["short"]


@given(number=st.integers(1, 2**24 - 1), ids=st.sampled_from(["int", "uuid", "short"]), kind=st.sampled_from(KINDS))
def test_every_id_leads_back_to_its_number(number, ids, kind):
    assert number_of(kind, spell(kind, number, ids), ids) == number


@given(text=st.text(max_size=40), ids=st.sampled_from(["int", "uuid", "short"]))
def test_no_other_text_is_taken_for_an_id(text, ids):
    number = number_of("reports", text, ids)
    assert number is None or spell("reports", number, ids) == text
