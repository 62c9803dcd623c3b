"""Health probes: does the service answer as a client would see it. Every wait is bounded."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mailhostctl import dns, resolver
from mailhostctl.system import MailhostError, run

if TYPE_CHECKING:
    from ssl import SSLSocket

    from mailhostctl.services import Service

PATIENCE = 20.0
"""Seconds a service has to become healthy after it was told of new files."""
SMTP = 25
HTTPS = 443
ANSWER = 5.0
"""Seconds one answer may take."""


class Unhealthy(Exception):
    """One probe did not find what it expects; `final` when waiting cannot help."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


def failures(health: tuple[str, ...]) -> list[str]:
    """Tries each probe once; returns one line per failed probe."""
    return [f"{probe}: {error}" for probe, error in _failed(health)]


def wait(health: tuple[str, ...], service: Service, *, since: float) -> None:
    """Waits until every probe succeeds and the service is active; raises `MailhostError` naming those that do not.

    `since`: the Unix time when the service was told of new files; its own words from then on belong to the message.
    """
    deadline = time.monotonic() + PATIENCE
    pause = 0.02
    left = list(health)
    restarts: int | None = None
    while True:
        failed = _failed(left)
        left = [probe for probe, _ in failed]
        wrong = [f"{probe}: {error}" for probe, error in failed]
        if not wrong and not service.active():
            wrong = [f"{service.unit} is not active"]
        if not wrong:
            return
        final = any(isinstance(error, Unhealthy) and error.final for _, error in failed)
        given_up, count = _restarts(service)
        # systemd counts from the last start by hand: what was before a reload is no sign of anything.
        restarts = count if restarts is None else min(restarts, count)
        if final or time.monotonic() > deadline or given_up or count - restarts > 1:
            words = service.journal(int(since)) if hasattr(service, "journal") else ""
            raise MailhostError("\n".join([f"{service.name}: not healthy", *wrong, words]).rstrip())
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def _restarts(service: Service) -> tuple[bool, int]:
    """Whether systemd has given a unit of the service up, and how often it has started it again by itself.

    A unit that failed for good, or is started again and again, does not become healthy by waiting.
    """
    words: list[str] = []
    for unit in service.processes():
        words += run(["systemctl", "show", "-P", "ActiveState,NRestarts", unit]).out.split()
    return "failed" in words, sum(int(word) for word in words if word.isdigit())


def _failed(health: Iterable[str]) -> list[tuple[str, Unhealthy | OSError]]:
    failed: list[tuple[str, Unhealthy | OSError]] = []
    for probe in health:
        try:
            check(probe)
        except (Unhealthy, OSError) as error:
            failed.append((probe, error))
    return failed


def check(probe: str) -> None:
    """Runs one probe, such as `tcp 25 220`; raises `Unhealthy` or `OSError`, and `MailhostError` for an unknown one."""
    kind, _, rest = probe.partition(" ")
    if kind in _ACTIVE:
        if run([*_ACTIVE[kind], rest]).code != 0:
            raise Unhealthy("is not active")
    elif kind == "unix":
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER)
            client.connect(rest)
    elif kind == "tcp":
        port, prefix = _port(probe, rest)
        with connect(port) as plain:
            if prefix:
                _expect(plain, prefix)
                _goodbye(plain, port)
    elif kind == "tls":
        port, prefix = _port(probe, rest)
        with secured(probe) as client:
            if prefix:
                _expect(client, prefix)
                _goodbye(client, port)
    elif kind in _STARTTLS:
        port, _ = _port(probe, rest)
        with secured(probe) as client:
            if port == SMTP:
                _smtp_configuration(client)
            _goodbye(client, port)
    elif kind == "resolver":
        _resolver(rest)
    elif kind == "https":
        _https(probe, rest)
    else:
        raise MailhostError(f"health probe {probe!r}: unknown kind")


def connect(port: int) -> socket.socket:
    """A connection to a service on this host."""
    return socket.create_connection(("127.0.0.1", port), timeout=ANSWER)


@contextlib.contextmanager
def secured(probe: str) -> Iterator[SSLSocket]:
    """A TLS connection as a `tls`, `starttls-…` or `https` probe describes it. The certificate is not judged here."""
    import ssl  # noqa: PLC0415 -- costs 25 ms, which most commands need not pay

    kind, _, rest = probe.partition(" ")
    if kind == "https":
        name, port = page_name(probe), HTTPS
    else:
        name, port = None, _port(probe, rest)[0]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connect(port) as plain:
        for expected, command in _STARTTLS.get(kind, ()):
            _expect(plain, expected)
            if command:
                plain.sendall(command)
        with context.wrap_socket(plain, server_hostname=name) as client:
            yield client


