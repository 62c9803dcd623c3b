"""Staged files: what the operator's program has sent and `apply` has not yet used. Live files are never touched.

A service's files come as one text, its secret files as another. Each file is a line with path, mode, owner, number of
lines and SHA-256, then its lines. A text is kept as it came; it comes whole each time, so a file that is no longer in
it is gone.
"""

from __future__ import annotations

import io
import re

from mailhostctl import durable
from mailhostctl.manifest import Manifest, digest, mode, owner
from mailhostctl.paths import Root, ServiceState, below, host_path
from mailhostctl.system import MailhostError

PARTS = ("files", "secrets")
"""The texts that a service may have."""

_ABOVE = re.compile(r"==> (\S+) (\S+) (\S+) ([0-9]+) ([0-9a-f]{64}) <==")


def stage(root: Root, service: str, part: str, text: bytes) -> None:
    """Keeps a text, readable by root only, in place of the one before, until `unstage`.

    Owners are only noted: they may not exist before the packages are installed, so `apply` gives them. Raises
    `MailhostError`, which never quotes a content.
    """
    read(part, text)
    state = root.service(service)
    with durable.locked(state.lock):
        if durable.read(state.staged / part) != text:
            durable.make_folder(state.staged)
            durable.write(state.staged / part, text)


def unstage(root: Root, service: str, part: str) -> None:
    """Forgets a text; nothing staged is fine. `part` may be the host path of a file, as 0.1.0 staged each by itself."""
    state = root.service(service)
    place = state.staged / part if part in PARTS else below(state.staged, host_path(part))
    if state.folder.is_dir():
        with durable.locked(state.lock):
            durable.remove(place)


def collect(state: ServiceState, manifest: Manifest) -> dict[str, bytes]:
    """The staged contents a manifest names, by path; raises `MailhostError` when one differs from what it says."""
    staged: dict[str, tuple[str, bytes]] = {}
    for part in PARTS:
        staged |= read(part, durable.read(state.staged / part) or b"")
    contents = {}
    for path, file in manifest.files.items():
        if path not in staged:
            raise MailhostError(f"{path}: nothing is staged for it; stage it, then apply again")
        noted, content = staged[path]
        if digest(content) != file.sha256:
            raise MailhostError(f"{path}: the staged content is not the one in the manifest; stage it again")
        if noted != f"{file.mode:04o} {file.owner}":
            raise MailhostError(f"{path}: was staged as {noted}, the manifest says otherwise; stage it again")
        contents[path] = content
    return contents


def read(part: str, text: bytes) -> dict[str, tuple[str, bytes]]:
    """The files of a text: "MODE OWNER" and content by path; raises `MailhostError`."""
    files: dict[str, tuple[str, bytes]] = {}
    lines = io.BytesIO(text).readlines()
    at = 0
    while at < len(lines):
        above = _ABOVE.fullmatch(lines[at].decode(errors="replace").rstrip("\n"))
        if above is None:
            raise MailhostError(f"{part}: line {at + 1} should name a file: ==> PATH MODE OWNER LINES SHA256 <==")
        path, bits, holder, count, sha256 = above.groups()
        content = b"".join(lines[at + 1 : at + 1 + int(count)])
        if digest(content) != sha256:
            raise MailhostError(f"{part}: {path} is not what was sent")
        files[host_path(path)] = (f"{mode(bits):04o} {owner(holder)}", content)
        at += 1 + int(count)
    return files
