"""The files of a mail: every value as it should open, nothing that runs, and never larger than a mail may be."""

import csv
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO, StringIO

import numpy as np
import openpyxl
import pandas as pd
import pytest

from pipelines.watch.attachment import LONGEST_CELL, MB, Attached, attach

NIGHT = pd.Timestamp("2026-11-24 03:04:05.678", tz="UTC")
NAIVE = NIGHT.tz_localize(None).to_pydatetime()
HOSTILE = [
    "=HYPERLINK(\"http://evil.example\")",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "http://evil.example",
    "<r><t>x</t></r>",
    "<r>",
    "{=1}",
    "  padded  ",
    "",
    "1e5",
    "é😀",
    "_x0041_",
]  # fmt: skip


def sheets(attached):
    """The sheets of the one workbook."""
    (file,) = attached.files
    book = openpyxl.load_workbook(BytesIO(file.content))
    return {sheet.title: list(sheet.values) for sheet in book.worksheets}


def lines(file):
    return list(csv.reader(StringIO(file.content.decode("utf-8-sig"), newline="")))


def values():
    """A frame with every kind of value, and a row of nulls."""
    return pd.DataFrame(
        {
            "text": ["Sales", None],
            "at": [NIGHT, pd.NaT],
            "on": [date(2026, 11, 24), None],
            "old": [datetime(1815, 12, 10, tzinfo=UTC), None],
            "count": pd.array([42, None], dtype="Int64"),
            "id": pd.Series([2**60, None], dtype=object),
            "share": [0.25, np.nan],
            "price": [Decimal("1.5"), None],
            "public": pd.array([True, None], dtype="boolean"),
            "endless": [np.inf, np.nan],
            "json": ['{"a": [1]}', None],
        }
    )


def test_a_workbook_holds_every_value_as_what_it_is():
    attached = attach({"all": values()}, "xlsx", 1)
    heading, row, *nulls = sheets(attached)["all"]
    assert heading[:3] == ("text", "at (UTC)", "on")
    assert row == (
        "Sales",
        NAIVE,
        datetime.fromisoformat("2026-11-24"),
        "1815-12-10 00:00:00",
        42,
        str(2**60),
        0.25,
        1.5,
        True,
        "inf",
        '{"a": [1]}',
    )
    assert nulls == []  # a row of nulls has no cell
    assert attached.words == ("claribi.xlsx: all (2 rows).",)


def test_a_csv_file_holds_every_value_as_text():
    (file,) = attach({"all": values()}, "csv", 1).files
    heading, row, nulls = lines(file)
    assert (file.name, file.mime_type) == ("all.csv", "text/csv")
    assert heading[:3] == ["text", "at", "on"]
    assert row == [
        "Sales",
        "2026-11-24T03:04:05.678000Z",
        "2026-11-24",
        "1815-12-10T00:00:00Z",
        "42",
        str(2**60),
        "0.25",
        "1.5",
        "true",
        "inf",
        '{"a": [1]}',
    ]
    assert nulls == [""] * 11


def test_times_of_another_zone_and_of_none_are_utc():
    frame = pd.DataFrame({"a": [NIGHT.tz_convert("Asia/Tokyo")], "b": [NIGHT.tz_localize(None)]})
    assert sheets(attach({"t": frame}, "xlsx", 1))["t"] == [
        ("a (UTC)", "b (UTC)"),
        (NAIVE,) * 2,
    ]
    assert lines(attach({"t": frame}, "csv", 1).files[0])[1] == ["2026-11-24T03:04:05.678000Z"] * 2


def test_nothing_in_a_workbook_is_ever_run():
    attached = attach({"t": pd.DataFrame({"title": HOSTILE})}, "xlsx", 1)
    book = openpyxl.load_workbook(BytesIO(attached.files[0].content))
    cells = [cell for (cell,) in book["t"].iter_rows(min_row=2)]
    shown = ["_x0009_=1" if title == "\t=1" else "_x000D_=1" if title == "\r=1" else title for title in HOSTILE]
    assert {cell.data_type for cell in cells} == {"s"}
    assert [cell.hyperlink for cell in cells] == [None] * len(HOSTILE)
    assert [unescaped(cell.value) for cell in cells] == [
        f"{title}\u200b" if title.endswith("</r>") else title for title in map(unescaped, shown)
    ]


def unescaped(text):
    """What Excel makes of `_x0009_`, which openpyxl shows as it stands in the file."""
    return (text or "").replace("_x0009_", "\t").replace("_x000D_", "\r").replace("_x005F_", "_")


