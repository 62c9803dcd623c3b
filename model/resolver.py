"""Unbound's file: a validating resolver for this host alone."""

from typing import TypedDict

from model import constants
from model.files import ConfigFile, render
from model.settings import Settings


class UnboundContext(TypedDict):
    """What templates/unbound/mailhost.conf.j2 needs."""

    address: str
    ipv6: bool
    """Whether the host has an IPv6 address to ask from."""


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return what Unbound reads beside the package's own files. No secrets."""
    context = UnboundContext(address=constants.RESOLVER, ipv6=settings.ipv6 is not None)
    path = "/etc/unbound/unbound.conf.d/mailhost.conf"
    return (ConfigFile(path=path, content=render("unbound/mailhost.conf.j2", context)),)


def health(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001 - the same signature for every daemon
    """Return the probes a healthy resolver passes."""
    return "unit unbound", f"resolver {constants.RESOLVER}"
