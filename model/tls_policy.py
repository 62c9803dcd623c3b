"""What receiving domains demand of who sends them mail: MTA-STS policies, and DANE before them.

mta-sts-daemon fetches and keeps policies. It knows nothing of DANE, which must not be overridden by them (RFC 8461 §2),
so `mailhostctl tls-policy` stands between it and Postfix where DANE is on.
"""

from typing import TypedDict

from model import constants
from model.files import ConfigFile, render
from model.settings import Settings

_UNITS = "/etc/systemd/system"
_NAME = "mailhost-tls-policy"


class DaemonContext(TypedDict):
    """What templates/tls_policy/mta-sts-daemon.yml.j2 needs."""

    port: int


class SocketContext(TypedDict):
    """What templates/tls_policy/mailhost-tls-policy.socket.j2 needs."""

    path: str


class ServiceContext(TypedDict):
    """What templates/tls_policy/mailhost-tls-policy.service.j2 needs."""

    resolver: str
    port: int
    """Of mta-sts-daemon."""


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return the daemon's configuration and, with DANE, the units of what asks it for Postfix. No secrets."""
    daemon = render("tls_policy/mta-sts-daemon.yml.j2", DaemonContext(port=constants.MTA_STS))
    contents = {"/etc/mta-sts-daemon.yml": daemon}
    if settings.outbound.dane:
        socket = SocketContext(path=f"{constants.POSTFIX_QUEUE}/{constants.TLS_POLICY_SOCKET}")
        service = ServiceContext(resolver=constants.RESOLVER, port=constants.MTA_STS)
        contents[f"{_UNITS}/{_NAME}.socket"] = render(f"tls_policy/{_NAME}.socket.j2", socket)
        contents[f"{_UNITS}/{_NAME}.service"] = render(f"tls_policy/{_NAME}.service.j2", service)
    return tuple(ConfigFile(path=path, content=content) for path, content in contents.items())


def health(settings: Settings) -> tuple[str, ...]:
    """Return the probes it passes when it answers."""
    daemon = ("unit postfix-mta-sts-resolver", f"tcp {constants.MTA_STS}")
    if not settings.outbound.dane:
        return daemon
    return (*daemon, f"unit {_NAME}.socket", f"unix {constants.POSTFIX_QUEUE}/{constants.TLS_POLICY_SOCKET}")
