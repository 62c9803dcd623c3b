"""The DNS records of a mail domain: names are absolute without the last dot, contents as Cloudflare keeps them."""

from collections.abc import Iterator
from typing import Final, Literal

from model import mta_sts, policies, web
from model.client_setup import preferred
from model.constants import MANAGESIEVE
from model.dkim import WITHDRAWN, key_name, quoted
from model.domains import ServedDomain, SilentDomain
from model.frozen import frozen
from model.settings import Settings

_AUTOMATIC: Final = 1
_AUTOMATIC_SECONDS: Final = 300
"""What Cloudflare's automatic TTL is."""
NOBODY: Final = ";"
"""Who may issue certificates with a wildcard (RFC 8659 §4.3): certbot asks for none."""
MX_PREFERENCE: Final = 10
"""The only MX; the number leaves room on both sides for a second."""


@frozen
class Srv:
    """Where a service is (RFC 2782)."""

    priority: int
    """The lower one is preferred."""
    weight: int
    port: int
    target: str


@frozen
class Record:
    """One record. It is never proxied: a proxy speaks HTTP, not SMTP."""

    key: str
    """Short unique name within the mail host, for resource names."""
    name: str
    type: Literal["A", "AAAA", "CNAME", "MX", "SRV", "TXT"]
    content: str
    """Presentation form; Cloudflare makes it from `data` where that is set."""
    ttl: int
    """Seconds; 1 is Cloudflare's automatic."""
    priority: int | None = None
    """Preference of an MX record, priority of an SRV record."""
    data: Srv | None = None


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


def early(settings: Settings, domain: ServedDomain) -> tuple[Record, ...]:
    """Return what may be known of a domain before its mail works: its policies, and the names for a web server."""
    return (
        spf(settings, domain),
        dmarc(settings, domain),
        *tls_reports(settings, domain),
        *bimi(settings, domain),
        *permissions(settings, domain),
        *web_names(settings, domain),
    )


def invitation(settings: Settings, domain: ServedDomain) -> tuple[Record, ...]:
    """Return what sends servers and mail programs here."""
    return mx(settings, domain), *client_services(settings, domain)


def promise(settings: Settings, domain: ServedDomain) -> tuple[Record, ...]:
    """Return what may be known of a domain once the web server keeps it."""
    if not settings.mta_sts.enabled:
        return ()
    text = quoted(mta_sts.announcement(settings))
    return (_record(settings, "mta-sts-id", f"_mta-sts.{domain.name}", "TXT", text),)


def silent(settings: Settings, domain: SilentDomain) -> tuple[Record, ...]:
    """Return what says that a domain neither receives mail (a null MX, RFC 7505 §3) nor sends any.

    Its forged mail fails SPF and DKIM, whatever selector it names, so receivers do what DMARC says.
    """
    return (
        Record(key="mx", name=domain.name, type="MX", content=".", ttl=settings.dns.ttl, priority=0),
        _record(settings, "spf", domain.name, "TXT", quoted(policies.no_sender())),
        _record(settings, "no-key", key_name("*", domain.name), "TXT", quoted(WITHDRAWN)),
        _record(settings, "dmarc", f"_dmarc.{domain.name}", "TXT", quoted(policies.dmarc("reject", domain.reports))),
    )


def mx(settings: Settings, domain: ServedDomain) -> Record:
    """Return the record that invites mail (RFC 5321 §5.1)."""
    return Record(
        key="mx",
        name=domain.name,
        type="MX",
        content=settings.hostname,
        ttl=settings.dns.ttl,
        priority=MX_PREFERENCE,
    )


def spf(settings: Settings, domain: ServedDomain) -> Record:
    """Return who may send for the domain (RFC 7208): this host, and whom the operator names."""
    hosts = [address for address in (settings.ipv4, settings.ipv6) if address]
    return _record(settings, "spf", domain.name, "TXT", quoted(policies.spf(hosts, domain.spf)))


def dmarc(settings: Settings, domain: ServedDomain) -> Record:
    """Return the policy for mail that fails both SPF and DKIM (RFC 7489 §6.3)."""
    text = policies.dmarc(domain.dmarc, domain.reports)
    return _record(settings, "dmarc", f"_dmarc.{domain.name}", "TXT", quoted(text))


def tls_reports(settings: Settings, domain: ServedDomain) -> tuple[Record, ...]:
    """Return where senders report how TLS with this host goes (RFC 8460 §3), if they shall."""
    if not settings.reports.tls:
        return ()
    text = policies.tls_reports(domain.reports)
    return (_record(settings, "tls-rpt", f"_smtp._tls.{domain.name}", "TXT", quoted(text)),)


