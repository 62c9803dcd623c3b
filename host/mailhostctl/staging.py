"""Staged contents: what the operator's program has sent and `apply` has not yet used. Live files are never touched."""

from __future__ import annotations

import json

from mailhostctl import durable
from mailhostctl.manifest import Manifest, digest, mode, owner
from mailhostctl.paths import Root, ServiceState, below, host_path
from mailhostctl.system import MailhostError


def stage(root: Root, service: str, path: str, content: bytes, *, mode_text: str, owner_text: str) -> None:
    """Keeps `content` for host path `path`, readable by root only, until `unstage`.

    Mode and owner are kept beside it: the owner may not exist before the packages are installed, so `apply` gives them.
    """
    state = root.service(service)
    host_path(path)
    mode(mode_text)
    owner(owner_text)
    meta = json.dumps({"mode": mode_text, "owner": owner_text}).encode()
    with durable.locked(state.lock):
        for tree, data in ((state.staged, content), (state.staged_meta, meta)):
            place = below(tree, path)
            if durable.read(place) != data:
                durable.make_folder(place.parent)
                durable.write(place, data)


def unstage(root: Root, service: str, path: str) -> None:
    """Forgets what was staged for `path`; nothing staged is fine."""
    state = root.service(service)
    host_path(path)
    if not state.folder.is_dir():
        return
    with durable.locked(state.lock):
        for tree in (state.staged, state.staged_meta):
            durable.remove(below(tree, path))


def collect(state: ServiceState, manifest: Manifest) -> dict[str, bytes]:
    """The staged contents a manifest names, by path; raises `MailhostError` when one differs from what it says."""
    contents = {}
    for path, file in manifest.files.items():
        content = durable.read(below(state.staged, path))
        meta = durable.read(below(state.staged_meta, path))
        if content is None or meta is None:
            raise MailhostError(f"{path}: nothing is staged for it; stage it, then apply again")
        announced = json.loads(meta)
        if digest(content) != file.sha256:
            raise MailhostError(f"{path}: the staged content is not the one in the manifest; stage it again")
        if (mode(announced["mode"]), announced["owner"]) != (file.mode, file.owner):
            raise MailhostError(f"{path}: was staged with another mode or owner than in the manifest; stage it again")
        contents[path] = content
    return contents
