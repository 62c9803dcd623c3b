"""Who calls this program over SSH: fail2ban lets the latest of them through, whatever they fail at."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mailhostctl import durable
from mailhostctl.paths import STATE, Root

KEPT = 5
"""Addresses remembered: a deployer or two, and those whose provider gives them a new one every day."""


def record(root: Root) -> None:
    """Notes the client's address in /var/lib/mailhost/deployers, the latest last; not called over SSH, it notes none.

    fail2ban reads the file each time it is about to count a failure (model/fail2ban.py), so nothing is told of it.
    """
    connection = ssh_client_and_server()
    if not connection:
        return
    # As fail2ban writes it: without the interface of a link-local address.
    address = connection[0].partition("%")[0]
    if not re.fullmatch(r"[0-9a-f.:]+", address):  # sshd(8) says UNKNOWN when it does not know
        return
    state = root.live(STATE)
    if _noted(state)[-1:] != [address]:
        with durable.locked(state / "deployers.lock"):
            others = [other for other in _noted(state) if other != address]
            latest = [*others, address][-KEPT:]
            durable.write(state / "deployers", "".join(f"{line}\n" for line in latest).encode())


def _noted(state: Path) -> list[str]:
    return (durable.read(state / "deployers") or b"").decode(errors="replace").split()


def ssh_client_and_server() -> list[str]:
    """The SSH connection we were called through: client address and port, server address and port; or nothing.

    sudo drops SSH_CONNECTION from the environment, so the parents' environments are looked at too.
    """
    environment = os.environ.get("SSH_CONNECTION", "")
    process = os.getppid()
    while not environment and process > 1:
        try:
            raw = Path(f"/proc/{process}/environ").read_bytes()
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            break
        found = [item for item in raw.split(b"\0") if item.startswith(b"SSH_CONNECTION=")]
        environment = found[0].partition(b"=")[2].decode() if found else ""
        process = int(status.rpartition(")")[2].split()[1])
    words = environment.split()
    return words if len(words) == 4 and words[3].isdigit() else []  # noqa: PLR2004 -- sshd(8)
