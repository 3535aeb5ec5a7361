"""Finds out what a schedule has to name on this machine, and writes its files."""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import Any

from pipelines.claribi.errors import SettingError
from pipelines.schedule import (
    CONSTRAINTS,
    EXTRAS,
    WORKFLOW,
    Installed,
    Place,
    constraints,
    crontab,
    is_edited,
    minute_of,
    service,
    timer,
    workflow,
)

TEMPLATE = Path(__file__).with_name("nightly-export.yml")
"""A copy of this project's own workflow, which an installation does not have."""


def place() -> Place:
    """The current folder, the command that runs now, and whose folder it is."""
    folder = Path.cwd()
    # Not resolved: in a virtual environment both are links, and only there the packages are found.
    command = Path(sys.executable).absolute().with_name("claribi-export")
    return Place(str(folder), str(command), folder.owner())


def texts(way: str) -> dict[str, str]:
    """By the name of its file: what `cron` or `systemd` is to be given."""
    here = place()
    if way == "cron":
        return {"crontab": crontab(here)}
    return {"claribi-export.service": service(here), "claribi-export.timer": timer(here)}


def write_units(folder: Path, *, overwrite: bool) -> list[Path]:
    """Write the service and the timer into a folder, such as /etc/systemd/system."""
    units = {folder / name: text for name, text in texts("systemd").items()}
    for file, text in units.items():
        if file.exists() and file.read_text("utf-8") != text and not overwrite:
            raise SettingError(str(file), "is there with another content. Move it away, or say --overwrite.")
    return _write(units)


def write_workflow(package: str | None = None, *, overwrite: bool) -> list[Path]:
    """Write the workflow and the versions that it installs into the repository of the current folder.

    `package` is what pip installs there; if not given, what is installed here.
    """
    if not Path(".git").exists():
        raise SettingError(WORKFLOW, "belongs into the top folder of a git repository. Go there and run this again.")
    installed = _installed(package)
    packages = [(one.name, one.version) for one in distributions()]
    files = {
        Path(WORKFLOW): workflow(TEMPLATE.read_text("utf-8"), installed, minute_of(str(Path.cwd()))),
        Path(CONSTRAINTS): constraints(packages, installed.version),
    }
    for file in files:
        if file.exists() and is_edited(file.read_text("utf-8")) and not overwrite:
            raise SettingError(
                str(file), "was edited, or is somebody else's. Nothing was written; --overwrite replaces it."
            )
    return _write(files)


def is_of_this_machine() -> bool:
    """Whether claribi-export came from a folder or a file here, where no other machine can get it."""
    return str(_origin().get("url", "")).startswith("file:")


def _installed(package: str | None) -> Installed:
    version = distribution("claribi-export").version
    url = _url(_origin())
    ours = f"claribi-export[{EXTRAS}]" + (f" @ {url}" if url else f"=={version}")
    return Installed(version, package or ours, f"{sys.version_info.major}.{sys.version_info.minor}")


def _origin() -> dict[str, Any]:
    """What pip wrote down about where it got us from (PEP 610); nothing for the package index."""
    origin: dict[str, Any] = json.loads(distribution("claribi-export").read_text("direct_url.json") or "{}")
    return origin


def _url(origin: dict[str, Any]) -> str | None:
    """An origin as pip takes it, if any machine can get at it."""
    url = str(origin.get("url", ""))
    if not url.startswith("https://"):
        return None
    vcs = origin.get("vcs_info")
    return f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url


def _write(files: Mapping[Path, str]) -> list[Path]:
    for file, text in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        except OSError as error:
            raise SettingError(str(file), f"cannot be written: {error.strerror}.") from None
    return list(files)
