"""The TLS certificate both daemons serve, from an ACME server (RFC 8555) by HTTP-01, and who else may have one."""

from collections.abc import Sequence

import pulumi

from components.cloudflare import Caa, DnsRecord
from components.remote import command, serial_of, stage
from components.service import Service, ServiceArgs, ServiceHost
from model import certbot, records
from model.constants import ACME_CHALLENGES
from model.frozen import frozen
from model.settings import Settings


@frozen
class CertificateArgs:
    """Inputs of `Certificate`."""

    host: ServiceHost
    zone_id: pulumi.Input[str]
    """The zone of the host's name."""
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
    """Obtains the certificate of the host name and keeps it renewed by certbot's timer; publishes the CAA records.

    Destroy leaves certificates, keys and the ACME account: issuing is rate-limited.
    """

    issued: pulumi.Resource
    """Depend on it to read /etc/letsencrypt/live/HOSTNAME."""

    def __init__(self, name: str, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:Certificate", name, {}, opts)
        self._name, self._args = name, args
        settings = args.host.settings
        hook = RenewalHook(f"{name}-hook", args.host, pulumi.ResourceOptions(parent=self))
        conditions = [hook.applied, *args.reachable]
        published = None
        if settings.caa.enabled:
            published, made = self._restrict(hook.applied)
            conditions += made
        request = [
            settings.hostname,
            *issuer_options(settings),
            *(("--reuse-key",) if settings.tlsa.enabled else ()),
            *(("--wait-dns",) if published else ()),
        ]
        staged = stage(
            f"{name}-request",
            args.host.remote,
            "certificate",
            "request",
            "".join(f"{word}\n" for word in request),
            parent=self,
            depends_on=[hook.staged],
        )
        self.issued = command(
            f"{name}-issue",
            args.host.remote,
            ["mailhostctl", "certificate", *request],
            stdin=published,
            serial=serial_of(staged),
            # Conditions of the world, not values: the hook in place, the name visible, the port open.
            opts=pulumi.ResourceOptions(parent=self, depends_on=conditions),
        )
        self.register_outputs({})

    def _restrict(self, certbot_there: pulumi.Resource) -> tuple[pulumi.Output[str], list[pulumi.Resource]]:
        """Publish who may issue; return the records as `mailhostctl` waits for them, and as resources.

        An authority looks at them before it issues, so the account must be known first.
        """
        settings = self._args.host.settings
        account = command(
            f"{self._name}-account",
            self._args.host.remote,
            [
                *("mailhostctl", "acme-account", "--server", settings.acme.server, "--contact", settings.acme.contact),
                *(("--issuer", settings.caa.issuer) if settings.caa.issuer else ()),
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[certbot_there]),
        )
        issue = account.stdout.apply(lambda text: records.issue(*text.split()))
        wanted = {
            "caa": Caa(tag="issue", value=issue),
            "caa-wildcard": Caa(tag="issuewild", value=records.NOBODY),
        }
        made = [
            DnsRecord(
                f"{self._name}-{key}",
                zone_id=self._args.zone_id,
                name=settings.hostname,
                type_="CAA",
                caa=caa,
                ttl=settings.dns.ttl,
                parent=self,
            )
            for key, caa in wanted.items()
        ]
        place = f"{settings.domain} {settings.hostname} CAA 0"
        lines = [pulumi.Output.concat(f'{place} {caa.tag} "', caa.value, '"\n') for caa in wanted.values()]
        return pulumi.Output.concat(*lines), [*made]
