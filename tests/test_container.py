"""The container file is held to its promises by reading it: nothing here can build it."""

import json
import re
import shlex
from pathlib import Path

import typer

from pipelines.cli import app
from tests.installed import PROJECT, ours


def instructions():
    """The container file's instructions in order, each as its word and the rest on one line."""
    text = re.sub(r"^#.*\n", "", (PROJECT / "Containerfile").read_text(), flags=re.M)
    return [tuple(line.split(" ", 1)) for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line]


def stages():
    """The instructions of each stage."""
    found = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def told(stage, word):
    return [rest for said, rest in stage if said == word]


def variables(stage):
    return dict(pair.split("=", 1) for line in told(stage, "ENV") for pair in shlex.split(line))


def test_the_image_is_of_one_exact_version_and_what_builds_it_stays_behind():
    build, image = stages()
    named = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-\w+", named["PYTHON"])
    assert (told(build, "FROM"), told(image, "FROM")) == (["${PYTHON} AS build"], ["${PYTHON}"])
    assert told(image, "COPY") == ["--from=build /opt/claribi-export /opt/claribi-export"]
    assert "pip" not in " ".join(told(image, "RUN"))


def test_packages_are_installed_by_their_hashes():
    steps = [step for rest in told(stages()[0], "RUN") for step in rest.split(" && ")]
    asked = [step for step in steps if re.search(r"pip (install|wheel)", step)]
    locks = [re.search(r"--require-hashes .*-r (\S+)$", step) for step in asked]
    assert [found[1] for found in locks if found] == ["requirements-build.lock", "requirements-run.lock"]
    fetching = [step for step, found in zip(asked, locks, strict=True) if not found]
    assert [step for step in fetching if not re.search(r"--no-deps --no-(index|build-isolation)", step)] == []


def test_it_runs_as_nobody_in_particular_and_writes_to_its_volume_alone():
    _, image = stages()
    [user], [folder] = told(image, "USER"), told(image, "WORKDIR")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert told(image, "VOLUME") == [folder]
    written = variables(image)
    assert written["HOME"] == folder
    assert Path(written["DLT_DATA_DIR"]).is_relative_to(folder)
    assert written["PYTHONDONTWRITEBYTECODE"] == "1"


def test_its_commands_are_those_of_the_code():
    _, image = stages()
    commands = typer.main.get_command(app).commands
    assert json.loads(told(image, "ENTRYPOINT")[0]) == ["claribi-export"]
    assert [word for line in told(image, "CMD") for word in json.loads(line) if word not in commands] == []
    asked = json.loads(told(image, "HEALTHCHECK")[0].partition("CMD ")[2])
    check = re.fullmatch(r"claribi-export (\w+) (--[a-z-]+) 26 \|\| exit 1", asked[-1])
    assert asked[:-1] == ["sh", "-c"]
    assert check[2] in {name for option in commands[check[1]].params for name in option.opts}


def test_it_is_given_what_it_copies_and_never_a_key():
    rules = [line for line in (PROJECT / ".containerignore").read_text().splitlines() if not line.startswith("#")]
    given = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert rules[0] == "*"
    assert [rule for rule in rules[1 + len(given) :] if "pyc" not in rule] == []
    copied = [name for line in told(stages()[0], "COPY") for name in line.split()[:-1]]
    assert sorted(copied) == sorted(given)
    files = ours()
    assert [name for name in given if not any(f"{file}/".startswith(f"{name}/") for file in files)] == []
