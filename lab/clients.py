"""Mail clients as people use them: submission, IMAP and POP3, by name, with verified TLS.

They find hosts in the lab's DNS and trust the lab's certificate authority; nothing else differs from a real client.
"""

import email
import email.policy
import imaplib
import poplib
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TypeVar

import dns.resolver

from lab import addresses
from model.constants import IMAPS, POP3S, SUBMISSIONS

TIMEOUT_SECONDS = 40
"""For one answer. Dovecot makes an address that failed to log in wait for up to 17 s (auth penalty)."""
_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class Account:
    """A mailbox and how its owner reaches it."""

    host: str
    address: str
    password: str
    trust: str
    """PEM of the roots the client trusts."""

    @property
    def tls(self) -> ssl.SSLContext:
        """A context that verifies chain and name."""
        return ssl.create_default_context(cadata=self.trust)


@contextmanager
def lab_names() -> Iterator[None]:
    """Resolve names through the lab's resolver while the context lasts."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [addresses.RESOLVER4]
    resolver.cache = None
    dns.resolver.override_system_resolver(resolver)
    try:
        yield
    finally:
        dns.resolver.restore_system_resolver()


def compose(sender: str, recipient: str, subject: str, text: str = "Hello from the lab.\n") -> EmailMessage:
    """Write a message as a mail program does, with date and message id."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message.set_content(text)
    return message


@contextmanager
def submission_session(account: Account, *, port: int) -> Iterator[smtplib.SMTP]:
    """Log in at the account's own server: port 465 is TLS from the start (RFC 8314), 587 upgrades by STARTTLS.

    Raises:
        smtplib.SMTPException: What the server refused, with its code and text.
    """
    with lab_names():
        if port == SUBMISSIONS:
            client: smtplib.SMTP = smtplib.SMTP_SSL(account.host, port, timeout=TIMEOUT_SECONDS, context=account.tls)
        else:
            client = smtplib.SMTP(account.host, port, timeout=TIMEOUT_SECONDS)
    with client:
        if port != SUBMISSIONS:
            client.starttls(context=account.tls)
        client.login(account.address, account.password)
        yield client


def submit(account: Account, message: EmailMessage, *, port: int, envelope_from: str | None = None) -> None:
    """Send one mail in a session of its own, see `submission_session`."""
    with submission_session(account, port=port) as client:
        client.send_message(message, from_addr=envelope_from)


@contextmanager
def imap_session(account: Account, *, port: int = IMAPS) -> Iterator[imaplib.IMAP4]:
    """Log in over IMAP, and out at the end if the session still lives; port 143 upgrades by STARTTLS."""
    with lab_names():
        if port == IMAPS:
            client: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                account.host, port, ssl_context=account.tls, timeout=TIMEOUT_SECONDS
            )
        else:
            client = imaplib.IMAP4(account.host, port, timeout=TIMEOUT_SECONDS)
    try:
        if port != IMAPS:
            client.starttls(ssl_context=account.tls)
        client.login(account.address, account.password)
        yield client
    finally:
        with suppress(imaplib.IMAP4.error, OSError):  # the server may have ended it
            client.logout()
        with suppress(OSError):
            client.shutdown()


def imap_messages(account: Account, *, port: int = IMAPS) -> list[EmailMessage]:
    """Read the INBOX over IMAP; port 143 upgrades by STARTTLS."""
    with imap_session(account, port=port) as client:
        return [_read(client, number) for number in range(1, _select(client, "INBOX") + 1)]


def imap_message(account: Account, subject: str, *, port: int = IMAPS, folder: str = "INBOX") -> EmailMessage | None:
    """Read the newest mail with a subject over IMAP; of all others only the subject."""
    with imap_session(account, port=port) as client:
        return _newest(client, subject, folder)


def imap_arrival(account: Account, subject: str, *, port: int = IMAPS, folder: str = "INBOX") -> EmailMessage:
    """Wait in one session for what `imap_message` reads.

    Raises:
        TimeoutError: It did not come in time.
    """
    with imap_session(account, port=port) as client:
        return wait_for(lambda: _newest(client, subject, folder), f"“{subject}” in {folder} of {account.address}")


def _newest(client: imaplib.IMAP4, subject: str, folder: str) -> EmailMessage | None:
    if not _select(client, folder):
        return None
    _, parts = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    heads = [part for part in parts if isinstance(part, tuple)]
    found = [int(number.split()[0]) for number, head in heads if _parse(head)["Subject"] == subject]
    return _read(client, found[-1]) if found else None


def _select(client: imaplib.IMAP4, folder: str) -> int:
    """Open a folder to read only; return how many mails it has."""
    said, (count, *_) = client.select(folder, readonly=True)
    if said != "OK":
        raise imaplib.IMAP4.error(f"{folder}: {count!r}")
    return int(count or b"0")


def _read(client: imaplib.IMAP4, number: int) -> EmailMessage:
    _, parts = client.fetch(str(number), "(RFC822)")
    (raw,) = (part[1] for part in parts if isinstance(part, tuple))
    return _parse(raw)


def pop3_messages(account: Account, *, port: int = POP3S) -> list[EmailMessage]:
    """Read the maildrop over POP3; port 110 upgrades by STLS."""
    with _pop3_session(account, port) as client:
        return [_retrieve(client, number) for number in range(1, client.stat()[0] + 1)]


def pop3_message(account: Account, subject: str, *, port: int = POP3S) -> EmailMessage | None:
    """Read mails over POP3, the newest first, up to one with a subject."""
    with _pop3_session(account, port) as client:
        messages = (_retrieve(client, number) for number in range(client.stat()[0], 0, -1))
        return next((message for message in messages if message["Subject"] == subject), None)


@contextmanager
def _pop3_session(account: Account, port: int) -> Iterator[poplib.POP3]:
    with lab_names():
        if port == POP3S:
            client: poplib.POP3 = poplib.POP3_SSL(account.host, port, timeout=TIMEOUT_SECONDS, context=account.tls)
        else:
            client = poplib.POP3(account.host, port, timeout=TIMEOUT_SECONDS)
            client.stls(context=account.tls)
    try:
        client.user(account.address)
        client.pass_(account.password)
        yield client
    finally:
        client.quit()


def _retrieve(client: poplib.POP3, number: int) -> EmailMessage:
    return _parse(b"\r\n".join(client.retr(number)[1]) + b"\r\n")


def wait_for(look: Callable[[], _Found | None], what: str, *, seconds: float = 30) -> _Found:
    """Call `look` until its answer is true, and return that answer. None, False, 0 and empty values are "not yet".

    Raises:
        TimeoutError: Nothing came in time; names what was waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.3)


def _parse(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, EmailMessage, policy=email.policy.default)
