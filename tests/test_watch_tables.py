from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.watch.tables import ALERTS, DATA_SOURCE_EVENTS, arrow, records
from pipelines.watch.words import label, number, span, stamp

AT = datetime(2026, 11, 20, 8, 0, 0, 123456, tzinfo=UTC)


def test_rows_become_arrow_in_the_tables_own_types():
    row = {"data_source_id": "1", "at": AT, "event": "error", "about": "Its status is error."}
    made = arrow(DATA_SOURCE_EVENTS, [row | {"_dlt_id": "of the loader"}])
    instant = pa.timestamp("us", "UTC")
    assert made.schema == pa.schema(
        [
            pa.field("data_source_id", pa.string(), nullable=False),
            pa.field("at", instant, nullable=False),
            pa.field("event", pa.string(), nullable=False),
            pa.field("name", pa.string()),
            pa.field("status", pa.string()),
            pa.field("last_synced_at", instant),
            pa.field("about", pa.string()),
        ]
    )
    assert made.to_pylist() == [row | {"name": None, "status": None, "last_synced_at": None}]


def test_no_rows_become_an_empty_table_with_all_columns():
    made = arrow(ALERTS, [])
    assert (made.num_rows, made.column_names) == (0, [column.name for column in ALERTS.columns])


def test_times_of_another_zone_arrive_in_utc():
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    made = arrow(DATA_SOURCE_EVENTS, [{"data_source_id": "1", "at": there, "event": "error"}])
    assert made["at"].to_pylist() == [AT]


@pytest.mark.parametrize("dtype_backend", ["numpy", "pyarrow"])
def test_a_frame_becomes_rows_however_it_spells_its_nulls(dtype_backend):
    table = pa.table(
        {
            "text": ["a", None],
            "at": pa.array([None, AT], pa.timestamp("us", "UTC")),
            "used": pa.array([5, None], pa.int64()),
            "share": pa.array([None, 0.5]),
        }
    )
    frame = table.to_pandas(types_mapper=pd.ArrowDtype if dtype_backend == "pyarrow" else None)
    assert records(frame) == [
        {"text": "a", "at": None, "used": 5, "share": None},
        {"text": None, "at": AT, "used": None, "share": 0.5},
    ]


def test_an_empty_frame_becomes_no_rows():
    assert records(pd.DataFrame(columns=["a", "b"])) == []


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(minutes=40), "40 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=27, minutes=10), "27 hours"),
        (timedelta(hours=71), "3 days"),
        (timedelta(days=1500), "1,500 days"),
    ],
)
def test_a_length_is_said_in_the_unit_a_person_would_choose(length, said):
    assert span(length) == said


@pytest.mark.parametrize(
    ("value", "said"), [(1440, "1,440"), (41.66, "41.7"), (0.04, "0.04"), (1234.5, "1,234"), (-3.0, "-3")]
)
def test_a_number_has_as_many_digits_as_it_needs(value, said):
    assert number(value) == said


def test_a_moment_is_said_in_utc():
    assert stamp(AT.astimezone(timezone(timedelta(hours=-5)))) == "2026-11-20 08:00 UTC"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Orders", '"Orders"'),
        ("two\nlines  here", '"two lines here"'),
        ("", "source 7"),
        (None, "source 7"),
        ("x" * 100, '"' + "x" * 79 + '…"'),
    ],
)
def test_a_name_is_one_line_of_bounded_length(name, said):
    assert label(name, "source 7") == said
