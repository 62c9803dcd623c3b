"""Client setup: how mail programs find this host, as documents, web server configuration and DNS names.

The documents hold no mailbox and no secret: everybody gets the same, filled by nginx with what the request itself says,
so their number does not grow with the domains.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from model import constants
from model.files import TEMPLATES, ConfigFile, render
from model.settings import Settings

Protocol = Literal["imap", "pop3", "smtp"]


@dataclass(frozen=True, kw_only=True)
class Door:
    """One port at which a mail program may knock."""

    protocol: Protocol
    port: int
    tls: bool
    """TLS from the first octet (RFC 8314 §3); otherwise STARTTLS, which the host requires."""
    service: str
    """Name in SRV records (RFC 6186 §3, RFC 8314 §5.1)."""


@dataclass(frozen=True, kw_only=True)
class NginxContext:
    """What templates/nginx/nginx.conf.j2 needs."""

    hostname: str
    certificate: str
    certificate_key: str
    ipv6: bool
    documents: str
    challenges: str
    domains_file: str
    style_hash: str
    """CSP source of the help page's style sheet (CSP3 §2.3.1)."""


@dataclass(frozen=True, kw_only=True)
class DomainsContext:
    """What templates/nginx/domains.conf.j2 needs."""

    domains: tuple["WebDomain", ...]
    ipv6: bool
    locations_file: str


@dataclass(frozen=True, kw_only=True)
class WebDomain:
    """A served domain as nginx sees it."""

    name: str
    names: tuple[str, ...]
    certificate: str
    certificate_key: str


@dataclass(frozen=True, kw_only=True)
class LocationsContext:
    """What templates/nginx/locations.conf.j2 needs."""

    hostname: str
    documents: str


@dataclass(frozen=True, kw_only=True)
class ProgramContext:
    """What the documents for mail programs need: templates/client_setup/*.xml.j2 and profile.mobileconfig.j2."""

    hostname: str
    reading: tuple[Door, ...]
    """Never empty, the preferred one first; likewise below."""
    sending: tuple[Door, ...]


@dataclass(frozen=True, kw_only=True)
class PageContext:
    """What templates/client_setup/index.html.j2 needs."""

    hostname: str
    doors: tuple[Door, ...]
    sieve_port: int
    """0 where filters cannot be edited by a program."""
    style: str
    code: str
    """QR code of the page's own address, as SVG."""


def doors(settings: Settings) -> tuple[Door, ...]:
    """Return the ports for mail programs that are open, in the order in which a program should try them.

    IMAP before POP3, and TLS from the start before STARTTLS (RFC 8314 §3).
    """
    on = settings.services
    every = (
        (on.imaps, Door(protocol="imap", port=constants.IMAPS, tls=True, service="imaps")),
        (on.imap, Door(protocol="imap", port=constants.IMAP, tls=False, service="imap")),
        (on.pop3s, Door(protocol="pop3", port=constants.POP3S, tls=True, service="pop3s")),
        (on.pop3, Door(protocol="pop3", port=constants.POP3, tls=False, service="pop3")),
        (on.submissions, Door(protocol="smtp", port=constants.SUBMISSIONS, tls=True, service="submissions")),
        (on.submission, Door(protocol="smtp", port=constants.SUBMISSION, tls=False, service="submission")),
    )
    return tuple(door for wanted, door in every if wanted)


def preferred(settings: Settings) -> tuple[Door, ...]:
    """Return the best door of each protocol: what SRV records name, and what Outlook and Apple's mail get."""
    first: dict[Protocol, Door] = {}
    for door in doors(settings):
        first.setdefault(door.protocol, door)
    return tuple(first.values())


def web_names(domain: str) -> tuple[str, ...]:
    """Return the names below `domain` that nginx serves, the one of their certificate first."""
    return tuple(f"{label}.{domain}" for label in constants.WEB_LABELS)


def lineages(settings: Settings) -> str:
    """Return the certificates of the web names, one line of names per domain, as `mailhostctl certificates` reads them.

    Each domain has its own, so that one whose DNS is broken keeps no other from being renewed.
    """
    return "".join(f"{' '.join(web_names(domain.name))}\n" for domain in settings.served)


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return nginx's configuration and the documents it serves. No secrets."""
    return (*_configuration(settings), *_documents(settings))