def bimi(settings: Settings, domain: ServedDomain) -> tuple[Record, ...]:
    """Return where the domain's logo is (BIMI's draft, §4.2), if it has one."""
    if not domain.bimi.logo:
        return ()
    text = policies.bimi(domain.bimi.logo, domain.bimi.certificate)
    return (_record(settings, "bimi", f"default._bimi.{domain.name}", "TXT", quoted(text)),)


def permissions(settings: Settings, domain: ServedDomain) -> tuple[Record, ...]:
    """Return by which records the domain takes DMARC reports about others of this stack (RFC 7489 §7.1)."""
    text = quoted(policies.PERMISSION)
    made = []
    for other, host in _permissions(settings):
        if _inside(host, domain.name) and _home(settings, host) == domain.name:
            below = host.removesuffix(domain.name).rstrip(".")
            key = f"reports-{other}" + (f"-{below}" if below else "")
            made.append(_record(settings, key, policies.permission_name(other, host), "TXT", text))
    return tuple(made)


def permissions_to_ask_for(settings: Settings) -> tuple[str, ...]:
    """Return the names of such records in zones of others: nobody here can publish them."""
    return tuple(
        policies.permission_name(other, host) for other, host in _permissions(settings) if not _home(settings, host)
    )


def _permissions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each domain with each host that gets its reports and has another owner, once."""
    for domain in settings.zones:
        hosts = dict.fromkeys(address.rpartition("@")[2] for address in domain.reports)
        yield from ((domain.name, host) for host in hosts if policies.needs_permission(domain.name, host))


def _home(settings: Settings, host: str) -> str:
    """Return the domain of this stack in whose zone a host lies; nothing if in none."""
    return max((domain.name for domain in settings.served if _inside(host, domain.name)), key=len, default="")


def _inside(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def tlsa_name(settings: Settings) -> str:
    """Return where senders look for keys of port 25 (RFC 7672 §2.2.1): at the host, whatever domain mail is for."""
    return f"_25._tcp.{settings.hostname}"


def tlsa_place(number: int) -> Literal["even", "odd"]:
    """Return which of the two records is for a key: of two keys that follow each other each has one."""
    return "odd" if number % 2 else "even"


def issue(issuer: str, account: str) -> str:
    """Return who may issue certificates for the host (RFC 8659 §4.2): an authority, for one account, by HTTP-01.

    The web names are aliases of the host's name, so it holds for them too (RFC 8659 §3).
    """
    return f"{issuer};accounturi={account};validationmethods=http-01"  # RFC 8657 §3, §4


def served_ttl(settings: Settings) -> int:
    """Return how many seconds others may remember a record."""
    return _AUTOMATIC_SECONDS if settings.dns.ttl == _AUTOMATIC else settings.dns.ttl


def web_names(settings: Settings, domain: ServedDomain) -> tuple[Record, ...]:
    """Return the names below the domain at which mail programs and mail servers ask the web server; see model/web.py.

    An alias each: one record whatever address families the host has.
    """
    return tuple(
        _record(settings, name.partition(".")[0], name, "CNAME", settings.hostname)
        for name in web.names(settings, domain.name)
    )


def client_services(settings: Settings, domain: ServedDomain) -> tuple[Record, ...]:
    """Return where the domain's services for mail programs are (RFC 6186, RFC 8314 §5.1, RFC 5804 §1.8).

    Only the best door of each protocol, since a program that knows SRV records knows TLS, and each record is one more
    to plan for every domain. What is off has none: RFC 6186 §3.4 would let "." say so, but a program that finds nothing
    does the same as one that finds that.
    """
    if not settings.client_setup.enabled:
        return ()
    found = [(door.service, door.port, _PRIORITY[door.protocol]) for door in preferred(settings)]
    if settings.services.managesieve:
        found.append(("sieve", MANAGESIEVE, 0))
    return tuple(
        Record(
            key=f"srv-{service}",
            name=f"_{service}._tcp.{domain.name}",
            type="SRV",
            content=f"{priority} 1 {port} {settings.hostname}",
            ttl=settings.dns.ttl,
            priority=priority,
            data=Srv(priority=priority, weight=1, port=port, target=settings.hostname),
        )
        for service, port, priority in found
    )


# RFC 6186 §3.3: where both are offered, the lower priority is preferred.
_PRIORITY: Final = {"imap": 0, "pop3": 10, "smtp": 0}


def _record(
    settings: Settings, key: str, name: str, kind: Literal["A", "AAAA", "CNAME", "TXT"], content: str
) -> Record:
    return Record(key=key, name=name, type=kind, content=content, ttl=settings.dns.ttl)
