"""TLSA records: which key senders with DANE shall find on port 25."""

from collections.abc import Sequence

import pulumi

from components.certificate import issuer_options
from components.cloudflare import DnsRecord
from components.remote import command
from components.service import ServiceHost
from model import constants
from model.frozen import frozen
from model.records import served_ttl, tlsa_name, tlsa_place


@frozen
class TlsaArgs:
    """Inputs of `Tlsa`."""

    host: ServiceHost
    zone_id: pulumi.Input[str]
    after: Sequence[pulumi.Resource]
    """The certificate is served on port 25, and the host's resolver answers."""


class Tlsa(pulumi.ComponentResource):
    """Publishes the keys in use and next of the host's certificate; owns them in /var/lib/mailhost/tlsa on the host.

    Each number has one of two records. When the number is raised, its key is used once its record, which came with the
    number before, is old enough; then the other record, of the former key, becomes that of the next one.
    """

    published: pulumi.Resource
    """Both records are seen everywhere."""

    def __init__(self, name: str, args: TlsaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:Tlsa", name, {}, opts)
        self._name, self._args = name, args
        settings, remote = args.host.settings, args.host.remote
        number, key = settings.tlsa.key, ("--key", str(settings.tlsa.key))
        keys = command(
            f"{name}-keys",
            remote,
            ["mailhostctl", "tlsa-keys", settings.hostname, *key, "--resolver", constants.RESOLVER],
            delete=["mailhostctl", "tlsa-withdrawn"],
            # Conditions of the world: the lineage is there, and so is who validates.
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.after)),
        )
        digests = keys.stdout.apply(str.split)
        current = self._publish(number, digests[0], keys)
        ttl = ("--ttl", str(served_ttl(settings)))
        used = command(
            f"{name}-use",
            remote,
            ["mailhostctl", "tlsa-use", settings.hostname, *key, *ttl, *issuer_options(settings)],
            stdin=self._line(digests[0]),
            # Keys are made before one is used, so they are the staging of that.
            serial=digests[2],
            # The record, not its value: it is asked for on every server.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[current]),
        )
        following = self._publish(number + 1, digests[1], used)
        self.published = command(
            f"{name}-announced",
            remote,
            ["mailhostctl", "tlsa-announced", settings.hostname, "--key", str(number + 1)],
            stdin=self._line(digests[1]),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[following]),  # likewise
        )
        self.register_outputs({"records": [tlsa_name(settings)]})

    def _publish(self, number: int, digest: pulumi.Output[str], after: pulumi.Resource) -> DnsRecord:
        """Publish a key; the one that takes a former key's record must wait until that is not served any more."""
        settings = self._args.host.settings
        return DnsRecord(
            f"{self._name}-{tlsa_place(number)}",
            zone_id=self._args.zone_id,
            name=tlsa_name(settings),
            type_="TLSA",
            tlsa=digest,
            ttl=settings.dns.ttl,
            parent=self,
            depends_on=[after],
        )

    def _line(self, digest: pulumi.Output[str]) -> pulumi.Output[str]:
        settings = self._args.host.settings
        return pulumi.Output.concat(f"{settings.domain} {tlsa_name(settings)} TLSA 3 1 1 ", digest, "\n")
