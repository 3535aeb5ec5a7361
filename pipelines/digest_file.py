"""Writes the digest of a destination into one HTML file; no call to clariBI, and nothing in the destination changes."""

from pathlib import Path

from pipelines.claribi.errors import SettingError
from pipelines.status import looked_into
from pipelines.view import View
from pipelines.watch.settings import WatchSettings, load_watch_settings


def write_digest(destination: str, output: Path, settings: WatchSettings | None = None) -> str:
    """Write the page and give its headline; raises `NothingRead` where there was no run yet."""
    from pipelines.digest.page import render  # below it are jinja2 and vl_convert, of an extra

    with looked_into(destination) as pipeline:
        facts = View(pipeline).facts(settings or load_watch_settings())
    try:
        output.write_text(render(facts), encoding="utf-8")
    except OSError as error:
        raise SettingError("--output", f"{output} cannot be written: {error.strerror}.") from error
    return facts.headline
