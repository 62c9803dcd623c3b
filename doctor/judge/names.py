"""Judges what name servers and resolvers said."""

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from doctor import checks
from doctor.expected import Wanted
from doctor.finding import Finding, ok, skipped, wrong
from doctor.observe.names import Answer, Listing, Reverse, Server, Signed
from doctor.spf import Verdict
from model import rotation
from model.options import Rotation
from model.preflight import Check

_ALONE: Final = ("A", "AAAA", "MX", "CNAME")
_NULL_MX: Final = "0 ."
_KEY_BITS: Final = 2048
"""RFC 8301 §3.2: signers should use at least this many."""
_ED25519_OCTETS: Final = 32
_REFUSED: Final = re.compile(r"127\.255\.255\.\d+")
"""Spamhaus and others: the query is refused, 254 because it came by a public resolver."""
_POLICY: Final = re.compile(r"127\.0\.0\.1[01]")
"""zen.spamhaus.org: the PBL."""
_PROPERTY: Final = re.compile(r'(\d+) (\S+) "(.*)"')
"""A CAA record."""
_CRITICAL: Final = 128
_TAGS: Final = ("issue", "issuewild", "iodef")
_LISTED: Final = re.compile(r"127\.\d+\.\d+\.\d+")


def delegation(zone: str, servers: Sequence[Server]) -> Iterator[Finding]:
    """Judge the set of name servers of a zone."""
    if not servers:
        yield wrong(
            checks.DELEGATION,
            zone,
            "no name servers",
            f"the resolver finds no NS records of {zone}; the domain is not delegated, or its resolver is broken",
        )
    for server in servers:
        if server.error:
            yield wrong(checks.DELEGATION, zone, server.label, f"it {server.error}")
        elif not all(answer.authoritative for answer in server.answers.values()):
            yield wrong(checks.DELEGATION, zone, server.label, "it does not answer with authority: it lacks the zone")
    if servers and all(not server.error for server in servers):
        yield ok(checks.DELEGATION, zone, ", ".join(sorted({server.name for server in servers})))


def record(wanted: Wanted, servers: Sequence[Server]) -> Iterator[Finding]:
    """Compare one record set with what each server answers: content, strangers beside it, time to live."""
    subject = f"{wanted.name} {wanted.type}"
    key = (wanted.name, wanted.type)
    answers = [(server, server.answers[key]) for server in servers if key in server.answers]
    if not answers:
        yield skipped(checks.RECORD, subject, f"no name server of {wanted.zone} answers")
        return
    lacking = [(server, answer) for server, answer in answers if not wanted.values <= set(answer.values)]
    if lacking:
        answer = lacking[0][1]
        yield wrong(
            checks.RECORD,
            subject,
            _seen(wanted, answer),
            _lacking_cause(wanted, [each.label for each, _ in lacking], len(answers)),
        )
    else:
        yield ok(checks.RECORD, subject, _short("; ".join(sorted(wanted.values))))
    yield from _beside(wanted, subject, answers)
    ttls = {answer.ttl for _, answer in answers if answer.values}
    if ttls - {wanted.ttl}:
        yield wrong(checks.TTL, subject, f"{max(ttls)} s", f"the settings say {wanted.ttl} s")
    elif ttls:
        yield ok(checks.TTL, subject, f"{wanted.ttl} s")


def _lacking_cause(wanted: Wanted, labels: Sequence[str], servers: int) -> str:
    should = _short("; ".join(sorted(wanted.values)))
    if len(labels) < servers:
        return f"{', '.join(labels)} does not show the change yet, others do; it should be {should}"
    return f"it should be {should}; it was deleted or changed outside the stack, or never applied"


def _seen(wanted: Wanted, answer: Answer) -> str:
    if not answer.values:
        return "no such name" if answer.rcode == "NXDOMAIN" else "no such record"
    # Many TXT records lie beside each other: only those of the same kind say something.
    tags = {value.partition("=")[0] + value.partition("=")[2][:4] for value in wanted.values}
    alike = [v for v in answer.values if v.partition("=")[0] + v.partition("=")[2][:4] in tags] or answer.values
    return _short("; ".join(alike))


