"""What starts a run every night, as text: a workflow of GitHub's, a line of a crontab, two units of systemd."""

import re
import shlex
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

HOUR = 3
WORKFLOW = ".github/workflows/claribi-export.yml"
CONSTRAINTS = ".github/claribi-export.txt"
ENVIRONMENT = "/etc/claribi-export.env"
EXTRAS = "postgres,sheets,watch"

_INSTALL = re.compile(r"      # From here to the mark below.*# The mark\.\n", re.DOTALL)


class Place(NamedTuple):
    """Where the runs of one machine happen; both paths are absolute."""

    folder: str
    """It holds `.dlt/`."""
    command: str
    """The executable `claribi-export`."""
    user: str


class Installed(NamedTuple):
    """What is installed on this machine, for another one to install the same."""

    version: str
    package: str
    """What pip is told to install."""
    python: str
    """Such as 3.13."""


def minute_of(folder: str) -> int:
    """An odd minute that is no multiple of five, always the same for one folder: not everybody comes at once."""
    minutes = [minute for minute in range(1, 60, 2) if minute % 5]
    return minutes[int.from_bytes(blake2b(folder.encode(), digest_size=4).digest()) % len(minutes)]


def crontab(place: Place) -> str:
    """Lines for a crontab. A run that ends with 0 is silent; of any other, cron mails what it printed."""
    log = f"{place.folder}/claribi-export.log"
    folder, command, kept = (shlex.quote(path) for path in (place.folder, place.command, log))
    line = f"cd {folder} && {command} run > {kept} 2>&1 || cat {kept}"
    # To cron a percent sign is the end of the line.
    return (
        f"# Every night in the local time of this machine; whatever goes wrong is mailed.\n"
        f"MAILTO={place.user}\n"
        f"{minute_of(place.folder)} {HOUR} * * * {line.replace('%', chr(92) + '%')}\n"
    )


def service(place: Place) -> str:
    """The unit of one run, for the system's own systemd."""
    return f"""\
[Unit]
Description=Export of clariBI
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={_escaped(place.user)}
WorkingDirectory={_escaped(place.folder)}
# Settings and secrets as NAME=value, for root alone (mode 0600). It may be missing: .dlt/secrets.toml does as well.
EnvironmentFile=-{ENVIRONMENT}
ExecStart={_quoted(place.command)} run
# Come back later: the next run goes on.
SuccessExitStatus=75
TimeoutStartSec=6h
NoNewPrivileges=yes
ProtectSystem=full
PrivateDevices=yes
"""


def timer(place: Place) -> str:
    """The unit that starts it; a night on which the machine was off is made up for."""
    return f"""\
[Unit]
Description=Export of clariBI, every night

[Timer]
OnCalendar=*-*-* {HOUR:02}:{minute_of(place.folder):02}:00
RandomizedDelaySec=10min
Persistent=true

[Install]
WantedBy=timers.target
"""


def workflow(template: str, installed: Installed, minute: int) -> str:
    """Give this project's own workflow for another repository: it installs what is installed here, with pip."""
    (python,) = re.findall(r"uses: (actions/setup-python@.*)", template)
    steps = f"""\
      - name: Set up Python
        uses: {python}
        with:
          python-version: "{installed.python}"
          cache: pip
          cache-dependency-path: {CONSTRAINTS}

      - name: Install
        run: python -m pip install --constraint {CONSTRAINTS} {shlex.quote(installed.package)}
"""
    text = _INSTALL.sub(lambda _: steps, template)
    return sealed(re.sub(r'cron: "\d+ \d+ ', f'cron: "{minute} {HOUR} ', text), installed.version)


def constraints(packages: Iterable[tuple[str, str]], version: str) -> str:
    """The versions of packages as pip takes them, in their order."""
    lines = sorted({f"{name}=={number}" for name, number in packages if name != "claribi-export"}, key=str.lower)
    return sealed("\n".join(lines) + "\n", version)


def sealed(text: str, version: str) -> str:
    """The text under a line that tells whether somebody has changed it since."""
    return f"# Written by claribi-export {version}, schedule github; seal {_seal(text)}\n{text}"


def is_edited(text: str) -> bool:
    """Whether a text is other than `sealed` gave it."""
    first, _, rest = text.partition("\n")
    return not first.endswith(f"; seal {_seal(rest)}")


def _seal(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_escaped(inner)}"'
