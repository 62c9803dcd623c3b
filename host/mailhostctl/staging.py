"""Staged files: what the operator's program has sent and `apply` has not yet used. Live files are never touched.

A staged file is one line with mode and owner, then the content. The secret files of a service are one document, kept as
it came: it comes whole each time, so a file that is no longer in it is gone.
"""

from __future__ import annotations

import json
from typing import Any

from mailhostctl import durable
from mailhostctl.manifest import Manifest, digest, mode, owner
from mailhostctl.paths import Root, ServiceState, below, host_path
from mailhostctl.system import MailhostError


def stage(root: Root, service: str, path: str, content: bytes, *, mode_text: str, owner_text: str) -> None:
    """Keeps `content` for host path `path`, readable by root only, until `unstage`.

    Mode and owner are only noted: the owner may not exist before the packages are installed, so `apply` gives them.
    """
    state = root.service(service)
    place = below(state.staged, host_path(path))
    staged = _staged(content, mode_text, owner_text)
    with durable.locked(state.lock):
        if durable.read(place) != staged:
            durable.make_folder(place.parent)
            durable.write(place, staged)


def stage_secrets(root: Root, service: str, text: str) -> None:
    """Keeps the secret files of a service, readable by root only, in place of those before, until `unstage_secrets`.

    `text` is JSON, {host path: {"mode", "owner", "content"}}; raises `MailhostError`, which never quotes a content.
    """
    _secrets(text)
    state = root.service(service)
    with durable.locked(state.lock):
        if durable.read(state.secrets) != text.encode():
            durable.write(state.secrets, text.encode())


def unstage_secrets(root: Root, service: str) -> None:
    """Forgets the secret files of a service; nothing staged is fine."""
    state = root.service(service)
    if state.folder.is_dir():
        with durable.locked(state.lock):
            durable.remove(state.secrets)


def unstage(root: Root, service: str, path: str) -> None:
    """Forgets what was staged for `path`; nothing staged is fine."""
    state = root.service(service)
    place = below(state.staged, host_path(path))
    if state.folder.is_dir():
        with durable.locked(state.lock):
            durable.remove(place)


def collect(state: ServiceState, manifest: Manifest) -> dict[str, bytes]:
    """The staged contents a manifest names, by path; raises `MailhostError` when one differs from what it says."""
    contents = {}
    secrets = _secrets((durable.read(state.secrets) or b"{}").decode())
    for path, file in manifest.files.items():
        staged = secrets.get(path) or durable.read(below(state.staged, path))
        if staged is None:
            raise MailhostError(f"{path}: nothing is staged for it; stage it, then apply again")
        noted, _, content = staged.partition(b"\n")
        if digest(content) != file.sha256:
            raise MailhostError(f"{path}: the staged content is not the one in the manifest; stage it again")
        if noted.decode() != f"{file.mode:04o} {file.owner}":
            raise MailhostError(f"{path}: was staged as {noted.decode()}, the manifest says otherwise; stage it again")
        contents[path] = content
    return contents


def _secrets(text: str) -> dict[str, bytes]:
    """The files of a document of secrets, each as a staged file is kept; raises `MailhostError`."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise MailhostError("secrets: must be a JSON object of host paths")
    return {host_path(path): _secret(path, entry) for path, entry in document.items()}


def _secret(path: str, entry: Any) -> bytes:
    if (
        not isinstance(entry, dict)
        or entry.keys() != {"mode", "owner", "content"}
        or not all(isinstance(value, str) for value in entry.values())
    ):
        raise MailhostError(f'secrets: {path} must have exactly the texts "mode", "owner" and "content"')
    return _staged(entry["content"].encode(), entry["mode"], entry["owner"])


def _staged(content: bytes, mode_text: str, owner_text: str) -> bytes:
    return f"{mode(mode_text):04o} {owner(owner_text)}\n".encode() + content
