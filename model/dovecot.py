"""Dovecot's files: reading mail (IMAP, POP3), delivery by LMTP, and the passwords. The users file is in `accounts`."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from model import constants
from model.files import ConfigFile, render
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class DovecotContext:
    """What templates/dovecot/2.3/dovecot.conf.j2 and its 2.4 twin need."""

    hostname: str
    postmaster: str
    protocols: tuple[str, ...]
    listen: str
    certificate: str
    certificate_key: str
    users_file: str
    vmail: str
    mail_dir: str
    imap: bool
    imap_port: int
    """0 closes a port, here and below."""
    imaps_port: int
    pop3: bool
    pop3_port: int
    pop3s_port: int
    lmtp_socket: str
    sasl_socket: str


@dataclass(frozen=True, kw_only=True)
class PlacesContext:
    """What templates/dovecot/sysusers.conf.j2 and tmpfiles.conf.j2 need."""

    vmail: str
    mail_dir: str
    socket_dir: str


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return dovecot.conf in the language of the host's Dovecot, and the mail's owner and place. No secrets."""
    socket_dir = str(PurePosixPath(constants.POSTFIX_QUEUE, constants.SASL_SOCKET).parent)
    places = PlacesContext(vmail=constants.VMAIL, mail_dir=constants.MAIL_DIR, socket_dir=socket_dir)
    main = render(f"dovecot/{settings.platform.dovecot}/dovecot.conf.j2", _main(settings))
    return (
        ConfigFile(path="/etc/dovecot/dovecot.conf", content=main),
        ConfigFile(path="/etc/sysusers.d/mailhost-dovecot.conf", content=render("dovecot/sysusers.conf.j2", places)),
        ConfigFile(path="/etc/tmpfiles.d/mailhost-dovecot.conf", content=render("dovecot/tmpfiles.conf.j2", places)),
    )


def requires(settings: Settings) -> tuple[str, ...]:
    """Return the paths that must exist on the host before these files are applied.

    Dovecot 2.3's parser accepts a certificate path without a file; the daemon then does not start.
    """
    return (
        constants.certificate(settings.hostname),
        constants.certificate_key(settings.hostname),
        constants.USERS_FILE,
    )


def health(settings: Settings) -> tuple[str, ...]:
    """Return the probes a healthy Dovecot passes."""
    on = settings.services
    sockets = (constants.SASL_SOCKET, constants.LMTP_SOCKET)
    probes = ["unit dovecot", *(f"unix {constants.POSTFIX_QUEUE}/{socket}" for socket in sockets)]
    if on.imap:
        probes.append(f"starttls-imap {constants.IMAP}")
    if on.imaps:
        probes.append(f"tls {constants.IMAPS} * OK")
    if on.pop3:
        probes.append(f"starttls-pop3 {constants.POP3}")
    if on.pop3s:
        probes.append(f"tls {constants.POP3S} +OK")
    return tuple(probes)


def _main(settings: Settings) -> DovecotContext:
    on = settings.services
    imap, pop3 = on.imap or on.imaps, on.pop3 or on.pop3s
    wanted = {"imap": imap, "pop3": pop3, "lmtp": True}
    return DovecotContext(
        hostname=settings.hostname,
        postmaster=f"postmaster@{settings.domain}",
        protocols=tuple(name for name, want in wanted.items() if want),
        listen="*, ::" if settings.ipv6 else "*",
        certificate=constants.certificate(settings.hostname),
        certificate_key=constants.certificate_key(settings.hostname),
        users_file=constants.USERS_FILE,
        vmail=constants.VMAIL,
        mail_dir=constants.MAIL_DIR,
        imap=imap,
        imap_port=constants.IMAP if on.imap else 0,
        imaps_port=constants.IMAPS if on.imaps else 0,
        pop3=pop3,
        pop3_port=constants.POP3 if on.pop3 else 0,
        pop3s_port=constants.POP3S if on.pop3s else 0,
        lmtp_socket=f"{constants.POSTFIX_QUEUE}/{constants.LMTP_SOCKET}",
        sasl_socket=f"{constants.POSTFIX_QUEUE}/{constants.SASL_SOCKET}",
    )
