"""Judges what the ports showed: who they say they are, what they offer, how they are encrypted."""

import datetime
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from doctor import checks
from doctor.finding import Finding, ok, skipped, wrong
from doctor.observe.doors import Door, Floor, Relay
from doctor.observe.names import Answer
from model.mta_sts import PATH

_WARN_DAYS: Final = 21
_NO_IPV6: Final = "this machine has no IPv6"
_USAGE_DANE_EE: Final = "3"
_MODES: Final = ("none", "testing", "enforce")


def doors(seen: Sequence[Door], hostname: str, *, here25: str) -> Iterator[Finding]:
    """Judge every session; `here25` says why port 25 cannot be reached from this machine at all, if so."""
    for door in seen:
        if not door.port.on:
            yield _closed(door)
        elif not door.reached:
            yield _unreached(door, here25)
        else:
            yield ok(checks.DOOR, door.subject, door.greeting.splitlines()[0] if door.greeting else "")
            if door.port.protocol == "smtp":
                yield _names(door, hostname)
            yield _cleartext(door)
            yield _tls(door)
            if door.tls:
                yield _chain(door, hostname)


def _closed(door: Door) -> Finding:
    if door.reached:
        return wrong(checks.CLOSED, door.subject, "answers", "the settings have it off")
    return ok(checks.CLOSED, door.subject, door.refusal)


def _unreached(door: Door, here25: str) -> Finding:
    if ":" in door.address and door.refusal == "unreachable":
        return skipped(checks.DOOR, door.subject, _NO_IPV6)
    if door.port.protocol == "smtp" and here25:
        return skipped(checks.DOOR, door.subject, f"port 25 is closed on the way out from this machine ({here25})")
    causes = {
        "refused": "nothing listens there",
        "timeout": "packets are dropped on the way: a firewall",
    }
    return wrong(checks.DOOR, door.subject, door.refusal, causes.get(door.refusal, "no way leads there"))


def _names(door: Door, hostname: str) -> Finding:
    greeted = re.match(r"220[ -](\S+)", door.greeting)
    banner = greeted[1] if greeted else ""
    if banner != hostname:
        return wrong(checks.BANNER, door.subject, banner or "no name", f"the greeting should name {hostname}")
    if door.name != hostname:
        return wrong(checks.BANNER, door.subject, door.name or "no name", f"the EHLO answer should name {hostname}")
    return ok(checks.BANNER, door.subject, banner)


def _cleartext(door: Door) -> Finding:
    offered = _logins(door.port.protocol, door.before) if not door.port.implicit else []
    if offered:
        return wrong(checks.CLEARTEXT, door.subject, ", ".join(offered), "a login is offered before TLS")
    if door.port.protocol == "smtp" and (inside := _logins("smtp", door.after)):
        return wrong(checks.CLEARTEXT, door.subject, ", ".join(inside), "logins belong to ports 465 and 587 only")
    return ok(checks.CLEARTEXT, door.subject, "no login before TLS")


def _logins(protocol: str, offers: Sequence[str]) -> list[str]:
    if protocol == "imap":
        # LOGIN may be used wherever LOGINDISABLED is not said (RFC 9051 §6.2.3).
        plain = [] if "LOGINDISABLED" in offers or not offers else ["LOGIN"]
        return plain + [offer for offer in offers if offer.startswith("AUTH=")]
    if protocol == "sieve":
        # An empty list means: not before TLS (RFC 5804 §1.7).
        return [offer for offer in offers if re.fullmatch(r'"SASL" "[^"]+"', offer)]
    words = ("USER", "SASL ") if protocol == "pop3" else ("AUTH ", "AUTH=")
    return [offer for offer in offers if offer.startswith(words)]


def _tls(door: Door) -> Finding:
    if door.tls:
        return ok(checks.TLS, door.subject, door.tls.version)
    offered = door.port.implicit or any(offer.strip('"') in {"STARTTLS", "STLS"} for offer in door.before)
    cause = f"the session ended: {door.error}" if offered else "STARTTLS is not offered"
    return wrong(checks.TLS, door.subject, door.error or "no TLS", cause)


