"""The texts by which a domain says what others shall do with mail, and what makes one of them useless."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from model.options import MailDomain, Spf

_LONGEST_TXT: Final = 2048
"""Characters Cloudflare keeps in one TXT record."""


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
        own = domains.get(name, MailDomain()).spf
        policy = own.over(usual)
        if name in policy.include:
            place = "spf" if own.include is None else f"domains.{name}.spf"
            yield f"{place}.include", f"names {name}, whose own record would include itself; leave it out there"
        length = len(spf(hosts, policy))
        if length > _LONGEST_TXT:
            place = "spf" if own.include is None and own.addresses is None else f"domains.{name}.spf"
            yield place, f"makes a record of {length} characters, and one may have {_LONGEST_TXT}; leave some out"
