"""The arrows of the design: who may import whom, who touches the world, who prints."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
MODULES = {
    ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(file.read_text())
    for package in ("pipelines", "destinations")
    for file in sorted((PROJECT / package).rglob("*.py"))
}

PURE = [
    *(f"pipelines.claribi.{name}" for name in ("answers", "columns", "dialect", "frames", "leftovers", "lists")),
    *(f"pipelines.claribi.{name}" for name in ("numbering", "placing", "rows", "schema", "tally", "windows")),
    *(f"pipelines.watch.{name}" for name in ("alerts", "finding", "health", "reports", "source_events", "tables")),
    *(f"pipelines.watch.{name}" for name in ("usage", "watched", "words")),
    *(f"pipelines.digest.{name}" for name in ("facts", "gathering", "sentences")),
    "pipelines.schedule",
    "pipelines.summary",
    "destinations.cells",
    "destinations.sheets_plan",
]
WORLD = {"asyncio", "duckdb", "gspread", "httpx", "io", "os", "pathlib", "requests", "shutil", "socket", "subprocess"}
"""Modules that reach files, processes or the network; `tempfile` and `urllib.request` are told by their names."""

PRINTING = {"pipelines.cli", "pipelines.backfill_screens", "pipelines.screens", "pipelines.status_screens"}
"""The command and what it shows on its screens."""


def imported(module):
    """Every name that a module imports, wherever in it; `from a import b` is `a.b`, and `a` too unless b is a module.

    What is imported for type checking alone is no arrow.
    """
    found = set()
    typing_only = {id(node) for block in ast.walk(MODULES[module]) if _checks_types(block) for node in block.body}
    for node in ast.walk(MODULES[module]):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} if node.module else {"."}
            found |= names if names <= MODULES.keys() else {node.module} | names
    return found


def _checks_types(block):
    return isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"


def within(name, package):
    return name == package or name.startswith(f"{package}.")


def broken(modules, forbidden):
    """Imports that a rule forbids, as sentences."""
    return [f"{module} imports {name}" for module in modules for name in sorted(imported(module)) if forbidden(name)]


def of(package):
    found = [module for module in MODULES if within(module, package)]
    assert found
    return found


def test_no_import_is_relative():
    assert broken(MODULES, lambda name: name.startswith(".")) == []


def test_the_source_knows_neither_a_destination_nor_what_joins_them():
    def outside(name):
        return within(name, "destinations") or (
            within(name, "pipelines") and name != "pipelines" and not within(name, "pipelines.claribi")
        )

    assert broken(of("pipelines.claribi"), outside) == []


def test_the_destinations_know_nothing_of_the_pipelines():
    assert broken(of("destinations"), lambda name: within(name, "pipelines")) == []


def test_the_sandbox_knows_nothing_of_what_reads_it():
    def ours(name):
        return within(name, "destinations") or (
            within(name, "pipelines") and name != "pipelines" and not within(name, "pipelines.sandbox")
        )

    assert broken(of("pipelines.sandbox"), ours) == []


def test_nobody_imports_the_command():
    assert broken(MODULES, lambda name: within(name, "pipelines.cli")) == []


def test_the_arrows_make_no_circle():
    arrows = {module: {name for name in imported(module) if name in MODULES} - {module} for module in MODULES}
    left = dict(arrows)
    for _ in range(len(MODULES)):
        free = [module for module, needs in left.items() if not needs & left.keys()]
        left = {module: needs for module, needs in left.items() if module not in free}
    assert left == {}


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_does_not_reach_the_world(module):
    def world(name):
        return name.partition(".")[0] in WORLD or name in ("tempfile", "urllib.request")

    assert broken([module], world) == []
    assert "open" not in called(module)


def called(module):
    """The plain names that a module calls."""
    calls = [node.func for node in ast.walk(MODULES[module]) if isinstance(node, ast.Call)]
    return {function.id for function in calls if isinstance(function, ast.Name)}


def test_only_the_command_and_its_screens_print():
    others = MODULES.keys() - PRINTING
    assert [module for module in sorted(others) if "print" in called(module)] == []
    assert broken(sorted(others), lambda name: name in ("rich.console.Console", "rich.print", "typer")) == []


def test_every_module_is_short_enough_to_read():
    assert [module for module in MODULES if len(ast.unparse(MODULES[module]).splitlines()) > 400] == []


def test_help_is_shown_without_the_heavy_libraries():
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from pipelines.cli import main; main()", "--help"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "Export once" in shown.stdout
    assert "typer" in loaded
    assert loaded & {"dlt", "duckdb", "gspread", "httpx", "numpy", "pandas", "pyarrow", "starlette", "uvicorn"} == set()