def _chain(door: Door, hostname: str) -> Finding:
    session = door.tls
    if session is None or not session.certificate:
        return wrong(checks.CHAIN, door.subject, "no certificate", "the server shows none")
    if session.distrust:
        return wrong(checks.CHAIN, door.subject, _names_of(session.certificate), session.distrust)
    return ok(checks.CHAIN, door.subject, hostname)


def _names_of(der: bytes) -> str:
    try:
        extension = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return "a certificate without names"
    return ", ".join(extension.value.get_values_for_type(x509.DNSName)) or "a certificate without names"


def certificates(seen: Sequence[Door], now: datetime.datetime) -> Iterator[Finding]:
    """Judge the certificates of all ports together: that they are one, and how long it lasts."""
    served: dict[bytes, list[str]] = {}
    for door in seen:
        if door.port.on and door.tls and door.tls.certificate:
            served.setdefault(door.tls.certificate, []).append(door.subject)
    if not served:
        yield skipped(checks.SAME, "all ports", "no port showed a certificate")
        return
    if len(served) == 1:
        yield ok(checks.SAME, "all ports", f"SHA-256 {_fingerprint(next(iter(served)))}")
    else:
        newest = max(served, key=_starts)
        older = [subject for der, subjects in served.items() if der != newest for subject in subjects]
        yield wrong(checks.SAME, "all ports", f"{len(served)} certificates", f"not the newest: {', '.join(older)}")
    days = (min(_ends(der) for der in served) - now).days
    if days < _WARN_DAYS:
        yield wrong(checks.DAYS, "all ports", f"{days} days", "it was not renewed in time")
    else:
        yield ok(checks.DAYS, "all ports", f"{days} days")


def _starts(der: bytes) -> datetime.datetime:
    return x509.load_der_x509_certificate(der).not_valid_before_utc


def _ends(der: bytes) -> datetime.datetime:
    return x509.load_der_x509_certificate(der).not_valid_after_utc


def _fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()[:16]


def on_disk(seen: Sequence[Door], fingerprint: str) -> Finding:
    """Compare what is served with the SHA-256 (hex) of the certificate file on the host."""
    served = {hashlib.sha256(door.tls.certificate).hexdigest() for door in seen if door.port.on and door.tls}
    if not fingerprint:
        return skipped(checks.ON_DISK, "all ports", "the host shows no certificate file")
    if not served:
        return skipped(checks.ON_DISK, "all ports", "no port showed a certificate")
    if served != {fingerprint}:
        return wrong(checks.ON_DISK, "all ports", "another one", "the file is newer than what a daemon has loaded")
    return ok(checks.ON_DISK, "all ports", f"SHA-256 {fingerprint[:16]}")


def floors(seen: Sequence[Floor]) -> Iterator[Finding]:
    """Judge the outdated handshakes."""
    for floor in seen:
        if floor.error:
            yield skipped(checks.FLOOR, floor.port.label, floor.error)
        elif floor.accepted:
            yield wrong(checks.FLOOR, floor.port.label, floor.accepted, "the port still speaks it")
        else:
            yield ok(checks.FLOOR, floor.port.label, "refused")


def relays(seen: Sequence[Relay], *, catch_all: bool) -> Iterator[Finding]:
    """Judge the relay attempts; addresses in our own name may be somebody's where there is a catch-all."""
    tried = [relay for relay in seen if not relay.error]
    if not tried:
        reason = seen[0].error if seen else "port 25 was not reached"
        yield skipped(checks.RELAY, "port 25", reason)
        return
    accepted = [relay for relay in tried if relay.accepted and not (catch_all and _is_local(relay))]
    for relay in accepted:
        yield wrong(
            checks.RELAY,
            f"port 25, {relay.form}",
            relay.reply,
            f"<{relay.recipient}> was accepted from <{relay.sender}>",
        )
    refused = [relay for relay in tried if not relay.accepted and relay.reply.startswith("5")]
    if accepted:
        return
    if refused:
        yield ok(checks.RELAY, "port 25", f"{len(refused)} of {len(seen)} forms refused for good, none accepted")
    else:
        yield skipped(checks.RELAY, "port 25", f"only put off: {tried[0].reply}")


def _is_local(relay: Relay) -> bool:
    return relay.form in {"percent sign", "quoted", "bang path"}


