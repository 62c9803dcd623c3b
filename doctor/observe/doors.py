"""Knocks at ports: greeting, what is offered before TLS, TLS itself, what is offered then."""

import contextlib
import errno
import re
import socket
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

from doctor.ports import Port, Protocol

_LONGEST: Final = 65_536
"""Octets of one reply; no honest server says more before a login."""
_REFUSALS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
}


_DISTRUST: Final = "distrusted: "


class DialogueError(Exception):
    """The server did not say what the protocol wants; the text is what it said."""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """A TLS session with a port."""

    version: str
    certificate: bytes
    """DER of the server's own certificate."""
    distrust: str = ""
    """Why chain or name do not verify."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """What one port at one address showed."""

    port: Port
    address: str
    reached: bool
    refusal: str = ""
    """Why it was not reached: refused, timeout, unreachable."""
    greeting: str = ""
    name: str = ""
    """The name in the answer to EHLO."""
    before: tuple[str, ...] = ()
    """Capabilities in the clear."""
    after: tuple[str, ...] = ()
    """Capabilities inside TLS."""
    tls: Tls | None = None
    error: str = ""
    """Where the dialogue ended early: the server's words, or what did not come."""

    @property
    def subject(self) -> str:
        """Port and address, for people."""
        return f"{self.port.label} at {self.address}"


class Dialogue:
    """Lines to and from a server, in any of the protocols."""

    def __init__(self, connection: socket.socket, protocol: Protocol) -> None:
        self._socket = connection
        self._protocol = protocol
        self._buffer = b""

    @classmethod
    @contextlib.contextmanager
    def open(cls, address: str, port: int, protocol: Protocol, timeout: float) -> Iterator[Self]:
        """Connect, and close at the end."""
        connection = socket.create_connection((address, port), timeout=timeout)
        talk = cls(connection, protocol)
        try:
            yield talk
        finally:
            talk.close()

    def close(self) -> None:
        """Close whatever the connection has become."""
        self._socket.close()

    def secure(self, context: ssl.SSLContext, hostname: str) -> ssl.SSLSocket:
        """Start TLS on the connection."""
        self._buffer = b""  # what came before TLS is nobody's word (RFC 3207 §6)
        secured = context.wrap_socket(self._socket, server_hostname=hostname)
        self._socket = secured
        return secured

    def greeting(self) -> str:
        """Read the first words. Dovecot's ManageSieve begins with its capabilities."""
        return self._reply("") if self._protocol == "sieve" else self._reply("*")

    def ask(self, command: str) -> str:
        """Send one command and read the whole reply."""
        tag = "d1 " if self._protocol == "imap" else ""
        self._socket.sendall(f"{tag}{command}\r\n".encode("ascii"))
        return self._reply("d1", many=command == "CAPA")

    def capabilities(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Return the name the server gives itself (SMTP only) and what it offers, in upper case."""
        match self._protocol:
            case "smtp" | "submission":
                lines = [line[4:] for line in self.ask(f"EHLO {name}").splitlines()]
                return lines[0].split(" ")[0] if lines else "", tuple(line.upper() for line in lines[1:])
            case "imap":
                found = re.search(r"^\* CAPABILITY (.*)$", self.ask("CAPABILITY"), re.M | re.I)
                return "", tuple(found[1].upper().split()) if found else ()
            case "pop3":
                return "", tuple(line.upper() for line in self.ask("CAPA").splitlines()[1:])
            case "sieve":
                return "", tuple(line.upper() for line in self.ask("CAPABILITY").splitlines())

    def start_tls(self) -> None:
        """Ask for TLS, so that the next octets are a handshake."""
        self.ask("STLS" if self._protocol == "pop3" else "STARTTLS")

    def _reply(self, tag: str, *, many: bool = False) -> str:
        lines = []
        while True:
            line = self._line()
            lines.append(line)
            if self._is_last(line, tag, many=many, first=len(lines) == 1):
                break
        last = lines[0] if many else lines[-1]
        if not self._is_good(last):
            raise DialogueError(last)
        return "\n".join(lines)

    def _is_last(self, line: str, tag: str, *, many: bool, first: bool) -> bool:
        match self._protocol:
            case "smtp" | "submission":
                return line[3:4] != "-"
            case "imap":
                return line.startswith(f"{tag} ")
            case "pop3":
                return line == "." or not many or (first and line.startswith("-ERR"))
            case "sieve":
                return line.startswith(("OK", "NO", "BYE"))

    def _is_good(self, line: str) -> bool:
        match self._protocol:
            case "smtp" | "submission":
                return line[:1] in {"2", "3"}
            case "imap":
                return " OK" in line[:10].upper()
            case "pop3":
                return line.startswith("+OK")
            case "sieve":
                return line.startswith("OK")

    def _line(self) -> str:
        while b"\n" not in self._buffer:
            more = self._socket.recv(4096)
            if not more:
                raise DialogueError("the server closed the connection")
            self._buffer += more
            if len(self._buffer) > _LONGEST:
                raise DialogueError("the server does not stop talking")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "backslashreplace")


def trusting(roots: str | None) -> ssl.SSLContext:
    """Return a context that verifies chain and name, by the system's roots or by those in a PEM file.

    Raises:
        OSError: The file cannot be read.
        ssl.SSLError: There is no certificate in it.
    """
    return ssl.create_default_context(cafile=roots)


def _distrusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def outdated() -> ssl.SSLContext:
    """Return a context that speaks TLS 1.1 and older only. Not thread-safe; call it once, early."""
    context = _distrusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # outdated is what we are after
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """How we knock."""

    hostname: str
    """Whom we expect: in the certificate, and for SNI."""
    context: ssl.SSLContext
    name: str
    """What we call ourselves in EHLO."""
    timeout: float
    """Seconds for each step."""


def knock(port: Port, address: str, visitor: Visitor) -> Door:
    """Go through the whole beginning of a session, and leave before a login."""
    door = _session(port, address, visitor)
    if door.tls is None and door.error.startswith(_DISTRUST):
        # Once more, to see which certificate it is.
        again = _session(port, address, replace(visitor, context=_distrusting()))
        if again.tls:
            return replace(again, tls=replace(again.tls, distrust=door.error.removeprefix(_DISTRUST)))
    return door


def _session(port: Port, address: str, visitor: Visitor) -> Door:
    door = Door(port=port, address=address, reached=False)
    try:
        with Dialogue.open(address, port.number, port.protocol, visitor.timeout) as talk:
            door = replace(door, reached=True)
            try:
                if not port.implicit:
                    door = replace(door, greeting=talk.greeting())
                    own, before = talk.capabilities(visitor.name)
                    door = replace(door, name=own, before=before)
                    talk.start_tls()
                secured = talk.secure(visitor.context, visitor.hostname)
                certificate = secured.getpeercert(binary_form=True) or b""
                door = replace(door, tls=Tls(version=secured.version() or "", certificate=certificate))
                if port.implicit:
                    door = replace(door, greeting=talk.greeting())
                own, after = talk.capabilities(visitor.name)
                return replace(door, name=door.name or own, after=after)
            except ssl.SSLCertVerificationError as error:
                return replace(door, error=f"{_DISTRUST}{error.verify_message}")
            except (OSError, DialogueError) as error:
                return replace(door, error=explain(error))
    except OSError as error:
        return replace(door, refusal=explain(error))


def explain(error: Exception) -> str:
    """Say an error in few words."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return _REFUSALS[error.errno]
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}".lower().replace("_", " ")
    return str(getattr(error, "strerror", None) or error)


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What a port does with TLS 1.1 and older."""

    port: Port
    accepted: str = ""
    """The version it agreed to."""
    error: str = ""
    """Why it could not be tried."""


def floor(port: Port, address: str, visitor: Visitor) -> Floor:
    """Try an outdated TLS: the visitor's context speaks nothing newer."""
    try:
        with Dialogue.open(address, port.number, port.protocol, visitor.timeout) as talk:
            if not port.implicit:
                talk.greeting()
                talk.capabilities(visitor.name)
                talk.start_tls()
            try:
                secured = talk.secure(visitor.context, visitor.hostname)
                return Floor(port=port, accepted=secured.version() or "an old version")
            except ssl.SSLError as error:
                if error.reason == "NO_PROTOCOLS_AVAILABLE":
                    return Floor(port=port, error="this machine's OpenSSL has no TLS 1.1")
                return Floor(port=port)
            except ConnectionError:
                return Floor(port=port)
    except (OSError, DialogueError) as error:
        return Floor(port=port, error=explain(error))


