"""The texts by which a domain says what others shall do with mail, and what makes one of them useless."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from model import syntax
from model.options import MailDomain, Spf

_LONGEST_TXT: Final = 2048
"""Characters Cloudflare keeps in one TXT record."""
PERMISSION: Final = "v=DMARC1;"
"""What a domain publishes that takes another one's DMARC reports (RFC 7489 §7.1)."""


def spf(hosts: Sequence[str], policy: Spf) -> str:
    """Return who may send (RFC 7208 §5): the host and others, in one record, since two are an error (§4.5).

    Addresses come first: a receiver stops at the first match (§4.6.2), and they cost it no look-up.
    """
    networks = dict.fromkeys((*hosts, *policy.addresses))
    terms = [f"ip{6 if ':' in network else 4}:{network}" for network in networks]
    return " ".join(["v=spf1", *terms, *(f"include:{name}" for name in policy.include), policy.all])


def spf_problems(
    domains: Mapping[str, MailDomain], first: str, usual: Spf, hosts: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield (place, problem) for each SPF record no receiver could use."""
    for name in dict.fromkeys((first, *domains)):
        if domains.get(name, MailDomain()).silent:
            continue
        own = domains.get(name, MailDomain()).spf
        policy = own.over(usual)
        if name in policy.include:
            place = "spf" if own.include is None else f"domains.{name}.spf"
            yield f"{place}.include", f"names {name}, whose own record would include itself; leave it out there"
        length = len(spf(hosts, policy))
        if length > _LONGEST_TXT:
            place = "spf" if own.include is None and own.addresses is None else f"domains.{name}.spf"
            yield place, f"makes a record of {length} characters, and one may have {_LONGEST_TXT}; leave some out"


def no_sender() -> str:
    """Return that nobody may send (RFC 7208 §10.1.2)."""
    return "v=spf1 -all"


def dmarc(policy: str, reports: Sequence[str]) -> str:
    """Return what shall happen to mail that fails both SPF and DKIM (RFC 7489 §6.3), and who hears of it."""
    return "; ".join(["v=DMARC1", f"p={policy}", *([_rua(reports)] if reports else [])])


def tls_reports(reports: Sequence[str]) -> str:
    """Return who hears of TLS that failed on the way here (RFC 8460 §3)."""
    return f"v=TLSRPTv1; {_rua(reports)}"


def bimi(logo: str, certificate: str) -> str:
    """Return where the domain's logo is, and the certificate that it is the domain's (BIMI's draft, §4.2)."""
    return "; ".join(["v=BIMI1", f"l={logo}", *([f"a={certificate}"] if certificate else [])])


def bimi_problems(domains: Mapping[str, MailDomain], usual: str) -> Iterator[tuple[str, str]]:
    """Yield (place, problem) for each logo nobody would show: DMARC must have a consequence (BIMI's draft, §4.1)."""
    for name, domain in domains.items():
        if domain.bimi.logo and (domain.dmarc or usual) == "none":
            place = f"domains.{name}.dmarc" if domain.dmarc else "dmarc.policy"
            yield f"domains.{name}.bimi", f"needs another DMARC policy; set {place} to quarantine or reject"


def permission_name(domain: str, receiver: str) -> str:
    """Return where `receiver` says that it takes DMARC reports about `domain` (RFC 7489 §7.1)."""
    return f"{domain}._report._dmarc.{receiver}"


def needs_permission(domain: str, receiver: str) -> bool:
    """Tell whether reporters look for that record: only where the two have different owners (RFC 7489 §7.1)."""
    if domain == receiver:
        return False
    # The list of public suffixes is long, and an owner's domain has two labels at least.
    alike = domain.split(".")[-2:] == receiver.split(".")[-2:]
    return not alike or syntax.organizational_domain(domain) != syntax.organizational_domain(receiver)


def permission_advice(names: Sequence[str]) -> str:
    """Say which records others must publish."""
    return "\n".join(
        [
            "DMARC reports go to a domain of others, and nobody sends them before it publishes (RFC 7489 §7.1):",
            *(f'  {name} TXT "{PERMISSION}"' for name in names),
            "Ask its owner; `make doctor` says whether it is there.",
        ]
    )


def _rua(reports: Sequence[str]) -> str:
    return "rua=" + ",".join(f"mailto:{address}" for address in reports)
