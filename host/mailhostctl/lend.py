"""Lends a mailbox to whoever looks at the host from outside: a second password, for as long as the session lasts.

The password's hash is a line in /run, where Dovecot looks after its users file. No other file and no daemon changes. A
transient unit watches this process and empties the file should it be killed.
"""

from __future__ import annotations

import os
import re
import select
import sys
from typing import BinaryIO

from mailhostctl import durable
from mailhostctl.manifest import owner_ids
from mailhostctl.paths import Root
from mailhostctl.system import MailhostError, must, run, tell

FILE = "/run/mailhost-lent/passwords"
"""Made by tmpfiles.d(5), so that it is there, and empty, before Dovecot asks (model/dovecot.py)."""
_USERS = "/etc/dovecot/users"
_HASH = re.compile(r"\{ARGON2ID\}\$argon2id\$[A-Za-z0-9+/=,$]{20,300}")
_LONGEST_SECONDS = 300
_GUARD = "mailhost-lent.service"


def lend(root: Root, address: str, session: BinaryIO) -> None:
    """Lets `address` log in with the password whose hash is the first line, until the session ends or five minutes.

    Raises `MailhostError` for what is no hash, for a mailbox that is not there or disabled, and while another is lent.
    """
    hashed = session.readline(400).decode("ascii", "replace").strip()
    if not _HASH.fullmatch(hashed):
        raise MailhostError("lend: the first line on stdin is no ARGON2ID hash (not shown)")
    users = (durable.read(root.live(_USERS)) or b"").decode().splitlines()
    if not any(line.startswith((f"{address}:{{ARGON2ID}}", f"{address}:{{BLF-CRYPT}}")) for line in users):
        raise MailhostError(f"lend: {address} is no mailbox here, or a disabled one")
    file = root.live(FILE)
    if not file.parent.is_dir():
        raise MailhostError(f"lend: {file.parent} does not exist; make it: systemd-tmpfiles --create")
    with durable.locked(file.with_name("lock"), patience=0):
        _dismiss()  # that of a process that was killed just now
        try:
            _guard(root)
            _write(root, f"{address}:{hashed}\n")
            tell("lent")
            sys.stdout.flush()
            select.select([session], [], [], _LONGEST_SECONDS)
        finally:
            _write(root, "")
            _dismiss()


def _guard(root: Root) -> None:
    """Lets systemd empty the file when this process has gone, or at the latest when the time is over."""
    file = str(root.live(FILE))
    must(
        [
            *("systemd-run", "--quiet", "--collect", f"--unit={_GUARD}"),
            f"--property=RuntimeMaxSec={_LONGEST_SECONDS + 10}",
            f"--property=ExecStopPost=/usr/bin/truncate --no-create --size=0 {file}",
            *("--", "/usr/bin/tail", f"--pid={os.getpid()}", "--follow", "/dev/null"),
        ],
        timeout=20,
    )


def _dismiss() -> None:
    run(["systemctl", "stop", _GUARD], timeout=20)


def _write(root: Root, line: str) -> None:
    ids = owner_ids("root:dovecot") if root.gives_ownership else None
    durable.replace(root.live(FILE), line.encode(), mode=0o640, owner=ids)
