"""One served domain at Cloudflare: its zone, its DKIM key, its records."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pulumi

from components.cloudflare import DnsRecord
from components.dns import Published, publish
from components.private_key import PrivateKey
from model import records, rotation
from model.dkim import WITHDRAWN, ed25519_record, ed25519_selector, key_name, key_record, quoted
from model.domains import ServedDomain
from model.frozen import frozen
from model.records import Record
from model.rotation import DkimKey
from model.settings import Settings


@frozen
class MailDomainArgs:
    """Inputs of `MailDomain`."""

    settings: Settings
    domain: ServedDomain
    zone_id: pulumi.Input[str]


@frozen
class KeyPair:
    """One generation of a domain's key, made."""

    key: DkimKey
    rsa_bits: pulumi.Output[float]
    rsa_pem: pulumi.Output[str]
    """PKCS #1 PEM, secret."""
    ed25519_pem: pulumi.Output[str] | None
    """The second key's PKCS #8 PEM, secret; only rspamd signs with it."""
    records: Sequence[Published]


class MailDomain(pulumi.ComponentResource):
    """Generates the domain's keys in the stack's state (secret), publishes the public halves and the other records.

    Owns nothing on the host: private keys are handed to the signer. Resources are named by the domain, so a domain
    that comes or goes, or becomes the first one, touches no other; those of a later generation of the key end in its
    number. `withdraw` and then `invite` must be called, once.
    """

    domain: ServedDomain
    pairs: Sequence[KeyPair]
    """The keys, the oldest first; a withdrawn one is none any more."""
    names: Sequence[Published]
    """The records of the names a web server serves."""

    def __init__(self, name: str, args: MailDomainArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:MailDomain", name, {}, opts)
        self._name, self._settings, self.domain = name, args.settings, args.domain
        settings, domain = args.settings, args.domain
        self._zone_id = args.zone_id
        self.pairs = [self._pair(key) for key in domain.keys if key.state != "withdrawn"]
        early = [(record, self._publish(record, "policy")) for record in records.early(settings, domain)]
        self.names = [
            self._published(record.name, record.type, made) for record, made in early if record.type == "CNAME"
        ]

    @property
    def keys(self) -> Sequence[Published]:
        """The records of all keys."""
        return [record for pair in self.pairs for record in pair.records]

    def withdraw(self, after: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Say of a withdrawn key that it is one, once `after` is done: another key signs; return the records."""
        return [
            self._key_record(key, second, quoted(WITHDRAWN), after)
            for key in self.domain.keys
            if key.state == "withdrawn"
            for second in (False, *([True] if self._settings.dkim.signer == "rspamd" else []))
        ]

    def invite(self, after: Sequence[pulumi.Resource], served: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Publish the records that send servers and mail programs here, once `after` is done; return them.

        Also, once `served` is, those of what the web server keeps.
        """
        settings, domain = self._settings, self.domain
        invitation = [self._publish(record, "invitation", after) for record in records.invitation(settings, domain)]
        promise = [self._publish(record, "promise", served) for record in records.promise(settings, domain)]
        self.register_outputs({"keyRecord": key_name(domain.selector, domain.name)})
        return [*invitation, *promise]

    def _pair(self, key: DkimKey) -> KeyPair:
        rsa = PrivateKey(
            f"{self._name}-rsa{key.suffix}",
            algorithm="RSA",
            rsa_bits=self._settings.dkim.bits,
            opts=pulumi.ResourceOptions(parent=self, aliases=self._first(key, "rsa")),
        )
        published = [self._publish_key(key, second=False, content=_quoted(rsa, key_record))]
        if self._settings.dkim.signer != "rspamd":
            return KeyPair(
                key=key, rsa_bits=rsa.rsa_bits, rsa_pem=rsa.private_key_pem, ed25519_pem=None, records=published
            )
        ed25519 = PrivateKey(
            f"{self._name}-ed25519{key.suffix}", algorithm="ED25519", opts=pulumi.ResourceOptions(parent=self)
        )
        published.append(self._publish_key(key, second=True, content=_quoted(ed25519, ed25519_record)))
        return KeyPair(
            key=key,
            rsa_bits=rsa.rsa_bits,
            rsa_pem=rsa.private_key_pem,
            ed25519_pem=ed25519.private_key_pem_pkcs8,
            records=published,
        )

    def _publish_key(self, key: DkimKey, *, second: bool, content: pulumi.Input[str]) -> Published:
        record = self._key_record(key, second, content)
        # The wait for the record is what the signer waits for: with another selector nothing gets there.
        name = record.name.apply(partial(self._in_use, self._key_name(key, second)))
        return self._published(name, "TXT", record)

    def _in_use(self, wanted: str, name: str) -> str:
        """Return the name of a key's record, if it is the wanted one.

        Raises:
            pulumi.RunError: the key was published under another selector.
        """
        problem = rotation.other_selector(self.domain, wanted, name, pulumi.get_stack())
        if problem:
            raise pulumi.RunError(problem)
        return name

    def _key_name(self, key: DkimKey, second: bool) -> str:
        return key_name(ed25519_selector(key.selector) if second else key.selector, self.domain.name)

    def _key_record(
        self, key: DkimKey, second: bool, content: pulumi.Input[str], after: Sequence[pulumi.Resource] = ()
    ) -> DnsRecord:
        return DnsRecord(
            f"{self._name}-txt{'-ed25519' if second else ''}{key.suffix}",
            zone_id=self._zone_id,
            name=self._key_name(key, second),
            type_="TXT",
            content=content,
            ttl=self._settings.dns.ttl,
            keep_name=True,
            parent=self,
            depends_on=after,
            aliases=() if second else self._first(key, "txt"),
        )

    def _first(self, key: DkimKey, what: str) -> list[pulumi.Alias]:
        return self._formerly("DkimKey", "dkim", what) if key.generation == 1 else []

    def _publish(self, record: Record, group: str, after: Sequence[pulumi.Resource] = ()) -> DnsRecord:
        return publish(
            f"{self._name}-{record.key}",
            record,
            zone_id=self._zone_id,
            parent=self,
            after=after,
            aliases=self._formerly("DnsRecords", group, record.key),
        )

    def _published(self, name: pulumi.Input[str], kind: str, record: DnsRecord) -> Published:
        return Published(zone=self.domain.name, name=name, type=kind, content=record.content)

    def _formerly(self, kind: str, group: str, key: str) -> list[pulumi.Alias]:
        """Return what 0.1.0 called a resource of its only domain: a key that is made anew would break signatures."""
        if self.domain.name != self._settings.domain:
            return []
        host = self._name.removesuffix(f"-{self.domain.name}")
        parent = (
            f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::"
            f"mailhost:index:MailHost$mailhost:index:{kind}::{host}-{group}"
        )
        return [pulumi.Alias(name=f"{host}-{group}-{key}", parent=parent)]


def tell_of_sizes(settings: Settings, domains: Iterable[MailDomain]) -> None:
    """Say, as soon as it is known, which domains' newest keys have not the size that is set."""
    newest = {domain.domain.name: domain.pairs[-1].rsa_bits for domain in domains}

    def tell(sizes: dict[str, float]) -> None:
        others = {name: int(size) for name, size in sizes.items() if int(size) != settings.dkim.bits}
        if others:
            pulumi.log.warn(rotation.other_sizes(settings.dkim.bits, others, pulumi.get_stack()))

    pulumi.Output.all(**newest).apply(tell)


def _quoted(key: PrivateKey, record: Callable[[str], str]) -> pulumi.Output[str]:
    return key.public_key_pem.apply(lambda pem: quoted(record(pem)))
