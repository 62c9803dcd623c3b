"""Postfix's files: mail in on port 25, submission, delivery to Dovecot, delivery to the world."""

from dataclasses import dataclass

from model import accounts, constants
from model.files import ConfigFile, render
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class MainContext:
    """What templates/postfix/main.cf.j2 needs."""

    hostname: str
    domain: str
    localhost: str
    inet_protocols: str
    mynetworks: str
    message_size_limit: int
    lmtp_socket: str
    sasl_socket: str
    milter_socket: str
    certificate: str
    certificate_key: str


@dataclass(frozen=True, kw_only=True)
class Door:
    """One port where people submit mail."""

    name: str
    purpose: str
    wrappermode: str
    """`yes`: TLS from the first byte; `no`: after STARTTLS."""


@dataclass(frozen=True, kw_only=True)
class MasterContext:
    """What templates/postfix/master.cf.j2 needs."""

    doors: tuple[Door, ...]


@dataclass(frozen=True, kw_only=True)
class MapsContext:
    """What the templates of the address maps need."""

    mailboxes: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """For templates without variables."""


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return everything Postfix reads. No file holds a secret."""
    maps = MapsContext(mailboxes=accounts.mailboxes(settings), aliases=accounts.aliases(settings))
    contents = {
        "main.cf": render("postfix/main.cf.j2", _main(settings)),
        "master.cf": render("postfix/master.cf.j2", MasterContext(doors=_doors(settings))),
        "submission_header_checks": render("postfix/submission_header_checks.j2", Nothing()),
        "virtual_aliases": render("postfix/virtual_aliases.j2", maps),
        "virtual_mailboxes": render("postfix/virtual_mailboxes.j2", maps),
    }
    return tuple(ConfigFile(path=f"/etc/postfix/{name}", content=content) for name, content in contents.items())


def requires(settings: Settings) -> tuple[str, ...]:
    """Return the paths that must exist on the host before these files are applied."""
    return constants.certificate(settings.hostname), constants.certificate_key(settings.hostname)


def health(settings: Settings) -> tuple[str, ...]:
    """Return the probes a healthy Postfix passes."""
    probes = ["unit postfix", f"tcp {constants.SMTP} 220", f"starttls-smtp {constants.SMTP}"]
    if settings.services.submission:
        probes.append(f"starttls-smtp {constants.SUBMISSION}")
    if settings.services.submissions:
        probes.append(f"tls {constants.SUBMISSIONS} 220")
    return tuple(probes)


def _main(settings: Settings) -> MainContext:
    return MainContext(
        hostname=settings.hostname,
        domain=settings.domain,
        localhost=constants.LOCALHOST,
        inet_protocols="all" if settings.ipv6 else "ipv4",
        mynetworks="127.0.0.0/8" + (" [::1]/128" if settings.ipv6 else ""),
        message_size_limit=settings.message_size_limit,
        lmtp_socket=constants.LMTP_SOCKET,
        sasl_socket=constants.SASL_SOCKET,
        milter_socket=constants.MILTER_SOCKET,
        certificate=constants.certificate(settings.hostname),
        certificate_key=constants.certificate_key(settings.hostname),
    )


def _doors(settings: Settings) -> tuple[Door, ...]:
    doors = []
    if settings.services.submission:
        purpose = "Mail from people, port 587: STARTTLS, then the password (RFC 6409)."
        doors.append(Door(name="submission", purpose=purpose, wrappermode="no"))
    if settings.services.submissions:
        purpose = "Mail from people, port 465: TLS from the first byte, what RFC 8314 §3.3 prefers."
        doors.append(Door(name="submissions", purpose=purpose, wrappermode="yes"))
    return tuple(doors)
