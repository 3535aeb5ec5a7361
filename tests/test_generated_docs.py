"""The pages that are written by `make docs`, and the lock that one of them tells of."""

import re

import pytest
from packaging.utils import canonicalize_name

from docs.generate import HERE, PAGES, licence, locked, may_be_used
from tests.installed import NAME, PROJECT, brought


def entries(name):
    """The packages of a lock, each with its version, its marker and its hashes."""
    text = re.sub(r"^ *#.*\n", "", (PROJECT / name).read_text(), flags=re.M)
    return {re.sub(r"\s*\\\n\s*", " ", one).strip() for one in re.split(r"\n(?=\S)", text)}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_make_docs_writes(name):
    assert (HERE / name).read_text() == PAGES[name](), "run `make docs` and commit the page with your change"


def test_every_package_of_a_run_has_a_licence_that_this_project_may_depend_on():
    assert [(name, licence(name)) for name, _ in locked() if not may_be_used(name, licence(name))] == []


@pytest.mark.parametrize(
    ("name", "said", "allowed"),
    [
        ("a", "MIT", True),
        ("a", "MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("a", "GPL-3.0-only OR MIT", True),
        ("a", "GPL-3.0-only", False),
        ("a", "MIT AND GPL-3.0-only", False),
        ("a", "", False),
        ("a", "LGPL with exceptions", False),
        ("psycopg2-binary", "LGPL with exceptions", True),
    ],
)
def test_an_unknown_or_a_copyleft_licence_is_refused(name, said, allowed):
    assert may_be_used(name, said) is allowed


def test_the_lock_of_a_run_is_part_of_the_whole_lock():
    assert sorted(entries("requirements-run.lock") - entries("requirements.lock")) == []


def test_the_lock_of_a_run_holds_what_the_extras_bring():
    needed = set(brought(f"{NAME}[postgres,sheets,watch]")) - {NAME}
    assert needed == {canonicalize_name(name) for name, _ in locked()}