def _beside(wanted: Wanted, subject: str, answers: Sequence[tuple[Server, Answer]]) -> Iterator[Finding]:
    if wanted.type not in _ALONE:
        return
    others = sorted({value for _, answer in answers for value in answer.values} - wanted.values)
    # Where ours is lacking, what stands there is told by that finding.
    if others and any(wanted.values <= set(answer.values) for _, answer in answers):
        yield wrong(checks.FOREIGN, subject, "; ".join(others), "the stack does not know it")
    elif not others:
        yield ok(checks.FOREIGN, subject, "nothing else")


def dnssec(seen: Signed) -> Iterator[Finding]:
    """Judge whether the zone is signed, and whether it validates."""
    if seen.checked.rcode == "SERVFAIL" and seen.unchecked.rcode == "NOERROR":
        yield wrong(checks.BOGUS, seen.zone, "SERVFAIL", "its signatures or its DS record are wrong or expired")
        return
    if seen.checked.error or seen.checked.rcode != "NOERROR":
        yield skipped(checks.DNSSEC, seen.zone, f"the resolver {seen.checked.error or f'answers {seen.checked.rcode}'}")
        return
    yield ok(checks.BOGUS, seen.zone, "no validation fails")
    if seen.checked.validated:
        yield ok(checks.DNSSEC, seen.zone, "signed, validates")
    else:
        yield wrong(
            checks.DNSSEC, seen.zone, "not validated", "the zone is not signed, or the resolver asked does not validate"
        )


def dkim(name: str, published: Sequence[str], expected: Collection[str]) -> Finding:
    """Judge the key record of one selector (RFC 6376 §3.6.1)."""
    keys = [value for value in published if "p=" in value]
    own = {tag_list(value).get("p", "") for value in expected}
    if own == {""}:
        return _withdrawn(name, keys)
    if not keys:
        return wrong(checks.DKIM, name, "no key", "nothing is published there")
    if len(keys) > 1:
        return wrong(checks.DKIM, name, f"{len(keys)} keys", "a selector may have one key only (RFC 6376 §3.6.2.2)")
    tags = tag_list(keys[0])
    problem = _key_problem(tags)
    if problem:
        return wrong(checks.DKIM, name, _short(keys[0]), problem)
    if own and tags["p"] not in own:
        return wrong(checks.DKIM, name, f"p=…{tags['p'][-8:]}", f"the stack's key ends in …{next(iter(own))[-8:]}")
    kind = tags.get("k", "rsa")
    return ok(checks.DKIM, name, f"{kind}, {len(tags['p'])} characters" + ("" if own else "; not compared"))


def _withdrawn(name: str, keys: Sequence[str]) -> Finding:
    valid = [key for value in keys if (key := tag_list(value).get("p", ""))]
    if valid:
        cause = "the stack has withdrawn this key, and receivers still take its signatures for the domain's"
        return wrong(checks.DKIM, name, f"p=…{valid[0][-8:]}", cause)
    return ok(checks.DKIM, name, "withdrawn")


def dkim_rotation(stack: str, stated: Rotation, said: Mapping[str, Any], now: datetime) -> Finding:
    """Judge how far the rotation of the keys is: where the settings say, and in time."""
    if not said:
        return skipped(checks.ROTATION, stack, "the last `pulumi up` said nothing of the keys")
    found = f"generation {said['generation']} {said['stage']}"
    if (said["generation"], said["stage"]) != (stated.generation, stated.stage):
        cause = f"the settings say generation {stated.generation} {stated.stage}"
        return wrong(checks.ROTATION, stack, found, cause, checks.UP)
    late = rotation.overdue(said, now)
    if late:
        return wrong(checks.ROTATION, stack, found, late)
    return ok(checks.ROTATION, stack, f"{found}; {said.get('next')}: {said.get('due')}")


