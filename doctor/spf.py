"""Judges an SPF record for an address (RFC 7208): what a receiver concludes, and at how many look-ups.

Macros are not expanded: where one decides, the result is unknown.
"""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from model.values import SPF_LOOKUPS

VOID_LIMIT: Final = 2
"""Look-ups that may find nothing (RFC 7208 §4.6.4)."""
STRANGER: Final = "0.0.0.0"  # noqa: S104 because nothing listens here
"""No mail comes from there (RFC 6890), so every term is evaluated: what the record costs at most."""
_COSTLY: Final = frozenset({"a", "mx", "include", "exists", "ptr"})
_RESULTS: Final = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}

Lookup = Callable[[str, str], Sequence[str]]
"""Name and type to values: TXT joined, MX as `10 host.`, addresses."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a receiver concludes."""

    result: str
    """pass, fail, softfail, neutral, none, permerror, or unknown where a macro decides."""
    lookups: int
    reason: str = ""


@dataclass(kw_only=True)
class _Work:
    address: str
    lookup: Lookup
    lookups: int = 0
    voids: int = 0
    seen: set[str] = field(default_factory=set)

    def ask(self, name: str, kind: str) -> Sequence[str]:
        """Look up what a term names, and count what is not there."""
        found = self.lookup(name, kind)
        if not found:
            self.voids += 1
        if self.voids > VOID_LIMIT:
            raise _PermanentError(f"more than {VOID_LIMIT} look-ups that find nothing, {name} the last")
        return found


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


def _evaluate(domain: str, work: _Work) -> str:
    if domain in work.seen:
        raise _PermanentError(f"{domain} includes itself")
    work.seen.add(domain)
    found = policies(work.lookup(domain, "TXT"))
    if not found:
        return "none"
    if len(found) > 1:
        raise _PermanentError(f"{domain} has {len(found)} SPF records")
    redirect = ""
    for term in found[0].split()[1:]:
        name, separator, value = term.partition("=")
        if separator and name.lower() == "redirect":
            redirect = value
            continue
        if separator and ":" not in name and "/" not in name:
            continue  # exp= and modifiers to come (§6)
        qualifier, mechanism = (term[0], term[1:]) if term[0] in _RESULTS else ("+", term)
        matched = _matches(mechanism, domain, work)
        if matched is None:
            return "unknown"
        if matched:
            return _RESULTS[qualifier]
    if redirect:
        _count(work)
        return _evaluate(redirect, work)
    return "neutral"


def _matches(term: str, domain: str, work: _Work) -> bool | None:
    """Whether a mechanism matches; None where a macro would have to be expanded."""
    head, _, rest = term.partition(":")
    kind, _, length = head.lower().partition("/")
    target, _, own_length = rest.partition("/")
    if kind in _COSTLY:
        _count(work)
    if "%" in rest:
        return None
    match kind:
        case "all":
            matched: bool | None = True
        case "ip4" | "ip6":
            matched = _within(work.address, rest)
        case "a" | "mx":
            matched = _named(kind, target or domain, own_length or length, work)
        case "include":
            matched = _included(target, work)
        case "exists":
            matched = bool(work.ask(target, "A"))
        case "ptr":
            matched = False  # nobody should use it (§5.5)
        case _:
            raise _PermanentError(f"{term} is no mechanism")
    return matched


def _included(target: str, work: _Work) -> bool | None:
    result = _evaluate(target, work)
    if result == "none":
        raise _PermanentError(f"include:{target} has no SPF record")
    return None if result == "unknown" else result == "pass"


def _count(work: _Work) -> None:
    work.lookups += 1
    if work.lookups > SPF_LOOKUPS:
        raise _PermanentError(f"more than {SPF_LOOKUPS} look-ups")


def _named(kind: str, target: str, length: str, work: _Work) -> bool:
    hosts = [target] if kind == "a" else [value.split()[-1].rstrip(".") for value in work.ask(target, "MX")]
    family = "AAAA" if ":" in work.address else "A"
    # /24, //64 or /24//64, here without the first slash (§5.6).
    four, _, six = ("", "", length[1:]) if length.startswith("/") else length.partition("//")
    bits = six if family == "AAAA" else four
    addresses = [value for host in hosts for value in work.ask(host, family)]
    return any(_within(work.address, f"{value}/{bits}" if bits else value) for value in addresses)


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        raise _PermanentError(f"{network} is no address") from None
