"""The shelf gives each object back once, in its latest answer."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.claribi.shelf import Shelf, take

PARENTS = {"insights": "report_id"}


def batch(answer, *ids):
    """One batch: reports with two insights each, all of which say which answer they are from."""
    return {
        "reports": pa.table({"id": pa.array(ids, pa.string()), "answer": pa.array([answer] * len(ids), pa.int64())}),
        "insights": pa.table(
            {
                "report_id": pa.array([one for one in ids for _ in range(2)], pa.string()),
                "position": pa.array([0, 1] * len(ids), pa.int64()),
                "answer": pa.array([answer] * 2 * len(ids), pa.int64()),
            }
        ),
    }


def given_back(shelf):
    """The answers of all reports and of all insights that the shelf gives, by id."""
    reports, insights = [], []
    for found in shelf.batches():
        reports += [(row["id"], row["answer"]) for row in found["reports"].to_pylist()]
        insights += [(row["report_id"], row["position"], row["answer"]) for row in found["insights"].to_pylist()]
    return reports, insights


@pytest.fixture
def shelf():
    with Shelf("reports", PARENTS) as shelf:
        yield shelf


def test_what_came_once_comes_back_in_its_order(shelf):
    shelf.put(batch(1, "b", "a"))
    shelf.put(batch(2, "c"))
    reports, insights = given_back(shelf)
    assert reports == [("b", 1), ("a", 1), ("c", 2)]
    assert insights == [("b", 0, 1), ("b", 1, 1), ("a", 0, 1), ("a", 1, 1), ("c", 0, 2), ("c", 1, 2)]
    assert {found["reports"].schema for found in shelf.batches()} == {batch(1)["reports"].schema}


def test_of_what_came_twice_the_later_answer_counts_with_its_children(shelf):
    shelf.put(batch(1, "a", "b"))
    shelf.put(batch(2, "b", "c"))
    reports, insights = given_back(shelf)
    assert reports == [("a", 1), ("b", 2), ("c", 2)]
    assert [row for row in insights if row[0] == "b"] == [("b", 0, 2), ("b", 1, 2)]


def test_no_empty_batch_is_given_back(shelf):
    shelf.put(batch(1, "a"))
    shelf.put(batch(2, "a"))
    assert [found["reports"].num_rows for found in shelf.batches()] == [1]


def test_batches_with_different_columns_keep_their_values(shelf):
    shelf.put({"reports": pa.table({"id": ["a"], "note": ["x"]})})
    shelf.put({"reports": pa.table({"id": ["b"], "size": [1]})})
    rows = [row for found in shelf.batches() for row in found["reports"].to_pylist()]
    assert [{name: value for name, value in row.items() if value is not None} for row in rows] == [
        {"id": "a", "note": "x"},
        {"id": "b", "size": 1},
    ]


def test_a_proven_attempt_takes_the_place_of_the_ones_before(shelf):
    shelf.put(batch(1, "a", "gone"))
    shelf.begin_attempt()
    shelf.put(batch(2, "a", "new"))
    shelf.keep_last_attempt()
    assert given_back(shelf)[0] == [("a", 2), ("new", 2)]
    assert sorted(shelf.ids().to_pylist()) == ["a", "new"]


def test_an_unproven_attempt_adds_to_the_ones_before(shelf):
    shelf.put(batch(1, "a", "old"))
    shelf.begin_attempt()
    shelf.put(batch(2, "a"))
    assert given_back(shelf)[0] == [("old", 1), ("a", 2)]
    assert sorted(shelf.ids().to_pylist()) == ["a", "a", "old"]


def test_a_proven_attempt_that_found_nothing_leaves_nothing(shelf):
    shelf.put(batch(1, "a"))
    shelf.begin_attempt()
    shelf.keep_last_attempt()
    assert given_back(shelf) == ([], [])
    assert shelf.ids().to_pylist() == []


def test_an_empty_shelf_gives_nothing_back(shelf):
    assert (len(shelf), given_back(shelf), shelf.columns) == (0, ([], []), {})


def test_columns_of_all_batches_are_known_and_which_have_a_value(shelf):
    shelf.put({"reports": pa.table({"id": ["a"], "note": pa.nulls(1, pa.string())})})
    shelf.put({"reports": pa.table({"id": ["b"], "size": [1]})})
    assert shelf.columns == {"reports": {"id": pa.string(), "note": pa.string(), "size": pa.int64()}}
    assert shelf.filled == {"reports": {"id", "size"}}


def test_a_shelf_can_be_read_again_and_filled_in_between(shelf):
    shelf.put(batch(1, "a"))
    assert given_back(shelf)[0] == [("a", 1)]
    shelf.put(batch(2, "b"))
    assert given_back(shelf)[0] == [("a", 1), ("b", 2)]


def test_a_closed_shelf_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Shelf("reports", PARENTS) as shelf:
        shelf.put(batch(1, "a"))
        assert list(tmp_path.iterdir()) == []


def test_rows_are_taken_by_position_with_their_children():
    taken = take(batch(1, "a", "b", "c"), "reports", PARENTS, np.array([2, 0]))
    assert taken["reports"]["id"].to_pylist() == ["c", "a"]
    assert taken["insights"]["report_id"].to_pylist() == ["a", "a", "c", "c"]
    assert take(batch(1, "a"), "reports", PARENTS, np.array([], dtype=np.intp))["insights"].num_rows == 0


pages = st.lists(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4), max_size=6)


@settings(max_examples=100, deadline=None)
@given(attempts=st.lists(pages, max_size=3), proven=st.booleans())
def test_whatever_comes_each_object_comes_back_once_in_its_latest_answer(attempts, proven):
    number, expected, last = 0, {}, {}
    with Shelf("reports", PARENTS) as shelf:
        for attempt in attempts:
            shelf.begin_attempt()
            last = {}
            for ids in attempt:
                number += 1
                shelf.put(batch(number, *ids))
                last |= dict.fromkeys(ids, number)
            expected |= last
        if proven:
            shelf.keep_last_attempt()
            expected = last
        reports, insights = given_back(shelf)
    assert sorted(reports) == sorted(expected.items())
    assert sorted(insights) == sorted((one, place, number) for one, number in expected.items() for place in (0, 1))
