"""Facts of a machine, as JSON. Changes nothing.

The doctor runs this file alone, from standard input, on machines that have no mailhostctl yet: it imports none of the
others. It takes one argument, JSON: {"port25": [host, …], "ipv6": bool, "names": [name, …], "certificate": path,
"deployed": text for `mailhostctl drift`, "timeout": seconds}. A fact that cannot be had is left out: whatever state the
host is in, an answer comes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

_MAILHOSTCTL = "/usr/local/sbin/mailhostctl"
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp, see proc_net_tcp(5)
_END = "-----END CERTIFICATE-----"
_LOOKERS_UP = 6
_RESOLVED_NOTHING = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


def _owners() -> dict[str, str]:
    """Program names (proc_pid_comm(5)) by socket inode."""
    found: dict[str, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended
            name = (process / "comm").read_text().strip()
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    match = re.match(r"socket:\[(\d+)\]", str(link.readlink()))
                    if match:
                        found.setdefault(match[1], name)
    return found


def _listeners() -> list[dict[str, Any]]:
    programs = _owners()
    found: list[dict[str, Any]] = []
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else ():
            words = line.split()
            if words[3] != _LISTEN:
                continue
            digits, port = words[1].split(":")
            # Words of 32 bits, each in the machine's byte order.
            step = -1 if sys.byteorder == "little" else 1
            raw = b"".join(bytes.fromhex(digits[at : at + 8])[::step] for at in range(0, len(digits), 8))
            address = socket.inet_ntop(family, raw)
            found.append({"address": address, "port": int(port, 16), "program": programs.get(words[9], "")})
    return found


def _greet(host: str, family: socket.AddressFamily, timeout: float, found: list[dict[str, str]]) -> None:
    """See whether a mail server greets us."""
    result = {"host": host, "family": "IPv6" if family == socket.AF_INET6 else "IPv4", "greeting": "", "error": ""}
    try:
        address = socket.getaddrinfo(host, 25, family, socket.SOCK_STREAM)[0][4]
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            client.connect(address)
            result["greeting"] = client.recv(512).decode("ascii", "replace").split("\r\n")[0]
            client.sendall(b"QUIT\r\n")
    except TimeoutError:
        result["error"] = "timeout"
    except OSError as error:
        result["error"] = error.strerror or str(error)
    found.append(result)


def _look_up(names: list[str], found: dict[str, list[str] | None]) -> None:
    """Look names up with the host's resolver: addresses, none, or null where it did not answer."""
    for name in names:
        try:
            entries = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
            found[name] = sorted({str(entry[4][0]) for entry in entries})
        except socket.gaierror as error:
            found[name] = [] if error.errno in _RESOLVED_NOTHING else None


def _output(*command: str, stdin: str = "") -> str | None:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _queue() -> list[dict[str, Any]] | None:
    """When each mail in the queue arrived and why it waits; postqueue(1) prints an object per line."""
    text = _output("postqueue", "-j")
    if text is None:
        return None
    found = []
    for entry in map(json.loads, text.splitlines()):
        reasons = [recipient.get("delay_reason", "") for recipient in entry.get("recipients", [])]
        found.append({"arrived": entry.get("arrival_time", 0), "reason": next(filter(None, reasons), "")})
    return found


def _full() -> list[str] | None:
    """Mailboxes that hold more than their quota; doveadm-quota(1) prints a line for each and kind, in KiB."""
    text = _output("doveadm", "-f", "tab", "quota", "get", "-A")
    if text is None:
        return None
    lines = [line.split("\t") for line in text.splitlines()]
    at = {name.lower(): column for column, name in enumerate(lines[0] if lines else ())}
    return [
        words[at["username"]]
        for words in lines[1:]
        if words[at["type"]] == "STORAGE"
        and words[at["limit"]].isdigit()
        and int(words[at["value"]]) > int(words[at["limit"]])
    ]


def _release() -> dict[str, str]:
    """Of os-release(5)."""
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    words = {key: value.strip('"') for key, _, value in pairs}
    return {"id": words.get("ID", ""), "version": words.get("VERSION_ID", ""), "name": words.get("PRETTY_NAME", "")}


def _memory() -> dict[str, int]:
    """Octets; /proc/meminfo counts in KiB."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return {key: int(fields[key].split()[0]) * 1024 for key in ("MemTotal", "SwapTotal")}


def _fingerprint(path: str) -> str:
    """SHA-256 of the first certificate in a PEM file."""
    pem = Path(path).read_text()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index(_END) + len(_END)])).hexdigest()


def collect(asked: dict[str, Any], only: Collection[str] | None = None) -> dict[str, Any]:
    """Finds out all facts, or those named beside the ones that are asked for; servers greet meanwhile."""
    port25: list[dict[str, str]] = []
    names: dict[str, list[str] | None] = {}
    facts: dict[str, Any] = {"now": time.time(), "python": platform.python_version(), "port25": port25, "names": names}
    families = [socket.AF_INET] + ([socket.AF_INET6] if asked["ipv6"] else [])
    work = [
        threading.Thread(target=_greet, args=(host, family, asked["timeout"], port25), daemon=True)
        for host in asked["port25"]
        for family in families
    ]
    work += [
        threading.Thread(target=_look_up, args=(asked["names"][first::_LOOKERS_UP], names), daemon=True)
        for first in range(min(_LOOKERS_UP, len(asked["names"])))
    ]
    for thread in work:
        thread.start()
    looks: dict[str, Callable[[], Any]] = {
        "release": _release,
        "memory": _memory,
        "disk": lambda: min(shutil.disk_usage(path).free for path in ("/", "/var")),
        "listeners": _listeners,
        "managed": lambda: Path("/var/lib/mailhost").is_dir(),
        "drift": lambda: json.loads(_output(_MAILHOSTCTL, "drift", stdin=asked["deployed"]) or ""),
        "queue": _queue,
        "full": _full,
        "fingerprint": lambda: _fingerprint(asked["certificate"]),
    }
    for key, look in looks.items():
        with contextlib.suppress(Exception):
            if only is None or key in only:
                facts[key] = look()
    deadline = time.monotonic() + 2 * asked["timeout"]
    for thread in work:
        thread.join(max(0, deadline - time.monotonic()))
    return facts


if __name__ == "__main__":
    print(json.dumps(collect(json.loads(sys.argv[1]))))
