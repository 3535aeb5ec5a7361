"""Runs a job of a workflow on this machine: its `run:` steps in bash, in order, under its `if:`s and with its `env:`.

What GitHub itself does has a local meaning here:

    actions/checkout         a clone of this project's last commit, or a copy of the repository that a test has made
    actions/setup-python     nothing: the Python that runs the tests, and what is installed for it, is on the PATH
    actions/cache            a folder in `Hub.caches`; a key that is taken is not written again
    actions/upload-artifact  a folder in `Hub.artifacts`
    gh                       a script that answers from `Hub.artifacts` and notes what it was asked to do
    the step "Install"       nothing but a look at the files that it names: there is no network in tests

The file system is a fresh one each time: another workspace, another HOME. Nothing of the caller's environment gets in.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.expressions import FORM, Open, UnknownExpression, evaluate, fill, spelled

PROJECT = Path(__file__).parent.parent
WORKFLOWS = PROJECT / ".github" / "workflows"
ENDS_WITHIN_S = 120
GH = r"""#!/usr/bin/env bash
set -eu
: "${GH_TOKEN:?gh has no token}"
echo "$*" >> "$HUB/gh.log"
case "$*" in
    "api repos/"*"/actions/artifacts?name="*)
        name=${2##*name=}; name=${name%%&*}
        [ -d "$HUB/artifacts/$name" ] || exit 0
        cd "$HUB/artifacts/$name" && zip -qr "$HUB/$name.zip" . && echo "$name" ;;
    "api repos/"*"/zip") name=${2%/zip}; cat "$HUB/${name##*/}.zip" ;;
    "api --silent --method PUT repos/"* | "workflow run "*) ;;
    *) echo "gh: $* is not known here" >&2; exit 64 ;;
