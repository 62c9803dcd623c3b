"""Dovecot's files: reading mail (IMAP, POP3), delivery by LMTP, filters, quotas, and the passwords.

The users file is in `accounts`.
"""

from pathlib import PurePosixPath
from typing import Final, TypedDict

from model import constants
from model.files import ConfigFile, Nothing, render
from model.frozen import frozen
from model.settings import Settings

_SIEVE_DIR: Final = "/etc/dovecot/sieve"
_GRACE: Final = 50 * 1024**2
"""Bytes a mail may go over a quota: the largest one at the default of messageSizeLimit, which is Postfix's setting."""
_LENT: Final = "/run/mailhost-lent/passwords"
_FILTER_ERRORS: Final = "/run/mailhost-filter-errors"
"""Where Dovecot leaves what is wrong with a user's filter, in a file named after the user."""


@frozen
class _Names:
    """What the generations of Dovecot call differently."""

    compression: str
    search: str
    imap: tuple[str, ...]
    """Plugins that 2.4 has built in: COMPRESS (RFC 4978)."""
    unlimited: str


_OLD: Final = _Names(
    compression="zlib",
    search="fts_xapian",
    imap=("imap_zlib",),
    unlimited="plugin/quota=count:User quota:noenforcing",
)
_NEW: Final = _Names(compression="mail_compress", search="fts_flatcurve", imap=(), unlimited="quota_enforce=no")


class DovecotContext(TypedDict):
    """What templates/dovecot/2.3/dovecot.conf.j2 and its 2.4 twin need."""

    hostname: str
    postmaster: str
    protocols: tuple[str, ...]
    listen: str
    certificate: str
    certificate_key: str
    users_file: str
    lent: str
    """Further passwords, see host/mailhostctl/lend.py."""
    vmail: str
    mail_dir: str
    imap: bool
    imap_port: int
    """0 closes a port, here and below."""
    imaps_port: int
    pop3: bool
    pop3_port: int
    pop3s_port: int
    connections: int
    """IMAP, POP3 or ManageSieve connections of one user from one address."""
    lmtp_socket: str
    sasl_socket: str
    plugins: tuple[str, ...]
    """Dovecot's plugins for every process, here and below those that a protocol adds."""
    imap_plugins: tuple[str, ...]
    pop3_plugins: tuple[str, ...]
    lmtp_plugins: tuple[str, ...]
    compression: bool
    search: bool
    junk_days: int
    """0 keeps mail, here and below."""
    trash_days: int
    quotas: bool
    quota: int
    """Bytes; 0 is no limit for mailboxes without a quota of their own."""
    grace: int
    """Bytes."""
    quota_socket: str
    sieve: bool
    learning: bool
    """Spam goes to Junk, and what users move there or back is learned."""
    sieve_dir: str
    filter_errors: str
    library: str
    managesieve: bool
    managesieve_port: int
    metrics: str
    """Address of the OpenMetrics page; empty is none."""
    metrics_port: int


class PlacesContext(TypedDict):
    """What templates/dovecot/sysusers.conf.j2 and tmpfiles.conf.j2 need."""

    vmail: str
    mail_dir: str
    socket_dir: str
    filter_errors: str
    """Empty without filters."""
    lent_dir: str
    lent: str


class ToolsContext(TypedDict):
    """What our programs beside Dovecot and their units need."""

    hostname: str
    vmail: str
    mail_dir: str
    library: str
    filter_errors: str
    learn_socket: str
    unlimited: str
    """Setting with which dovecot-lda delivers whatever the quota says."""


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return dovecot.conf in the language of the host's Dovecot, and what it runs and needs. No secrets."""
    socket_dir = str(PurePosixPath(constants.POSTFIX_QUEUE, constants.SASL_SOCKET).parent)
    places = PlacesContext(
        vmail=constants.VMAIL,
        mail_dir=constants.MAIL_DIR,
        socket_dir=socket_dir,
        filter_errors=_FILTER_ERRORS if settings.sieve.enabled else "",
        lent_dir=str(PurePosixPath(_LENT).parent),
        lent=_LENT,
    )
    main = render(f"dovecot/{settings.platform.dovecot}/dovecot.conf.j2", _main(settings))
    return (
        ConfigFile(path="/etc/dovecot/dovecot.conf", content=main),
        ConfigFile(path="/etc/sysusers.d/mailhost-dovecot.conf", content=render("dovecot/sysusers.conf.j2", places)),
        ConfigFile(path="/etc/tmpfiles.d/mailhost-dovecot.conf", content=render("dovecot/tmpfiles.conf.j2", places)),
        *(_quota_files(settings) if settings.quotas else ()),
        *(_filter_files(settings) if settings.sieve.enabled else ()),
        *(_learning_files(settings) if _learning(settings) else ()),
    )


def _quota_files(settings: Settings) -> tuple[ConfigFile, ...]:
    warning = render("dovecot/quota-warning.j2", _tools(settings))
    return (ConfigFile(path=f"{constants.LIBRARY}/quota-warning", content=warning, mode="0755"),)


