"""One served domain at Cloudflare: its zone, its DKIM key, its records."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

from components.cloudflare import DnsRecord, find_zone
from components.dns import Published, publish
from model import records
from model.dkim import ed25519_record, ed25519_selector, key_name, quoted
from model.records import Record
from model.settings import ServedDomain, Settings


@dataclass(frozen=True, kw_only=True)
class MailDomainArgs:
    """Inputs of `MailDomain`."""

    settings: Settings
    domain: ServedDomain


class MailDomain(pulumi.ComponentResource):
    """Generates the domain's RSA key in the stack's state (secret), publishes its public half and the domain's records.

    Owns nothing on the host: the private key is handed to the signer. Resources are named by the domain, so a domain
    that comes or goes, or becomes the first one, touches no other. `invite` must be called, once.
    """

    zone_id: pulumi.Input[str]
    private_key_pem: pulumi.Output[str]
    """PKCS #1 PEM, secret."""
    ed25519_pem: pulumi.Output[str] | None = None
    """The second key's PKCS #8 PEM, secret; only rspamd signs with it."""
    key: Published
    """The record of the key."""
    keys: Sequence[Published]
    """The records of all keys."""
    names: Sequence[Published]
    """The records of the names a web server serves."""

    def __init__(self, name: str, args: MailDomainArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:MailDomain", name, {}, opts)
        self._name, self._settings, self._domain = name, args.settings, args.domain
        settings, domain = args.settings, args.domain
        self.zone_id = domain.zone_id or find_zone(domain.name)
        key = tls.PrivateKey(
            f"{name}-rsa",
            algorithm="RSA",
            rsa_bits=settings.dkim.bits,
            opts=pulumi.ResourceOptions(parent=self, aliases=self._formerly("DkimKey", "dkim", "rsa")),
        )
        self.private_key_pem = key.private_key_pem
        self.key = self._publish_key(
            "txt",
            domain.selector,
            key.public_key_pem.apply(lambda pem: records.dkim(settings, domain, pem).content),
            aliases=self._formerly("DkimKey", "dkim", "txt"),
        )
        self.keys = [self.key, *([self._second_key()] if settings.dkim.signer == "rspamd" else [])]
        early = [(record, self._publish(record, "policy")) for record in records.early(settings, domain)]
        self.names = [
            self._published(record.name, record.type, made) for record, made in early if record.type == "CNAME"
        ]

    def invite(self, after: Sequence[pulumi.Resource], served: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Publish the records that send servers and mail programs here, once `after` is done; return them.

        Also, once `served` is, those of what the web server keeps.
        """
        settings, domain = self._settings, self._domain
        invitation = [self._publish(record, "invitation", after) for record in records.invitation(settings, domain)]
        promise = [self._publish(record, "promise", served) for record in records.promise(settings, domain)]
        self.register_outputs({"keyRecord": self.key.name})
        return [*invitation, *promise]

    def _second_key(self) -> Published:
        key = tls.PrivateKey(f"{self._name}-ed25519", algorithm="ED25519", opts=pulumi.ResourceOptions(parent=self))
        self.ed25519_pem = key.private_key_pem_pkcs8
        content = key.public_key_pem.apply(lambda pem: quoted(ed25519_record(pem)))
        return self._publish_key("txt-ed25519", ed25519_selector(self._domain.selector), content)

    def _publish_key(
        self, what: str, selector: str, content: pulumi.Input[str], aliases: Sequence[pulumi.Alias] = ()
    ) -> Published:
        name = key_name(selector, self._domain.name)
        record = DnsRecord(
            f"{self._name}-{what}",
            zone_id=self.zone_id,
            name=name,
            type_="TXT",
            content=content,
            ttl=self._settings.dns.ttl,
            parent=self,
            aliases=aliases,
        )
        return self._published(name, "TXT", record)

    def _publish(self, record: Record, group: str, after: Sequence[pulumi.Resource] = ()) -> DnsRecord:
        return publish(
            f"{self._name}-{record.key}",
            record,
            zone_id=self.zone_id,
            parent=self,
            after=after,
            aliases=self._formerly("DnsRecords", group, record.key),
        )

    def _published(self, name: str, kind: str, record: DnsRecord) -> Published:
        return Published(zone=self._domain.name, name=name, type=kind, content=record.content)

    def _formerly(self, kind: str, group: str, key: str) -> list[pulumi.Alias]:
        """Return what 0.1.0 called a resource of its only domain: a key that is made anew would break signatures."""
        if self._domain.name != self._settings.domain:
            return []
        host = self._name.removesuffix(f"-{self._domain.name}")
        parent = (
            f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::"
            f"mailhost:index:MailHost$mailhost:index:{kind}::{host}-{group}"
        )
        return [pulumi.Alias(name=f"{host}-{group}-{key}", parent=parent)]
