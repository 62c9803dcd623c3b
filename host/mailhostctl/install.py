"""Puts this program at its place on the host, and takes it away again."""

from __future__ import annotations

import importlib.util
import io
import marshal
import sys
import zipfile
from pathlib import Path

from mailhostctl import durable, generations, main_cf, units
from mailhostctl.manifest import digest
from mailhostctl.paths import PROGRAM, STATE, Root
from mailhostctl.services import SERVICES
from mailhostctl.system import MailhostError


def install(root: Root, sha256: str) -> str:
    """Copies the zip application that runs now, compiled, to /usr/local/sbin/mailhostctl, atomically.

    Returns its digest. Raises `MailhostError` when its content is not the one announced.
    """
    copy = Path(sys.argv[0]).resolve()
    content = durable.read(copy)
    if content is None:
        raise MailhostError(f"{copy}: not a zip application: python3 COPY install --sha256 HEX")
    if digest(content) != sha256:
        raise MailhostError(f"mailhostctl: has digest {digest(content)}, expected {sha256}; run the command again")
    program = root.live(PROGRAM)
    durable.make_folder(program.parent, 0o755)
    compiled = _compiled(content)
    changed = durable.read(program) != compiled
    if changed:
        durable.write(program, compiled, mode=0o755)
    units.provide(root, changed=changed)
    return sha256


def _compiled(content: bytes) -> bytes:
    """Returns the zip application with each module compiled beside its source: every command then starts quicker.

    Another version of Python passes over what this one compiled, and takes the sources (zipimport, PEP 552).
    """
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name in archive.namelist():
            source = archive.read(name)
            code = compile(source, f"{PROGRAM}/{name}", "exec", dont_inherit=True)
            unchecked = (1).to_bytes(4, "little")
            head = importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(source)
            # Dated 1980: the same program is the same bytes, and restarts nothing.
            archive.writestr(zipfile.ZipInfo(f"{name}c"), head + marshal.dumps(code))
    return buffer.getvalue()


def uninstall(root: Root) -> None:
    """Removes the program and its state; raises while a service is applied."""
    for name in SERVICES:
        state = root.service(name)
        if generations.current(state) or durable.read(state.journal) is not None:
            raise MailhostError(f"{name} is still applied; run: mailhostctl remove {name}")
    units.forget(root)
    main_cf.forget(root)
    durable.remove_tree(root.live(STATE))
    durable.remove(root.live(PROGRAM))
