"""ClamAV's file: the scanner rspamd asks, as small as it can be. Signatures are the business of freshclam."""

from typing import TypedDict

from model import constants
from model.files import ConfigFile, render
from model.settings import Settings


class ClamdContext(TypedDict):
    """What templates/clamav/clamd.conf.j2 needs."""

    socket: str


def files(settings: Settings) -> tuple[ConfigFile, ...]:  # noqa: ARG001 - the same signature for every daemon
    """Return clamd's configuration. No secrets."""
    content = render("clamav/clamd.conf.j2", ClamdContext(socket=constants.CLAMAV_SOCKET))
    return (ConfigFile(path="/etc/clamav/clamd.conf", content=content),)


def health(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001 - the same signature for every daemon
    """Return the probes; clamd itself starts only once freshclam has fetched 300 MB of signatures."""
    return ("unit clamav-freshclam",)
