"""The DNS records of a mail domain: names are absolute without the last dot, contents as Cloudflare keeps them."""

from dataclasses import dataclass
from typing import Final, Literal

from model.dkim import key_name, key_record, quoted
from model.settings import Settings

MX_PREFERENCE: Final = 10
"""The only MX; the number leaves room on both sides for a second."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record. It is never proxied: a proxy speaks HTTP, not SMTP."""

    key: str
    """Short unique name within the mail host, for resource names."""
    name: str
    type: Literal["A", "AAAA", "MX", "TXT"]
    content: str
    ttl: int
    """Seconds; 1 is Cloudflare's automatic."""
    priority: int | None = None
    """Preference of an MX record."""


def address(settings: Settings) -> tuple[Record, ...]:
    """Return the A and AAAA records of the host and, if wanted, of the domain itself."""
    places = {"host": settings.hostname}
    if settings.dns.apex and settings.hostname != settings.domain:
        places["apex"] = settings.domain
    records = []
    for place, name in places.items():
        records.append(_record(settings, f"a-{place}", name, "A", settings.ipv4))
        if settings.ipv6:
            records.append(_record(settings, f"aaaa-{place}", name, "AAAA", settings.ipv6))
    return tuple(records)


def mx(settings: Settings) -> Record:
    """Return the record that invites mail (RFC 5321 §5.1)."""
    return Record(
        key="mx",
        name=settings.domain,
        type="MX",
        content=settings.hostname,
        ttl=settings.dns.ttl,
        priority=MX_PREFERENCE,
    )


def spf(settings: Settings) -> Record:
    """Return who may send for the domain (RFC 7208): this host, by address, which costs a verifier no look-up."""
    hosts = f"ip4:{settings.ipv4}" + (f" ip6:{settings.ipv6}" if settings.ipv6 else "")
    return _record(settings, "spf", settings.domain, "TXT", quoted(f"v=spf1 {hosts} -all"))


def dmarc(settings: Settings) -> Record:
    """Return the policy for mail that fails both SPF and DKIM (RFC 7489 §6.3), with reports to the postmaster."""
    text = f"v=DMARC1; p={settings.dmarc.policy}; rua=mailto:postmaster@{settings.domain}"
    return _record(settings, "dmarc", f"_dmarc.{settings.domain}", "TXT", quoted(text))


def dkim(settings: Settings, public_key_pem: str) -> Record:
    """Return the record of the DKIM key.

    Raises:
        ValueError: the key is not an RSA public key in PEM form.
    """
    name = key_name(settings.dkim.selector, settings.domain)
    return _record(settings, "dkim", name, "TXT", quoted(key_record(public_key_pem)))


def _record(settings: Settings, key: str, name: str, kind: Literal["A", "AAAA", "TXT"], content: str) -> Record:
    return Record(key=key, name=name, type=kind, content=content, ttl=settings.dns.ttl)
