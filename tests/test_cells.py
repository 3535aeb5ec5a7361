"""Values become cells and come back; what Sheets cannot keep is known beforehand."""

import base64
import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.cells import (
    Cell,
    Column,
    a1,
    column_of,
    cut,
    entered,
    from_cell,
    hints,
    identity,
    is_too_long,
    letters,
    number_format,
    packed,
    same,
    to_cell,
    unpacked,
)
from tests.sheets_document import column_number

MOMENTS = st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - the test gives the zone
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
FINITE = st.floats(-1e300, 1e300)
CELLS = st.one_of(st.none(), TEXTS, st.booleans(), FINITE, st.integers(-(10**15), 10**15))


def fifteen(number: float) -> float:
    """A number as Sheets keeps it."""
    return float(f"{number:.15g}")


def kept(cell: Cell, digits: bool = True) -> Cell:
    """A cell after Sheets has stored it."""
    return fifteen(cell) if digits and isinstance(cell, int | float) and not isinstance(cell, bool) else cell


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        ("text", "=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
        ("text", "007", "007"),
        ("text", "", None),
        ("text", None, None),
        ("bigint", 999_999_999_999_999, 999_999_999_999_999),
        ("double", 0.1, 0.1),
        ("double", float("nan"), None),
        ("double", float("-inf"), None),
        ("decimal", Decimal("12.50"), 12.5),
        ("decimal", Decimal("NaN"), None),
        ("wei", 10**30, "1" + "0" * 30),
        ("bool", False, False),
        ("timestamp", datetime(2026, 7, 1, 12, tzinfo=UTC), 46204.5),
        ("timestamp", datetime(2026, 7, 1, 14, tzinfo=timezone(timedelta(hours=2))), 46204.5),
        ("timestamp", datetime(1850, 1, 1, tzinfo=UTC), "1850-01-01T00:00:00Z"),
        ("date", date(1899, 12, 30), 0),
        ("date", date(1899, 12, 29), "1899-12-29"),
        ("time", time(18), 0.75),
        ("json", '{"b": 1, "a": [2, null]}', '{"a":[2,null],"b":1}'),
        ("json", {"ä": 1}, '{"ä":1}'),
        ("json", "no json", "no json"),
        ("binary", b"\x00\xff", "AP8="),
    ],
)
def test_each_type_has_its_cell(kind: str, value: Any, cell: Cell) -> None:
    assert to_cell(Column("c", kind), value) == cell


@pytest.mark.parametrize(
    ("column", "value", "cell"),
    [
        (Column("id", "bigint", as_text=True), 1234567890123456, "1234567890123456"),
        (Column("n", "decimal", scale=20, as_text=True), Decimal("0.12345678901234567890"), "0.12345678901234567890"),
        (
            Column("t", "timestamp", as_text=True),
            datetime(2026, 7, 1, 0, 0, 0, 123456, UTC),
            "2026-07-01T00:00:00.123456Z",
        ),
        (
            Column("t", "timestamp", timezone=False, as_text=True),
            datetime.fromisoformat("2026-07-01"),
            "2026-07-01T00:00:00",
        ),
    ],
)
def test_what_a_number_would_round_is_text_and_comes_back_whole(column: Column, value: Any, cell: Cell) -> None:
    assert to_cell(column, value) == cell
    assert from_cell(column, cell) == value


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("bigint", "Total"),
        ("bigint", 1.5),
        ("bigint", True),
        ("double", "n/a"),
        ("bool", "yes"),
        ("timestamp", "soon"),
        ("timestamp", 1e300),
        ("date", False),
        ("time", "x"),
        ("decimal", "1,5"),
        ("binary", "ä"),
    ],
)
def test_what_a_person_typed_and_the_type_does_not_allow_is_nothing(kind: str, cell: Cell) -> None:
    assert from_cell(Column("c", kind), cell) is None


def test_text_that_a_person_retyped_as_a_number_is_text_again() -> None:
    assert [from_cell(Column("c"), cell) for cell in (7, 0.5, True)] == ["7", "0.5", "TRUE"]


@given(TEXTS)
def test_text_comes_back_letter_by_letter(text: str) -> None:
    assert from_cell(Column("c"), kept(to_cell(Column("c"), text))) == text


@given(st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_integers_come_back_whole(number: int, as_text: bool) -> None:
    column = Column("c", "bigint", as_text=as_text or abs(number) >= 10**15)
    assert from_cell(column, kept(to_cell(column, number))) == number


@given(FINITE)
def test_floats_come_back_to_fifteen_digits(number: float) -> None:
    column = Column("c", "double")
    assert same(from_cell(column, kept(to_cell(column, number))), number)
    assert from_cell(column, to_cell(column, number)) == number


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=6))
def test_decimals_of_fifteen_digits_come_back_as_numbers(number: Decimal) -> None:
    column = Column("c", "decimal", scale=6)
    assert from_cell(column, kept(to_cell(column, number))) == number


@given(st.decimals(min_value=-(10**28), max_value=10**28, places=10))
def test_decimals_of_any_length_come_back_as_text(number: Decimal) -> None:
    column = Column("c", "decimal", scale=10, as_text=True)
    assert from_cell(column, kept(to_cell(column, number))) == number