def _key_problem(tags: dict[str, str]) -> str:
    if tags.get("v", "DKIM1") != "DKIM1":
        return "its version is not DKIM1"
    if not tags["p"]:
        return "the key is withdrawn (empty p=)"
    try:
        der = base64.b64decode(tags["p"], validate=True)
        if tags.get("k", "rsa") == "ed25519":
            return "" if len(der) == _ED25519_OCTETS else "the Ed25519 key is not 32 octets long (RFC 8463 §4.2)"
        key = load_der_public_key(der)
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return "the key is cut off or mistyped"
    if not isinstance(key, rsa.RSAPublicKey):
        return "k=rsa, but the key is of another kind"
    return "" if key.key_size >= _KEY_BITS else f"{key.key_size} bits are too few (RFC 8301 §3.2)"


def dmarc(domain: str, published: Sequence[str]) -> Finding:
    """Judge the policy record (RFC 7489 §6.3)."""
    name = f"_dmarc.{domain}"
    policies = [value for value in published if re.match(r"v\s*=\s*DMARC1\b", value)]
    if not policies:
        return wrong(
            checks.DMARC, name, _short("; ".join(published)) or "no record", "there is no DMARC record", checks.UP
        )
    if len(policies) > 1:
        return wrong(checks.DMARC, name, f"{len(policies)} records", "receivers ignore all of them (RFC 7489 §6.6.3)")
    policy = tag_list(policies[0]).get("p", "")
    if policy not in {"none", "quarantine", "reject"}:
        return wrong(checks.DMARC, name, _short(policies[0]), "p= is missing or no policy")
    return ok(checks.DMARC, name, f"p={policy}")


def tls_reports(domain: str, published: Sequence[str]) -> Finding:
    """Judge where reports on TLS go (RFC 8460 §3)."""
    name = f"_smtp._tls.{domain}"
    policies = [value for value in published if re.match(r"v=TLSRPTv1\s*;", value)]
    if len(policies) != 1:
        found = f"{len(policies)} records" if policies else _short("; ".join(published)) or "no record"
        fix = "" if policies else checks.UP
        return wrong(checks.TLS_REPORTS, name, found, "there must be exactly one TLS-RPT record", fix)
    where = tag_list(policies[0]).get("rua", "")
    if not all(uri.startswith(("mailto:", "https:")) for uri in where.split(",")):
        return wrong(checks.TLS_REPORTS, name, _short(policies[0]), "rua= is missing or no address")
    return ok(checks.TLS_REPORTS, name, where)


def silence(domain: str, exchangers: Answer, records: Sequence[str], verdicts: Collection[Verdict]) -> Finding:
    """Judge what senders and receivers conclude of a domain without mail (RFC 7505 §3, RFC 7208)."""
    if exchangers.error:
        return skipped(checks.SILENCE, domain, f"the resolver {exchangers.error}")
    if exchangers.values != (_NULL_MX,):
        found = "; ".join(exchangers.values) or "no MX record"
        cause = "mail to it is tried there" if exchangers.values else "mail to it is tried at its address"
        return wrong(checks.SILENCE, domain, found, cause)
    if len(records) != 1 or any(verdict.result != "fail" for verdict in verdicts):
        found = _short("; ".join(records)) or "no SPF record"
        return wrong(checks.SILENCE, domain, found, "mail in its name does not fail")
    return ok(checks.SILENCE, domain, "no mail to it, none from it")


def permission(name: str, answer: Answer) -> Finding:
    """Judge whether another domain takes DMARC reports (RFC 7489 §7.1); `name` is where it says so."""
    if answer.error:
        return skipped(checks.PERMISSION, name, f"the resolver {answer.error}")
    if not any(re.match(r"v\s*=\s*DMARC1\b", value) for value in answer.values):
        found = _short("; ".join(answer.values)) or "no record"
        return wrong(checks.PERMISSION, name, found, "the domain does not say that it takes these reports")
    return ok(checks.PERMISSION, name, "accepted")


def tag_list(text: str) -> dict[str, str]:
    """Read tag=value; tag=value (RFC 6376 §3.2), without the white space inside values."""
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    return {tag.strip(): "".join(value.split()) for tag, _, value in pairs}


