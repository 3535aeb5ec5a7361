"""What is new, changed or missing, beside what a destination holds."""

from contextlib import contextmanager
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from pipelines.claribi.changes import Comparison
from pipelines.claribi.shelf import Shelf

STAMP = pa.timestamp("us", "UTC")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PARENTS = {"parts": "owner"}

THINGS = pa.schema([("id", pa.string()), ("name", pa.string()), ("deleted_at", STAMP)])
PARTS = pa.schema([("owner", pa.string()), ("place", pa.int64()), ("word", pa.string())])


class Held:
    """A destination of Arrow tables; `takes` names the columns of tables that it does not take whole."""

    def __init__(self, takes=None, **tables):
        self._tables, self._takes = tables, takes or {}

    def read(self, table):
        found = self._tables.get(table)
        return found.to_reader(max_chunksize=2) if found is not None else None

    def takes(self, table):
        return self._takes.get(table)


def things(*rows, schema=THINGS):
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=False)) for row in rows], schema)


def parts(*rows):
    return things(*rows, schema=PARTS)


@contextmanager
def compared(held, batch, only=None):
    """The comparison with a shelf that holds one batch."""
    with Shelf("things", PARENTS) as shelf:
        shelf.put(batch)
        yield Comparison(held, shelf, list(batch), only)


def sorted_out(held, batch, only=None):
    """Ids of what is new and of what changed."""
    with compared(held, batch, only) as beside:
        found = beside.sort(batch)
        ids = batch["things"]["id"].to_pylist()
        return [ids[row] for row in found.new], [ids[row] for row in found.changed]


def test_everything_is_new_to_a_destination_without_the_table():
    batch = {"things": things(("b",), ("a",))}
    assert sorted_out(Held(), batch) == (["b", "a"], [])
    with compared(Held(), batch) as beside:
        assert (beside.first, beside.missing(), beside.alive) == (True, [], 0)


def test_everything_is_new_to_an_empty_table():
    with compared(Held(things=things()), {"things": things(("a",))}) as beside:
        assert (beside.first, beside.missing(), beside.alive) == (False, [], 0)
    assert sorted_out(Held(things=things()), {"things": things(("a",))}) == (["a"], [])


def test_new_changed_and_equal_objects_are_told_apart():
    held = Held(things=things(("a", "x"), ("b", "x"), ("c", None), ("d", "x")))
    batch = {"things": things(("new", "x"), ("d", "y"), ("a", "x"), ("b", None), ("c", ""))}
    assert sorted_out(held, batch) == (["new"], ["d", "b", "c"])


def test_values_that_change_places_are_a_change():
    schema = pa.schema([("id", pa.string()), ("one", pa.string()), ("two", pa.string())])
    held = Held(things=things(("a", "x", "y"), ("b", None, "x"), schema=schema))
    batch = {"things": things(("a", "y", "x"), ("b", "x", None), schema=schema)}
    assert sorted_out(held, batch) == ([], ["a", "b"])


def test_what_is_held_as_deleted_and_listed_again_is_a_change():
    held, batch = Held(things=things(("a", "x", NOON))), {"things": things(("a", "x", None))}
    assert sorted_out(held, batch) == ([], ["a"])
    assert sorted_out(held, batch, {"id", "name"}) == ([], ["a"])


def test_a_change_in_a_child_row_is_a_change_of_its_parent():
    main = things(("same", "x"), ("word", "x"), ("more", "x"), ("fewer", "x"), ("none", "x"), ("first", "x"))
    held = Held(
        things=main,
        parts=parts(
            ("same", 0, "a"),
            ("same", 1, "b"),
            ("word", 0, "a"),
            ("more", 0, "a"),
            ("fewer", 0, "a"),
            ("fewer", 1, "b"),
            ("none", 0, "a"),
        ),
    )
    batch = {
        "things": main,
        "parts": parts(
            ("same", 1, "b"),
            ("same", 0, "a"),
            ("word", 0, "b"),
            ("more", 0, "a"),
            ("more", 1, "a"),
            ("fewer", 0, "a"),
            ("first", 0, "a"),
        ),
    }
    assert sorted_out(held, batch) == ([], ["word", "more", "fewer", "none", "first"])
    with compared(held, batch) as beside:
        assert beside.sort(batch).replaced == {"parts": 5}
        assert beside.alive == 6


