"""Waits for a DNS record: at every authoritative server of the zone, so that whoever asks next finds it.

The zone's servers are found through the resolvers of /etc/resolv.conf; each of their addresses is then asked directly,
without recursion, so no cache can answer, neither with an old value nor with "no such name".
"""

from __future__ import annotations

import errno
import ipaddress
import re
import secrets
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailhostctl import dns
from mailhostctl.paths import Root
from mailhostctl.system import MailhostError, say

ANSWER = 2.0
"""Seconds a server has to answer one question."""
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES}


class NoAnswerError(Exception):
    """A server did not answer, or not with a DNS message; the text says which of the two."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: a name, a type, and whether the server shall look further than its own zones."""

    name: str
    kind: str
    recursive: bool

    def fits(self, reply: dns.Message) -> bool:
        """Whether `reply` answers this question; servers that refuse may leave the question out."""
        asked = (_key(self.name), dns.TYPES[self.kind])
        return reply.question == asked or (reply.question is None and reply.rcode != 0)


@dataclass(frozen=True, kw_only=True)
class Server:
    """One address of an authoritative name server."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A record that shall be visible at every name server of its zone."""

    zone: str
    name: str
    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


def read(text: str) -> list[Wanted]:
    """Records from lines of `ZONE NAME TYPE VALUE`; raises `MailhostError` for anything else."""
    wanted = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=3)
        if len(words) < 4 or words[2] not in dns.TYPES:  # noqa: PLR2004 -- the four of the message
            raise MailhostError(f"wait-dns: line {number} is not ZONE NAME TYPE VALUE")
        wanted.append(Wanted(zone=words[0], name=words[1], kind=words[2], value=words[3]))
    return wanted


def wait(root: Root, wanted: Sequence[Wanted], *, timeout: float, port: int = 53) -> None:
    """Returns when every reachable address of every name server of a record's zone answers with it, for all records.

    `timeout` in seconds is for all of it. Raises `MailhostError` telling what each server said last. An address in a
    family this host has no route for is left out; at least one must answer.
    """
    for text in (text for one in wanted for text in (one.name, one.zone)):
        try:
            dns.encode_name(text)
        except ValueError as error:
            raise MailhostError(f"wait-dns: {error}") from None
    expected = {one: _normalised(one.kind, one.value) for one in wanted}
    deadline = time.monotonic() + timeout
    servers = {zone: _servers(root, zone, deadline, port) for zone in dict.fromkeys(one.zone for one in wanted)}
    pending = [(one, server) for one in wanted for server in servers[one.zone]]
    for known in dict.fromkeys(map(tuple, servers.values())):
        here = [str(one) for one in wanted if tuple(servers[one.zone]) == known]
        more = f" and {len(here) - 3} more" if len(here) > 3 else ""  # noqa: PLR2004 -- a line stays readable
        say(f"waiting for {', '.join(here[:3])}{more} at {', '.join(map(str, known))}")
    pause = 0.1
    while True:
        said = _round(pending, expected, deadline, port)
        pending = list(said)
        if not pending:
            return
        if time.monotonic() + pause > deadline:
            lines = []
            for one in dict.fromkeys(one for one, _ in said):
                lines.append(f"{one}: not everywhere after {timeout:.0f} s")
                lines += [f"  {server}: {wrong}" for (other, server), wrong in said.items() if other == one]
            raise MailhostError("\n".join(lines))
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)


def _round(
    pending: list[tuple[Wanted, Server]], expected: dict[Wanted, str], deadline: float, port: int
) -> dict[tuple[Wanted, Server], str]:
    """Asks each question once; returns what is wrong. A server that does not answer one is not asked the others."""
    said: dict[tuple[Wanted, Server], str] = {}
    silent: dict[Server, str] = {}
    for one, server in pending:
        wrong = silent.get(server, "")
        if not wrong and said and time.monotonic() > deadline:
            wrong = "was not asked in time"
        if not wrong:
            try:
                question = Question(name=one.name, kind=one.kind, recursive=False)
                wrong = _ask(server, question, expected[one], port)
            except NoAnswerError as error:
                wrong = silent[server] = str(error)
        if wrong:
            said[one, server] = wrong
    return said


def _normalised(kind: str, value: str) -> str:
    """`value` in the form the codec gives answers."""
    try:
        if kind == "A":
            return str(ipaddress.IPv4Address(value))
        if kind == "AAAA":
            return str(ipaddress.IPv6Address(value))
        if kind == "TXT" and value.startswith('"'):
            # Presentation form (RFC 1035 section 5.1), as the DNS provider keeps it; nothing in it needs escapes.
            return "".join(re.findall(r'"([^"]*)"', value))
        if kind == "MX":
            preference, exchange = value.split()
            return f"{int(preference)} {exchange.rstrip('.').lower()}"
        if kind in {"CNAME", "NS", "TLSA"}:  # hex digits of either case
            return value.rstrip(".").lower()
    except ValueError:
        raise MailhostError(f"wait-dns: {value!r} is not the value of an {kind} record") from None
    return value