def authorities(name: str, seen: Answer, ours: str) -> Finding:
    """Judge whether the CAA records that hold for a name permit what ours does (RFC 8659 §4, RFC 8657)."""
    if seen.error:
        return skipped(checks.CAA, name, f"the resolver {seen.error}")
    properties = [(int(found[1]), found[2], found[3]) for found in map(_PROPERTY.fullmatch, seen.values) if found]
    unknown = [tag for flags, tag, _ in properties if flags & _CRITICAL and tag not in _TAGS]
    if unknown:
        return wrong(checks.CAA, name, f"critical {unknown[0]}", "authorities that do not know the tag must not issue")
    issuers = [value for _, tag, value in properties if tag == "issue"]
    found = _short("; ".join(f'issue "{value}"' for value in issuers))
    if issuers and not any(_permits(value, ours) for value in issuers):
        return wrong(checks.CAA, name, found, f"none of them permits {ours}")
    return ok(checks.CAA, name, found or "nobody is excluded")


def _permits(value: str, ours: str) -> bool:
    issuer, parameters = _issuer(value)
    own_issuer, own = _issuer(ours)
    account, methods = parameters.get("accounturi"), parameters.get("validationmethods")
    return (
        issuer == own_issuer
        and account in {None, own.get("accounturi")}
        and (methods is None or own.get("validationmethods") in methods.split(","))
    )


def _issuer(value: str) -> tuple[str, dict[str, str]]:
    name, _, rest = value.partition(";")
    return name.strip(), tag_list(rest)


def reverse(seen: Reverse, hostname: str, *, published: bool) -> Finding:
    """Judge the reverse name; whether it leads back only once the address records are published."""
    found = ", ".join(seen.names) or "no name"
    if seen.error:
        return skipped(checks.PTR, seen.address, f"the resolver {seen.error}")
    if hostname not in seen.names:
        return wrong(checks.PTR, seen.address, found, f"the reverse name should be {hostname}")
    if len(seen.names) > 1:
        return wrong(checks.PTR, seen.address, found, "several reverse names; receivers look at any one of them")
    if published and seen.address not in seen.forward.get(hostname, ()):
        return wrong(
            checks.PTR,
            seen.address,
            found,
            f"{hostname} does not lead back to the address",
            checks.UP,
        )
    return ok(checks.PTR, seen.address, found)


def listing(seen: Listing) -> Finding:
    """Judge the return codes of a blocklist (RFC 5782 §2.1)."""
    subject = f"{seen.address} at {seen.zone}"
    codes = ", ".join(seen.codes)
    if seen.error:
        return skipped(checks.BLOCKLIST, subject, f"the resolver {seen.error}")
    if any(_REFUSED.fullmatch(code) for code in seen.codes):
        return skipped(
            checks.BLOCKLIST, subject, f"the list refuses this resolver ({codes}): public ones are not answered"
        )
    if not all(_LISTED.fullmatch(code) for code in seen.codes):
        return skipped(checks.BLOCKLIST, subject, f"{codes} is no answer of a blocklist: the resolver invents answers")
    if not seen.works:
        return skipped(checks.BLOCKLIST, subject, "the list does not answer for its own test address (RFC 5782 §5)")
    if not seen.codes:
        return ok(checks.BLOCKLIST, subject, "not listed")
    check: Check = checks.BLOCKLIST
    if seen.zone.startswith("zen.") and all(_POLICY.fullmatch(code) for code in seen.codes):
        check = checks.POLICY_LIST
    return wrong(check, subject, codes, f"the address is listed by {seen.zone}")


def _short(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def sender_policy(domain: str, records: Sequence[str], verdicts: Mapping[str, Verdict], others: Verdict) -> Finding:
    """Judge the SPF records of a domain, and what they mean for each address of the host and for everybody else."""
    if len(records) != 1:
        found = f"{len(records)} records" if records else "no record"
        return wrong(checks.SPF, domain, found, "there must be exactly one record that begins with v=spf1")
    for address, verdict in verdicts.items():
        if verdict.result not in {"pass", "unknown"}:
            cause = f"{address} gets {verdict.result}" + (f": {verdict.reason}" if verdict.reason else "")
            return wrong(checks.SPF, domain, _short(records[0]), cause)
    if others.result == "permerror":
        return wrong(checks.SPF, domain, _short(records[0]), f"everybody else gets permerror: {others.reason}")
    return ok(checks.SPF, domain, f"pass for {', '.join(verdicts)}; {others.lookups} look-ups")
