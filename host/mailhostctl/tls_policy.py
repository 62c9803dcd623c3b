"""Answers Postfix what a destination must prove: its MTA-STS policy, unless DANE decides (socketmap_table(5)).

mta-sts-daemon knows the policies. Where it has one to enforce and the destination has TLSA records as well, the answer
is `dane-only`: an MTA-STS policy must not let pass what DANE refuses (RFC 8461 section 2). Whatever cannot be found out
is a temporary error, and mail waits.
"""

from __future__ import annotations

import re
import socket
import socketserver
from dataclasses import dataclass
from io import BufferedIOBase

from mailhostctl import dns, resolver
from mailhostctl.system import MailhostError

LONGEST = 100_000
"""Octets of a request or answer, as Postfix limits it."""
_PASSED = 3
"""First file descriptor that systemd hands over (sd_listen_fds(3))."""
_PATIENCE = 20.0
"""Seconds for mta-sts-daemon, which asks DNS and a web server, each for at most four."""
_USABLE = re.compile(r"[23] [01] [012] [0-9a-f]+")
"""TLSA records for SMTP (RFC 7672 section 3.1); others count as none."""
_FOUND, _NAME_ERROR = 0, 3


class UnknownError(Exception):
    """Nobody could say; the text is for the log."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Whom to ask: a validating resolver's address, and the TCP port of mta-sts-daemon on this host."""

    resolver: str
    mta_sts: int
    dns_port: int = 53
    patience: float = 8.0
    """Seconds for one answer of the resolver, which may have to ask many servers first."""


def answer(sources: Sources, request: str) -> str:
    """The answer to a socketmap request, `NAME KEY`."""
    domain = request.partition(" ")[2]
    try:
        policy = _policy(sources, request)
        if policy.startswith("OK ") and has_tlsa(sources, domain):
            return "OK dane-only"
    except UnknownError as error:
        return f"TEMP {error}"
    return policy


def has_tlsa(sources: Sources, domain: str) -> bool:
    """Whether a mail server of the domain has TLSA records that hold (RFC 7672 section 2.2); raises `UnknownError`."""
    exchangers = _ask(sources, domain, "MX")
    if not exchangers.authentic:
        return False
    hosts = [record.value.partition(" ")[2] for record in exchangers.answers if record.type == "MX"] or [domain]
    return any(_holds(sources, host) for host in hosts if host)


def _holds(sources: Sources, host: str) -> bool:
    """Servers whose addresses are not signed are not asked for TLSA records: some answer such questions wrongly."""
    if not any(_ask(sources, host, kind).authentic for kind in ("A", "AAAA")):
        return False
    records = _ask(sources, f"_25._tcp.{host}", "TLSA")
    return records.authentic and any(
        _USABLE.fullmatch(record.value) for record in records.answers if record.type == "TLSA"
    )


def _ask(sources: Sources, name: str, kind: str) -> dns.Message:
    try:
        question = resolver.Question(name=name, kind=kind, recursive=True)
        reply = resolver.query(sources.resolver, question, port=sources.dns_port, patience=sources.patience)
    except (resolver.NoAnswerError, ValueError) as error:
        raise UnknownError(f"{name} {kind}: {error}") from None
    if reply.rcode not in {_FOUND, _NAME_ERROR}:
        raise UnknownError(f"{name} {kind}: {dns.RCODES.get(reply.rcode, reply.rcode)}")
    return reply


def _policy(sources: Sources, request: str) -> str:
    try:
        with socket.create_connection(("127.0.0.1", sources.mta_sts), timeout=_PATIENCE) as daemon:
            daemon.sendall(_netstring(request))
            with daemon.makefile("rb") as stream:
                said = read(stream)
    except OSError as error:
        raise UnknownError(f"mta-sts-daemon: {error.strerror or error}") from None
    if said is None:
        raise UnknownError("mta-sts-daemon: no answer")
    return said


def read(stream: BufferedIOBase) -> str | None:
    """One netstring (<https://cr.yp.to/proto/netstrings.txt>); None where the stream ends or holds something else."""
    digits = b""
    while (octet := stream.read(1)) != b":":
        digits += octet
        if not octet.isdigit() or int(digits) > LONGEST:
            return None
    if not digits:
        return None
    text = stream.read(int(digits))
    return text.decode("utf-8", "replace") if stream.read(1) == b"," and len(text) == int(digits) else None


def _netstring(text: str) -> bytes:
    octets = text.encode()
    return b"%d:%s," % (len(octets), octets)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A thread for each smtp(8) that asks; it keeps its connection."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, sources: Sources) -> None:
        super().__init__("", _Conversation, bind_and_activate=False)
        self.socket.close()
        self.socket, self.sources = listener, sources


class _Conversation(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        """Answers one request after another until the client leaves."""
        while (request := read(self.rfile)) is not None:
            self.wfile.write(_netstring(answer(self.server.sources, request)))


def serve(sources: Sources) -> None:
    """Serves the socket that systemd opened; never returns. Raises `MailhostError` where there is none."""
    try:
        listener = socket.socket(fileno=_PASSED)
    except OSError:
        raise MailhostError("tls-policy: is started by mailhost-tls-policy.socket, not by hand") from None
    Server(listener, sources).serve_forever()