def test_in_a_csv_file_a_formula_gets_an_apostrophe():
    (file,) = attach({"t": pd.DataFrame({"title": HOSTILE})}, "csv", 1).files
    guarded = [f"'{title}" if title.lstrip("'")[:1] in tuple("=+-@\t\r") else title for title in HOSTILE]
    assert [title for (title,) in lines(file)[1:]] == guarded
    assert [title[0] for title in guarded[:7]] == ["'"] * 7


def test_a_number_below_zero_is_no_formula():
    (file,) = attach({"t": pd.DataFrame({"change": [-1.5]})}, "csv", 1).files
    assert lines(file) == [["change"], ["-1.5"]]


def test_a_text_that_is_too_long_for_excel_is_cut_where_one_sees_it():
    frame = pd.DataFrame({"text": ["x" * LONGEST_CELL, "x" * (LONGEST_CELL + 1)]})
    _, (whole,), (cut,) = sheets(attach({"t": frame}, "xlsx", 1))["t"]
    assert whole == "x" * LONGEST_CELL
    assert cut == "x" * (LONGEST_CELL - 1) + "…"


def test_the_newest_rows_come_first():
    days = pd.to_datetime(["2026-11-01", None, "2026-11-03", "2026-11-02"], utc=True)
    frame = pd.DataFrame({"id": list("abcd"), "created_at": days})
    assert [row[0] for row in sheets(attach({"t": frame}, "xlsx", 1))["t"]] == ["id", "c", "d", "a", "b"]


def test_empty_tables_are_told_of_and_tables_of_no_name_are_none():
    empty = pd.DataFrame({"id": pd.Series(dtype=object)})
    attached = attach({"reports": empty, "usage": pd.DataFrame({"n": [1]})}, "xlsx", 1)
    assert sheets(attached) == {"reports": [("id",)], "usage": [("n",), (1,)]}
    assert attached.words == ("claribi.xlsx: reports (0 rows) and usage (1 row).",)
    assert attach({}, "xlsx", 1) == Attached((), ())


@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_a_table_that_is_too_long_loses_its_oldest_rows_and_says_so(form):
    attached = attach({"usage": pd.DataFrame({"n": [1, 2]}), "reports": long_table(10_000)}, form, 0.2)
    files = {file.name: file for file in attached.files}
    rows = sheets(attached)["reports"] if form == "xlsx" else lines(files["reports.csv"])
    kept = len(rows) - 2
    assert 0.1 * MB < sum(len(file.content) for file in attached.files) <= 0.2 * MB
    assert [row[0] for row in rows[1:-1]] == [f"id-{number}" for number in range(9_999, 9_999 - kept, -1)]
    missing = f"only the newest {kept:,} of 10,000 rows are here, so that the mail stays small enough; "
    missing += "the destination holds all of them."
    assert rows[-1][0] == missing.capitalize()
    names = "claribi.xlsx" if form == "xlsx" else "usage.csv and reports.csv"
    assert attached.words == (f"{names}: usage (2 rows) and reports ({kept:,} rows).", f"reports: {missing}")


def test_a_table_without_a_time_keeps_its_first_rows():
    attached = attach({"t": long_table(10_000).drop(columns="created_at")}, "csv", 0.1)
    assert "only the first " in attached.words[1]
    assert lines(attached.files[0])[1][0] == "id-0"


@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_where_nothing_fits_the_mail_says_so(form):
    attached = attach({"reports": long_table(10), "usage": long_table(10)}, form, 0.00001)
    assert attached == Attached((), ("reports and usage could not be attached: no row fits into 1e-05 MB.",))


def test_a_long_table_is_written_without_holding_it_twice():
    """The sheet of 8,000 rows passes through memory row by row; only the finished file is held."""
    frame = long_table(8_000)
    attach({"t": frame.head(10)}, "xlsx", 15)  # so that what is imported is not counted
    tracemalloc.start()
    try:
        attached = attach({"t": frame}, "xlsx", 15)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sheets(attached)["t"]) == 8_001
    assert peak < 3 * len(attached.files[0].content) + MB


def long_table(rows):
    """Reports that do not compress to nothing, the oldest first."""
    noise = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "id": [f"id-{number}" for number in range(rows)],
            "created_at": pd.date_range("2026-01-01", periods=rows, freq="min", tz="UTC"),
            "title": [noise.bytes(15).hex() for _ in range(rows)],
        }
    )
