import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.claribi.columns import ARROW, FITTED, json_bytes, kind_of, typed
from pipelines.claribi.schema import Kind

BIG = 2**70
SIGNED = "https://files.claribi.com/r/1.pdf?X-Amz-Expires=60&X-Amz-Signature=5d2f"


def stored(kind: Kind, *values: Any) -> list[Any]:
    return typed(list(values), kind)[0].to_pylist()


def misfits(kind: Kind, *values: Any) -> list[Any]:
    return [values[row] for row in typed(list(values), kind)[1]]


def instant(text: Any) -> str | None:
    (found,) = stored("timestamp", text)
    return None if found is None else found.isoformat()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-07-15T08:00:00Z", "2025-07-15T08:00:00+00:00"),
        ("2025-07-15T08:00:00+02:00", "2025-07-15T06:00:00+00:00"),
        ("2025-07-15T08:00:00-0330", "2025-07-15T11:30:00+00:00"),
        ("2025-07-15T08:00:00", "2025-07-15T08:00:00+00:00"),
        ("2025-07-15 08:00:00", "2025-07-15T08:00:00+00:00"),
        ("2025-07-15T08:00Z", "2025-07-15T08:00:00+00:00"),
        ("2025-07-15T08:00:00.5Z", "2025-07-15T08:00:00.500000+00:00"),
        ("2025-07-15T08:00:00.123456+02:00", "2025-07-15T06:00:00.123456+00:00"),
        ("2025-07-15T08:00:00.123456789Z", "2025-07-15T08:00:00.123456+00:00"),
        ("2025-07-15", "2025-07-15T00:00:00+00:00"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999+00:00"),
        (1752566400, "2025-07-15T08:00:00+00:00"),
        (1752566400.5, "2025-07-15T08:00:00.500000+00:00"),
        (1752566400123, "2025-07-15T08:00:00.123000+00:00"),
        (0, "1970-01-01T00:00:00+00:00"),
        (datetime(2025, 7, 15, 8, tzinfo=UTC), "2025-07-15T08:00:00+00:00"),
        ("", None),
        (None, None),
    ],
)
def test_a_timestamp_of_any_shape_becomes_utc(text, expected):
    assert instant(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2025-13-01",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+02:00",
        "2025-07-15T24:00:00Z",
        "1752566400",
        " 2025-07-15",
        10**15,
        -(10**30),
        1e300,
        True,
        ["2025-07-15"],
        {},
    ],
)
def test_what_is_no_timestamp_is_a_misfit_and_stores_nothing(value):
    assert (stored("timestamp", value), misfits("timestamp", value)) == ([None], [value])


def test_a_fraction_finer_than_microseconds_is_cut_and_told():
    values = ["2025-07-15T08:00:00.123456789Z", "2025-07-15T08:00:00.123456000Z", "2025-07-15T08:00:00.1Z"]
    assert misfits("timestamp", *values) == values[:1]


def test_zones_of_every_kind_may_stand_in_one_column():
    values = ["2025-07-15T08:00:00Z", "2025-07-15T08:00:00", "2025-07-15", None, "", 1752566400, "soon"]
    hours = [None if moment is None else moment.hour for moment in stored("timestamp", *values)]
    assert (hours, misfits("timestamp", *values)) == ([8, 8, 0, None, None, 8, None], ["soon"])


