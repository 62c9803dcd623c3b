"""Puts this program at its place on the host, and takes it away again."""

from __future__ import annotations

import sys
from pathlib import Path

from mailhostctl import durable, generations
from mailhostctl.manifest import digest
from mailhostctl.paths import PROGRAM, STATE, Root
from mailhostctl.services import SERVICES
from mailhostctl.system import MailhostError


def install(root: Root, sha256: str) -> str:
    """Copies the upload that runs now to /usr/local/sbin/mailhostctl, atomically; returns its digest.

    The upload stays, so that repeating works. Raises `MailhostError` when its content is not the one announced.
    """
    upload = Path(sys.argv[0]).resolve()
    content = durable.read(upload)
    if content is None:
        raise MailhostError(f"{upload}: install runs from the uploaded copy: python3 UPLOAD install --sha256 HEX")
    if digest(content) != sha256:
        raise MailhostError(f"{upload}: has digest {digest(content)}, expected {sha256}; upload it again")
    program = root.live(PROGRAM)
    if durable.read(program) != content or not program.stat().st_mode & 0o111:
        durable.make_folder(program.parent, 0o755)
        durable.write(program, content, mode=0o755)
    return sha256


def uninstall(root: Root, upload: Path | None = None) -> None:
    """Removes the program, its state and the copy it was installed from; raises while a service is applied."""
    for name in SERVICES:
        state = root.service(name)
        if generations.current(state) or durable.read(state.journal) is not None:
            raise MailhostError(f"{name} is still applied; run: mailhostctl remove {name}")
    durable.remove_tree(root.live(STATE))
    durable.remove(root.live(PROGRAM))
    if upload is not None:
        durable.remove(upload.resolve())
