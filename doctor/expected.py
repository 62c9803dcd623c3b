"""Which records the world should see: those of the settings, and those only the stack's state knows (the DKIM key)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.txtbase

from doctor.stack import Published, Stack
from model import dkim, records
from model.settings import Settings

_AUTOMATIC: Final = 1
_AUTOMATIC_SECONDS: Final = 300
"""What Cloudflare's automatic TTL is."""
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "SRV": ("priority", "weight", "port", "target"),
    "CAA": ("flags", "tag", "value"),
    "TLSA": ("usage", "selector", "matchingType", "certificate"),
}
"""The order of a record's fields on the wire; `matching_type` in Cloudflare's own spelling."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """All records of one name and type that should be there."""

    zone: str
    name: str
    type: str
    values: frozenset[str]
    """In the form of `canonical`."""
    ttl: int
    """Seconds, as served."""


def wanted(stack: Stack) -> tuple[Wanted, ...]:
    """Return what each name should answer. Where the settings say something, the state has nothing to add."""
    asked = of_settings(stack.settings)
    decided = {(record.name, record.type) for record in asked}
    kept = [record for record in stack.published if (record.name, record.type) not in decided]
    zones = zone_names(stack.settings)
    groups: dict[tuple[str, str], list[Published]] = defaultdict(list)
    for record in (*asked, *kept):
        groups[record.name, record.type].append(record)
    return tuple(
        Wanted(
            zone=zone_of(name, zones),
            name=name,
            type=kind,
            values=frozenset(canonical(kind, text(record)) for record in group),
            ttl=served_ttl(group[0].ttl),
        )
        for (name, kind), group in groups.items()
    )


def undeployed(stack: Stack) -> list[str]:
    """Name the records the settings ask for and the state lacks, as `NAME TYPE`."""
    known = {(record.name, record.type, canonical(record.type, text(record))) for record in stack.published}
    return [
        f"{record.name} {record.type}"
        for record in of_settings(stack.settings)
        if (record.name, record.type, canonical(record.type, text(record))) not in known
    ]


def zone_names(settings: Settings) -> tuple[str, ...]:
    """Return the domains of the stack, each a zone."""
    return tuple(domain.name for domain in settings.zones)


def zone_of(name: str, zones: Iterable[str]) -> str:
    """Return the zone a name lies in; the name itself where none fits."""
    fitting = [zone for zone in zones if name == zone or name.endswith(f".{zone}")]
    return max(fitting, key=len, default=name)


def served_ttl(ttl: int) -> int:
    """Return a TTL as the name servers give it."""
    return _AUTOMATIC_SECONDS if ttl == _AUTOMATIC else ttl


def of_settings(settings: Settings) -> list[Published]:
    """Return every record the settings alone decide."""
    every = [
        *records.address(settings),
        *(record for domain in settings.served for record in records.early(settings, domain)),
        *(record for domain in settings.served for record in records.invitation(settings, domain)),
        *(record for domain in settings.served for record in records.promise(settings, domain)),
        *(record for domain in settings.silent for record in records.silent(settings, domain)),
    ]
    return [
        Published(
            name=record.name.lower(),
            type=record.type,
            content=record.content,
            ttl=record.ttl,
            priority=record.priority,
        )
        for record in every
    ] + [
        Published(name=name, type="TXT", content=dkim.quoted(dkim.WITHDRAWN), ttl=settings.dns.ttl)
        for name in _withdrawn(settings)
    ]


def _withdrawn(settings: Settings) -> list[str]:
    """Name the records of withdrawn DKIM keys."""
    return [
        dkim.key_name(selector, domain.name).lower()
        for domain in settings.served
        for key in domain.keys
        if key.state == "withdrawn"
        for selector in dkim.selectors(key.selector, settings.dkim.signer)
    ]


def text(record: Published) -> str:
    """Return a record in presentation form (RFC 1035 §5.1), with absolute names."""
    if record.data and record.type in _FIELDS:
        return " ".join(_field(record.data, name, record.type) for name in _FIELDS[record.type])
    if record.type == "MX":
        return f"{record.priority} {record.content.rstrip('.')}."
    if record.type in {"CNAME", "NS", "SRV"}:
        return f"{record.content}."
    return record.content


def _field(data: Mapping[str, Any], name: str, kind: str) -> str:
    spelled = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    value = data.get(name, data.get(spelled, ""))
    if isinstance(value, float):
        value = int(value)
    if name == "target":
        return f"{str(value).rstrip('.')}."
    return f'"{value}"' if (kind, name) == ("CAA", "value") else str(value)


def canonical(kind: str, content: str) -> str:
    """Return record data so that equal data is equal text: TXT joined, everything else as dnspython writes it."""
    try:
        rdata = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind), content)
    except dns.exception.DNSException:
        return content
    return of_rdata(rdata)


def of_rdata(rdata: dns.rdata.Rdata) -> str:
    """Return the same form of an answer."""
    if isinstance(rdata, dns.rdtypes.txtbase.TXTBase):
        return b"".join(rdata.strings).decode("utf-8", "backslashreplace")
    return rdata.to_text().lower()
