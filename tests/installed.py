"""The project as its users have it: a wheel, in an environment that holds what an installation brings and no more."""

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from sysconfig import get_path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parent.parent
UV = Path(sys.executable).with_name("uv")
NAME = "claribi-export"


def ours():
    """Every file of the project, as paths from its folder: what git keeps, or would keep with the next commit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(name for name in listed.split("\0") if name and (PROJECT / name).is_file())


def clean_copy(folder):
    """The project as a fresh clone has it, with the edits of the moment."""
    for name in ours():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    return folder


def build(folder, out):
    """Build source archive and wheel without network: the build backend is the locked one."""
    words = ["build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", out]
    subprocess.run([UV, *words, folder], check=True, timeout=60)
    return next(out.glob("*.whl"))


def brought(*asked):
    """The distributions that an installation of requirements brings, by the metadata of those that are installed."""
    found, ahead = {}, [Requirement(one) for one in asked]
    while ahead:
        wanted = ahead.pop()
        name = canonicalize_name(wanted.name)
        extras = found.get(name, set()) | {"", *wanted.extras}
        if extras != found.get(name):
            found[name] = extras
            ahead += [needed for needed in _needs(name) if _applies(needed, extras)]
    return sorted(found)


@cache
def _needs(name):
    return [Requirement(one) for one in distribution(name).requires or ()]


def _applies(needed, extras):
    return not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras)


class Installed:
    """An environment with the wheel and what the extras bring, each package at its locked version.

    It stands for `pip install 'claribi-export[…]'` with the lock as constraints, for which there is no network here:
    the files of those distributions alone, chosen by their own metadata, are linked in from the environment that the
    tests run in. The project itself is left out there and installed from its wheel.
    """

    def __init__(self, folder, wheel, extras=(), also=()):
        self.folder, self.bin = folder, folder / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
        self.packages = Path(get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        self.holds = brought(f"{NAME}[{','.join(extras)}]", *also)
        for name in self.holds:
            if name != NAME:
                _link(name, self.packages)
        words = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", self.bin / "python", wheel]
        subprocess.run([UV, *words], check=True, timeout=60)

    def run(self, folder, *words, **variables):
        """Run a program of the environment in a folder, with nothing of the caller's environment but the path."""
        fixed = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "500",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            [self.bin / words[0], *words[1:]],
            cwd=folder,
            env=fixed | {name: str(value) for name, value in variables.items()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=170,
        )


def _link(name, packages):
    """Link each file of a distribution; what is not below the packages, such as its programs, is left out."""
    for file in distribution(name).files or ():
        if ".." not in file.parts:
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            (packages / file).symlink_to(file.locate())