def _filter_files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Tell users what is wrong with their filters: Dovecot's log, a watcher and the program it starts."""
    tools, units = _tools(settings), "/etc/systemd/system"
    path, service = (render(f"dovecot/filter-errors.{kind}.j2", tools) for kind in ("path", "service"))
    program = render("dovecot/filter-errors.j2", tools)
    wants = render("dovecot/dovecot.service.j2", Nothing())
    return (
        ConfigFile(path=f"{constants.LIBRARY}/filter-errors", content=program, mode="0755"),
        ConfigFile(path=f"{units}/mailhost-filter-errors.path", content=path),
        ConfigFile(path=f"{units}/mailhost-filter-errors.service", content=service),
        ConfigFile(path=f"{units}/dovecot.service.d/mailhost.conf", content=wants),
    )


def _learning_files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Filter all users' mail, and learn from what they move. mailhostctl compiles the scripts (sievec(1))."""
    scripts = ("junk", "learn-spam", "learn-ham")
    learn = render("dovecot/sieve/learn.j2", _tools(settings))
    return (
        *(
            ConfigFile(path=f"{_SIEVE_DIR}/{name}.sieve", content=render(f"dovecot/sieve/{name}.sieve.j2", Nothing()))
            for name in scripts
        ),
        ConfigFile(path=f"{constants.LIBRARY}/sieve/learn", content=learn, mode="0755"),
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
    sockets = [constants.SASL_SOCKET, constants.LMTP_SOCKET]
    if settings.quotas:
        sockets.append(constants.QUOTA_SOCKET)
    probes = ["unit dovecot", *(f"unix {constants.POSTFIX_QUEUE}/{socket}" for socket in sockets)]
    if on.imap:
        probes.append(f"starttls-imap {constants.IMAP}")
    if on.imaps:
        probes.append(f"tls {constants.IMAPS} * OK")
    if on.pop3:
        probes.append(f"starttls-pop3 {constants.POP3}")
    if on.pop3s:
        probes.append(f"tls {constants.POP3S} +OK")
    if on.managesieve:
        probes.append(f"starttls-sieve {constants.MANAGESIEVE}")
    if settings.metrics.enabled and settings.metrics.probed:
        probes.append(f"tcp {constants.DOVECOT_METRICS}")
    return tuple(probes)


def _learning(settings: Settings) -> bool:
    return settings.sieve.enabled and settings.spam.enabled


def _tools(settings: Settings) -> ToolsContext:
    return ToolsContext(
        hostname=settings.hostname,
        vmail=constants.VMAIL,
        mail_dir=constants.MAIL_DIR,
        library=constants.LIBRARY,
        filter_errors=_FILTER_ERRORS,
        learn_socket=constants.RSPAMD_LEARN_SOCKET,
        unlimited=_NEW.unlimited if settings.platform.dovecot == "2.4" else _OLD.unlimited,
    )


def _main(settings: Settings) -> DovecotContext:
    on, storage = settings.services, settings.storage
    imap, pop3 = on.imap or on.imaps, on.pop3 or on.pop3s
    search = storage.search and settings.platform.search is not None
    names = _NEW if settings.platform.dovecot == "2.4" else _OLD
    wanted = {"imap": imap, "pop3": pop3, "lmtp": True, "sieve": on.managesieve}
    return DovecotContext(
        hostname=settings.hostname,
        postmaster=f"postmaster@{settings.domain}",
        protocols=_chosen(wanted),
        listen="*, ::" if settings.ipv6 else "*",
        certificate=constants.certificate(settings.hostname),
        certificate_key=constants.certificate_key(settings.hostname),
        users_file=constants.USERS_FILE,
        lent=_LENT,
        vmail=constants.VMAIL,
        mail_dir=constants.MAIL_DIR,
        imap=imap,
        imap_port=constants.IMAP if on.imap else 0,
        imaps_port=constants.IMAPS if on.imaps else 0,
        pop3=pop3,
        pop3_port=constants.POP3 if on.pop3 else 0,
        pop3s_port=constants.POP3S if on.pop3s else 0,
        connections=settings.limits.connections,
        lmtp_socket=f"{constants.POSTFIX_QUEUE}/{constants.LMTP_SOCKET}",
        sasl_socket=f"{constants.POSTFIX_QUEUE}/{constants.SASL_SOCKET}",
        plugins=_chosen(
            {"quota": settings.quotas, names.compression: storage.compression, "fts": search, names.search: search}
        ),
        imap_plugins=(
            *("last_login", *names.imap),
            *_chosen({"imap_quota": settings.quotas, "imap_sieve": _learning(settings)}),
        ),
        pop3_plugins=("last_login",),
        lmtp_plugins=_chosen({"sieve": settings.sieve.enabled}),
        compression=storage.compression,
        search=search,
        junk_days=storage.junk_days,
        trash_days=storage.trash_days,
        quotas=settings.quotas,
        quota=storage.quota,
        grace=_GRACE,
        quota_socket=f"{constants.POSTFIX_QUEUE}/{constants.QUOTA_SOCKET}",
        sieve=settings.sieve.enabled,
        learning=_learning(settings),
        sieve_dir=_SIEVE_DIR,
        filter_errors=_FILTER_ERRORS,
        library=constants.LIBRARY,
        managesieve=on.managesieve,
        managesieve_port=constants.MANAGESIEVE,
        metrics=settings.metrics.listen if settings.metrics.enabled else "",
        metrics_port=constants.DOVECOT_METRICS,
    )


def _chosen(wanted: dict[str, bool]) -> tuple[str, ...]:
    return tuple(name for name, want in wanted.items() if want)
