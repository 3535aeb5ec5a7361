from dlt.common.normalizers.naming.snake_case import NamingConvention

from pipelines.claribi.columns import ARROW
from pipelines.claribi.schema import EXTRA, REPORTS, TABLES

PROMISED = {
    "reports": "id title status description output_format created_at completed_at period_start period_end"
    " data_quality_metrics web_url download_url deleted_at",
    "report_insights": "report_id position",
    "dashboards": "id name status is_public created_at updated_at last_refresh deleted_at",
    "dashboard_widgets": "dashboard_id widget_id",
    "widget_history": "dashboard_id widget_id captured_on value target",
    "data_sources": "id name type engine source_type status last_synced_at created_at row_count deleted_at",
    "usage": "captured_at",
    "organization": "id name plan key_name permissions key_expires_at",
    "export_runs": "run_id trigger",
}
KEYS = {
    "reports": ("id",),
    "report_insights": ("report_id", "position"),
    "dashboards": ("id",),
    "dashboard_widgets": ("dashboard_id", "widget_id"),
    "widget_history": ("dashboard_id", "widget_id", "captured_on"),
    "data_sources": ("id",),
    "usage": ("captured_at",),
    "organization": ("id",),
    "export_runs": ("run_id",),
}


def test_every_table_begins_with_the_columns_users_rely_on_in_their_order():
    first = {name: [column.name for column in table.columns] for name, table in TABLES.items()}
    assert {name: " ".join(first[name][: len(PROMISED[name].split())]) for name in TABLES} == PROMISED


def test_every_table_has_its_key():
    assert {name: table.key for name, table in TABLES.items()} == KEYS


def test_a_key_is_a_column_and_a_childs_first_key_is_its_parents_id():
    for table in TABLES.values():
        assert {table.column(name) is not None for name in table.key} == {True}
        assert table.merge_key in (None, table.key[0])


def test_extra_is_the_last_column_of_every_table_of_claribi_objects():
    last = {name: table.columns[-1].name for name, table in TABLES.items()}
    ours = ("widget_history", "export_runs")
    assert {name for name, column in last.items() if column == EXTRA} == TABLES.keys() - set(ours)


def test_column_names_are_what_dlt_itself_would_write():
    naming = NamingConvention()
    names = [column.name for table in TABLES.values() for column in table.columns] + list(TABLES)
    assert [naming.normalize_path(name) for name in names] == names


def test_no_table_names_a_column_twice():
    for table in TABLES.values():
        names = [column.name for column in table.columns]
        assert sorted(set(names)) == sorted(names)


def test_every_column_has_a_type_and_a_sentence():
    for table in TABLES.values():
        for column in (table, *table.columns):
            assert column.about[0].isalpha()
            assert column.about.endswith(".")
        assert {column.kind for column in table.columns} <= ARROW.keys()


def test_ids_are_text():
    kinds = {
        column.kind for table in TABLES.values() for column in table.columns if column.name.endswith(("id", "_id"))
    }
    assert kinds == {"text"}


def test_only_the_three_last_states_of_a_report_are_final():
    assert REPORTS.final_statuses == {"completed", "failed", "cancelled"}
