"""Figures of the mail host for monitoring, in Prometheus' text format, and the daily digest made of them.

<https://prometheus.io/docs/instrumenting/exposition_formats/>
"""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import BinaryIO

from mailhostctl import generations, paths
from mailhostctl.paths import LINEAGES, Root
from mailhostctl.services import SERVICES, Daemon
from mailhostctl.system import MailhostError, must, run

QUEUES = ("active", "deferred", "hold", "incoming")
MAIL = "/var/vmail"
RSPAMD_SOCKET = "/run/rspamd/learn.sock"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LONGEST_LINE = 8192
"""Bytes of a request line or header."""
_ANSWER = 5.0
"""Seconds rspamd may take."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A gauge, and its values by the value of its one label."""

    name: str
    help: str
    label: str
    values: dict[str, float] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """As Prometheus reads it."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} gauge"
        for label, value in sorted(self.values.items()):
            yield f'{self.name}{{{self.label}="{label}"}} {value:.15g}'


def page(root: Root) -> str:
    """All figures. A source that cannot be read is missing, and `mailhost_source_up` says so."""
    lines: list[str] = []
    up: dict[str, float] = {}
    for name, source in _SOURCES.items():
        try:
            lines += [line for metric in source(root) for line in metric.lines()]
            up[name] = 1
        except (MailhostError, OSError, ValueError):
            up[name] = 0
    if generations.current(root.service("rspamd")):
        try:
            lines += rspamd(root)
            up["rspamd"] = 1
        except (MailhostError, OSError):
            up["rspamd"] = 0
    lines += Metric(
        name="mailhost_source_up", help="Whether the source of figures could be read.", label="source", values=up
    ).lines()
    return "\n".join(lines) + "\n"


def queue(_root: Root) -> Iterator[Metric]:
    """Postfix' queue, as postqueue(1) lists it: an object a line."""
    messages = dict.fromkeys(QUEUES, 0.0)
    oldest = dict.fromkeys(QUEUES, 0.0)
    now = time.time()
    for line in must(["postqueue", "-j"], timeout=15).out.splitlines():
        entry = json.loads(line)
        name = entry["queue_name"]
        messages[name] = messages.get(name, 0) + 1
        oldest[name] = max(oldest.get(name, 0), now - entry["arrival_time"])
    yield Metric(name="mailhost_queue_messages", help="Messages in the queue.", label="queue", values=messages)
    yield Metric(
        name="mailhost_queue_oldest_seconds",
        help="Age of the oldest message in the queue; 0 when it is empty.",
        label="queue",
        values=oldest,
    )


