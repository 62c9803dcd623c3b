"""Every name, address and port of the lab, in one place.

The addresses are documentation ranges (RFC 5737, RFC 3849), the domains lie under `example.` (RFC 2606): nothing here
can be confused with a machine of the real internet.
"""

from dataclasses import dataclass
from typing import Final

BRIDGE: Final = "mailhost0"
NETWORK4: Final = "203.0.113.0/24"
NETWORK6: Final = "2001:db8:113::/64"

GATEWAY4: Final = "203.0.113.1"
GATEWAY6: Final = "2001:db8:113::1"
RESOLVER4: Final = "203.0.113.2"
RESOLVER6: Final = "2001:db8:113::2"
NS1_4: Final = "203.0.113.53"
NS1_6: Final = "2001:db8:113::53"
NS2_4: Final = "203.0.113.54"
NS2_6: Final = "2001:db8:113::54"
OUTER4: Final = (GATEWAY4, RESOLVER4, NS1_4, NS2_4)
OUTER6: Final = (GATEWAY6, RESOLVER6, NS1_6, NS2_6)
"""Addresses the outer machine holds on the bridge."""

APT_PORT: Final = 3142
ACME_PORT: Final = 14000
ACME_MANAGEMENT_PORT: Final = 15000
POWERDNS_PORT: Final = 8081
CLOUDFLARE_PORT: Final = 8787

APT_PROXY: Final = f"http://{GATEWAY4}:{APT_PORT}"
ACME_DIRECTORY: Final = f"https://{GATEWAY4}:{ACME_PORT}/dir"
CAA_ISSUER: Final = "pebble.example"
"""The ACME server's name in CAA records, which it does not say itself."""
ACME_MANAGEMENT: Final = f"https://{GATEWAY4}:{ACME_MANAGEMENT_PORT}"
POWERDNS_URL: Final = f"http://{GATEWAY4}:{POWERDNS_PORT}"
CLOUDFLARE_URL: Final = f"http://{GATEWAY4}:{CLOUDFLARE_PORT}/client/v4/"

POWERDNS_KEY: Final = "lab-powerdns-key"
CLOUDFLARE_TOKEN: Final = "lab-token-0123456789-0123456789-0123456789"  # noqa: S105  a closed lab has nothing to protect
PASSPHRASE: Final = "mailhost-lab"  # noqa: S105  likewise: it locks stack dev, which holds nothing but the lab
STACK: Final = "dev"
"""The stack whose host is the machine `trixie`."""

TLD: Final = "example"
NAMESERVERS: Final = ("ns1.example", "ns2.example")

SUITES: Final = {"debian12": "bookworm", "debian13": "trixie"}
"""Debian's suite of each release the lab can boot."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A Debian machine of the lab and the domain it serves."""

    name: str
    release: str
    number: int
    """Last part of both addresses, written with the same digits."""
    domain: str
    host: str = "mail"
    """First label of the host name."""

    @property
    def second_domain(self) -> str:
        """A further domain the machine may serve, with a zone of its own."""
        return f"second-{self.domain}"

    @property
    def hostname(self) -> str:
        """Fully qualified host name, without a trailing dot."""
        return f"{self.host}.{self.domain}"

    @property
    def ipv4(self) -> str:
        """IPv4 address."""
        return f"203.0.113.{self.number}"

    @property
    def ipv6(self) -> str:
        """IPv6 address."""
        return f"2001:db8:113::{self.number}"


MACHINES: Final = {
    machine.name: machine
    for machine in (
        Machine(name="trixie", release="debian13", number=13, domain="trixie.example"),
        Machine(name="bookworm", release="debian12", number=12, domain="bookworm.example"),
        Machine(name="p13", release="debian13", number=93, domain="p13.example"),
        Machine(name="p12", release="debian12", number=92, domain="p12.example"),
        Machine(name="e13", release="debian13", number=23, domain="e13.example"),
        Machine(name="e12", release="debian12", number=22, domain="e12.example"),
        Machine(name="f13", release="debian13", number=33, domain="f13.example"),
        Machine(name="f12", release="debian12", number=32, domain="f12.example"),
        Machine(name="outside", release="debian13", number=99, domain="outside.example", host="mx"),
    )
}
OUTSIDE: Final = MACHINES["outside"]
BLOCKLIST: Final = f"zen.{OUTSIDE.domain}"
"""A DNS blocklist that works; nobody is listed unless a test says so."""
DEFAULT_MACHINES: Final = ("trixie", "outside")
CLOUDFLARE_ZONES: Final = tuple(
    domain
    for machine in MACHINES.values()
    if machine is not OUTSIDE
    for domain in (machine.domain, machine.second_domain)
)
"""Zones whose records are written through the Cloudflare API service."""
