"""What is shipped: the wheel holds the two packages, and works where nothing else of the project is."""

import json
import shutil
import tarfile
from zipfile import ZipFile

import pytest

from pipelines.sandbox import KB, Organisation, Sandbox
from tests.installed import PROJECT, Installed, build, clean_copy, ours

QUICK = (
    "test_answers.py",
    "test_digest_page.py::test_the_page_names_nothing_that_a_browser_would_fetch",
    "test_schema.py",
    "test_settings.py",
)
"""Tests that are quick; the page needs what is no code, its templates. The command itself runs above."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = clean_copy(tmp_path_factory.mktemp("clone"))
    # What lies about in a folder that was worked in must not be packed.
    (folder / ".dlt/secrets.toml").write_text('[sources.claribi]\napi_key = "claribi_sk_mine"\n')
    (folder / "warehouse.duckdb").touch()
    (folder / "pipelines/__pycache__").mkdir()
    (folder / "pipelines/__pycache__/cli.cpython-311.pyc").touch()
    return build(folder, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory):
    """The command without any extra."""
    return Installed(tmp_path_factory.mktemp("base"), wheel)


@pytest.fixture(scope="module")
def full(wheel, tmp_path_factory):
    """The command with all extras, and what some of its tests need."""
    tools = ("google-api-python-client", "hypothesis", "playwright", "pytest", "pytest-timeout")
    return Installed(tmp_path_factory.mktemp("full"), wheel, ["all"], tools)


@pytest.fixture
def account(stage):
    """The settings of an account that is served."""
    stage.sandbox = Sandbox(KB, Organisation(reports=30))
    return {"SOURCES__CLARIBI__BASE_URL": stage.url, "SOURCES__CLARIBI__API_KEY": stage.sandbox.account.key}


def in_packages():
    return [name for name in ours() if name.startswith(("pipelines/", "destinations/"))]


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel):
    of_itself = "claribi_export-0.1.0.dist-info"
    about = [f"{of_itself}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")]
    with ZipFile(wheel) as opened:
        assert sorted(opened.namelist()) == sorted([*in_packages(), *about])
        assert {"pipelines/py.typed", "destinations/py.typed", "pipelines/digest/templates/page.css"} < set(
            opened.namelist()
        )


def test_the_source_archive_holds_what_the_wheel_is_built_of(wheel):
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    about = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".gitignore", "PKG-INFO"}
    assert held == {*in_packages(), *about}


def test_the_base_install_runs_looks_and_tells_without_any_extra_and_writes_nothing_into_itself(
    base, account, tmp_path
):
    assert not {"apprise", "gspread", "google-auth", "jinja2", "psycopg2-binary", "starlette"} & set(base.holds)
    before = everything(base.folder)
    doctor = base.run(tmp_path, "claribi-export", "doctor", "--json", **account)
    assert (doctor.returncode, doctor.stderr) == (0, "")
    for destination in ("duckdb", "csv_files"):
        where = ("--json", "--destination", destination)
        run = base.run(tmp_path, "claribi-export", "run", *where, **account)
        assert (run.returncode, run.stderr) == (0, "")
        assert json.loads(run.stdout)["tables"]["reports"]["rows"] == 30
        status = base.run(tmp_path, "claribi-export", "status", "--max-age", "26", *where)
        assert (status.returncode, json.loads(status.stdout)["tables"]["reports"]) == (0, 30)
    assert everything(base.folder) == before


def everything(folder):
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("sheets", ("run", "--destination", "google_sheets")),
        ("postgres", ("status", "--destination", "postgres")),
        ("sandbox", ("sandbox", "--port", "0")),
        ("watch", ("digest",)),
    ],
)
def test_what_needs_an_extra_names_it(base, account, tmp_path, extra, words):
    places = {
        "DESTINATION__GOOGLE_SHEETS__SPREADSHEET": f"https://docs.google.com/spreadsheets/d/{'a' * 44}/edit",
        "DESTINATION__POSTGRES__CREDENTIALS": "postgresql://loader:secret@localhost:5432/claribi",
    }
    ended = base.run(tmp_path, "claribi-export", *words, **account, **places)
    assert ended.returncode == 2
    assert f"pip install 'claribi-export[{extra}]'" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_with_the_extras_it_watches_and_writes_the_digest(full, account, tmp_path):
    run = full.run(tmp_path, "claribi-export", "run", **account)
    assert (run.returncode, run.stderr) == (0, "")
    digest = full.run(tmp_path, "claribi-export", "digest", "--output", "page.html")
    assert (digest.returncode, digest.stderr) == (0, "")
    assert (tmp_path / "page.html").read_text("utf-8").rstrip().endswith("</html>")


def test_tests_of_the_project_pass_against_the_wheel(full, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(PROJECT / "tests", elsewhere / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", elsewhere)
    tested = [f"tests/{name}" for name in QUICK]
    ended = full.run(elsewhere, "python", "-m", "pytest", "-p", "no:cacheprovider", *tested)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    where = "import pipelines, destinations; print(pipelines.__file__, destinations.__file__)"
    files = full.run(elsewhere, "python", "-c", where).stdout.split()
    assert files == [f"{full.packages}/{name}/__init__.py" for name in ("pipelines", "destinations")]