@given(MOMENTS, st.booleans())
def test_timestamps_come_back_to_the_millisecond(moment: datetime, zone: bool) -> None:
    column = Column("c", "timestamp", timezone=zone)
    given_ = moment.replace(tzinfo=UTC if zone else None)
    back = from_cell(column, kept(to_cell(column, given_)))
    assert back.tzinfo == given_.tzinfo
    assert timedelta(0) <= given_ - back < timedelta(milliseconds=1)
    assert to_cell(column, back) == to_cell(column, given_)


@given(MOMENTS, st.booleans())
def test_exact_timestamps_come_back_to_the_microsecond(moment: datetime, zone: bool) -> None:
    column = Column("c", "timestamp", timezone=zone, as_text=True)
    given_ = moment.replace(tzinfo=UTC if zone else None)
    assert from_cell(column, kept(to_cell(column, given_))) == given_


@given(st.dates())
def test_dates_come_back(day: date) -> None:
    assert from_cell(Column("c", "date"), kept(to_cell(Column("c", "date"), day))) == day


@given(st.times())
def test_times_come_back_to_the_microsecond(moment: time) -> None:
    assert from_cell(Column("c", "time"), kept(to_cell(Column("c", "time"), moment))) == moment


@given(st.binary(min_size=1))
def test_bytes_come_back(content: bytes) -> None:
    assert from_cell(Column("c", "binary"), kept(to_cell(Column("c", "binary"), content))) == content


@given(st.recursive(st.none() | st.booleans() | st.integers() | FINITE | TEXTS, st.lists))
def test_json_means_the_same_when_it_comes_back_and_has_one_text(value: Any) -> None:
    column = Column("c", "json")
    cell = to_cell(column, json.dumps(value))
    assert json.loads(from_cell(column, cell)) == value
    assert to_cell(column, from_cell(column, cell)) == cell


@given(CELLS, CELLS)
def test_cells_have_one_identity_exactly_when_they_are_the_same(one: Cell, other: Cell) -> None:
    assert (identity(one) == identity(other)) == same(one, other)
    assert same(one, kept(one))


def test_true_is_not_one_and_blank_is_blank() -> None:
    assert [same(True, 1), same(None, ""), same("1", 1), same(0.1 + 0.2, 0.3), same(1, 2)] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_text_is_entered_as_text_and_a_blank_clears() -> None:
    assert [entered(cell) for cell in ("=1+1", 5, True, None)] == [
        {"stringValue": "=1+1"},
        {"numberValue": 5},
        {"boolValue": True},
        {},
    ]


@pytest.mark.parametrize(
    ("text", "too_long"), [("x" * 50_000, False), ("x" * 50_001, True), ("😀" * 25_000, False), ("😀" * 25_001, True)]
)
def test_length_is_counted_in_utf_16_units(text: str, too_long: bool) -> None:
    assert is_too_long(text) is too_long


def test_a_cut_text_fits_shows_that_it_is_cut_and_differs_where_the_whole_differs() -> None:
    one, other = cut("😀" * 30_000), cut("😀" * 30_001)
    assert not is_too_long(one)
    assert one.endswith("]")
    assert "… [cut, sha256:" in one
    assert one != other
    assert cut("😀" * 30_000) == one


@given(st.lists(st.none() | st.integers() | st.text("abc"), min_size=1, max_size=4), st.integers(0, 3), st.data())
def test_rows_of_our_own_tabs_come_back_however_long_their_texts(row: list[Cell], place: int, data: Any) -> None:
    noise = base64.b64encode(
        data.draw(st.randoms(use_true_random=False)).randbytes(data.draw(st.sampled_from([9, 90_000])))
    )
    row[place % len(row)] = "zlib:" + noise.decode()
    cells = packed(row)
    assert all(not is_too_long(cell) for cell in cells)
    assert unpacked([*cells, None, None], len(row)) == row


@given(st.integers(0, 20_000))
def test_letters_of_a_column_name_its_number(number: int) -> None:
    assert column_number(letters(number)) == number


def test_titles_are_quoted_whatever_they_look_like() -> None:
    assert a1("it's P1!", 1, None, 0, 28) == "'it''s P1!'!A2:AB"
    assert a1("A1", 0, 1, 2, 3) == "'A1'!C1:C1"


@given(
    st.builds(
        Column,
        TEXTS,
        st.sampled_from(["text", "decimal", "timestamp"]),
        st.none() | st.integers(1, 38),
        st.none() | st.integers(1, 9),
        st.booleans(),
        st.just(False),
    )
)
def test_a_column_comes_back_from_dlts_words(column: Column) -> None:
    assert column_of(column.name, hints(column)) == column


def test_formats_show_what_a_number_means() -> None:
    kinds = {
        kind: number_format(Column("c", kind, scale=2)) for kind in ("timestamp", "date", "time", "decimal", "text")
    }
    assert kinds == {
        "timestamp": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"},
        "date": {"type": "DATE", "pattern": "yyyy-mm-dd"},
        "time": {"type": "TIME", "pattern": "hh:mm:ss"},
        "decimal": {"type": "NUMBER", "pattern": "#,##0.00"},
        "text": None,
    }
    assert number_format(Column("c", "bigint", as_text=True)) == {"type": "TEXT"}