def test_whole_numbers_are_bigint_however_they_are_written():
    assert stored("bigint", 5, 5.0, "5", "5.00", "", 2**63 - 1, -(2**63)) == [5, 5, 5, 5, None, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize("value", [1.5, "1.5", "abc", "0x1", "٣", 2**63, BIG, 1e300, True, [1], float("inf"), "1e999"])
def test_what_a_bigint_cannot_hold_exactly_is_a_misfit(value):
    assert (stored("bigint", value, 1), misfits("bigint", value, 1)) == ([None, 1], [value])


def test_a_double_holds_numbers_and_number_text_exactly_as_written():
    values = [1, 1.5, 2**53, 2**60, "680420.00", "1e3", "", -0.1]
    assert stored("double", *values) == [1.0, 1.5, 2.0**53, 2.0**60, 680420.0, 1000.0, None, -0.1]


@pytest.mark.parametrize("value", [2**53 + 1, BIG + 1, 10**400, "0.1000000000000000000001", "abc", True, {"a": 1}])
def test_what_a_double_would_change_is_a_misfit(value):
    assert (stored("double", value, 1.5), misfits("double", value, 1.5)) == ([None, 1.5], [value])


def test_only_true_and_false_are_boolean():
    values = [True, False, None, "", 0, 1, "true"]
    assert (stored("bool", *values), misfits("bool", *values)) == ([True, False] + [None] * 5, [0, 1, "true"])


def test_numbers_in_a_text_column_become_their_json_text():
    assert stored("text", "a", 42, 1.5, True, BIG) == ["a", "42", "1.5", "true", str(BIG)]
    assert stored("text", 42, None, 7) == ["42", None, "7"]
    assert misfits("text", "a", {"b": 1}, ["c"]) == [{"b": 1}, ["c"]]


def test_a_text_column_of_integers_and_other_numbers_keeps_each_as_it_is():
    assert stored("text", 1, 1.5, True) == ["1", "1.5", "true"]


def test_json_is_compact_and_sorted_and_exact():
    values = [{"b": 1, "a": [BIG, 2**64, None, "é", 1.0]}, "text", 5, False, [], {}]
    assert stored("json", *values) == [
        f'{{"a":[{BIG},{2**64},null,"é",1.0],"b":1}}', '"text"', "5", "false", "[]", "{}"
    ]  # fmt: skip


def test_what_parquet_or_postgresql_refuse_is_written_visibly():
    assert stored("text", "a\0b", "half \ud83d") == [r"a\u0000b", r"half \ud83d"]
    assert json.loads(stored("json", {"k\0": ["\ud83d", BIG]})[0]) == {r"k\u0000": [r"\ud83d", BIG]}


def test_keys_that_become_the_same_when_written_visibly_both_stay():
    assert json.loads(stored("json", {"\0": 1, r"\u0000": 2})[0]) == {r"\u0000": 1, r"\u0000'": 2}


def test_whole_emoji_stay_emoji():
    assert stored("text", "😀 ok", "a\0") == ["😀 ok", r"a\u0000"]


def test_a_value_nested_a_thousand_levels_deep_does_not_end_the_run():
    deep: Any = []
    for _ in range(1020):
        deep = [deep]
    assert stored("json", deep, [1]) == ['"(nested too deeply to be kept)"', "[1]"]


@pytest.mark.parametrize(
    "link",
    [
        SIGNED,
        "https://h/f?token=abc",
        "https://h/f?v=2&amp;sig=abc",
        "https://h/f?sv=2022&se=2026&sr=b&sig=a%2Bb%3D",
        "https://h/f?GoogleAccessId=x&Expires=1&Signature=y",
        "https://h/f?Key-Pair-Id=K&Policy=e30_",
        "https://h/f?apiKey=1",
        "https://h/f#access_token=1",
        "https://h/f?t=eyJhbGciOi.eyJzdWIi.c2ln",
        "https://h/f?next=https%3A%2F%2Fs3%2Ff%3FX-Amz-Signature%3Dab",
        "/media/f?X-Amz-Credential=k",
    ],
)
def test_a_link_with_a_signature_loses_its_query_wherever_it_stands(link):
    bare = link.partition("?")[0].partition("#")[0]
    texts = stored("text", link, f"See {link} for more", None)
    assert texts == [bare, f"See {bare} for more", None]
    assert json.loads(stored("json", {"a": [link, "x"], "b": BIG})[0]) == {"a": [bare, "x"], "b": BIG}


@pytest.mark.parametrize("name", ["signature", "sig", "X-Amz-Signature"])
def test_an_escaped_link_loses_its_query(name):
    assert stored("text", f"https://h/go/https%3A%2F%2Fs3%2Ff%3F{name}%3Dab") == ["https://h/go/https%3A%2F%2Fs3%2Ff"]


def test_a_link_ends_where_its_json_text_ends():
    assert stored("json", {"Any secret?token": "a=b"}) == ['{"Any secret?token":"a=b"}']


@pytest.mark.parametrize(
    "text",
    [
        "https://claribi.com/reports?id=550e8400-e29b-41d4-a716-446655440000&tab=2",
        "https://claribi.com/d/1?filter=design&author=Jane&keyword=a",
        "Did revenue rise? x = 5; token = 3",
        "a=b",
        "100 %3 = 1",
    ],
)
def test_other_links_and_texts_stay_as_they_are(text):
    assert stored("text", text, "=1+1", "+1", "-1", "@a") == [text, "=1+1", "+1", "-1", "@a"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], "bigint"),
        ([1, 1.5], "double"),
        ([2**53 + 1, 1.5], "text"),
        ([1, BIG], "text"),
        ([True, None], "bool"),
        ([True, 1], "text"),
        ([1, "a"], "text"),
        (["2025-07-15"], "text"),
        ([1, "a", {}], "json"),
        ([[]], "json"),
    ],
)
def test_a_new_column_gets_the_narrowest_kind_that_loses_nothing(values, kind):
    assert (kind_of(values), typed(values, kind_of(values))[1]) == (kind, [])


def test_a_column_of_nothing_keeps_its_type():
    assert [typed([None, None], kind)[0].type for kind in sorted(FITTED)] == [ARROW[kind] for kind in sorted(FITTED)]


CLOCK = r"[ T][0-2][0-9](:[0-6][0-9](:[0-6][0-9]([.,][0-9]{1,9})?)?)?"
ZONE = r"(Z|[+-][0-2][0-9](:?[0-6][0-9])?)"
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.from_regex(rf"\A[0-9]{{4}}-[01][0-9]-[0-3][0-9]({CLOCK})?{ZONE}?\Z"),
    st.from_regex(r"\A-?[0-9]{1,22}(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?\Z"),
    st.lists(st.integers(), max_size=2),
)


@given(st.sampled_from(sorted(FITTED)), st.lists(ODD, max_size=6))
def test_what_a_value_becomes_never_depends_on_its_neighbours(kind, values):
    array, misfit = typed(values, kind)
    alone = [typed([value], kind) for value in values]
    expected = pa.chunked_array([found for found, _ in alone], ARROW[kind]).combine_chunks()
    assert (repr(array.to_pylist()), misfit) == (
        repr(expected.to_pylist()),
        [row for row, (_, odd) in enumerate(alone) if odd],
    )


STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STORABLE


@given(st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(STORABLE, inner)))
def test_json_comes_back_as_it_was(value):
    assert repr(json.loads(json_bytes(value))) == repr(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(element) for element in value] if isinstance(value, list) else value
