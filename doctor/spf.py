"""Judges an SPF record for an address (RFC 7208): what a receiver concludes, and at how many look-ups.

Macros are not expanded: where one decides, the result is unknown.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from model.values import SPF_LOOKUPS

VOID_LIMIT: Final = 2
"""Look-ups that may find nothing (RFC 7208 §4.6.4)."""
STRANGER: Final = "0.0.0.0"  # noqa: S104 because nothing listens here
"""No mail comes from there (RFC 6890), so every term is evaluated: what the record costs at most."""
_MX_HOSTS: Final = 10
"""Hosts that one `mx` may look up (RFC 7208 §4.6.4)."""
_COSTLY: Final = frozenset({"a", "mx", "include", "exists", "ptr"})
_RESULTS: Final = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)")
_MECHANISM: Final = re.compile(r"([+?~-]?)([A-Za-z0-9]+)(?::(.+?))?(?:/([0-9]{1,3}))?(?://([0-9]{1,3}))?")
_NETWORK: Final = re.compile(r"([+?~-]?)(ip[46]):(.+)", re.I)
_NETWORKS: Final = {"ip4": ipaddress.IPv4Network, "ip6": ipaddress.IPv6Network}
_LONGEST_PREFIX: Final = {4: 32, 6: 128}
_ADDRESS_TYPES: Final = {4: "A", 6: "AAAA"}

Lookup = Callable[[str, str], Sequence[str]]
"""Name and type to values: TXT joined, MX as `10 host.`, addresses."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a receiver concludes."""

    result: str
    """pass, fail, softfail, neutral, none, permerror, or unknown where a macro decides."""
    lookups: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Mechanism:
    """One term that may match."""

    text: str
    result: str
    kind: str
    target: str = ""
    """A name, empty where it is the record's own; a network with ip4 and ip6."""
    prefixes: Mapping[int, str] = field(default_factory=dict)
    """Of a and mx, by IP version."""


@dataclass(frozen=True, kw_only=True)
class _Policy:
    """One record, parsed as a whole."""

    mechanisms: Sequence[_Mechanism]
    redirect: str


@dataclass(kw_only=True)
class _Work:
    address: str
    lookup: Lookup
    lookups: int = 0
    voids: int = 0
    path: list[str] = field(default_factory=list)
    """The records that are being evaluated, the first one first."""

    def ask(self, name: str, kind: str) -> Sequence[str]:
        """Look up what a term names, and count what is not there."""
        found = self.lookup(name, kind)
        if not found:
            self.voids += 1
        if self.voids > VOID_LIMIT:
            raise _PermanentError(f"more than {VOID_LIMIT} look-ups that find nothing, {name} the last")
        return found

    def count(self) -> None:
        """Count a term that costs a look-up."""
        self.lookups += 1
        if self.lookups > SPF_LOOKUPS:
            raise _PermanentError(f"more than {SPF_LOOKUPS} look-ups")


class _PermanentError(Exception):
    pass


def policies(values: Sequence[str]) -> list[str]:
    """Return the SPF records among TXT values (RFC 7208 §4.5)."""
    return [value for value in values if value.lower() == "v=spf1" or value.lower().startswith("v=spf1 ")]


def judge(domain: str, address: str, lookup: Lookup) -> Verdict:
    """Evaluate the record of a domain for a sending address."""
    work = _Work(address=address, lookup=lookup)
    try:
        result = _evaluate(domain, work)
    except _PermanentError as error:
        return Verdict(result="permerror", lookups=work.lookups, reason=str(error))
    return Verdict(result=result, lookups=work.lookups)


def _evaluate(name: str, work: _Work) -> str:
    domain = name.lower().rstrip(".")
    if domain in work.path:
        raise _PermanentError(f"{domain} includes itself")
    found = policies(work.lookup(domain, "TXT"))
    if not found:
        return "none"
    if len(found) > 1:
        raise _PermanentError(f"{domain} has {len(found)} SPF records")
    work.path.append(domain)
    try:
        return _result(_parse(found[0], domain), domain, work)
    finally:
        work.path.pop()


def _result(policy: _Policy, domain: str, work: _Work) -> str:
    for mechanism in policy.mechanisms:
        matched = _matches(mechanism, domain, work)
        if matched is None:
            return "unknown"
        if matched:
            return mechanism.result
    if not policy.redirect:
        return "neutral"
    work.count()
    return _referred(policy.redirect, f"redirect={policy.redirect}", work)


