"""Which of the missing objects are gone: asked over real HTTP, guarded against a list that is wrong."""

import pyarrow as pa
import pytest

from pipelines.claribi.changes import Comparison
from pipelines.claribi.deletions import look_for_missing
from pipelines.claribi.errors import ComeBackLater, Shrunk, Unreachable
from pipelines.claribi.run import Run
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi.shelf import Shelf
from pipelines.sandbox import KB, Organisation, Sandbox, faults
from tests.stage import finish_calls


class Held:
    """A destination that holds reports with these ids as alive."""

    def __init__(self, ids):
        self._rows = pa.table({"id": pa.array(ids, pa.string())})

    def read(self, _table):
        return self._rows.to_reader()

    def takes(self, _table):
        return None


class Account:
    """An account with `alive` reports, their ids being 1 and so on; what is listed of them is the test's word."""

    def __init__(self, stage, alive):
        self.sandbox = stage.sandbox = Sandbox(KB, Organisation(reports=alive))
        settings = ClaribiSettings()
        settings.api_key, settings.base_url = self.sandbox.account.key, stage.url
        settings.retry_wait, settings.retry_tries, settings.max_wait = 0.01, 2, 0.0
        settings.on_resolved()
        self.settings, self.state, self.runs = settings, {}, []

    def run(self, **options):
        self.runs.append(Run(self.settings, run_id="r", state=self.state, **options))
        return self.runs[-1]

    def look(self, held, listed, **options):
        """One look for those of `held` that were not `listed`; ids are numbers."""
        self.last = self.run(**options)
        self.sandbox.calls.clear()
        with Shelf("reports", {}) as shelf:
            if listed:
                shelf.put({"reports": pa.table({"id": pa.array(map(str, listed), pa.string())})})
            return look_for_missing(self.last, "reports", Comparison(Held(map(str, held)), shelf, ["reports"]))

    def asked(self):
        """The ids whose details were asked for."""
        return [int(call.path.split("/")[-2]) for call in self.sandbox.calls if call.path.startswith("/api/reports/")]


@pytest.fixture
def account(stage):
    made = []

    def open_account(alive):
        made.append(Account(stage, alive))
        return made[-1]

    yield open_account
    for one in made:
        for run in one.runs:
            run.close()
    finish_calls()


def numbers(ids):
    return sorted(map(int, ids))


def test_nothing_is_asked_when_nothing_is_missing(account):
    one = account(3)
    found = one.look([1, 2, 3], [1, 2, 3, 4])
    assert (found.gone, found.alive, one.asked(), one.state["missed"]) == ([], [], [], {})


def test_a_missing_object_is_gone_only_when_its_own_detail_is_not_found(account):
    one = account(8)
    found = one.look(range(1, 11), range(1, 7))  # 7 and 8 are there, 9 and 10 are not
    assert numbers(found.gone) == [9, 10]
    assert numbers(item["id"] for item in found.alive) == [7, 8]
    assert sorted(one.asked()) == [7, 8, 9, 10]


def test_up_to_five_rows_of_a_small_table_may_go_at_once(account):
    assert numbers(account(1).look(range(1, 7), [1]).gone) == [2, 3, 4, 5, 6]
    with pytest.raises(Shrunk) as caught:
        account(1).look(range(1, 8), [1])
    assert str(caught.value).startswith("6 of the 7 reports in the destination are missing from clariBI's list.")
    assert str(caught.value).endswith("run once with --allow-shrink.")


def test_a_fifth_of_a_table_may_go_at_once_and_not_one_more(account):
    assert len(account(80).look(range(1, 101), range(1, 81)).gone) == 20
    with pytest.raises(Shrunk):
        account(79).look(range(1, 101), range(1, 80))


def test_many_that_the_list_left_out_but_that_are_there_are_no_shrink(account):
    found = account(100).look(range(1, 101), range(1, 61))
    assert found.gone == []
    assert numbers(item["id"] for item in found.alive) == list(range(61, 101))


def test_a_list_without_an_object_never_deletes_all_of_a_small_table(account):
    one = account(0)
    with pytest.raises(Shrunk):
        one.look([1, 2, 3], [])
    assert numbers(one.look([1, 2, 3], [], allow_shrink=True).gone) == [1, 2, 3]


def test_an_empty_list_of_objects_that_are_there_deletes_nothing_and_says_so(account):
    one = account(3)
    found = one.look([1, 2, 3], [])
    assert (found.gone, numbers(item["id"] for item in found.alive)) == ([], [1, 2, 3])
    assert [problem.exit_code for problem in one.last.problems] == [4]
    assert one.last.outcome == "partial"
    assert "it came empty, while 3 of them still answer" in str(one.last.problems[0])


def test_more_than_fifty_missing_are_gone_when_two_looks_in_a_row_miss_them(account):
    one, held, listed = account(340), range(1, 401), range(1, 341)
    first = one.look(held, listed)
    assert len(first.gone) == len(one.asked()) == 50
    rest = set(held) - set(listed) - set(numbers(first.gone))
    assert len(one.state["missed"]["reports"]) == len(rest) == 10
    second = one.look(sorted(set(held) - set(numbers(first.gone))), listed)
    assert set(numbers(second.gone)) == rest
    assert one.state["missed"] == {}


def test_beyond_the_fifty_that_are_asked_only_what_was_missed_twice_is_gone(account):
    one = account(340)
    one.look(range(1, 401), range(1, 341))
    remembered = one.state["missed"]["reports"]
    found = one.look(range(1, 401), range(1, 341))  # the destination did not take the first look's deletions
    assert len(found.gone) == 60
    assert len(remembered) == 10
    one.look(range(1, 401), range(1, 341))
    one.look(range(1, 401), range(1, 401))
    assert one.state["missed"] == {}
    assert len(one.look(range(1, 401), range(1, 341)).gone) == 50


def test_what_the_state_remembers_is_short(account):
    one = account(340)
    one.look(range(1, 401), range(1, 341))
    assert {len(text) for text in one.state["missed"]["reports"]} == {8}


def test_far_too_many_missing_end_it_before_anything_is_asked(account):
    one = account(39)
    with pytest.raises(Shrunk) as caught:
        one.look(range(1, 101), range(1, 40))
    assert one.asked() == []
    assert (caught.value.missing, caught.value.held) == (61, 100)


def test_who_believes_a_shrink_gets_all_of_it_at_once(account):
    one = account(39)
    assert len(one.look(range(1, 101), range(1, 40), allow_shrink=True).gone) == 61
    assert len(one.asked()) == 50
    assert one.state["missed"] == {}


def test_a_spent_limit_ends_the_asking_and_keeps_what_is_known(account):
    one = account(3)
    one.sandbox.faults.add(faults.too_many(wait_s=3600, path="/api/reports/5/", times=None))
    found = one.look([1, 2, 3, 4, 5], [1, 2, 3])
    assert numbers(found.gone) == [4]
    assert [type(problem) for problem in one.last.problems] == [ComeBackLater]


def test_an_erring_detail_is_no_deletion(account):
    one = account(3)
    one.sandbox.faults.add(faults.server_error(500, path="/api/reports/4/", times=None))
    with pytest.raises(Unreachable):
        one.look([1, 2, 3, 4], [1, 2, 3])
