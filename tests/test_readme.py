"""The README is held to the code: commands, settings, exit codes, tables and what `make demo` shows."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import typer

from pipelines.claribi import errors
from pipelines.claribi.schema import TABLES
from pipelines.claribi.settings import ClaribiSettings
from pipelines.cli import app
from pipelines.watch.settings import WatchSettings
from pipelines.watch.tables import WATCHED
from tests.browser import Seen, chromium

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def section(name: str) -> str:
    return re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", README, re.DOTALL)[1]


def test_the_commands_are_those_of_the_code():
    group = typer.main.get_command(app)
    rows = [f"| `claribi-export {name}` | {command.help.splitlines()[0]} |" for name, command in group.commands.items()]
    assert ["| command | what it does |", "| --- | --- |", *rows] == section("commands").splitlines()


def test_the_settings_are_those_of_the_code_with_their_defaults():
    documented = {
        row[0]: row[1]
        for row in re.findall(r"^\| `SOURCES__CLARIBI__(\w+)` \|.*\| ?(.*?) ?\|$", section("settings"), re.M)
    }
    own = ClaribiSettings.__annotations__
    expected = {}
    for field in fields(ClaribiSettings):
        if field.name in own:
            default = field.default
            number = f"{default:g}" if isinstance(default, float | int) else default
            expected[field.name.upper()] = "" if default is None else f"`{number}`"
    assert expected == documented


def test_the_settings_of_watching_are_those_of_the_code_with_their_defaults():
    documented = dict(re.findall(r"^\| `WATCH__(\w+)` \|.*\| ?(.*?) ?\|$", section("settings"), re.M))
    defaults = {name.upper(): value for name, value in vars(WatchSettings()).items()}
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    assert documented == {name: f"`{value}`" if value else "" for name, value in told.items()}


def test_the_exit_codes_are_those_of_the_errors():
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.M)}
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.ClaribiError)]
    assert documented >= {one.exit_code for one in classes}
    assert documented == {0, 1, 2, 3, 4, 5, 6, 75}


def test_the_tables_are_those_of_the_schema():
    rows = [f"| `{table.name}` | `{', '.join(table.key)}` | {table.about} |" for table in (*TABLES.values(), *WATCHED)]
    assert ["| table | key | what it holds |", "| --- | --- | --- |", *rows] == section("tables").splitlines()


def test_the_capture_is_what_the_demo_prints(tmp_path):
    shown = re.search(r"<!-- capture: make demo -->\n```text\n(.*?)```", README, re.DOTALL)[1]
    printed = subprocess.run(
        [sys.executable, "-c", "from pipelines.cli import main; main()", "demo", "--nights", "1"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert _steady(shown) == _steady(printed.split("\nLook at it\n")[0])
    page = tmp_path / "demo" / "digest.html"
    assert f"demo/{page.name} shows all of it on one page (6 problems)" in printed
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 360, "height": 800})
        seen = Seen(tab)
        tab.goto(page.as_uri(), wait_until="load")
        assert (tab.locator("h1").inner_text(), tab.locator(".alerts li").count()) == ("6 problems", 1 + 1 + 3)
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        assert (seen.console, seen.dialogs, seen.requests) == ([], [], [page.as_uri()])


def _steady(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
