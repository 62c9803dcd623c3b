"""Observations of a host on which all is well; each test changes one thing."""

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from doctor.expected import Wanted
from doctor.observe.doors import Door, Relay, Tls, relay_forms
from doctor.observe.host import Facts
from doctor.observe.mailbox import RoundTrip
from doctor.observe.names import Answer, Listing, Server, Signed
from doctor.observe.web import Zone
from doctor.ports import Port

ZONE = "example.com"
HOSTNAME = "mail.example.com"
ADDRESS = "203.0.113.13"
NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)

SMTP = Port(number=25, protocol="smtp", implicit=False, on=True)
SUBMISSION = Port(number=587, protocol="submission", implicit=False, on=True)
SUBMISSIONS = Port(number=465, protocol="submission", implicit=True, on=True)
IMAP = Port(number=143, protocol="imap", implicit=False, on=True)
IMAPS = Port(number=993, protocol="imap", implicit=True, on=True)
POP3 = Port(number=110, protocol="pop3", implicit=False, on=True)
SIEVE = Port(number=4190, protocol="sieve", implicit=False, on=True)

MX = Wanted(zone=ZONE, name=ZONE, type="MX", values=frozenset({f"10 {HOSTNAME}."}), ttl=300)


@cache
def certificate(*, days: int = 60, name: str = HOSTNAME, serial: int = 1) -> bytes:
    """DER of a certificate that lasts so many days from NOW."""
    key = ec.derive_private_key(serial + 1, ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW - datetime.timedelta(days=90 - serial))
        .not_valid_after(NOW + datetime.timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.DER)


def tlsa(der: bytes) -> str:
    """The 3 1 1 record of a certificate (RFC 7671 §5.1)."""
    key = x509.load_der_x509_certificate(der).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"3 1 1 {hashlib.sha256(spki).hexdigest()}"


def answer(*values: str, **changes: Any) -> Answer:
    """A good answer, authoritative and validated."""
    good = Answer(rcode="NOERROR", values=values, ttl=300, authoritative=True, validated=True)
    return replace(good, **changes)


def servers(*answers: Answer, wanted: Wanted = MX) -> list[Server]:
    """A name server per answer."""
    key = (wanted.name, wanted.type)
    return [
        Server(zone=ZONE, name=f"ns{number}.example", address=f"203.0.113.{50 + number}", answers={key: each})
        for number, each in enumerate(answers, start=1)
    ]


def signed(**changes: Any) -> Signed:
    """A signed zone."""
    return replace(Signed(zone=ZONE, checked=answer("soa"), unchecked=answer("soa")), **changes)


_BEFORE = {
    "smtp": ("PIPELINING", "STARTTLS"),
    "submission": ("PIPELINING", "STARTTLS"),
    "imap": ("IMAP4REV1", "STARTTLS", "LOGINDISABLED"),
    "pop3": ("CAPA", "STLS", "SASL"),
    "sieve": ('"SASL" ""', '"STARTTLS"', "OK"),
}
_AFTER = {
    "smtp": ("PIPELINING",),
    "submission": ("PIPELINING", "AUTH PLAIN LOGIN"),
    "imap": ("IMAP4REV1", "AUTH=PLAIN"),
    "pop3": ("USER", "SASL PLAIN"),
    "sieve": ('"SASL" "PLAIN"', "OK"),
}


def door(port: Port = SMTP, **changes: Any) -> Door:
    """A port as it should be."""
    smtp = port.protocol in {"smtp", "submission"}
    good = Door(
        port=port,
        address=ADDRESS,
        reached=True,
        greeting=f"220 {HOSTNAME} ESMTP" if smtp else "* OK ready",
        name=HOSTNAME if smtp else "",
        before=() if port.implicit else _BEFORE[port.protocol],
        after=_AFTER[port.protocol],
        tls=Tls(version="TLSv1.3", certificate=certificate()),
    )
    return replace(good, **changes)


def closed(port: Port, refusal: str, address: str = ADDRESS) -> Door:
    """A port that was not reached."""
    return Door(port=port, address=address, reached=False, refusal=refusal)


def relays(**accepted: str) -> list[Relay]:
    """Every form refused, but those named with an answer."""
    return [
        Relay(
            form=form,
            sender=sender,
            recipient=recipient,
            reply=accepted.get(form.replace(" ", "_"), "554 5.7.1 Relay access denied"),
            accepted=form.replace(" ", "_") in accepted,
        )
        for form, sender, recipient in relay_forms(ZONE, HOSTNAME, "example.org")
    ]


def listing(*codes: str, **changes: Any) -> Listing:
    """What a blocklist that works says."""
    return replace(Listing(address=ADDRESS, zone="zen.spamhaus.org", codes=codes, works=True), **changes)


def trip(**changes: Any) -> RoundTrip:
    """A mail that arrived, signed."""
    good = RoundTrip(sent=True, seconds=0.5, folder="INBOX", signed_by=(ZONE,), verified=(ZONE,), removed=True)
    return replace(good, **changes)


def drifted(*findings: Sequence[str]) -> dict[str, Any]:
    """What `mailhostctl drift` says: service, what, wanted, found and what mends it of each finding."""
    keys = ("service", "what", "wanted", "found", "mend")
    return {
        "services": {"dovecot": 2, "postfix": 4},
        "findings": [dict(zip(keys, finding, strict=True)) for finding in findings],
    }


def facts(**changes: Any) -> Facts:
    """What a good host says before it was set up."""
    values: dict[str, Any] = {
        "now": 1_000_000.0,
        "python": "3.13.5",
        "release": {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)"},
        "memory": {"MemTotal": 2_000_000_000, "SwapTotal": 0},
        "disk": 20_000_000_000,
        "listeners": [{"address": "0.0.0.0", "port": 22, "program": "sshd"}],  # noqa: S104 because nothing binds to it
        "managed": False,
        "port25": [{"host": "mx.example.net", "family": "IPv4", "greeting": "220 mx.example.net", "error": ""}],
        "names": {},
        "drift": drifted(),
        "queue": [],
        "full": [],
    }
    return Facts(values={**values, **changes})


def zone(**changes: Any) -> Zone:
    """A zone that Cloudflare serves."""
    good = Zone(name=ZONE, found=True, status="active", servers=("ana.ns.cloudflare.com", "bob.ns.cloudflare.com"))
    return replace(good, **changes)
