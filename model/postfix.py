"""Postfix's files: mail in on port 25, submission, delivery to Dovecot, delivery to the world."""

from typing import TypedDict

from model import accounts, constants
from model.files import ConfigFile, Nothing, render
from model.frozen import frozen
from model.options import TlsPolicy
from model.settings import Settings

# Address maps, which Postfix reads as texthash (DATABASE_README): plain files, no postmap(1) afterwards.
_MAPS = (
    *("disabled_recipients", "sender_logins", "tls_policies"),
    *("virtual_aliases", "virtual_domains", "virtual_mailboxes"),
)
_UNITS = "/etc/systemd/system"

_FILTER = f"unix:{constants.RSPAMD_SOCKET}"
_LOGINS_PER_MINUTE = 60
_RECIPIENT_LIMIT = 1000
"""Postfix's default of smtpd_recipient_limit."""


class MainContext(TypedDict):
    """What templates/postfix/main.cf.j2 needs."""

    hostname: str
    domain: str
    localhost: str
    inet_protocols: str
    mynetworks: str
    message_size_limit: int
    lmtp_socket: str
    sasl_socket: str
    quota_socket: str
    """Who knows which mailboxes are full; empty where none has a limit."""
    filter_milter: str
    """Who judges mail on port 25; empty for nobody."""
    signer_milter: str
    logins_per_minute: int
    postscreen: bool
    certificate: str
    certificate_key: str
    dane: bool
    policy_socket: str
    """Who knows what a destination must prove beside `tls_policies`; empty for nobody."""
    queue_days: int
    bounce_days: int


@frozen
class Door:
    """One port where people submit mail."""

    name: str
    purpose: str
    wrappermode: str
    """`yes`: TLS from the first byte; `no`: after STARTTLS."""


class MasterContext(TypedDict):
    """What templates/postfix/master.cf.j2 needs."""

    doors: tuple[Door, ...]
    submission_milters: str
    """Comma-separated, in the order they see the mail."""
    recipient_limit: int | None
    """Most recipients Postfix takes for one message; None for its default."""
    postscreen: bool
    ipv4_only: bool
    """Mail leaves over IPv4 although it arrives over both."""


class MapsContext(TypedDict):
    """What the templates of the address maps need; see model/accounts.py."""

    domains: tuple[str, ...]
    mailboxes: tuple[str, ...]
    aliases: tuple[tuple[str, tuple[str, ...]], ...]
    sender_logins: tuple[tuple[str, tuple[str, ...]], ...]
    disabled: tuple[str, ...]
    policies: tuple[tuple[str, str], ...]
    """Destinations and what they must prove, as smtp_tls_policy_maps reads it."""


class UnitContext(TypedDict):
    """What templates/postfix/postfix.service.j2 needs."""

    resolv_conf: str


class ResolvConfContext(TypedDict):
    """What templates/postfix/resolv.conf.j2 needs."""

    address: str


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return everything Postfix reads. No file holds a secret."""
    maps = MapsContext(
        domains=tuple(domain.name for domain in settings.served),
        mailboxes=accounts.mailboxes(settings),
        aliases=accounts.aliases(settings),
        sender_logins=accounts.sender_logins(settings),
        disabled=accounts.disabled(settings),
        policies=tuple((name, _policy(policy)) for name, policy in sorted(settings.outbound.policies.items())),
    )
    contents = {
        "main.cf": render("postfix/main.cf.j2", _main(settings)),
        "master.cf": render("postfix/master.cf.j2", _master(settings)),
        "submission_header_checks": render("postfix/submission_header_checks.j2", Nothing()),
        **{name: render(f"postfix/{name}.j2", maps) for name in _MAPS},
    }
    made = [ConfigFile(path=f"/etc/postfix/{name}", content=content) for name, content in contents.items()]
    return (*made, *(_own_resolver(settings) if settings.outbound.dane else ()))


def _own_resolver(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return what lets Postfix, and nothing else on the host, ask the host's own resolver."""
    resolv_conf = "/etc/postfix/resolv.conf"
    unit = UnitContext(resolv_conf=resolv_conf)
    server = ResolvConfContext(address=constants.RESOLVER)
    return (
        ConfigFile(path=resolv_conf, content=render("postfix/resolv.conf.j2", server)),
        ConfigFile(
            path=f"{_UNITS}/{settings.platform.postfix}.d/mailhost.conf",
            content=render("postfix/postfix.service.j2", unit),
        ),
    )


def _policy(policy: TlsPolicy) -> str:
    return policy.level + (f" match={':'.join(policy.match)}" if policy.match else "")


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
        quota_socket=constants.QUOTA_SOCKET if settings.quotas else "",
        filter_milter=_FILTER if settings.spam.enabled else "",
        signer_milter=_signer(settings),
        logins_per_minute=_LOGINS_PER_MINUTE,
        postscreen=settings.smtp.postscreen,
        certificate=constants.certificate(settings.hostname),
        certificate_key=constants.certificate_key(settings.hostname),
        dane=settings.outbound.dane,
        policy_socket=_policy_socket(settings),
        queue_days=settings.outbound.queue_days,
        bounce_days=settings.outbound.bounce_days,
    )


def _policy_socket(settings: Settings) -> str:
    if not settings.outbound.mta_sts:
        return ""
    # Where DANE has no say, there is nothing to weigh an MTA-STS policy against.
    return f"unix:{constants.TLS_POLICY_SOCKET}" if settings.outbound.dane else f"inet:127.0.0.1:{constants.MTA_STS}"


def _signer(settings: Settings) -> str:
    return _FILTER if settings.dkim.signer == "rspamd" else f"unix:{constants.MILTER_SOCKET}"


def _master(settings: Settings) -> MasterContext:
    # The filter first: what it refuses for the sender's limit need not be signed. Once, where it signs too.
    milters = dict.fromkeys([*([_FILTER] if settings.spam.enabled else []), _signer(settings)])
    return MasterContext(
        doors=_doors(settings),
        submission_milters=",".join(milters),
        recipient_limit=_recipient_limit(settings),
        postscreen=settings.smtp.postscreen,
        ipv4_only=settings.ipv6 is not None and not settings.outbound.ipv6,
    )


def _recipient_limit(settings: Settings) -> int | None:
    """Return one more than may be, so that rspamd sees a message that has too many, and refuses it whole.

    Postfix alone puts off the recipients beyond its limit, and the others get the message.
    """
    limits = settings.limits
    return limits.recipients + 1 if limits.enabled and limits.recipients >= _RECIPIENT_LIMIT else None


def _doors(settings: Settings) -> tuple[Door, ...]:
    doors = []
    if settings.services.submission:
        purpose = "Mail from people, port 587: STARTTLS, then the password (RFC 6409)."
        doors.append(Door(name="submission", purpose=purpose, wrappermode="no"))
    if settings.services.submissions:
        purpose = "Mail from people, port 465: TLS from the first byte, what RFC 8314 §3.3 prefers."
        doors.append(Door(name="submissions", purpose=purpose, wrappermode="yes"))
    return tuple(doors)
