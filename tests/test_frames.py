import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.claribi.columns import ARROW
from pipelines.claribi.frames import Frames, normalise, to_arrow, with_detail
from pipelines.claribi.placing import column_name
from pipelines.claribi.schema import (
    DASHBOARDS,
    DATA_SOURCES,
    EXPORT_RUNS,
    ORGANIZATION,
    REPORTS,
    TABLES,
    USAGE,
    Table,
    family,
)

NIGHT = datetime(2026, 4, 7, 2, 30, tzinfo=UTC)
PARENTS = (REPORTS, DASHBOARDS, DATA_SOURCES, USAGE, ORGANIZATION)


def rows(frame: pd.DataFrame, table: Table) -> list[dict[str, Any]]:
    """The rows without their nulls; `extra` as an object."""
    full = [
        {name: value for name, value in row.items() if value is not None} for row in to_arrow(frame, table).to_pylist()
    ]
    return [row | {"extra": json.loads(row["extra"])} if "extra" in row else row for row in full]


def main_rows(table: Table, *items: dict[str, Any], known: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return rows(normalise(items, table, NIGHT, known).main, table)


def child_rows(table: Table, *items: dict[str, Any]) -> list[dict[str, Any]]:
    return rows(normalise(items, table, NIGHT).children[table.children[0].name], table.children[0])


def test_a_report_of_the_contract_becomes_one_typed_row():
    item = {
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "title": 'Q2 😀 "revenue"\nby region',
        "status": "completed",
        "web_url": "https://claribi.com/reports/1",
        "description": "=SUM(A1)",
        "created_at": "2025-07-15T08:00:00Z",
        "completed_at": "2025-07-15T10:02:00.5+02:00",
        "output_format": "pdf",
        "output_file_path": "reports/1.pdf",
        "download_url": "https://files.claribi.com/1.pdf?X-Amz-Signature=5d2f",
        "report_period_start": "2025-04-01",
        "report_period_end": None,
        "insights": [{"title": "North", "text": "grew"}],
        "data_quality_metrics": {"Production PostgreSQL": {"rows": 5, "completeness": 0.98}},
    }
    assert main_rows(REPORTS, item) == [
        {
            "id": "550e8400-e29b-41d4-a716-446655440000",
            "title": 'Q2 😀 "revenue"\nby region',
            "status": "completed",
            "description": "=SUM(A1)",
            "output_format": "pdf",
            "created_at": datetime(2025, 7, 15, 8, tzinfo=UTC),
            "completed_at": datetime(2025, 7, 15, 8, 2, 0, 500_000, tzinfo=UTC),
            "period_start": datetime(2025, 4, 1, tzinfo=UTC),
            "data_quality_metrics": '{"Production PostgreSQL":{"completeness":0.98,"rows":5}}',
            "web_url": "https://claribi.com/reports/1",
            "download_url": "https://files.claribi.com/1.pdf",
            "output_file_path": "reports/1.pdf",
        }
    ]


def test_a_data_source_of_either_dialect_has_its_kind_in_type():
    kb = {"id": 1, "name": "Production", "type": "database", "engine": "postgresql", "status": "active"}
    v1 = {"id": "8d1e", "name": "Ads", "source_type": "google_ads", "status": "error", "row_count": 5}
    assert main_rows(DATA_SOURCES, kb, v1) == [
        {"id": "1", "name": "Production", "type": "database", "engine": "postgresql", "status": "active"},
        {
            "id": "8d1e",
            "name": "Ads",
            "type": "google_ads",
            "source_type": "google_ads",
            "status": "error",
            "row_count": 5,
        },
    ]


def test_type_and_source_type_together_are_both_kept_in_their_columns():
    (row,) = main_rows(DATA_SOURCES, {"id": 1, "type": "database", "source_type": "postgresql"})
    assert row == {"id": "1", "type": "database", "source_type": "postgresql"}


VERIFY = {
    "valid": True,
    "api_key": {
        "id": "k1",
        "name": "Nightly",
        "permissions": ["reports:read", "usage:read"],
        "created_at": "2025-01-01T00:00:00Z",
        "expires_at": None,
    },
    "organization": {"id": "o1", "name": "Acme Corp", "tier": "professional", "logo": None},
    "user": {"id": "u1", "email": "user@example.com"},
}
STATUS = {
    "user": {"id": 1, "email": "user@example.com", "first_name": "Jane", "last_name": "Smith", "role": "administrator"},
    "organization": {"id": 1, "name": "Acme Corp", "plan": "professional", "ai_credits_remaining": 1347},
}


def test_the_organization_is_read_from_the_answer_of_either_dialect():
    assert main_rows(ORGANIZATION, VERIFY, STATUS) == [
        {
            "id": "o1",
            "name": "Acme Corp",
            "plan": "professional",
            "key_name": "Nightly",
            "permissions": '["reports:read","usage:read"]',
            "key_id": "k1",
            "key_created_at": datetime(2025, 1, 1, tzinfo=UTC),
            "user__id": "u1",
            "user__email": "user@example.com",
            "valid": True,
        },
        {
            "id": "1",
            "name": "Acme Corp",
            "plan": "professional",
            "user__id": "1",
            "user__email": "user@example.com",
            "user__first_name": "Jane",
            "user__last_name": "Smith",
            "user__role": "administrator",
            "extra": {"organization": {"ai_credits_remaining": 1347}},
        },
    ]


def test_an_organization_that_is_only_a_name_is_one_too():
    (row,) = main_rows(ORGANIZATION, {"organization": "Acme Corp", "user": "Jane"})
    assert (row["name"], row["extra"]) == ("Acme Corp", {"user": "Jane"})


def test_usage_is_stamped_with_the_run_and_read_from_any_answer():
    full = {"ai_credits_used": 153, "ai_credits_limit": 1500, "ai_credits_remaining": 1347, "storage_gb_limit": "10.00"}
    assert main_rows(USAGE, full | {"subscription_tier": "professional"}, STATUS)[0] == {
        "captured_at": NIGHT,
        **full,
        "storage_gb_limit": 10.0,
        "subscription_tier": "professional",
    }
    (status,) = main_rows(USAGE, STATUS)
    assert (status["ai_credits_remaining"], status["subscription_tier"]) == (1347, "professional")


def test_our_own_rows_pass_the_same_way():
    run = {"run_id": "r1", "started_at": NIGHT.isoformat(), "requests": 12, "waited_s": 0.5, "rows": {"reports": 3}}
    assert main_rows(EXPORT_RUNS, run) == [run | {"started_at": NIGHT, "rows": '{"reports":3}'}]


def test_two_titles_that_differ_are_both_kept_and_two_that_agree_are_one():
    items = [{"id": 1, "name": "A", "title": "B"}, {"id": 2, "name": "A", "title": "A"}, {"id": 3, "name": "A"}]
    assert main_rows(REPORTS, *items) == [
        {"id": "1", "title": "B", "extra": {"name": "A"}},
        {"id": "2", "title": "A"},
        {"id": "3", "title": "A"},
    ]


def test_a_field_that_is_a_number_in_one_row_and_text_in_the_next_is_text():
    items = [{"id": 1, "score": value} for value in (5, "high", 1.5)]
    assert [row["score"] for row in main_rows(REPORTS, *items)] == ["5", "high", "1.5"]


def test_text_in_a_column_that_the_destination_has_as_a_number_goes_to_extra():
    items = [{"id": 1, "score": 5}, {"id": 2, "score": "high"}, {"id": 3, "score": {"a": 1}}]
    frames = normalise(items, REPORTS, NIGHT, {"reports": {"score": "bigint"}})
    assert rows(frames.main, REPORTS) == [
        {"id": "1", "score": 5},
        {"id": "2", "extra": {"score": "high"}},
        {"id": "3", "extra": {"score": {"a": 1}}},
    ]
    assert frames.notes == ["reports.score: values that do not fit bigint are kept in extra."]


def test_an_object_or_list_is_one_json_column_and_its_keys_never_become_columns():
    frames = normalise([{"id": 1, "tags": ["b", "a"], "owners": {"Jane": 1}}, {"id": 2, "tags": "x"}], REPORTS, NIGHT)
    assert rows(frames.main, REPORTS) == [
        {"id": "1", "owners": '{"Jane":1}', "tags": '["b","a"]'},
        {"id": "2", "tags": '"x"'},
    ]
    assert frames.unknown["reports"] == {"owners": "json", "tags": "json"}


def test_a_field_that_is_no_longer_an_object_stays_in_its_json_column():
    (row,) = main_rows(REPORTS, {"id": 1, "data_quality_metrics": 5})
    assert row["data_quality_metrics"] == "5"


@pytest.mark.parametrize("number", [2**53 + 1, 2**64, 2**200])
def test_an_integer_beyond_a_columns_range_keeps_every_digit(number):
    (declared,) = main_rows(DATA_SOURCES, {"id": number, "row_count": number})
    assert declared["id"] == str(number)
    assert declared.get("row_count", declared.get("extra", {}).get("row_count")) == number


def test_sixty_thousand_characters_stay_sixty_thousand():
    assert main_rows(REPORTS, {"id": 1, "description": "é" * 60_000}) == [{"id": "1", "description": "é" * 60_000}]


def test_an_object_without_an_id_gets_one_from_its_content():
    frames = normalise([{"title": "A"}, {"title": "B", "id": ""}, {"title": "A", "id": None}], REPORTS, NIGHT)
    ids = [row["id"] for row in rows(frames.main, REPORTS)]
    assert [re.sub("[0-9a-f]{16}", "…", one) for one in ids] == ["no-id-…"] * 3
    assert len(set(ids)) == 3
    assert frames.notes == ["reports: objects without an id got one made from their content."]


def test_the_detail_wins_but_its_nulls_do_not_erase():
    item, detail = {"id": 1, "title": "A", "status": "pending"}, {"id": 1, "title": None, "status": "failed", "x": None}
    assert with_detail(item, detail) == {"id": 1, "title": "A", "status": "failed", "x": None}


INSIGHTS = [
    ([{"type": "finding", "title": "T", "text": "a"}, {"body": "b"}], [
        {"kind": "finding", "title": "T", "text": "a"}, {"text": "b"}]),
    (["a", "b", None], [{"text": "a"}, {"text": "b"}, {}]),
    ({"title": "T", "content": "a"}, [{"title": "T", "text": "a"}]),
    ({"executive_summary": "a", "key_metrics": {"text": "b", "n": 1}, "findings": ["c"]}, [
        {"kind": "executive_summary", "text": "a"}, {"kind": "key_metrics", "text": "b", "n": 1},
        {"kind": "findings", "extra": {"text": ["c"]}}]),
    ({"risks": {"kind": "finding", "text": "a"}}, [{"kind": "finding", "text": "a", "kind_key": "risks"}]),
    ("a", [{"text": "a"}]),
    ([[1], 2, True], [{"extra": {"text": [1]}}, {"text": "2"}, {"text": "true"}]),
    ([], []), ({}, []), ("", []), (None, []),
]  # fmt: skip


@pytest.mark.parametrize(("insights", "expected"), INSIGHTS)
def test_insights_of_any_shape_become_rows_in_their_order(insights, expected):
    assert child_rows(REPORTS, {"id": 7, "insights": insights}) == [
        {"report_id": "7", "position": position, **row} for position, row in enumerate(expected)
    ]
    assert main_rows(REPORTS, {"id": 7, "insights": insights}) == [{"id": "7"}]


def test_insights_that_are_only_a_count_go_to_extra():
    frames = normalise([{"id": 7, "insights": 3}], REPORTS, NIGHT)
    assert rows(frames.main, REPORTS) == [{"id": "7", "extra": {"insights": 3}}]
    assert len(frames.children["report_insights"]) == 0


def test_new_fields_of_an_insight_become_columns_of_their_own():
    items = [{"id": 1, "insights": [{"text": "a", "impact": "high", "confidence": 0.5}]}, {"id": 2}]
    frames = normalise(items, REPORTS, NIGHT)
    assert frames.unknown == {"reports": {}, "report_insights": {"confidence": "double", "impact": "text"}}
    assert list(frames.children["report_insights"].columns)[-3:] == ["confidence", "impact", "extra"]


DASHBOARD = {"id": "d_7f3a", "name": "Q2 Revenue", "updated_at": "2026-04-06T09:14:22Z"}
WIDGETS = [
    {"id": "w_1", "type": "kpi", "title": "Revenue", "value": 680420, "target": 1000000},
    {"id": "w_2", "type": "line_chart", "series": [[1, 2.5], [2, None]]},
]


def test_widgets_become_rows_and_their_values_a_history():
    frames = normalise([DASHBOARD | {"widgets": WIDGETS}], DASHBOARDS, NIGHT)
    assert rows(frames.children["dashboard_widgets"], TABLES["dashboard_widgets"]) == [
        {
            "dashboard_id": "d_7f3a",
            "widget_id": "w_1",
            "position": 0,
            "type": "kpi",
            "title": "Revenue",
            "value": 680420.0,
            "target": 1000000.0,
        },
        {
            "dashboard_id": "d_7f3a",
            "widget_id": "w_2",
            "position": 1,
            "type": "line_chart",
            "series": "[[1,2.5],[2,null]]",
        },
    ]
    assert rows(frames.children["widget_history"], TABLES["widget_history"]) == [
        {
            "dashboard_id": "d_7f3a",
            "widget_id": "w_1",
            "captured_on": date(2026, 4, 7),
            "value": 680420.0,
            "target": 1000000.0,
        }
    ]


def test_the_day_of_the_history_is_the_utc_day():
    late = datetime.fromisoformat("2026-04-06T23:30:00-05:00")
    frames = normalise([DASHBOARD | {"widgets": WIDGETS}], DASHBOARDS, late)
    assert frames.children["widget_history"]["captured_on"].tolist() == [date(2026, 4, 7)]


def test_widgets_inside_the_configuration_leave_it():
    item = DASHBOARD | {"configuration": {"layout": "grid", "widgets": WIDGETS}}
    (row,) = main_rows(DASHBOARDS, item)
    assert row["configuration"] == '{"layout":"grid"}'
    assert [row["widget_id"] for row in child_rows(DASHBOARDS, item)] == ["w_1", "w_2"]
    assert item["configuration"]["widgets"] == WIDGETS


def test_widgets_in_both_places_are_read_from_the_first_that_has_any():
    both = DASHBOARD | {"widgets": WIDGETS[:1], "configuration": {"widgets": WIDGETS}}
    empty = DASHBOARD | {"widgets": [], "configuration": {"widgets": WIDGETS}}
    assert [len(child_rows(DASHBOARDS, item)) for item in (both, empty)] == [1, 2]
    assert json.loads(main_rows(DASHBOARDS, both)[0]["configuration"]) == {"widgets": WIDGETS}


def test_widgets_by_name_are_rows_with_that_name_as_their_id():
    items = {"widgets": {"revenue": 680420, "users": {"value": 31, "type": "kpi"}, "odd": {"id": "w_9", "value": 1}}}
    found = [(row["widget_id"], row["value"], row.get("id_key")) for row in child_rows(DASHBOARDS, DASHBOARD | items)]
    assert found == [("revenue", 680420.0, None), ("users", 31.0, None), ("w_9", 1.0, "odd")]


def test_widgets_without_an_id_or_with_the_same_one_are_all_kept():
    ids = [None, "w", "w", "", "#0", [1], "w#7", "w"]
    widgets = [{"id": one, "value": 1} for one in ids]
    found = child_rows(DASHBOARDS, DASHBOARD | {"widgets": widgets}, {"id": 2, "widgets": widgets[:2]})
    assert [row["widget_id"] for row in found] == ["#0", "w", "w#2", "#3", "#0#4", "#5", "w#7", "w#7#7", "#0", "w"]
    moved = {row["position"]: row["extra"]["id"] for row in found if "extra" in row}
    assert moved == {2: "w", 4: "#0", 5: [1], 7: "w"}


def test_a_batch_without_items_has_every_column_with_its_type():
    for table in PARENTS:
        frames = normalise([], table, NIGHT)
        for one in family(table):
            found = to_arrow(frames.children.get(one.name, frames.main), one)
            assert found.schema.names == [column.name for column in one.columns]
            assert found.schema.types == [ARROW[column.kind] for column in one.columns]
            assert [field.name for field in found.schema if not field.nullable] == sorted(
                one.key, key=found.schema.names.index
            )


def test_items_are_left_as_they_were():
    item = DASHBOARD | {"configuration": {"widgets": WIDGETS}, "Name": "B", "d": 1, "organization": {"x": 1}}
    before = json.dumps(item)
    for table in PARENTS:
        normalise([item], table, NIGHT)
    assert json.dumps(item) == before


# What follows asks for every value of arbitrary items.

FIELDS = [
    *sorted({field.partition(".")[0] for table in PARENTS for column in table.columns for field in column.fields}),
    *("insights", "widgets", "configuration", "organization", "api_key", "user", "extra", "deleted_at", "captured_at"),
    *(
        "Title",
        "createdAt",
        "created-at",
        "CREATED_AT",
        "Insights",
        "case",
        "Case",
        "a-b",
        "a_b",
        "a b",
        "+x",
        "d",
        "s",
    ),
    *("_dlt_id", "_id", "2025", "", " ", "x" * 61, "xmin", "report_id", "position", "widget_id", "\0", "\ud800", "é"),
]
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(categories=["Cs", "Cc", "So", "Lu"]), max_size=6),
    st.sampled_from(["=1+1", "+1", "-1", "@a", "", " ", 'say "hi"\n', "😀", "5", "1.50", "true", "null", "x" * 60_000]),
    st.sampled_from(["2025-07-15T08:00:00Z", "2025-07-15", "2025-07-15T08:00:00.123456789+02:00", "2025-13-01"]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
KEYS_INSIDE = (
    st.sampled_from(["id", "name", "plan", "tier", "text", "kind", "value", "widgets", "A", "a", "\0"]) | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS_INSIDE, inner, max_size=3), max_leaves=6
)
ITEMS = st.lists(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), VALUES, max_size=8), max_size=5)
MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def shown(text: str) -> str:
    return re.sub("[\0\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def plain(value: Any) -> str:
    """One spelling for each JSON value: 1, 1.0, true and "1" are four."""
    if isinstance(value, str):
        return json.dumps(shown(value))
    if isinstance(value, dict):
        return json.dumps(sorted([shown(key).rstrip("'"), plain(inner)] for key, inner in value.items()))
    return json.dumps([plain(inner) for inner in value]) if isinstance(value, list) else json.dumps(value)


def holds(stored: Any, kind: str, value: Any) -> bool:
    """Whether a cell of a kind says all that the value says."""
    if kind == "json":
        return stored is not None and plain(json.loads(stored)) == plain(value)
    if isinstance(value, dict | list):
        return False
    if kind == "text":
        return bool(stored == (shown(value) if isinstance(value, str) else json.dumps(value)))
    if value == "":
        return stored is None
    if stored is None or isinstance(value, bool) or kind == "bool":
        return stored is value
    if kind == "timestamp":
        return stored == moment(value)
    exact = Decimal(value) if isinstance(value, str) else value
    return bool((Decimal(repr(stored)) if isinstance(exact, Decimal) else stored) == exact)


def moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        seconds = Decimal(value) / (1000 if abs(value) >= 10**11 else 1)
        return datetime.fromtimestamp(0, UTC) + pd.Timedelta(microseconds=round(seconds * 10**6)).to_pytimedelta()
    if re.search(r"\.\d{7}", value):
        return None
    found = datetime.fromisoformat(value)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def kinds_of(frames: Frames, table: Table) -> dict[str, str]:
    return {column.name: column.kind for column in table.columns} | frames.unknown[table.name]


def assert_kept(item: dict[str, Any], row: dict[str, Any], kinds: dict[str, str], table: Table) -> None:
    """Each value stands in `extra` under its own name, or in a column that may hold the field."""
    extra = row.get("extra", {})
    roots = {field.split(".")[0] for column in table.columns for field in column.fields if "." in field}
    for field, value in item.items():
        if value is None or any(field_of_list(field, child) for child in table.children):
            continue
        if field in roots and isinstance(value, dict):
            for key, inner in value.items():
                left = extra.get(shown(field), {}).get(shown(key))
                assert inner is None or kept_at(f"{field}.{key}", inner, left, row, kinds, table), (
                    field,
                    key,
                    inner,
                    row,
                )
        else:
            assert kept_at(field, value, extra_at(extra, field, value), row, kinds, table), (field, value, row)


def field_of_list(field: str, child: Table) -> bool:
    return (
        field in child.lists or column_name(field) in child.lists or (field == "configuration" and bool(child.by_day))
    )


def extra_at(extra: dict[str, Any], field: str, value: Any) -> Any:
    """The value under the field's name, or under its name with the mark that tells twins apart."""
    named = [inner for name, inner in extra.items() if name.rstrip("'") == shown(field).rstrip("'")]
    return next((inner for inner in named if plain(inner) == plain(value)), None)


def kept_at(field: str, value: Any, left: Any, row: dict[str, Any], kinds: dict[str, str], table: Table) -> bool:
    if left is not None and plain(left) == plain(value):
        return True
    name = column_name(field)
    homes = {column.name for column in table.columns if field in column.fields or name in column.fields}
    if not homes and table.column(name or "") is None and name in kinds:
        homes = {name}
    if value == "" and homes & set(table.key):
        return True  # an empty id is none
    return any(holds(row.get(home), kinds[home], value) for home in homes)


@MANY
@given(ITEMS, st.sampled_from(PARENTS))
@example([{"d": {"id": 1}, "extra": 5, "deleted_at": "x", "Case": 1, "case": True}], REPORTS)
@example([{"organization": {"plan": "a", "tier": "b", "id": [1]}, "plan": 5}], ORGANIZATION)
@example([{"score": 1}, {"score": "a"}, {"score": {}}], REPORTS)
def test_every_value_of_an_item_is_found_in_its_row(items, table):
    frames = normalise(items, table, NIGHT)
    kinds = kinds_of(frames, table)
    for item, row in zip(items, rows(frames.main, table), strict=True):
        assert_kept(item, row, kinds, table)


LISTS = st.lists(VALUES | st.dictionaries(KEYS_INSIDE, VALUES, max_size=4), max_size=4)
MAPS = st.dictionaries(KEYS_INSIDE, VALUES, max_size=4)


@MANY
@given(ITEMS, st.sampled_from([REPORTS, DASHBOARDS]), LISTS | MAPS | VALUES)
@example([], DASHBOARDS, [{"widget_id": 5}, {"id": 5}, {"widget_id": 5}])
def test_every_value_of_a_list_is_found_in_the_rows_of_its_child(items, table, value):
    (child,) = table.children
    item = {"id": "1", child.lists[0]: value}
    frames = normalise([item, *(other | {"id": "2"} for other in items)], table, NIGHT)
    kinds = kinds_of(frames, child)
    found = [row for row in rows(frames.children[child.name], child) if row[child.key[0]] == "1"]
    assert len({tuple(row[name] for name in child.key) for row in found}) == len(found)
    if isinstance(value, bool | int | float):
        assert rows(frames.main, table)[0]["extra"] == {child.lists[0]: value}
    for row, (name, element) in zip(found, named_elements(value, child), strict=True):
        fields = element if isinstance(element, dict) else {child.bare_field: element}
        assert_kept(fields, row, kinds, child)
        texts = [str(cell) for column, cell in row.items() if column != "extra"]
        assert any(text.startswith(shown(name)) for text in texts), (name, row)


def named_elements(value: Any, child: Table) -> list[tuple[str, Any]]:
    """What the rows are to be made of, with the name each element had; empty where it had none."""
    if isinstance(value, list):
        return [("", element) for element in value]
    if isinstance(value, dict):
        known = {field for column in child.columns for field in column.fields}
        return [("", value)] if known & value.keys() else list(value.items())
    return [("", value)] if isinstance(value, str) and value else []


@MANY
@given(ITEMS, st.sampled_from(PARENTS))
def test_types_are_always_the_declared_ones(items, table):
    frames = normalise(items, table, NIGHT)
    for one in family(table):
        found = to_arrow(frames.children.get(one.name, frames.main), one)
        kinds = {column.name: column.kind for column in one.columns} | frames.unknown.get(one.name, {})
        assert found.schema.types == [ARROW[kinds[name]] for name in found.schema.names]
        assert found.schema.names[: len(one.columns) - 1] == [column.name for column in one.columns][:-1]
        assert [found[name].null_count for name in one.key] == [0] * len(one.key)


@MANY
@given(ITEMS, st.sampled_from(PARENTS), st.integers(1, 3))
def test_the_result_is_the_same_however_the_items_are_cut_into_batches(items, table, size):
    whole = normalise(items, table, NIGHT)
    pieces: dict[str, list[Any]] = {one.name: [] for one in family(table)}
    for start in range(0, len(items), size):
        part = normalise(items[start : start + size], table, NIGHT, whole.unknown)
        for one in family(table):
            pieces[one.name] += rows(part.children.get(one.name, part.main), one)
    again = normalise(items, table, NIGHT, whole.unknown)
    for one in family(table):
        assert repr(rows(again.children.get(one.name, again.main), one)) == repr(pieces[one.name])
        assert repr(rows(whole.children.get(one.name, whole.main), one)) == repr(pieces[one.name])


@MANY
@given(ITEMS, st.integers(1, 3))
def test_new_columns_are_the_same_however_the_items_are_cut_into_batches(items, size):
    known: dict[str, dict[str, str]] = {}
    for start in range(0, len(items), size):
        known = normalise(items[start : start + size], REPORTS, NIGHT, known).unknown
    assert list(known.get("reports", {})) == list(normalise(items, REPORTS, NIGHT).unknown["reports"])


def nasty_bytes() -> str:
    """A digest of everything that a batch of nasty items becomes."""
    items = [
        {field: {"b": place, "a": [field]} if place % 3 else place for place, field in enumerate(FIELDS)},
        dict.fromkeys(reversed(FIELDS), "x"),
        {"id": 1, "insights": ["a", {"b": 1}], "widgets": {"a": 1}},
    ]
    digest = hashlib.sha256()
    for table in PARENTS:
        frames = normalise(items, table, NIGHT)
        for one in family(table):
            sink = pa.BufferOutputStream()
            found = to_arrow(frames.children.get(one.name, frames.main), one)
            with pa.ipc.new_stream(sink, found.schema) as stream:
                stream.write_table(found)
            digest.update(sink.getvalue())
        digest.update(repr((frames.unknown, frames.notes)).encode())
    return digest.hexdigest()


def test_two_runs_give_the_same_bytes():
    other = subprocess.run(
        [sys.executable, "-c", "from tests.test_frames import nasty_bytes; print(nasty_bytes())"],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == nasty_bytes()
