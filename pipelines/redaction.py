"""Keeps secrets out of what people read of an error."""

from pipelines.claribi.answers import redact
from pipelines.claribi.settings import known_secrets
from pipelines.watch.notify_settings import known_addresses


def without_secrets(text: str) -> str:
    """The text without the secrets that this process knows and without anything that looks like one."""
    return redact(text, [*known_secrets(), *known_addresses()])
