"""The DKIM key pair and its public half in DNS: one origin for both (RFC 6376)."""

from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

from components.cloudflare import DnsRecord
from model import records
from model.dkim import key_name
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class DkimKeyArgs:
    """Inputs of `DkimKey`."""

    settings: Settings
    zone_id: pulumi.Input[str]


class DkimKey(pulumi.ComponentResource):
    """Generates the RSA key in the stack's state (secret) and publishes SELECTOR._domainkey.DOMAIN from it.

    Owns nothing on the host: the private key is handed to `OpenDkim`.
    """

    record_name: str
    """Name of the record."""
    private_key_pem: pulumi.Output[str]
    """PKCS #1 PEM, secret."""
    record: DnsRecord
    """The TXT record; its `content` output is known once it is published."""

    def __init__(self, name: str, args: DkimKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:DkimKey", name, {}, opts)
        settings = args.settings
        key = tls.PrivateKey(
            f"{name}-rsa",
            algorithm="RSA",
            rsa_bits=settings.dkim.bits,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.record_name = key_name(settings.dkim.selector, settings.domain)
        self.private_key_pem = key.private_key_pem
        self.record = DnsRecord(
            f"{name}-txt",
            zone_id=args.zone_id,
            name=self.record_name,
            type_="TXT",
            content=key.public_key_pem.apply(lambda pem: records.dkim(settings, pem).content),
            ttl=settings.dns.ttl,
            parent=self,
        )
        self.register_outputs({"recordName": self.record_name})
