"""The run report as Markdown: what a person sees on the page of a workflow run."""

from pathlib import Path

import pytest

from pipelines.claribi.errors import SettingError
from pipelines.cli import _append
from pipelines.report import BackfillReport, Report
from pipelines.summary import summary

TOLD = {
    "run_id": "20260102T030405Z-abcdef",
    "outcome": "later",
    "exit_code": 75,
    "destination": "duckdb",
    "dialect": None,
    "started_at": "2026-01-02T03:04:05Z",
    "finished_at": "2026-01-02T03:04:15Z",
    "requests": {"total": 1234, "left_in_window": 0},
    "tables": {"reports": {"seen": 1240, "new": 20, "changed": 0, "deleted": 0, "rows": None}},
    "walks": {},
}


def test_a_run_is_a_table_with_what_it_took_and_its_notes():
    assert summary(Report(**TOLD, notes=["The limit is spent."])) == (
        "### clariBI export: later\n\n"
        "Into duckdb, from 2026-01-02T03:04:05Z to 2026-01-02T03:04:15Z, run 20260102T030405Z-abcdef: "
        "1,234 calls, 0 left this hour.\n\n"
        "| table | seen | new | changed | deleted | rows |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| reports | 1,240 | 20 | · | · | ? |\n\n"
        "- The limit is spent.\n\n"
    )


def test_a_note_that_quotes_a_stranger_stays_text():
    text = summary(Report(**TOLD, notes=["<img src=x> [a](http://b) `c` | **d**\n# e"]))
    assert r"- &lt;img src=x&gt; \[a\](http://b) \`c\` \| \*\*d\*\* \# e" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "Nothing was read."),
        ({"window": {"since": "a", "until": "b"}}, "Nothing is left of the window."),
        (
            {
                "window": {"since": "a", "until": "d"},
                "left": [{"since": "c", "until": "d"}, {"since": "a", "until": "b"}],
            },
            "Still to read: c to d, a to b.",
        ),
    ],
)
def test_a_backfill_says_what_is_left(more, says):
    assert f"\n\n{says}\n\n" in summary(BackfillReport(**TOLD, **more))


def test_the_file_is_added_to_and_one_that_cannot_be_is_named(tmp_path):
    file = tmp_path / "summary.md"
    file.write_text("before\n\n")
    _append(file, Report(**TOLD))
    _append(None, Report(**TOLD))
    assert file.read_text() == "before\n\n" + summary(Report(**TOLD))
    with pytest.raises(SettingError, match=r"^--summary .* cannot be written: Is a directory. All else is done.$"):
        _append(Path(tmp_path), Report(**TOLD))