def _referred(target: str, term: str, work: _Work) -> str:
    """Evaluate the record that a term names; there must be one (RFC 7208 §5.2, §6.1)."""
    if "%" in target:
        return "unknown"
    result = _evaluate(target, work)
    if result == "none":
        raise _PermanentError(f"{term} has no SPF record")
    return result


def _parse(record: str, domain: str) -> _Policy:
    """Parse a whole record: an error in any term counts before the first one is evaluated (RFC 7208 §4.6)."""
    mechanisms: list[_Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in record.split()[1:]:
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            mechanisms.append(_mechanism(term, domain))
            continue
        name, value = modifier[1].lower(), modifier[2]
        if name not in {"redirect", "exp"}:
            continue  # modifiers to come (§6)
        if name in modifiers:
            raise _PermanentError(f"{domain} has {name}= twice")
        if not value:
            raise _PermanentError(f"{domain} has {name}= without a name")
        modifiers[name] = value
    return _Policy(mechanisms=mechanisms, redirect=modifiers.get("redirect", ""))


def _mechanism(term: str, domain: str) -> _Mechanism:
    if network := _NETWORK.fullmatch(term):
        kind = network[2].lower()
        try:
            _NETWORKS[kind](network[3], strict=False)
        except ValueError:
            raise _PermanentError(f"{domain} has {term}, and {network[3]} is no {kind} network") from None
        return _Mechanism(text=term, result=_RESULTS[network[1] or "+"], kind=kind, target=network[3])
    match = _MECHANISM.fullmatch(term)
    kind = match[2].lower() if match else ""
    if match is None or kind not in {"all", *_COSTLY}:
        raise _PermanentError(f"{domain} has {term}, which is no mechanism")
    prefixes = {version: match[group] for version, group in ((4, 4), (6, 5)) if match[group]}
    if prefixes and kind not in {"a", "mx"}:
        raise _PermanentError(f"{domain} has {term}, and {kind} takes no prefix length")
    if any(int(length) > _LONGEST_PREFIX[version] for version, length in prefixes.items()):
        raise _PermanentError(f"{domain} has {term}, whose prefix is too long")
    if bool(match[3]) != {"all": False, "include": True, "exists": True}.get(kind, bool(match[3])):
        raise _PermanentError(f"{domain} has {term}, and {kind} {'takes no' if match[3] else 'needs a'} name")
    return _Mechanism(text=term, result=_RESULTS[match[1] or "+"], kind=kind, target=match[3] or "", prefixes=prefixes)


def _matches(mechanism: _Mechanism, domain: str, work: _Work) -> bool | None:
    """Whether a mechanism matches; None where a macro would have to be expanded."""
    if mechanism.kind in _COSTLY:
        work.count()
    if "%" in mechanism.target:
        return None
    target = mechanism.target.lower().rstrip(".")
    match mechanism.kind:
        case "all":
            matched: bool | None = True
        case "ip4" | "ip6":
            matched = _within(work.address, target)
        case "include":
            result = _referred(target, mechanism.text, work)
            matched = None if result == "unknown" else result == "pass"
        case "exists":
            matched = bool(work.ask(target, "A"))
        case "ptr":
            matched = False  # nobody should use it (§5.5)
        case _:
            matched = _named(mechanism, target or domain, work)
    return matched


def _named(mechanism: _Mechanism, target: str, work: _Work) -> bool:
    """Whether the address is one of a name (a), or of one of its mail exchangers (mx)."""
    hosts = [target]
    if mechanism.kind == "mx":
        # A null MX (RFC 7505 §3) names no host.
        hosts = [host for value in work.ask(target, "MX") if (host := value.split()[-1].rstrip("."))]
    if len(hosts) > _MX_HOSTS:
        raise _PermanentError(f"{mechanism.text}: {target} has more than {_MX_HOSTS} mail exchangers")
    version = 6 if ":" in work.address else 4
    length = mechanism.prefixes.get(version) or _LONGEST_PREFIX[version]
    addresses = [value for host in hosts for value in work.ask(host, _ADDRESS_TYPES[version])]
    return any(_within(work.address, f"{value}/{length}") for value in addresses)


def _within(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