def requires(settings: Settings) -> tuple[str, ...]:
    """Return the paths that must exist on the host before these files are applied."""
    names = (settings.hostname, *(web_names(domain.name)[0] for domain in settings.served))
    return tuple(path for name in names for path in (constants.certificate(name), constants.certificate_key(name)))


def health(settings: Settings) -> tuple[str, ...]:
    """Return the probes a healthy web server passes."""
    pages = [f"{web_names(domain.name)[0]}/mail/config-v1.1.xml" for domain in settings.served]
    return ("unit nginx", f"https {settings.hostname}/", *(f"https {page}" for page in pages))


def _configuration(settings: Settings) -> tuple[ConfigFile, ...]:
    main = NginxContext(
        hostname=settings.hostname,
        certificate=constants.certificate(settings.hostname),
        certificate_key=constants.certificate_key(settings.hostname),
        ipv6=bool(settings.ipv6),
        documents=constants.WEB_DOCUMENTS,
        challenges=constants.ACME_CHALLENGES,
        domains_file=_DOMAINS_FILE,
        style_hash=base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode(),
    )
    domains = DomainsContext(
        domains=tuple(_web_domain(domain.name) for domain in settings.served),
        ipv6=bool(settings.ipv6),
        locations_file=_LOCATIONS_FILE,
    )
    locations = LocationsContext(hostname=settings.hostname, documents=constants.WEB_DOCUMENTS)
    return (
        ConfigFile(path="/etc/nginx/nginx.conf", content=render("nginx/nginx.conf.j2", main)),
        ConfigFile(path=_DOMAINS_FILE, content=render("nginx/domains.conf.j2", domains)),
        ConfigFile(path=_LOCATIONS_FILE, content=render("nginx/locations.conf.j2", locations)),
    )


def _web_domain(name: str) -> WebDomain:
    names = web_names(name)
    return WebDomain(
        name=name,
        names=names,
        certificate=constants.certificate(names[0]),
        certificate_key=constants.certificate_key(names[0]),
    )


def _documents(settings: Settings) -> tuple[ConfigFile, ...]:
    every = _program(settings, doors(settings))
    # Outlook and Apple's mail take one server of a kind.
    best = _program(settings, preferred(settings))
    page = PageContext(
        hostname=settings.hostname,
        doors=doors(settings),
        sieve_port=constants.MANAGESIEVE if settings.services.managesieve else 0,
        style=_style(),
        code=_qr_code(f"https://{settings.hostname}/"),
    )
    contents = {
        "autoconfig.xml": render("client_setup/autoconfig.xml.j2", every),
        "autodiscover.xml": render("client_setup/autodiscover.xml.j2", best),
        "mail.mobileconfig": render("client_setup/profile.mobileconfig.j2", best),
        "index.html": render("client_setup/index.html.j2", page),
    }
    return tuple(ConfigFile(path=f"{constants.WEB_DOCUMENTS}/{name}", content=text) for name, text in contents.items())


def _program(settings: Settings, found: tuple[Door, ...]) -> ProgramContext:
    return ProgramContext(
        hostname=settings.hostname,
        reading=tuple(door for door in found if door.protocol != "smtp"),
        sending=tuple(door for door in found if door.protocol == "smtp"),
    )


def _style() -> str:
    return (TEMPLATES / "client_setup" / "style.css").read_text(encoding="utf-8")


def _qr_code(text: str) -> str:
    """Return a QR code as SVG: dark on light also in a dark page, since some readers see no other."""
    import segno  # noqa: PLC0415 - 70 ms, which a host without client setup need not pay

    code = segno.make(text, error="m", micro=False)
    return str(code.svg_inline(border=4, light="#fff", omitsize=True, svgclass=None, lineclass=None))


_DOMAINS_FILE: Final = "/etc/nginx/mailhost-domains.conf"
_LOCATIONS_FILE: Final = "/etc/nginx/mailhost-locations.conf"
