"""The web server: nginx, the names below each domain that it serves, and their certificates.

It serves documents only: those for mail programs and users (model/client_setup.py), and the policy for other mail
servers (model/mta_sts.py). Either can be off; with both off there is no web server.
"""

from typing import Final, TypedDict

from model import client_setup, constants, mta_sts
from model.files import ConfigFile, render
from model.frozen import frozen
from model.settings import Settings


class NginxContext(TypedDict):
    """What templates/nginx/nginx.conf.j2 needs."""

    hostname: str
    certificate: str
    certificate_key: str
    ipv6: bool
    documents: str
    challenges: str
    domains_file: str
    labels: tuple[str, ...]
    client_setup: bool
    style_hash: str
    """CSP source of the help page's style sheet; empty without the client setup."""


class DomainsContext(TypedDict):
    """What templates/nginx/domains.conf.j2 needs."""

    domains: tuple["WebDomain", ...]
    ipv6: bool
    locations_file: str


@frozen
class WebDomain:
    """A served domain as nginx sees it."""

    name: str
    names: tuple[str, ...]
    certificate: str
    certificate_key: str


class LocationsContext(TypedDict):
    """What templates/nginx/locations.conf.j2 needs."""

    hostname: str
    documents: str
    client_setup: bool
    policy: str
    """The MTA-STS policy's file; empty without one."""


def labels(settings: Settings) -> tuple[str, ...]:
    """Return the labels below each domain that nginx serves."""
    clients = constants.CLIENT_LABELS if settings.client_setup.enabled else ()
    return (*clients, constants.POLICY_LABEL) if settings.mta_sts.enabled else clients


def names(settings: Settings, domain: str) -> tuple[str, ...]:
    """Return the names below `domain` that nginx serves, the one of their certificate first.

    So a certificate is called by a name it has. When the first one comes or goes there is another certificate, which
    `mailhostctl certificates` gets before nginx needs it.
    """
    return tuple(f"{label}.{domain}" for label in labels(settings))


def lineages(settings: Settings) -> str:
    """Return the certificates of the web names, one line of names per domain, as `mailhostctl certificates` reads them.

    Each domain has its own, so that one whose DNS is broken keeps no other from being renewed.
    """
    return "".join(f"{' '.join(names(settings, domain.name))}\n" for domain in settings.served)


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return nginx's configuration and the documents it serves. No secrets."""
    found = _configuration(settings)
    if settings.client_setup.enabled:
        found += client_setup.documents(settings)
    if settings.mta_sts.enabled:
        found += mta_sts.documents(settings)
    return found


def requires(settings: Settings) -> tuple[str, ...]:
    """Return the paths that must exist on the host before these files are applied."""
    every = (settings.hostname, *(names(settings, domain.name)[0] for domain in settings.served))
    return tuple(path for name in every for path in (constants.certificate(name), constants.certificate_key(name)))


def health(settings: Settings) -> tuple[str, ...]:
    """Return the probes a healthy web server passes: the help page, and a document of each domain.

    One, since all domains have the same; the policy if it can be, as others are told of it next.
    """
    help_page = (f"https {settings.hostname}/",) if settings.client_setup.enabled else ()
    path = mta_sts.PATH if settings.mta_sts.enabled else "/mail/config-v1.1.xml"
    documents = [f"https {names(settings, domain.name)[0]}{path}" for domain in settings.served]
    return ("unit nginx", *help_page, *documents)


def _configuration(settings: Settings) -> tuple[ConfigFile, ...]:
    clients = settings.client_setup.enabled
    main = NginxContext(
        hostname=settings.hostname,
        certificate=constants.certificate(settings.hostname),
        certificate_key=constants.certificate_key(settings.hostname),
        ipv6=bool(settings.ipv6),
        documents=constants.WEB_DOCUMENTS,
        challenges=constants.ACME_CHALLENGES,
        domains_file=_DOMAINS_FILE,
        labels=labels(settings),
        client_setup=clients,
        style_hash=client_setup.style_hash() if clients else "",
    )
    domains = DomainsContext(
        domains=tuple(_web_domain(settings, domain.name) for domain in settings.served),
        ipv6=bool(settings.ipv6),
        locations_file=_LOCATIONS_FILE,
    )
    locations = LocationsContext(
        hostname=settings.hostname,
        documents=constants.WEB_DOCUMENTS,
        client_setup=clients,
        policy=mta_sts.DOCUMENT if settings.mta_sts.enabled else "",
    )
    return (
        ConfigFile(path="/etc/nginx/nginx.conf", content=render("nginx/nginx.conf.j2", main)),
        ConfigFile(path=_DOMAINS_FILE, content=render("nginx/domains.conf.j2", domains)),
        ConfigFile(path=_LOCATIONS_FILE, content=render("nginx/locations.conf.j2", locations)),
    )


def _web_domain(settings: Settings, domain: str) -> WebDomain:
    served = names(settings, domain)
    return WebDomain(
        name=domain,
        names=served,
        certificate=constants.certificate(served[0]),
        certificate_key=constants.certificate_key(served[0]),
    )


_DOMAINS_FILE: Final = "/etc/nginx/mailhost-domains.conf"
_LOCATIONS_FILE: Final = "/etc/nginx/mailhost-locations.conf"
