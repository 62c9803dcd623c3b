"""What `apply` is asked for: files with mode, owner and digest, health probes, and what must exist before."""

from __future__ import annotations

import grp
import hashlib
import json
import pwd
import re
from dataclasses import dataclass
from typing import Any

from mailhostctl.paths import host_path
from mailhostctl.system import MailhostError

_MODE = re.compile(r"0[0-7]{3}")
_OWNER = re.compile(r"([a-z_][a-z0-9_-]*|[0-9]+):([a-z_][a-z0-9_-]*|[0-9]+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class File:
    """One managed file: permission bits, `user:group` and the SHA-256 of its content in hex."""

    mode: int
    owner: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A wanted state of one service. `text` is the manifest as it came, the identity of the state."""

    text: str
    files: dict[str, File]
    health: tuple[str, ...]
    requires: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Digest of the manifest's text."""
        return digest(self.text.encode())


EMPTY = Manifest(text="", files={}, health=(), requires=())
"""Nothing is managed: generation 0."""


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def mode(text: str) -> int:
    """Permission bits from four octal digits, such as 0644; raises `MailhostError`."""
    if not _MODE.fullmatch(text):
        raise MailhostError(f"mode {text!r}: must be four octal digits such as 0644")
    return int(text, 8)


def owner(text: str) -> str:
    """Returns `text` when it has the form user:group; raises `MailhostError`."""
    if not _OWNER.fullmatch(text):
        raise MailhostError(f"owner {text!r}: must be user:group such as root:root")
    return text


def owner_ids(text: str) -> tuple[int, int]:
    """Numbers of user and group of `user:group`; raises `MailhostError` naming the one that does not exist."""
    user, group = owner(text).split(":")
    try:
        uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise MailhostError(f"owner {text}: user {user} does not exist; install its package first") from None
    try:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise MailhostError(f"owner {text}: group {group} does not exist; install its package first") from None
    return uid, gid


def parse(text: str) -> Manifest:
    """Reads a manifest, strictly: unknown keys, wrong types and odd paths raise `MailhostError` naming them."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise MailhostError(f"manifest: not JSON ({error})") from None
    if not isinstance(raw, dict) or not raw.keys() <= {"files", "health", "requires"}:
        raise MailhostError('manifest: must be an object with "files", "health" and "requires" only')
    files = raw.get("files")
    if not isinstance(files, dict):
        raise MailhostError('manifest: "files" must be an object of host paths')
    return Manifest(
        text=text,
        files={host_path(path): _file(path, entry) for path, entry in sorted(files.items())},
        health=_texts(raw, "health"),
        requires=tuple(host_path(path) for path in _texts(raw, "requires")),
    )


def _file(path: str, entry: Any) -> File:
    if not isinstance(entry, dict) or entry.keys() != {"mode", "owner", "sha256"}:
        raise MailhostError(f'manifest: {path} must have exactly "mode", "owner" and "sha256"')
    if not isinstance(entry["sha256"], str) or not _SHA256.fullmatch(entry["sha256"]):
        raise MailhostError(f"manifest: sha256 of {path} must be 64 hex digits")
    return File(mode=mode(str(entry["mode"])), owner=owner(str(entry["owner"])), sha256=entry["sha256"])


def _texts(raw: dict[str, Any], key: str) -> tuple[str, ...]:
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MailhostError(f'manifest: "{key}" must be a list of texts')
    return tuple(value)
