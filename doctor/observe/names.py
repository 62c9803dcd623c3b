"""Asks names: each authoritative server of a zone, and a resolver."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.reversename

from doctor.expected import of_rdata

_PAYLOAD = 1232
"""UDP answer size that avoids fragments (DNS flag day 2020)."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one server, or a resolver, says about one name and type."""

    rcode: str = ""
    """NOERROR, NXDOMAIN, …; empty when no answer came."""
    values: tuple[str, ...] = ()
    """In the form of `expected.canonical`."""
    ttl: int = 0
    authoritative: bool = False
    validated: bool = False
    """The AD flag (RFC 4035 §3.2.3): the resolver has checked signatures."""
    error: str = ""
    """Why no answer came."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """An authoritative server at one address, and its answers by (name, type)."""

    zone: str
    name: str
    address: str
    answers: Mapping[tuple[str, str], Answer] = field(default_factory=dict)
    error: str = ""
    """It does not answer at all: why."""

    @property
    def label(self) -> str:
        """Name and address, for people."""
        return f"{self.name} ({self.address})"


@dataclass(frozen=True, kw_only=True)
class Names:
    """A resolver, its patience in seconds, and whether this machine speaks IPv6."""

    resolver: dns.resolver.Resolver
    timeout: float
    ipv6: bool

    def ask(self, name: str, kind: str, *, checking_disabled: bool = False) -> Answer:
        """Ask the resolver, for signatures to be checked too."""
        resolver = self.resolver
        flags = dns.flags.RD | dns.flags.AD | (dns.flags.CD if checking_disabled else 0)
        request = dns.message.make_query(name, kind, want_dnssec=True, payload=_PAYLOAD, flags=flags)
        last = "no resolver is configured"
        for server in resolver.nameservers:
            found = _query(request, str(server), self.timeout)
            if not found.error:
                return found
            last = found.error
        return Answer(error=last)

    def addresses(self, name: str) -> list[str]:
        """Return every address of a name that this machine could reach."""
        kinds = ("A", "AAAA") if self.ipv6 else ("A",)
        return [value for kind in kinds for value in self.ask(name, kind).values if _is_address(value)]

    def servers(self, zone: str) -> list[tuple[str, str]]:
        """Return name and address of each authoritative server of a zone."""
        names = sorted(value.rstrip(".") for value in self.ask(zone, "NS").values)
        return [(name, address) for name in names for address in self.addresses(name) or [""]]

    def reverse(self, address: str) -> Answer:
        """Return the PTR names of an address."""
        return self.ask(dns.reversename.from_address(address).to_text(omit_final_dot=True), "PTR")


def resolver(address: str | None) -> dns.resolver.Resolver:
    """Return the system's resolver, or the one at an address.

    Raises:
        dns.exception.DNSException: The system has none.
    """
    if address is None:
        return dns.resolver.Resolver()
    chosen = dns.resolver.Resolver(configure=False)
    chosen.nameservers = [address]
    return chosen


def ask_server(zone: str, name: str, address: str, questions: Iterable[tuple[str, str]], *, timeout: float) -> Server:
    """Ask one authoritative server everything, and stop at the first question it leaves without answer."""
    if not address:
        return Server(zone=zone, name=name, address="no address", error="its name has no address")
    answers: dict[tuple[str, str], Answer] = {}
    for question in questions:
        # No recursion is desired: the server shall speak for itself.
        request = dns.message.make_query(*question, payload=_PAYLOAD, use_edns=0, flags=0)
        answer = _query(request, address, timeout)
        if answer.error:
            return Server(zone=zone, name=name, address=address, error=answer.error)
        answers[question] = answer
    return Server(zone=zone, name=name, address=address, answers=answers)


def _query(request: dns.message.QueryMessage, address: str, timeout: float) -> Answer:
    """Ask twice by UDP, as packets get lost, and by TCP where the answer is long."""
    error = ""
    for _ in range(2):
        try:
            response, _tcp = dns.query.udp_with_fallback(request, address, timeout=timeout / 2)
        except dns.exception.Timeout:
            error = "does not answer"
        except (dns.exception.DNSException, OSError) as problem:
            error = f"cannot be asked: {getattr(problem, 'strerror', None) or problem}"
        else:
            return _answer(request, response)
    return Answer(error=error)


def _answer(request: dns.message.QueryMessage, response: dns.message.Message) -> Answer:
    kind = request.question[0].rdtype
    # A CNAME may come before what was asked for.
    sets = [rrset for rrset in response.answer if rrset.rdtype == kind]
    return Answer(
        rcode=dns.rcode.to_text(response.rcode()),
        values=tuple(sorted(of_rdata(rdata) for rrset in sets for rdata in rrset)),
        ttl=sets[0].ttl if sets else 0,
        authoritative=bool(response.flags & dns.flags.AA),
        validated=bool(response.flags & dns.flags.AD),
    )


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Reverse:
    """The reverse name of an address, and where that leads."""

    address: str
    names: tuple[str, ...]
    forward: Mapping[str, tuple[str, ...]]
    """Addresses of each of the names."""
    error: str = ""


def reverse(names: Names, address: str) -> Reverse:
    """Look an address up, and its names again."""
    answer = names.reverse(address)
    pointers = tuple(value.rstrip(".") for value in answer.values)
    kind = "AAAA" if ":" in address else "A"
    forward = {pointer: names.ask(pointer, kind).values for pointer in pointers}
    return Reverse(address=address, names=pointers, forward=forward, error=answer.error)


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Whether a zone is signed, and whether that holds."""

    zone: str
    checked: Answer
    unchecked: Answer
    """The same question with checking disabled (RFC 4035 §3.2.2)."""