def certificates(root: Root) -> Iterator[Metric]:
    """Each of certbot's certificates that is still renewed: a retired one ends without harm."""
    left: dict[str, float] = {}
    for lineage in sorted(root.live(LINEAGES).glob("*/cert.pem")):
        name = lineage.parent.name
        if root.live(paths.retired(name)).exists() and not root.live(paths.renewal(name)).exists():
            continue
        # notAfter=Feb 21 00:45:00 2027 GMT (x509(1), -enddate)
        said = must(["openssl", "x509", "-noout", "-enddate", "-in", str(lineage)], timeout=10).out
        ends = datetime.strptime(said.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        left[name] = round((ends.timestamp() - time.time()) / 86400, 3)
    yield Metric(
        name="mailhost_certificate_days_left", help="Days until the certificate ends.", label="name", values=left
    )


def services(root: Root) -> Iterator[Metric]:
    """Each service that is applied."""
    numbers: dict[str, float] = {}
    applied: dict[str, float] = {}
    active: dict[str, float] = {}
    for name, service in SERVICES.items():
        state = root.service(name)
        number = generations.current(state)
        if number:
            numbers[name] = number
            applied[name] = round(state.current.stat().st_mtime)
            if isinstance(service, Daemon):  # only root with all its power sees whether a firewall is up
                active[name] = service.active()
    yield Metric(
        name="mailhost_service_generation", help="Generation that is applied.", label="service", values=numbers
    )
    yield Metric(
        name="mailhost_service_applied_timestamp_seconds",
        help="When it was applied, as a Unix time.",
        label="service",
        values=applied,
    )
    yield Metric(name="mailhost_service_active", help="Whether the daemon runs.", label="service", values=active)


def disk(root: Root) -> Iterator[Metric]:
    """The file system that holds the mail."""
    usage = shutil.disk_usage(root.live(MAIL))
    yield Metric(
        name="mailhost_disk_size_bytes", help="Size of the file system.", label="path", values={MAIL: usage.total}
    )
    yield Metric(
        name="mailhost_disk_free_bytes", help="Free for everybody but root.", label="path", values={MAIL: usage.free}
    )


_SOURCES: dict[str, Callable[[Root], Iterator[Metric]]] = {
    "queue": queue,
    "certificates": certificates,
    "services": services,
    "disk": disk,
}


def rspamd(root: Root) -> list[str]:
    """The figures of rspamd, as it says them, but for those every program has."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ANSWER)
        client.connect(str(root.live(RSPAMD_SOCKET)))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with client.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    if head.split()[1:2] != [b"200"]:
        raise MailhostError(f"rspamd: {head[:80].decode(errors='replace')}")
    return [
        line for line in body.decode().splitlines() if line.startswith(("rspamd_", "# HELP rspamd_", "# TYPE rspamd_"))
    ]


def serve(root: Root, client: BinaryIO, answer: BinaryIO) -> None:
    """Answers one HTTP request (RFC 9112): GET or HEAD of /metrics. A client without one gets nothing."""
    request = client.readline(LONGEST_LINE)
    words = request.split()
    header = request
    while header.strip():
        header = client.readline(LONGEST_LINE)
    if len(words) != 3:  # noqa: PLR2004 -- RFC 9112 §3: method, target, version
        return
    method, target = words[:2]
    if target.partition(b"?")[0] != b"/metrics":
        status, kind, body = "404 Not Found", "text/plain", "The page is /metrics.\n"
    elif method not in {b"GET", b"HEAD"}:
        status, kind, body = "405 Method Not Allowed\r\nAllow: GET, HEAD", "text/plain", "GET it.\n"
    else:
        status, kind, body = "200 OK", CONTENT_TYPE, page(root)
    content = body.encode()
    head = f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    answer.write(head.encode() + (b"" if method == b"HEAD" else content))
    answer.flush()


def digest(root: Root, reader: str) -> EmailMessage:
    """The mail for the postmaster: the state now, and what went through in the last 24 hours."""
    host = socket.getfqdn()
    message = EmailMessage()
    message["From"] = message["To"] = reader
    message["Subject"] = f"Mail on {host}, {datetime.now().astimezone():%Y-%m-%d}"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5
    message.set_content("\n".join([*_state(root), "", _summary()]), cte="8bit")
    return message


def send(message: EmailMessage) -> None:
    """Hands a mail to Postfix."""
    must(["sendmail", "-i", "-f", str(message["From"]), "--", str(message["To"])], stdin=bytes(message))


def _state(root: Root) -> Iterator[str]:
    messages, oldest = (metric.values for metric in queue(root))
    waiting = [
        f"{messages[name]:.0f} {name} (oldest {oldest[name] / 3600:.1f} h)" for name in messages if messages[name]
    ]
    yield f"Queue: {', '.join(waiting) or 'empty'}"
    size, free = (metric.values[MAIL] for metric in disk(root))
    yield f"Disk:  {free / 1e9:.1f} GB free of {size / 1e9:.1f} GB ({free / size:.0%}) at {MAIL}"
    (left,) = certificates(root)
    for name, days in sorted(left.values.items()):
        yield f"Certificate {name}: {days:.0f} days left"
    *_, active = services(root)
    down = sorted(name for name, runs in active.values.items() if not runs)
    yield f"Services: {', '.join(down) + ' NOT RUNNING' if down else 'all run'}"


def _summary() -> str:
    """pflogsumm(1) of the journal. The log of a day may be large: it goes from one program into the other."""
    done = run(
        [
            *("sh", "-c"),
            "journalctl --quiet --no-pager --output=short --since=-24h SYSLOG_FACILITY=2"
            " | pflogsumm -h 10 -u 10 --problems-first",
        ],
        timeout=600,
    )
    if done.code != 0:
        raise MailhostError(f"pflogsumm: {done.said}")
    return done.out.strip()
