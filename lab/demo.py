"""Proof that a mail host works: mail sent, signed, delivered and read, as its users and as the outside world."""

import secrets
import smtplib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage

import dns.resolver

from lab import acme, addresses, outside
from lab.addresses import Machine
from lab.clients import (
    TIMEOUT_SECONDS,
    Account,
    compose,
    imap_arrival,
    imap_message,
    lab_names,
    pop3_message,
    submit,
    wait_for,
)

PASSWORDS = {"alice": "alice-in-the-lab", "bob": "bob-in-the-lab"}
"""The mailboxes of every stack in the lab. Their hashes are what the stacks' configuration holds."""
_REFUSED = 500
"""Reply codes from here on are permanent (RFC 5321 section 4.2.1)."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the table: what was checked and what was seen."""

    check: str
    passed: bool
    seen: str


def account(machine: Machine, user: str, *, password: str | None = None) -> Account:
    """Return the client settings of a mailbox on a mail host of the lab."""
    return Account(
        host=machine.hostname,
        address=f"{user}@{machine.domain}",
        password=PASSWORDS[user] if password is None else password,
        trust=acme.issuing_roots(),
    )


def checks(machine: Machine) -> Iterator[Finding]:
    """Try the mail host from outside, one finding after another; a failure is a finding, not an exception."""
    for name, check in (
        ("DNS: A, MX, SPF, DKIM, DMARC answered and signed", _records),
        ("587 STARTTLS: alice writes to carol outside", lambda m: _outbound(m, 587)),
        ("465 TLS: alice writes to carol outside", lambda m: _outbound(m, 465)),
        ("outside writes to alice, read over IMAP 993", lambda m: _inbound(m, "alice", imap_message)),
        ("outside writes to bob, read over POP3 995", lambda m: _inbound(m, "bob", pop3_message)),
        ("echo: an answer from outside to a signed mail", _echo),
        ("a wrong password is refused", _wrong_password),
        ("relaying for strangers is refused", _relay),
    ):
        yield _finding(name, check, machine)


def _finding(name: str, check: Callable[[Machine], str], machine: Machine) -> Finding:
    try:
        return Finding(check=name, passed=True, seen=check(machine))
    except Exception as error:
        return Finding(check=name, passed=False, seen=f"{type(error).__name__}: {error}")


def _records(machine: Machine) -> str:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [addresses.RESOLVER4]
    resolver.use_edns(0, dns.flags.DO, 1232)
    resolver.flags = dns.flags.RD | dns.flags.AD
    domain = machine.domain
    found = []
    for name, rdtype in (
        (machine.hostname, "A"),
        (domain, "MX"),
        (domain, "TXT"),
        (f"mail._domainkey.{domain}", "TXT"),
        (f"_dmarc.{domain}", "TXT"),
    ):
        answer = resolver.resolve(name, rdtype)
        if not answer.response.flags & dns.flags.AD:
            raise ValueError(f"{name} {rdtype} is not validated by DNSSEC")
        found.append(str(answer[0]).strip('"').split(";")[0][:28])
    return ", ".join(found)


def _outbound(machine: Machine, port: int) -> str:
    subject = f"demo {secrets.token_hex(4)}"
    alice = account(machine, "alice")
    submit(alice, compose(alice.address, outside.CAROL, subject), port=port)
    results = outside.verdicts(_delivered_outside(subject))
    for method in ("spf", "dkim", "dmarc"):
        if f"{method}=pass" not in results:
            raise ValueError(f"{method} did not pass: {results}")
    return "delivered; spf=pass dkim=pass dmarc=pass"


def _delivered_outside(subject: str) -> EmailMessage:
    return wait_for(lambda: outside.message(subject), f"mail “{subject}” outside")


def _inbound(machine: Machine, user: str, read: Callable[[Account, str], EmailMessage | None]) -> str:
    subject = f"demo {secrets.token_hex(4)}"
    reader = account(machine, user)
    outside.send(compose(outside.CAROL, reader.address, subject))
    wait_for(lambda: read(reader, subject), f"mail “{subject}” to {user}")
    return "delivered and read"


def _echo(machine: Machine) -> str:
    subject = f"demo {secrets.token_hex(4)}"
    alice = account(machine, "alice")
    submit(alice, compose(alice.address, outside.ECHO, subject), port=587)
    imap_arrival(alice, f"Re: {subject}")
    return "answered within seconds"


def _wrong_password(machine: Machine) -> str:
    stranger = account(machine, "alice", password="wrong")  # noqa: S106 because it opens nothing
    try:
        submit(stranger, compose(stranger.address, outside.CAROL, "never"), port=587)
    except smtplib.SMTPAuthenticationError as error:
        return f"{error.smtp_code} refused"
    raise ValueError("the server accepted a wrong password")


def _relay(machine: Machine) -> str:
    with lab_names(), smtplib.SMTP(machine.hostname, 25, timeout=TIMEOUT_SECONDS) as client:
        client.ehlo()
        client.mail("stranger@outside.example")
        code, text = client.rcpt(outside.CAROL)
    if code < _REFUSED:
        raise ValueError(f"the server answered {code} {text!r}")
    return f"{code} refused"
