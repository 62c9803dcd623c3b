"""The daily digest: a timer, and what it runs."""

from typing import TypedDict

from model.files import ConfigFile, render
from model.settings import Settings


class DigestContext(TypedDict):
    """What the templates in templates/digest need."""

    reader: str
    """Address that gets the digest."""


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return the units. No secrets."""
    context = DigestContext(reader=f"postmaster@{settings.domain}")
    return tuple(
        ConfigFile(path=f"/etc/systemd/system/{name}", content=render(f"digest/{name}.j2", context))
        for name in ("mailhost-digest.service", "mailhost-digest.timer")
    )


def health(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001 - the same signature for every service
    """Return the probes a timer that runs passes."""
    return ("unit mailhost-digest.timer",)
