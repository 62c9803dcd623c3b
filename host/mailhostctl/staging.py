"""The text in which a service's files arrive: `stage` checks it, `apply` makes it live.

Lines `requires PATH` and `health PROBE` come first. Then each file is a line with path, mode, owner, number of lines
and SHA-256, followed by its lines.

Staging keeps nothing on the host. Its serial goes into the state before the host changes, and from there into the
command line of the `apply`, which carries the same text again. So an `apply` follows each staging, also when the
settings went back after an interrupted update, and nothing that lies on the host can be lost or replaced in between.
"""

from __future__ import annotations

import io
import json
import re
import secrets

from mailhostctl.manifest import Manifest, digest, mode, owner, parse
from mailhostctl.paths import host_path
from mailhostctl.system import MailhostError

FILE_PARTS = ("files", "secrets")
"""The parts of a service that are files."""

_HEADER = re.compile(r"==> (\S+) (\S+) (\S+) ([0-9]+) ([0-9a-f]{64}) <==")
_CONDITION = re.compile(r"(requires|health) (\S.*)")


def stage(part: str, text: bytes) -> str:
    """Checks that a text arrived whole; returns a serial that no other call returns.

    Parts other than `FILE_PARTS` are in the form of the command that takes them. Raises `MailhostError`, which never
    quotes a content.
    """
    if part in FILE_PARTS:
        read(text)
    return secrets.token_hex(8)


def read(text: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """Returns the manifest of a text and the contents by path; raises `MailhostError`."""
    conditions: dict[str, list[str]] = {"requires": [], "health": []}
    entries: dict[str, dict[str, str]] = {}
    contents: dict[str, bytes] = {}
    lines = io.BytesIO(text).readlines()
    at = 0
    while at < len(lines):
        line = lines[at].decode(errors="replace").rstrip("\n")
        at += 1
        condition = _CONDITION.fullmatch(line)
        if condition:
            conditions[condition[1]].append(condition[2])
            continue
        header = _HEADER.fullmatch(line)
        if header is None:
            raise MailhostError(f"line {at} on stdin should name a file: ==> PATH MODE OWNER LINES SHA256 <==")
        path, bits, holder, count, sha256 = header.groups()
        content = b"".join(lines[at : at + int(count)])
        at += int(count)
        if digest(content) != sha256:
            raise MailhostError(f"{path}: did not arrive whole; run the command again")
        if path in entries:
            raise MailhostError(f"{path}: sent twice")
        entries[host_path(path)] = {"mode": f"{mode(bits):04o}", "owner": owner(holder), "sha256": sha256}
        contents[path] = content
    document = {"files": entries, **conditions}
    return parse(json.dumps(document, indent=2, sort_keys=True) + "\n"), contents