esac
"""


def read(text):
    """A workflow; every scalar is text, so that `on` stays a word, but true and false are themselves."""
    return _plain(yaml.load(text, Loader=yaml.BaseLoader))


def faults(file):
    """What `make lint` would find fault with in a workflow, as text."""
    tools, said = Path(sys.executable).parent, ""
    for words in (
        [tools / "zizmor", "--offline", "--quiet", file],
        [tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", file],
    ):
        judged = subprocess.run(words, capture_output=True, text=True, timeout=ENDS_WITHIN_S)
        said += judged.stdout + judged.stderr if judged.returncode else ""
    return said


def _plain(node):
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return {"true": True, "false": False}.get(node, node)


@dataclass
class Hub:
    """What GitHub remembers between runs of one repository."""

    folder: Path
    private: bool = True
    secrets: dict = field(default_factory=dict)
    vars: dict = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self):
        for name in ("caches", "artifacts", "bin"):
            (self.folder / name).mkdir(parents=True)
        gh = self.folder / "bin" / "gh"
        gh.write_text(GH)
        gh.chmod(0o755)

    @property
    def asked(self):
        """What gh was asked to do, a line each."""
        log = self.folder / "gh.log"
        return log.read_text().splitlines() if log.exists() else []

    def lose_caches(self):
        shutil.rmtree(self.folder / "caches")
        (self.folder / "caches").mkdir()


@dataclass
class Ended:
    """A step that has ended, or was left out."""

    name: str
    outcome: str
    outputs: dict = field(default_factory=dict)
    printed: str = ""


class Job:
    """One job of a workflow, to be run once.

    `environment` is what the runner itself has set, `needs` the outputs of the jobs before it, `fails` the name of a
    step that fails whatever it is, and `repository` a folder that is checked out instead of this project.
    """

    def __init__(
        self,
        hub,
        file,
        name,
        *,
        event="schedule",
        inputs=None,
        environment=None,
        needs=None,
        fails="",
        repository=None,
    ):
        hub.runs += 1
        self.fails, self.repository = fails, repository
        self.hub, self.text = hub, Path(file).read_text("utf-8")
        self.workflow = read(self.text)
        self.job = self.workflow["jobs"][name]
        self.folder = hub.folder / f"run-{hub.runs}"
        self.workspace, self.home, self.temp = (self.folder / one for one in ("workspace", "home", "temp"))
        for folder in (self.workspace, self.home, self.temp):
            folder.mkdir(parents=True)
        self.summary_file = self.temp / "summary.md"
        self.ended = {}
        self.contexts = {
            "github": {
                "event": {"repository": {"private": hub.private}},
                "token": "token-of-the-run",
                "run_id": str(1000 + hub.runs),
                "run_attempt": "1",
            },
            "job": {"workflow_repository": "us/claribi-export", "workflow_sha": "0" * 40},
            "secrets": self._declared("secrets", hub.secrets, ["workflow_call"]),
            "inputs": self._declared("inputs", inputs or {}, ["workflow_call", "workflow_dispatch"]),
            "vars": Open(hub.vars),
            "needs": {name: {"outputs": outputs} for name, outputs in (needs or {}).items()},
            "steps": {},
        }
        self._runner = {
            "PATH": os.pathsep.join([str(hub.folder / "bin"), str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "HOME": str(self.home),
            "HUB": str(hub.folder),
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_REPOSITORY": "us/nightly",
            "GITHUB_REF_NAME": "main",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_STEP_SUMMARY": str(self.summary_file),
            "RUNNER_TEMP": str(self.temp),
        } | (environment or {})

    def _declared(self, kind, given, events):
        """The names that the workflow declares, and what is given for them; none other is known."""
        on = self.workflow["on"]
        names = {name for event in events for name in ((on.get(event) or {}).get(kind) or {})}
        if not names and kind == "secrets":
            names = set(re.findall(r"secrets\.(\w+)", self.text))
        assert given.keys() <= names
        return {name: given.get(name) for name in names}

    def run(self):
        """Run all steps, as GitHub would."""
        self.contexts["env"] = self._env(self.job.get("env", {}))
        for number, step in enumerate(self.job["steps"]):
            ended = self._step(step, number) if self._wanted(step) else Ended(step["name"], "skipped")
            self.ended[step["name"]] = ended
            if "id" in step:
                self.contexts["steps"][step["id"]] = {"outcome": ended.outcome, "outputs": Open(ended.outputs)}
        return self

    @property
    def wanted(self):
        """Whether GitHub would start the job at all."""
        return self._wanted(self.job)

    @property
    def succeeded(self):
        return all(step.outcome != "failure" for step in self.ended.values())

    @property
    def outcomes(self):
        """Of each step: success, failure or skipped."""
        return {name: step.outcome for name, step in self.ended.items()}

    @property
    def printed(self):
        """All that all steps have printed."""
        return "\n".join(step.printed for step in self.ended.values())

    @property
    def annotations(self):
        """Kind and title of each."""
        return re.findall(r"^::(\w+) title=(.*?)::", self.printed, re.MULTILINE)

    @property
    def summary(self):
        return self.summary_file.read_text("utf-8") if self.summary_file.exists() else ""

    @property
    def outputs(self):
        return {name: fill(value, self.contexts) for name, value in self.job.get("outputs", {}).items()}

    def _wanted(self, step):
        """Whether a step is run; where `if:` asks for no outcome, all before must have succeeded."""
        told = step.get("if", "true")
        condition = FORM.sub(r"\1", told) if isinstance(told, str) else spelled(told)
        states = {
            "always": lambda: True,
            "failure": lambda: not self.succeeded,
            "success": lambda: self.succeeded,
            "cancelled": lambda: False,
        }
        asks = any(f"{name}()" in condition for name in states)
        return bool(evaluate(condition, self.contexts, states)) and (asks or self.succeeded)

    def _env(self, env):
        return {name: fill(spelled(value), self.contexts) for name, value in env.items()}

    def _step(self, step, number):
        assert not step.keys() - {"name", "id", "if", "env", "run", "uses", "with"}, step
        if step["name"] == self.fails:
            return Ended(step["name"], "failure")
        if "uses" in step:
            return self._use(step)
        if step["name"] == "Install":
            return self._install(step)
        # An expression in a script is how foreign text becomes a command, and how a secret gets on a command line.
        assert "${{" not in step["run"]
        assert self.job["defaults"]["run"]["shell"] == "bash"
        script, output = self.temp / f"{number}.sh", self.temp / f"{number}.output"
        script.write_text(step["run"])
        output.touch()
        env = self._runner | self.contexts["env"] | self._env(step.get("env", {})) | {"GITHUB_OUTPUT": str(output)}
        ended = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ENDS_WITHIN_S,
        )
        outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return Ended(step["name"], "failure" if ended.returncode else "success", outputs, ended.stdout)

    def _install(self, step):
        """The files that pip is given are there; what they say is installed already."""
        folder = self.workspace / next(iter(re.findall(r"^cd (\S+)", step["run"], re.MULTILINE)), ".")
        locks, pins = (re.findall(rf"{option} (\S+)", step["run"]) for option in ("-r", "--constraint"))
        assert locks or pins
        for file in locks:
            assert "--hash=sha256:" in (folder / file).read_text()
            assert (folder / "pyproject.toml").is_file()
        for file in pins:
            assert re.fullmatch(r"#.*\n(\S+==\S+\n)+", (folder / file).read_text())
        return Ended(step["name"], "success")

    def _use(self, step):
        action, _, commit = step["uses"].partition("@")
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
        given = {name: fill(spelled(value), self.contexts) for name, value in step.get("with", {}).items()}
        if action not in ACTIONS:
            raise UnknownExpression(f"{action} has no local meaning")
        return Ended(step["name"], "success", ACTIONS[action](self, given) or {})


def _checkout(job, given):
    """The workflow's own repository, or, at the commit of the workflow, the one that it comes from."""
    assert given.pop("persist-credentials") == "false"
    folder = job.workspace / given.pop("path", ".")
    assert given in ({}, {"repository": "us/claribi-export", "ref": "0" * 40})
    if job.repository and not given:
        shutil.copytree(job.repository, folder, dirs_exist_ok=True)
        return
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{PROJECT}", str(folder)], check=True)


def _restore(job, given):
    """The entry of that very key, else the newest one whose key begins like that."""
    key, begins = given["key"], given["restore-keys"]
    found = sorted((job.hub.folder / "caches").glob(f"{begins}*"), key=lambda one: one.stat().st_mtime_ns)
    assert key.startswith(begins)
    if not found:
        return {}
    shutil.copytree(found[-1], job.workspace / given["path"])
    return {"cache-matched-key": found[-1].name}


def _save(job, given):
    source, target = job.workspace / given["path"], job.hub.folder / "caches" / given["key"]
    if source.exists() and not target.exists():
        shutil.copytree(source, target)


def _upload(job, given):
    target = job.hub.folder / "artifacts" / given["name"]
    shutil.rmtree(target, ignore_errors=True)
    source = job.workspace / given["path"]
    if source.is_file():
        target.mkdir()
        shutil.copy(source, target)
    else:
        hidden = None if given.get("include-hidden-files") == "true" else shutil.ignore_patterns(".*")
        shutil.copytree(source, target, ignore=hidden)


ACTIONS = {
    "actions/checkout": _checkout,
    "actions/setup-python": lambda *_: None,
    "actions/cache/restore": _restore,
    "actions/cache/save": _save,
    "actions/upload-artifact": _upload,
}
