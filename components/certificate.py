"""The TLS certificate both daemons serve, from an ACME server (RFC 8555) by HTTP-01."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.remote import command
from components.service import Service, ServiceArgs, ServiceHost
from model import certbot
from model.constants import ACME_CHALLENGES
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class CertificateArgs:
    """Inputs of `Certificate`."""

    host: ServiceHost
    reachable: Sequence[pulumi.Resource]
    """The host name resolves everywhere and port 80 is open: an ACME server counts failed attempts."""


def issuer_options(settings: Settings) -> tuple[str, ...]:
    """Return whom mailhostctl asks for a certificate, and how challenges are answered."""
    server = ("--server", settings.acme.server, "--contact", settings.acme.contact)
    return (*server, *(("--webroot", ACME_CHALLENGES) if settings.web else ()))


class RenewalHook(Service):
    """Owns /etc/letsencrypt/renewal-hooks/deploy/mailhost: the daemons load a renewed certificate."""

    def __init__(self, name: str, host: ServiceHost, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:RenewalHook",
            name,
            ServiceArgs(
                host=host,
                service="certificate",
                files=certbot.files(host.settings),
            ),
            opts,
        )


class Certificate(pulumi.ComponentResource):
    """Obtains the certificate of the host name and keeps it renewed by certbot's timer.

    Destroy leaves certificates, keys and the ACME account: issuing is rate-limited.
    """

    issued: pulumi.Resource
    """Depend on it to read /etc/letsencrypt/live/HOSTNAME."""

    def __init__(self, name: str, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:Certificate", name, {}, opts)
        settings = args.host.settings
        hook = RenewalHook(f"{name}-hook", args.host, pulumi.ResourceOptions(parent=self))
        self.issued = command(
            f"{name}-issue",
            args.host.remote,
            [
                *("mailhostctl", "certificate", settings.hostname),
                *issuer_options(settings),
                *(("--reuse-key",) if settings.tlsa.enabled else ()),
            ],
            # Conditions of the world, not values: the hook in place, the name visible, the port open.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[hook.applied, *args.reachable]),
        )
        self.register_outputs({})
