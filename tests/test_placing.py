from datetime import UTC, datetime
from typing import Any

import dlt
import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.claribi.frames import normalise, to_arrow
from pipelines.claribi.placing import MAX_NAME, MAX_UNKNOWN, RESERVED, Plan, column_name, plan
from pipelines.claribi.schema import DATA_SOURCES, REPORTS, TABLES

DLT_NAMES = NamingConvention()
NIGHT = datetime(2026, 4, 7, 2, 30, tzinfo=UTC)


def placed(*items: dict[str, Any], known: dict[str, str] | None = None) -> Plan:
    return plan(items, REPORTS, known or {})


def new_columns(found: Plan) -> list[str]:
    return [feed.name for feed in found.feeds if REPORTS.column(feed.name) is None]


def paths(found: Plan, name: str) -> list[tuple[str, ...]]:
    return [path for feed in found.feeds if feed.name == name for path in feed.paths]


@given(st.text(max_size=80))
@example("CamelCase").via("capitals")
@example("trailing__").via("underscores")
@example("٣items").via("digits of other scripts")
def test_a_column_has_the_name_dlt_would_give_it(field):
    name = column_name(field)
    if name is not None:
        assert [DLT_NAMES.normalize_identifier(field), DLT_NAMES.normalize_path(name)] == [name, name]


@pytest.mark.parametrize(
    "field",
    ["", "  ", "_dlt_id", "_dlt_load_id", "_id", "2025", "_TABLE_SUFFIX", "d", "D", "s", "xmin", "x" * (MAX_NAME + 1)],
)
def test_some_names_no_column_can_have(field):
    assert column_name(field) is None
    assert placed({"id": "1", field: 5}).homeless == {field}


def test_the_longest_name_still_has_a_column():
    assert column_name("x" * MAX_NAME) == "x" * MAX_NAME


def test_a_field_of_the_schema_is_known_in_any_spelling():
    found = placed({"id": "1", "createdAt": "x", "Created-At": "y", "created_at": "z", "ReportPeriodStart": "w"})
    assert paths(found, "created_at") == [("created_at",), ("Created-At",), ("createdAt",)]
    assert paths(found, "period_start") == [("ReportPeriodStart",)]
    assert new_columns(found) == []


def test_twins_share_one_column_and_the_one_spelled_like_it_goes_first():
    found = placed({"id": "1", "A-b": 1, "aB": 2, "a_b": 3})
    assert new_columns(found) == ["a_b"]
    assert paths(found, "a_b") == [("a_b",), ("A-b",), ("aB",)]


def test_names_of_our_own_columns_are_taken():
    assert placed({"id": "1", "extra": 1, "deleted_at": 2, "DeletedAt": 3}).homeless == {
        "extra",
        "deleted_at",
        "DeletedAt",
    }


def test_a_list_that_feeds_a_child_is_no_column():
    assert new_columns(placed({"id": "1", "insights": [], "Insights": ["a"]})) == []


def test_a_field_that_is_always_null_gets_no_column():
    assert new_columns(placed({"id": "1", "later": None})) == []


def test_known_columns_keep_their_place_and_their_kind():
    found = placed({"new": 1, "old": 2}, known={"old": "double", "gone": "text", "_dlt_load_id": "text", "id": "text"})
    assert [(feed.name, feed.kind) for feed in found.feeds if REPORTS.column(feed.name) is None] == [
        ("old", "double"),
        ("new", None),
    ]


def test_a_column_of_a_kind_we_cannot_fill_sends_its_field_to_extra():
    assert placed({"price": 1}, known={"price": "decimal"}).homeless == {"price"}


def test_beyond_fifty_new_columns_the_first_seen_stay():
    fields = [f"field_{place:02}" for place in range(MAX_UNKNOWN + 10)]
    found = placed(*({"id": "1", field: 1} for field in fields))
    assert (new_columns(found), found.homeless) == (fields[:MAX_UNKNOWN], set(fields[MAX_UNKNOWN:]))
    assert found.notes == ["reports: more than 50 new fields; the further ones are kept in extra."]


def test_the_limit_counts_what_the_destination_has_already():
    known = {f"old_{place}": "text" for place in range(MAX_UNKNOWN - 1)}
    found = placed({"b": 1}, {"a": 2}, known=known)
    assert (new_columns(found), found.homeless) == (["b"], {"a"})
    assert (new_columns(placed({"a": 1, "old_3": 2}, known=known | {"b": "text"}))) == ["old_3"]


def test_a_hundred_thousand_dynamic_keys_are_placed_without_a_column_each():
    items = [{"id": str(place), **{f"k{place}_{key}": 1 for key in range(20)}} for place in range(5_000)]
    found = plan(items, DATA_SOURCES, {})
    assert (len(found.feeds) - len(DATA_SOURCES.columns), len(found.homeless)) == (MAX_UNKNOWN, 100_000 - MAX_UNKNOWN)


def test_dlt_replaces_rows_whatever_the_columns_are_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    names = [
        "d",
        "s",
        *RESERVED,
        "t",
        "k",
        "reports",
        "claribi",
        "claribi_staging",
        "w",
        "rowid",
        "select",
        "order",
        "excluded",
    ]
    item = {"id": "1", **{name: {"id": "1"} for name in names}}
    pipeline = dlt.pipeline("names", destination=dlt.destinations.duckdb("w.duckdb"), dataset_name="claribi")
    known: dict[str, Any] = {}
    for _ in range(2):
        frames = normalise([item], REPORTS, NIGHT, known)
        known = frames.unknown
        table = to_arrow(frames.main, REPORTS)
        hints = {name: {"data_type": "json"} for name, kind in known["reports"].items() if kind == "json"}
        resource = dlt.resource([table], name="reports", primary_key="id", write_disposition="merge", columns=hints)
        pipeline.run(resource, loader_file_format="parquet")
    with pipeline.sql_client() as client:
        assert client.execute_sql("SELECT count(*) FROM reports") == [(1,)]
        (types,) = client.execute_sql(
            'SELECT typeof(t), typeof(select_) FROM (SELECT t, "select" AS select_ FROM reports)'
        )
    assert types == ("JSON", "JSON")


def test_every_table_can_be_planned_without_items():
    assert [[feed.name for feed in plan([], table, {}).feeds] for table in TABLES.values()] == [
        [column.name for column in table.columns] for table in TABLES.values()
    ]