@dataclass(frozen=True, kw_only=True)
class Relay:
    """How port 25 answered to one form of a stranger's recipient."""

    form: str
    sender: str
    recipient: str
    reply: str = ""
    """The answer to RCPT TO, or to what was refused before."""
    accepted: bool = False
    error: str = ""


def relay(address: str, form: tuple[str, str, str], *, name: str, timeout: float) -> Relay:
    """Name a stranger as recipient, and reset: no mail is ever given."""
    title, sender, recipient = form
    seen = Relay(form=title, sender=sender, recipient=recipient)
    try:
        with Dialogue.open(address, 25, "smtp", timeout) as talk:
            talk.greeting()
            talk.capabilities(name)
            try:
                talk.ask(f"MAIL FROM:<{sender}>")
                reply = talk.ask(f"RCPT TO:<{recipient}>")
            except DialogueError as error:
                return replace(seen, reply=str(error))
            with contextlib.suppress(OSError, DialogueError):
                talk.ask("RSET")
                talk.ask("QUIT")
            return replace(seen, reply=reply, accepted=True)
    except (OSError, DialogueError) as error:
        return replace(seen, error=explain(error))


def relay_forms(domain: str, hostname: str, stranger: str) -> tuple[tuple[str, str, str], ...]:
    """Return (what it is, sender, recipient) of the classic ways to ask for a relay. All lead to a stranger."""
    victim = f"postmaster@{stranger}"
    return (
        ("stranger to stranger", f"doctor@{stranger}", victim),
        ("empty sender", "", victim),
        ("our own sender", f"postmaster@{domain}", victim),
        ("percent sign", "", f"postmaster%{stranger}@{hostname}"),
        ("source route", "", f"@{hostname}:{victim}"),
        ("quoted", "", f'"{victim}"@{hostname}'),
        ("bang path", "", f"{stranger}!postmaster@{hostname}"),
    )