def _ask(server: Server, question: Question, expected: str, port: int) -> str:
    """What is wrong with a server's answer; empty when it has the value. Raises `NoAnswerError`."""
    reply = query(server.address, question, port=port)
    wanted = (question.kind, _key(question.name))
    values = [record.value for record in reply.answers if (record.type, record.name) == wanted]
    if expected in values:
        return ""
    if values:
        return f"answers {', '.join(repr(found) for found in values)}"
    return (
        dns.RCODES.get(reply.rcode, f"rcode {reply.rcode}")
        if reply.rcode
        else f"has no {question.kind} record of this name"
    )


def _key(name: str) -> str:
    return name.rstrip(".").lower()


def _servers(root: Root, zone: str, deadline: float, port: int) -> list[Server]:
    """Every address, in a family this host has a route for, of every name server of the zone."""
    while True:
        try:
            names = sorted(_lookup(root, zone, "NS", port))
            found = [
                Server(name=name, address=address)
                for name in names
                for kind in ("A", "AAAA")
                for address in sorted(_lookup(root, name, kind, port))
            ]
        except NoAnswerError as error:
            wrong = str(error)
        else:
            reachable = [server for server in found if _has_route(server.address, port)]
            if reachable:
                return reachable
            wrong = f"{zone}: " + (f"no route to any of {', '.join(map(str, found))}" if found else "no name servers")
        if time.monotonic() > deadline:
            raise MailhostError(f"wait-dns: cannot find the name servers of the zone: {wrong}")
        time.sleep(0.5)


def _lookup(root: Root, name: str, kind: str, port: int) -> list[str]:
    """Values of a name as the host's own resolvers see it; empty when there are none."""
    complaints = []
    for resolver in _resolvers(root):
        try:
            reply = query(resolver, Question(name=name, kind=kind, recursive=True), port=port)
        except NoAnswerError as error:
            complaints.append(f"{resolver}: {error}")
            continue
        if reply.rcode in (0, 3):  # NOERROR, NXDOMAIN
            return [record.value for record in reply.answers if record.type == kind]
        complaints.append(f"{resolver}: {dns.RCODES.get(reply.rcode, reply.rcode)} for {name} {kind}")
    raise NoAnswerError("; ".join(complaints))


def _resolvers(root: Root) -> list[str]:
    """Name servers of /etc/resolv.conf; without any, the local host (resolv.conf(5))."""
    try:
        lines = root.live("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        lines = []
    servers = [words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"]
    return servers or ["127.0.0.1"]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _has_route(address: str, port: int) -> bool:
    """Whether the kernel knows a way; connecting a UDP socket sends nothing."""
    try:
        with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
    except OSError as error:
        if error.errno in _NO_ROUTE:
            return False
        raise
    return True


def query(address: str, question: Question, *, port: int = 53, patience: float | None = None) -> dns.Message:
    """Asks one server by UDP, and by TCP when the answer was truncated (RFC 7766); raises `NoAnswerError`.

    It takes `patience` seconds at most, by default `ANSWER`. UDP datagrams that do not fit the question are passed
    over: anyone can send them.
    """
    identity = secrets.randbelow(0x10000)
    wire = dns.encode_query(identity, question.name, question.kind, recursive=question.recursive)
    deadline = time.monotonic() + (ANSWER if patience is None else patience)

    def left() -> float:
        return max(deadline - time.monotonic(), 0.001)

    def fitting(received: bytes) -> dns.Message | None:
        try:
            reply = dns.decode(received)
        except dns.MalformedError:
            return None
        return reply if reply.response and reply.identity == identity and question.fits(reply) else None

    try:
        with socket.socket(_family(address), socket.SOCK_DGRAM) as udp:
            udp.connect((address, port))  # the kernel then drops datagrams of other senders
            udp.send(wire)
            reply = None
            while reply is None and time.monotonic() < deadline:
                udp.settimeout(left())
                reply = fitting(udp.recv(65535))
        if reply is not None and reply.truncated:
            with socket.create_connection((address, port), timeout=left()) as tcp:
                tcp.sendall(struct.pack("!H", len(wire)) + wire)
                (length,) = struct.unpack("!H", _exactly(tcp, 2, left))
                reply = fitting(_exactly(tcp, length, left))
    except TimeoutError:
        raise NoAnswerError("no answer") from None
    except OSError as error:
        raise NoAnswerError(f"no answer ({error.strerror or error})") from None
    if reply is None or reply.truncated:
        raise NoAnswerError("no usable answer")
    return reply


def _exactly(tcp: socket.socket, count: int, left: Callable[[], float]) -> bytes:
    data = b""
    while len(data) < count:
        tcp.settimeout(left())
        received = tcp.recv(count - len(data))
        if not received:
            raise NoAnswerError("closes the TCP connection")
        data += received
    return data
