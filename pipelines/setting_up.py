"""Writes the settings of a new user: the key where only this user can read it, the rest beside it."""

import os
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError

from pipelines.claribi.errors import SettingError
from pipelines.claribi.settings import ClaribiSettings
from pipelines.claribi_pipeline import make_destination

SECRETS = Path(".dlt/secrets.toml")
CONFIG = Path(".dlt/config.toml")
IGNORES = Path(".gitignore")


def store_settings(key: str, destination: str) -> list[Path]:
    """Write the key and the destination's name to the current folder's `.dlt`; give the files that were written.

    Whatever else those files hold stays as it is. In a git repository the file with the key is also kept out of
    commits. Raises `SettingError` before anything is written.
    """
    settings = _checked(key)
    make_destination(destination)
    secrets = _with(SECRETS, "sources.claribi.api_key", settings.api_key)
    config = _with(CONFIG, "export.destination", destination)
    SECRETS.parent.mkdir(exist_ok=True)
    # First of all the ignore rule, so that at no time a commit could take the key along.
    written = [IGNORES] if _ignore(SECRETS) else []
    _replace(SECRETS, secrets, mode=0o600)
    _replace(CONFIG, config, mode=0o644)
    return [*written, SECRETS, CONFIG]


def overruled() -> list[str]:
    """Variables of the environment that go before what was just written."""
    return [name for name in ("SOURCES__CLARIBI__API_KEY", "EXPORT__DESTINATION") if name in os.environ]


def _checked(key: str) -> ClaribiSettings:
    """The key as the settings take it; a run would refuse the same."""
    if not key.strip():
        raise SettingError("api_key", "is empty. Nothing was written; paste the key when you are asked for it.")
    settings = ClaribiSettings()
    settings.api_key = key
    settings.on_resolved()
    return settings


def _with(file: Path, name: str, value: Any) -> str:
    """The text of a TOML file with one dotted setting set, and all else as it was."""
    try:
        document = tomlkit.parse(file.read_text("utf-8")) if file.exists() else tomlkit.document()
        *tables, last = name.split(".")
        place: Any = document
        for table in tables:
            place = place.setdefault(table, tomlkit.table(is_super_table=table != tables[-1]))
        place[last] = value
        return tomlkit.dumps(document)
    except ParseError as error:
        # The line's number, not its text: it may hold a secret.
        raise SettingError(str(file), f"is no TOML (line {error.line}); correct it. Nothing was written.") from None
    except (UnicodeDecodeError, TOMLKitError, TypeError, AttributeError):
        raise SettingError(str(file), f"has no room for {name}; correct it. Nothing was written.") from None


def _replace(file: Path, text: str, mode: int) -> None:
    """Put a file in place in one step; it has its mode before it has its content."""
    target = file.resolve()  # a link stays a link
    descriptor, name = mkstemp(dir=target.parent, prefix=f"{target.name}.")  # readable by this user alone
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _ignore(file: Path) -> bool:
    """Add the file to .gitignore where there is a git repository that does not ignore it yet; whether it was added."""
    here = Path.cwd()
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return False
    text = IGNORES.read_text("utf-8") if IGNORES.exists() else ""
    known = {line.strip().removeprefix("/").rstrip("/") for line in text.splitlines()}
    if known & {str(file), str(file.parent), file.name}:
        return False
    with IGNORES.open("a", encoding="utf-8") as stream:
        stream.write(("" if text.endswith("\n") or not text else "\n") + f"{file}\n")
    return True
