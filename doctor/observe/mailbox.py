"""Uses one account as its owner does: logs in everywhere, writes to itself, reads it, and deletes it again."""

import imaplib
import poplib
import smtplib
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

import dkim
from pydantic import SecretStr

from doctor.observe.doors import explain
from doctor.ports import Port

_PAUSE_SECONDS: Final = 0.5
_FOLDERS: Final = ("INBOX", "Junk")

TxtLookup = Callable[[str], list[str]]


@dataclass(frozen=True, kw_only=True)
class Account:
    """A mailbox and how to reach it."""

    host: str
    address: str
    password: SecretStr
    context: ssl.SSLContext
    timeout: float


@dataclass(frozen=True, kw_only=True)
class Login:
    """One login."""

    port: Port
    error: str = ""
    refused: bool = False
    """The server said no to the password, rather than nothing."""


def log_in(account: Account, port: Port) -> Login:
    """Log in at one port and leave."""
    try:
        match port.protocol:
            case "imap":
                _imap(account, port).logout()
            case "pop3":
                _pop3(account, port).quit()
            case _:
                _smtp(account, port).quit()
    except (smtplib.SMTPAuthenticationError, imaplib.IMAP4.error, poplib.error_proto) as error:
        return Login(port=port, error=_words(error), refused=True)
    except (OSError, smtplib.SMTPException, EOFError) as error:
        return Login(port=port, error=explain(error))
    return Login(port=port)


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """A mail to oneself."""

    sent: bool = False
    seconds: float | None = None
    """Until it was there."""
    folder: str = ""
    signed_by: tuple[str, ...] = ()
    """Domains of its DKIM signatures."""
    verified: tuple[str, ...] = ()
    """Those of signatures that hold."""
    error: str = ""
    removed: bool = False


def round_trip(account: Account, out: Port, back: Port, lookup: TxtLookup, *, patience: float) -> RoundTrip:
    """Send a mail through port `out`, wait for it at IMAP port `back`, verify its signatures, delete it."""
    message = _message(account.address)
    seen = RoundTrip()
    try:
        with _smtp(account, out) as client:
            client.send_message(message)
        seen = replace(seen, sent=True)
        started = time.monotonic()
        reader = _imap(account, back)
        try:
            found = _wait(reader, str(message["Message-ID"]), started + patience)
            if not found:
                return replace(seen, error=f"it did not arrive within {patience:.0f} s")
            folder, raw, removed = found
            seen = replace(seen, seconds=time.monotonic() - started, folder=folder, removed=removed)
        finally:
            with suppress(OSError, imaplib.IMAP4.error):
                reader.logout()
    except (smtplib.SMTPException, imaplib.IMAP4.error, OSError, EOFError) as error:
        return replace(seen, error=_words(error))
    signed, verified = signatures(raw, lookup)
    return replace(seen, signed_by=signed, verified=verified)


def signatures(raw: bytes, lookup: TxtLookup) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the domains that signed a message, and those of them whose signature verifies (RFC 6376 §6)."""

    def text(name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001 because dkimpy names it
        values = lookup(name.decode("ascii").rstrip("."))
        return values[0].encode() if values else None

    verifier = dkim.DKIM(raw)
    headers = [value for key, value in verifier.headers if key.lower() == b"dkim-signature"]
    signed, verified = [], []
    for index, header in enumerate(headers):
        tags = dict(part.strip().partition(b"=")[::2] for part in header.split(b";") if b"=" in part)
        domain = tags.get(b"d", b"").strip().decode("ascii", "replace").lower()
        signed.append(domain)
        with suppress(dkim.DKIMException):
            if verifier.verify(idx=index, dnsfunc=text):
                verified.append(domain)
    return tuple(signed), tuple(verified)


def _message(address: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = address
    message["To"] = address
    message["Subject"] = "Test mail of the doctor"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=address.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 §5: nobody shall answer
    message.set_content("This mail shows that mail works. The doctor deletes it when it has read it.\n")
    return message


def _wait(client: imaplib.IMAP4, identity: str, deadline: float) -> tuple[str, bytes, bool] | None:
    while True:
        for folder in _FOLDERS:
            found = _fetch(client, folder, identity)
            if found:
                return folder, *found
        if time.monotonic() > deadline:
            return None
        time.sleep(_PAUSE_SECONDS)


def _fetch(client: imaplib.IMAP4, folder: str, identity: str) -> tuple[bytes, bool] | None:
    """Return a message by its id, and whether it was removed afterwards."""
    if client.select(folder)[0] != "OK":
        return None
    _, found = client.uid("SEARCH", "HEADER", "Message-ID", f'"{identity}"')
    numbers = found[0].split() if found and found[0] else []
    if not numbers:
        return None
    number = numbers[0].decode()
    _, parts = client.uid("FETCH", number, "(BODY.PEEK[])")
    raw = next((bytes(part[1]) for part in parts if isinstance(part, tuple)), b"")
    client.uid("STORE", number, "+FLAGS.SILENT", r"(\Deleted)")
    # UIDPLUS (RFC 4315): only this one, whatever else is marked.
    removed = client.uid("EXPUNGE", number)[0] == "OK"
    return raw, removed


def _smtp(account: Account, port: Port) -> smtplib.SMTP:
    if port.implicit:
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            account.host, port.number, timeout=account.timeout, context=account.context
        )
    else:
        client = smtplib.SMTP(account.host, port.number, timeout=account.timeout)
        client.starttls(context=account.context)
    client.login(account.address, account.password.get_secret_value())
    return client


def _imap(account: Account, port: Port) -> imaplib.IMAP4:
    if port.implicit:
        client: imaplib.IMAP4 = imaplib.IMAP4_SSL(
            account.host, port.number, ssl_context=account.context, timeout=account.timeout
        )
    else:
        client = imaplib.IMAP4(account.host, port.number, timeout=account.timeout)
        client.starttls(ssl_context=account.context)
    client.login(account.address, account.password.get_secret_value())
    return client


def _pop3(account: Account, port: Port) -> poplib.POP3:
    if port.implicit:
        client: poplib.POP3 = poplib.POP3_SSL(
            account.host, port.number, timeout=account.timeout, context=account.context
        )
    else:
        client = poplib.POP3(account.host, port.number, timeout=account.timeout)
        client.stls(context=account.context)
    client.user(account.address)
    client.pass_(account.password.get_secret_value())
    return client


def _words(error: Exception) -> str:
    """Return the server's own words; none of them repeats a password."""
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        text = said.decode("utf-8", "backslashreplace") if isinstance(said, bytes) else str(said)
        return f"{error.smtp_code} {' '.join(text.split())}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{code} {text!r}" for code, text in error.recipients.values())
    if isinstance(error, OSError):
        return explain(error)
    first = error.args[0] if error.args else error
    return first.decode("utf-8", "backslashreplace") if isinstance(first, bytes) else str(first)
