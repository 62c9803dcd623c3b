"""OpenDKIM's files: which key signs which mail, and the socket Postfix asks through. Not the keys themselves."""

from pathlib import PurePosixPath
from typing import Final, TypedDict

from model import constants
from model.dkim import key_name
from model.domains import ServedDomain
from model.files import ConfigFile, render
from model.frozen import frozen
from model.settings import Settings

SOCKET: Final = f"{constants.POSTFIX_QUEUE}/{constants.MILTER_SOCKET}"
KEYS: Final = "/etc/dkimkeys"
"""Debian's folder for private keys, 0700 opendkim:opendkim."""


@frozen
class SigningKey:
    """One domain's key."""

    name: str
    """Its name in DNS, which ties the two tables together."""
    domain: str
    selector: str
    private_key: str


class OpenDkimContext(TypedDict):
    """What the templates in templates/opendkim need."""

    key_table: str
    signing_table: str
    trusted_hosts: str
    socket: str
    socket_dir: str
    keys: tuple[SigningKey, ...]
    hostname: str


def private_key_path(domain: ServedDomain, selector: str) -> str:
    """Return where the private key lies on the host: one file per selector, so that a new one spares the old."""
    return f"{KEYS}/{domain.name}.{selector}.private"


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return everything OpenDKIM reads but the private key. No secrets."""
    context = OpenDkimContext(
        key_table="/etc/opendkim/KeyTable",
        signing_table="/etc/opendkim/SigningTable",
        trusted_hosts="/etc/opendkim/TrustedHosts",
        socket=SOCKET,
        socket_dir=str(PurePosixPath(SOCKET).parent),
        keys=tuple(
            SigningKey(
                name=key_name(domain.selector, domain.name),
                domain=domain.name,
                selector=domain.selector,
                private_key=private_key_path(domain, domain.selector),
            )
            for domain in settings.served
        ),
        hostname=settings.hostname,
    )
    templates = {
        "/etc/opendkim.conf": "opendkim/opendkim.conf.j2",
        context["key_table"]: "opendkim/KeyTable.j2",
        context["signing_table"]: "opendkim/SigningTable.j2",
        context["trusted_hosts"]: "opendkim/TrustedHosts.j2",
        "/etc/tmpfiles.d/mailhost-opendkim.conf": "opendkim/tmpfiles.conf.j2",
    }
    return tuple(ConfigFile(path=path, content=render(template, context)) for path, template in templates.items())


def health(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001 - the same signature for every daemon
    """Return the probes a healthy OpenDKIM passes."""
    return "unit opendkim", f"unix {SOCKET}"
