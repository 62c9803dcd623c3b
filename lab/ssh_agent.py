"""The lab's own ssh-agent, holding the operator's key: nothing of the lab touches the operator's real agent or keys."""

import os
import subprocess
from pathlib import Path

from lab import keys, paths, processes
from lab.addresses import MACHINES
from lab.errors import LabError

_NAME = "ssh-agent"


def socket() -> Path:
    """The agent's socket (SSH_AUTH_SOCK)."""
    return paths.running() / "ssh" / "agent"


def known_hosts() -> Path:
    """Host keys of all machines, by address and by host name."""
    return paths.running() / "ssh" / "known_hosts"


def _ask(*arguments: str, content: str = "") -> bool:
    done = subprocess.run(
        ["ssh-add", *arguments],
        env={**os.environ, "SSH_AUTH_SOCK": str(socket())},
        input=content,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0


def start() -> None:
    """Start the agent, give it the key, and write the machines' host keys down."""
    paths.folder("ssh")
    lines = [f"{m.ipv4},{m.ipv6},{m.hostname} {keys.host_public(m.name)}\n" for m in MACHINES.values()]
    known_hosts().write_text("".join(lines))
    if processes.pid(_NAME) is None:
        socket().unlink(missing_ok=True)
        processes.start(_NAME, ["ssh-agent", "-D", "-a", str(socket())])
    processes.wait_for(_NAME, socket().is_socket, timeout=10)
    if not _ask("-q", "-", content=keys.operator_private()):
        raise LabError(f"the lab's ssh-agent at {socket()} does not take the operator's key")