def _resolver(address: str) -> None:
    """Whether a resolver finds the root's name servers: it has a way out, and what it validates is right."""
    try:
        reply = resolver.query(address, resolver.Question(name=".", kind="NS", recursive=True))
    except resolver.NoAnswerError as error:
        raise Unhealthy(str(error)) from None
    if reply.rcode or not reply.answers:
        raise Unhealthy(f"answers {dns.RCODES.get(reply.rcode, reply.rcode)} for the root's name servers")


def _https(probe: str, page: str) -> None:
    """Whether the web server has a page."""
    name, _, path = page.partition("/")
    with secured(probe) as client:
        client.sendall(f"GET /{path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        status = client.recv(200).decode(errors="replace").partition("\r\n")[0]
    if status.split()[1:2] != ["200"]:
        raise Unhealthy(f"answers {status!r}")


def page_name(probe: str) -> str:
    """Host name of an `https NAME/PATH` probe."""
    name, slash, _ = probe.removeprefix("https ").partition("/")
    if not slash:
        raise MailhostError(f"health probe {probe!r}: must be https NAME/PATH")
    return name


_ACTIVE = {"unit": ("systemctl", "is-active", "--quiet"), "jail": ("fail2ban-client", "status")}
_STARTTLS = {
    "starttls-smtp": (("220", b"EHLO localhost\r\n"), ("250", b"STARTTLS\r\n"), ("220", b"")),  # RFC 3207
    "starttls-imap": (("* OK", b"a STARTTLS\r\n"), ("a OK", b"")),  # RFC 9051 6.2.1
    "starttls-pop3": (("+OK", b"STLS\r\n"), ("+OK", b"")),  # RFC 2595 4
    "starttls-sieve": (('"IMPLEMENTATION"', b"STARTTLS\r\n"), ("OK", b"")),  # RFC 5804 2.2
}
_QUIT = {25: b"QUIT\r\n", 465: b"QUIT\r\n", 587: b"QUIT\r\n", 110: b"QUIT\r\n", 995: b"QUIT\r\n", 4190: b"LOGOUT\r\n"}


def _smtp_configuration(client: socket.socket) -> None:
    """Postfix finds a mistake in its restrictions only when it applies them, and then says 451 4.3.5 to everybody.

    Nothing is sent. The recipient is refused, or not, as the restrictions say; its name explains the line in the log.
    """
    recipient = b"RCPT TO:<mailhostctl-health-probe@probe.invalid>\r\n"  # RFC 2606: exists nowhere
    for command in (b"EHLO localhost\r\n", b"MAIL FROM:<>\r\n", recipient):
        client.sendall(command)
        reply = _reply(client)
        if reply.startswith("451 4.3.5"):
            raise Unhealthy(reply, final=True)


def _port(probe: str, rest: str) -> tuple[int, str]:
    port, _, prefix = rest.partition(" ")
    if not port.isdigit():
        raise MailhostError(f"health probe {probe!r}: {port!r} is not a port")
    return int(port), prefix


def _expect(client: socket.socket, prefix: str) -> None:
    reply = _reply(client)
    if not reply.startswith(prefix):
        raise Unhealthy(f"expected {prefix!r}, got {reply!r}")


def _reply(client: socket.socket) -> str:
    """Reads one reply, at most 200 characters of it.

    It is all there when its last line is neither `250-…` (SMTP, RFC 5321 4.2.1) nor `"…"` (ManageSieve, RFC 5804 1.3).
    """
    reply = b""
    deadline = time.monotonic() + ANSWER
    while True:
        lines = reply.split(b"\r\n")
        if len(lines) > 1 and lines[-2][3:4] != b"-" and lines[-2][:1] != b'"':
            break
        received = client.recv(4096)
        if not received or len(reply) > 65536 or time.monotonic() > deadline:  # noqa: PLR2004 -- a greeting is short
            raise Unhealthy(f"closed after {reply[:100].decode(errors='replace')!r}")
        reply += received
    return reply[:200].decode(errors="replace").rstrip()


def _goodbye(client: socket.socket, port: int) -> None:
    """Leaves politely, so that the daemon logs no lost connection."""
    with contextlib.suppress(OSError):
        client.sendall(_QUIT.get(port, b"a LOGOUT\r\n"))
        client.recv(4096)