def dane(hostname: str, records: Answer, seen: Sequence[Door], *, expected: bool) -> Iterator[Finding]:
    """Judge _25._tcp TLSA records (RFC 7672 §3.1) against the certificate on port 25."""
    subject = f"_25._tcp.{hostname} TLSA"
    served = [door.tls.certificate for door in seen if door.port.protocol == "smtp" and door.tls]
    if records.error:
        yield skipped(checks.DANE, subject, f"the resolver {records.error}")
    elif not records.values:
        reason = "no TLSA record is published" if expected else "the stack has no TLSA record"
        yield (wrong(checks.DANE, subject, "no record", reason) if expected else skipped(checks.DANE, subject, reason))
    elif not records.validated:
        yield wrong(
            checks.DANE,
            subject,
            "not validated",
            "senders ignore the record: the zone is not signed, or the resolver asked does not validate",
            "See the finding dns.dnssec.",
        )
    elif not served:
        yield skipped(checks.DANE, subject, "port 25 showed no certificate")
    elif not all(any(_matches(value, der) for value in records.values) for der in served):
        yield wrong(checks.DANE, subject, "; ".join(records.values), "no record is of the key in use")
    else:
        yield ok(checks.DANE, subject, f"{len(records.values)} records, the key in use is one")


def _matches(value: str, der: bytes) -> bool:
    """Whether a DANE-EE record names the certificate or its key (RFC 6698 §2.1)."""
    usage, selector, matching, *data = value.split()
    if usage != _USAGE_DANE_EE:
        return False
    certificate = x509.load_der_x509_certificate(der)
    chosen = {
        "0": der,
        "1": certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    }.get(selector, b"")
    digest = {"0": chosen.hex(), "1": hashlib.sha256(chosen).hexdigest(), "2": hashlib.sha512(chosen).hexdigest()}
    return digest.get(matching) == "".join(data).lower()


def mta_sts(domain: str, hostname: str, record: Answer, policy: str, error: str, *, wanted: str) -> Finding:
    """Judge the MTA-STS record and policy (RFC 8461 §3); `wanted`: the policy of the settings, or nothing."""
    texts = [value for value in record.values if value.startswith("v=STSv1")]
    if record.error:
        return skipped(checks.MTA_STS, domain, f"the resolver {record.error}")
    if not texts and not wanted:
        return skipped(checks.MTA_STS, domain, "the stack has no MTA-STS record")
    fields, settled = policy_fields(policy), policy_fields(wanted)
    hosts = fields.get("mx", [])
    problem = _record_problem(texts) or (error and (error, f"https://mta-sts.{domain}{PATH} is not there"))
    if not problem and (fields.get("version") != ["STSv1"] or fields.get("mode", [""])[0] not in _MODES):
        problem = policy[:60], "version or mode is missing in the policy"
    if not problem and fields["mode"] != ["none"] and not any(_fits(pattern, hostname) for pattern in hosts):
        problem = ", ".join(hosts) or "no mx", f"the policy does not allow {hostname}"
    differing = [key for key in settled if fields.get(key) != settled[key]]
    if not problem and differing:
        key = differing[0]
        problem = f"{key} {', '.join(fields.get(key, []))}", f"the settings say {key} {', '.join(settled[key])}"
    if problem:
        return wrong(checks.MTA_STS, domain, *problem)
    return ok(checks.MTA_STS, domain, ", ".join([*fields["mode"], *hosts]))


def _record_problem(texts: Sequence[str]) -> tuple[str, str] | None:
    if not texts:
        return "no record", "no MTA-STS record is published"
    if len(texts) > 1 or not re.search(r"\bid\s*=\s*[A-Za-z0-9]{1,32}\s*(;|$)", texts[0]):
        return "; ".join(texts), "there must be one record, with an id"
    return None


def policy_fields(policy: str) -> Mapping[str, list[str]]:
    """Read the lines `key: value` of a policy (RFC 8461 §3.2)."""
    found: dict[str, list[str]] = {}
    for line in policy.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            found.setdefault(key.strip(), []).append(value.strip())
    return found


def _fits(pattern: str, hostname: str) -> bool:
    """RFC 8461 §4.1: a wildcard stands for the leftmost label alone."""
    if pattern.startswith("*."):
        return hostname.partition(".")[2].lower() == pattern[2:].lower()
    return hostname.lower() == pattern.lower()
