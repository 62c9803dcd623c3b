"""Looks whether this machine can become a mail host, before anything on it is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from mailhostctl import facts, generations
from mailhostctl.paths import Root
from mailhostctl.services import SERVICES
from mailhostctl.system import MailhostError, say, tell

_GREETING_SECONDS = 20
"""Connecting tries again after 1, 3, 7 and 15 seconds: the first packets of a new machine may be lost."""
_LOOKS = ("disk", "listeners", "memory")
_GIGABYTE = 1e9
# systemd-resolved keeps to 127.0.0.53 and disturbs nobody.
_RESOLVERS = ("0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104 -- compared, not bound
_DNS = 53


@dataclass(frozen=True, kw_only=True)
class _Finding:
    row: str
    wrong: str = ""


def look(root: Root, text: str) -> None:
    """Prints one stable `ok ROW` line per thing that is right, says what is doubtful, raises on what stops.

    `text` is JSON: what to look at, and for each row whether it stops or warns, and what to do (model/preflight.py).
    """
    asked = json.loads(text)
    found = list(_findings(root, asked))
    stopped = []
    for finding in found:
        row = asked["rows"][finding.row]
        sentence = f"{finding.row}: {finding.wrong}. {row['fix']}"
        if not finding.wrong:
            tell(f"ok {finding.row}")
        elif row["level"] == "stops":
            stopped.append(sentence)
        else:
            say(f"warning: {sentence}")
    if stopped:
        raise MailhostError("\n".join(["this machine cannot become a mail host; nothing was changed:", *stopped]))


def _findings(root: Root, asked: dict[str, Any]) -> Iterator[_Finding]:
    questions = {"port25": asked["servers"], "ipv6": asked["ipv6"], "names": [], "timeout": _GREETING_SECONDS}
    seen = facts.collect(questions, only=_LOOKS)
    memory, disk = seen.get("memory"), seen.get("disk")
    total = sum(memory.values()) if memory else asked["memory"]
    short = f"there are {_size(total)}, what is on needs {_size(asked['memory'])}, swap counted"
    yield _Finding(row="host.memory", wrong=short if total < asked["memory"] else "")
    free = asked["disk"] if disk is None else disk
    full = f"{_size(free)} are free, {_size(asked['disk'])} are needed"
    yield _Finding(row="host.disk", wrong=full if free < asked["disk"] else "")
    yield _Finding(row="host.ports", wrong="" if _managed(root) else _strangers(asked, seen.get("listeners", [])))
    yield _Finding(row="host.port25", wrong=_unreached(seen["port25"]))


def _managed(root: Root) -> bool:
    """Whether a service of ours is applied: then the ports are its own."""
    return any(generations.current(root.service(name)) for name in SERVICES)


def _strangers(asked: dict[str, Any], listeners: list[dict[str, Any]]) -> str:
    seen = sorted(
        {
            (entry["port"], entry["program"] or "a program")
            for entry in listeners
            if entry["port"] in asked["ports"]
            and entry["port"] != asked["ssh"]
            and (entry["port"] != _DNS or entry["address"] in _RESOLVERS)
        }
    )
    return ", ".join(f"{program} listens on port {port}" for port, program in seen)


def _unreached(attempts: list[dict[str, str]]) -> str:
    """Why no mail would leave: for an address family, no server greeted."""
    greeted = {attempt["family"] for attempt in attempts if attempt["greeting"].startswith("220")}
    silent = sorted(
        (attempt for attempt in attempts if attempt["family"] not in greeted), key=itemgetter("host", "family")
    )
    return "; ".join(
        f"{attempt['host']} over {attempt['family']}: {attempt['greeting'] or attempt['error']}" for attempt in silent
    )


def _size(octets: float) -> str:
    return f"{octets / _GIGABYTE:.1f} GB"