def signed(names: Names, zone: str) -> Signed:
    """Ask for the zone's SOA record, with and without validation."""
    return Signed(zone=zone, checked=names.ask(zone, "SOA"), unchecked=names.ask(zone, "SOA", checking_disabled=True))


def authorities(names: Names, name: str) -> Answer:
    """Return the CAA records that hold for a name: its own, by an alias too, or those of the nearest name above it.

    RFC 8659 §3.
    """
    labels = name.split(".")
    for at in range(len(labels)):
        found = names.ask(".".join(labels[at:]), "CAA")
        if found.values or found.error:
            return found
    return Answer(rcode="NOERROR")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What one blocklist says of one address."""

    address: str
    zone: str
    codes: tuple[str, ...]
    """Return codes: none is not listed."""
    works: bool
    """The list's own test address is listed and 127.0.0.1 is not (RFC 5782 §5)."""
    error: str = ""


def listing_names(address: str, zone: str) -> tuple[str, str, str]:
    """Return what to look up: the address, the address that must be listed, and the one that must not (RFC 5782 §2)."""
    backwards = dns.reversename.from_address(address).to_text(omit_final_dot=True)
    label = backwards.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    return f"{label}.{zone}", f"2.0.0.127.{zone}", f"1.0.0.127.{zone}"


def listing(names: Names, address: str, zone: str) -> Listing:
    """Ask one blocklist about an address."""
    own, test, control = (names.ask(name, "A") for name in listing_names(address, zone))
    return Listing(
        address=address,
        zone=zone,
        codes=own.values,
        works=bool(test.values) and not control.values,
        error=own.error or test.error,
    )


def exchangers(names: Names, domains: Sequence[str]) -> list[str]:
    """Return the mail server each domain prefers, by MX look-up; a name without MX records is taken as it is."""
    found = []
    for domain in domains:
        values = sorted(
            (int(value.split()[0]), value.split()[1].rstrip(".")) for value in names.ask(domain, "MX").values
        )
        found.append(values[0][1] if values and values[0][1] else domain)
    return found
