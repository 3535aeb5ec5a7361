from pathlib import Path

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from pipelines.claribi.errors import SettingError
from pipelines.watch.settings import NEVER, WatchSettings, load_watch_settings


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.chdir(tmp_path)
        reread()
        yield
    reread()


def reread():
    """What dlt has read of the folder that it started in is forgotten."""
    Container()[PluggableRunContext].reload()


def configure(text):
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text(text)
    reread()


def test_nothing_set_gives_the_defaults():
    assert load_watch_settings() == WatchSettings(
        stale_after_h=26,
        stale_after_h_by={},
        paused_after_h=72,
        usage_thresholds=(80, 95),
        usage_thresholds_by={},
        remind_after_h=168,
        dashboard_after_h=168,
    )


def test_the_configuration_file_is_read():
    configure(
        "[watch]\nstale_after_h = 30.5\npaused_after_h = 24\nusage_thresholds = [95, 50]\nremind_after_h = 24\n"
        "dashboard_after_h = 48\n"
        '[watch.stale_after_h_by]\n"Google *" = 48\nfile = "never"\n'
        "[watch.usage_thresholds_by]\nai_credits = [50, 80, 95]\nstorage_gb = []\n"
    )
    assert load_watch_settings() == WatchSettings(
        stale_after_h=30.5,
        stale_after_h_by={"Google *": 48, "file": NEVER},
        paused_after_h=24,
        usage_thresholds=(50, 95),
        usage_thresholds_by={"ai_credits": (50, 80, 95), "storage_gb": ()},
        remind_after_h=24,
        dashboard_after_h=48,
    )


@pytest.mark.parametrize(
    ("name", "text", "field", "expected"),
    [
        ("WATCH__STALE_AFTER_H", "30", "stale_after_h", 30),
        ("WATCH__STALE_AFTER_H", "", "stale_after_h", 26),
        ("WATCH__USAGE_THRESHOLDS", "80,95", "usage_thresholds", (80, 95)),
        ("WATCH__USAGE_THRESHOLDS", "[95, 80, 80]", "usage_thresholds", (80, 95)),
        ("WATCH__USAGE_THRESHOLDS", "90", "usage_thresholds", (90,)),
        (
            "WATCH__STALE_AFTER_H_BY",
            '{"Google *": 48, "file": "never"}',
            "stale_after_h_by",
            {"Google *": 48, "file": NEVER},
        ),
        ("WATCH__USAGE_THRESHOLDS_BY", '{"users": "70,90"}', "usage_thresholds_by", {"users": (70, 90)}),
    ],
)
def test_the_environment_says_the_same_as_text(monkeypatch, name, text, field, expected):
    monkeypatch.setenv(name, text)
    assert getattr(load_watch_settings(), field) == expected


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("WATCH__STALE_AFTER_H", "soon", "hours above 0"),
        ("WATCH__STALE_AFTER_H", "0", "hours above 0"),
        ("WATCH__REMIND_AFTER_H", "-1", "hours above 0"),
        ("WATCH__PAUSED_AFTER_H", "nan", "hours above 0"),
        ("WATCH__DASHBOARD_AFTER_H", "true", "hours above 0"),
        ("WATCH__USAGE_THRESHOLDS", "80,lots", "percentages above 0, up to 100"),
        ("WATCH__USAGE_THRESHOLDS", "80,101", "percentages above 0, up to 100"),
        ("WATCH__STALE_AFTER_H_BY", "48", "a table of names, globs or types"),
        ("WATCH__STALE_AFTER_H_BY", "Google = 48", "a table of names, globs or types"),
        ("WATCH__STALE_AFTER_H_BY", '{"Google": "rarely"}', "a table of names, globs or types"),
        ("WATCH__USAGE_THRESHOLDS_BY", '{"users": [0]}', "a table of metrics"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_what_it_may_be(monkeypatch, name, text, allowed):
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingError) as refused:
        load_watch_settings()
    assert str(refused.value).startswith(f"{name} holds ")
    assert allowed in str(refused.value)


def test_the_bare_name_in_the_environment_is_somebody_elses(monkeypatch):
    monkeypatch.setenv("STALE_AFTER_H", "1")
    assert load_watch_settings().stale_after_h == 26


@pytest.mark.parametrize(
    ("name", "types", "expected"),
    [
        ("Google Ads EU", ("google_ads", "api"), 1),
        ("google ads eu", (), 1),
        ("Google Sheets", ("google_sheets",), 2),
        ("Orders [old]", (), 5),
        ("Orders", ("postgresql", "database"), 3),
        ("Orders", ("mysql", "Database"), 4),
        ("Orders", (None, "api"), 26),
        (None, ("database",), 4),
        (None, (), 26),
    ],
)
def test_the_closest_limit_counts_name_then_glob_then_type(name, types, expected):
    by = {"Google *": 2, "database": 4, "postgresql": 3, "Google Ads EU": 1, "Orders [old]": 5}
    assert WatchSettings(stale_after_h_by=by).stale_after(name, types) == expected
