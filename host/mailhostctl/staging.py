"""Staged files: what the operator's program has sent and `apply` has not yet used. Live files are never touched.

A staged file is one line with mode and owner, then the content.
"""

from __future__ import annotations

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
    staged = f"{mode(mode_text):04o} {owner(owner_text)}\n".encode() + content
    with durable.locked(state.lock):
        if durable.read(place) != staged:
            durable.make_folder(place.parent)
            durable.write(place, staged)


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
    for path, file in manifest.files.items():
        staged = durable.read(below(state.staged, path))
        if staged is None:
            raise MailhostError(f"{path}: nothing is staged for it; stage it, then apply again")
        noted, _, content = staged.partition(b"\n")
        if digest(content) != file.sha256:
            raise MailhostError(f"{path}: the staged content is not the one in the manifest; stage it again")
        if noted.decode() != f"{file.mode:04o} {file.owner}":
            raise MailhostError(f"{path}: was staged as {noted.decode()}, the manifest says otherwise; stage it again")
        contents[path] = content
    return contents