def test_a_child_table_that_the_destination_lacks_makes_those_parents_differ_that_have_rows():
    held = Held(things=things(("a", "x"), ("b", "x")))
    batch = {"things": things(("a", "x"), ("b", "x")), "parts": parts(("b", 0, "w"))}
    assert sorted_out(held, batch) == ([], ["b"])


def test_a_child_table_that_the_destination_was_told_to_leave_out_is_not_compared():
    held = Held(things=things(("a", "x")), takes={"parts": frozenset()})
    assert sorted_out(held, {"things": things(("a", "x")), "parts": parts(("a", 0, "w"))}) == ([], [])


def test_only_columns_that_the_destination_takes_are_compared():
    held = Held(things=things(("a", None)), takes={"things": frozenset({"id", "deleted_at"})})
    assert sorted_out(held, {"things": things(("a", "y"))}) == ([], [])


def test_only_what_a_list_tells_is_compared_with_it():
    schema = pa.schema([*THINGS, ("detail", pa.string())])
    held = Held(things=things(("a", "x", None, "long"), ("b", "x", None, "long"), schema=schema))
    batch = {"things": things(("a", "x", None, None), ("b", "y", None, None), schema=schema)}
    assert sorted_out(held, batch, {"id", "name"}) == ([], ["b"])


def test_a_column_that_only_one_side_has_counts_as_empty_on_the_other():
    wider = pa.schema([*THINGS, ("size", pa.int64())])
    narrow = things(("a", "x"), ("b", "x"))
    wide = things(("a", "x", None, None), ("b", "x", None, 1), schema=wider)
    assert sorted_out(Held(things=narrow), {"things": wide}) == ([], ["b"])
    assert sorted_out(Held(things=wide), {"things": narrow}) == ([], ["b"])


def test_columns_of_the_destinations_own_are_not_compared():
    own = pa.schema([*THINGS, ("_loaded", pa.string())])
    held = Held(things=things(("a", "x", None, "1795501612.1"), schema=own))
    assert sorted_out(held, {"things": things(("a", "x"))}) == ([], [])


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (pa.string(), "é", "e\u0301"),
        (pa.string(), "a ", "a"),
        (pa.int64(), 2**53, 2**53 + 1),
        (pa.float64(), 0.1, 0.1 + 2**-55),
        (pa.bool_(), False, None),
        (pa.date32(), date(2026, 1, 1), date(2026, 1, 2)),
        (STAMP, NOON, NOON.replace(microsecond=1)),
    ],
)
def test_the_smallest_difference_is_seen_in_every_type(kind, one, other):
    schema = pa.schema([("id", pa.string()), ("value", kind)])
    held = Held(things=things(("a", one), ("b", other), schema=schema))
    batch = {"things": things(("a", one), ("b", one), schema=schema)}
    assert sorted_out(held, batch) == ([], ["b"])


def test_what_is_alive_and_was_not_met_is_missing():
    held = Held(things=things(("b", "x"), ("a", "x"), ("c", "x"), ("dead", "x", NOON)))
    with compared(held, {"things": things(("b", "other"))}) as beside:
        assert (beside.missing(), beside.alive, beside.nothing_found) == (["a", "c"], 3, False)


def test_a_walk_that_met_nothing_misses_everything():
    with Shelf("things", PARENTS) as shelf:
        beside = Comparison(Held(things=things(("a", "x"), ("b", "x"))), shelf, ["things"])
        assert (beside.missing(), beside.nothing_found) == (["a", "b"], True)
