"""What monitoring reads: the Postfix exporter, the log it reads, and the page of `mailhostctl metrics`.

Dovecot's own page is in `dovecot`.
"""

from typing import Final, TypedDict

from model import constants
from model.files import ConfigFile, Nothing, render
from model.settings import Settings

_UNITS: Final = "/etc/systemd/system"
_LOG: Final = "/var/log/mailhost.log"
"""Not mail.log: the rule by which that is turned over leaves the exporter with the former file."""
_EXPORTER: Final = "prometheus-postfix-exporter"


class PageContext(TypedDict):
    """Where a page is served."""

    address: str
    """IP address and port, an IPv6 address in brackets."""


class ExporterContext(TypedDict):
    """What templates/metrics/exporter.j2 needs."""

    address: str
    """As in `PageContext`."""
    log: str


class LogContext(TypedDict):
    """The log of all mail programs."""

    log: str
    owner: str
    """User as whom rsyslog writes; the group is adm."""


class RuleContext(TypedDict):
    """What templates/metrics/rsyslog.conf.j2 needs."""

    log: str
    only: bool
    """rsyslog is there for this file alone."""


class ReaderContext(TypedDict):
    """What templates/metrics/mailhost-metrics.service.j2 needs."""

    groups: tuple[str, ...]
    """Groups that may open the sockets it asks."""


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return the exporter's arguments, the units, and the rules for the mail log."""
    own = PageContext(address=_at(settings.metrics.listen, constants.HOST_METRICS))
    exporter = ExporterContext(address=_at(settings.metrics.listen, constants.POSTFIX_METRICS), log=_LOG)
    debian = settings.platform.id == "debian"
    log = LogContext(log=_LOG, owner="root" if debian else "syslog")
    reader = ReaderContext(groups=("postdrop", *([constants.VMAIL] if settings.spam.enabled else [])))
    contents = {
        f"/etc/default/{_EXPORTER}": render("metrics/exporter.j2", exporter),
        "/etc/logrotate.d/mailhost": render("metrics/logrotate.j2", log),
        "/etc/rsyslog.d/00-mailhost.conf": render("metrics/rsyslog.conf.j2", RuleContext(log=_LOG, only=debian)),
        "/etc/tmpfiles.d/mailhost-metrics.conf": render("metrics/tmpfiles.conf.j2", log),
        f"{_UNITS}/{_EXPORTER}.service.d/mailhost.conf": render("metrics/exporter.service.j2", Nothing()),
        f"{_UNITS}/mailhost-metrics.socket": render("metrics/mailhost-metrics.socket.j2", own),
        f"{_UNITS}/mailhost-metrics@.service": render("metrics/mailhost-metrics.service.j2", reader),
    }
    return tuple(ConfigFile(path=path, content=content) for path, content in contents.items())


def health(settings: Settings) -> tuple[str, ...]:
    """Return the probes that healthy pages pass."""
    units = ("unit rsyslog", f"unit {_EXPORTER}", "unit mailhost-metrics.socket")
    if not settings.metrics.probed:
        return units
    return (*units, f"tcp {constants.POSTFIX_METRICS}", f"tcp {constants.HOST_METRICS}")


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
