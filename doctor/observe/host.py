"""Asks the host itself: one SSH session with the pinned key, one small script by its standard input."""

import asyncio
import json
import os
import shlex
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncssh

from model.settings import Settings

_SCRIPT: Final = Path(__file__).parent.parent.parent / "host" / "mailhostctl" / "facts.py"
_NOT_FOUND: Final = 127
"""The shell's exit status for a command that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What the script shall find out beside the facts it always gives."""

    port25: Sequence[str] = ()
    """Mail servers to greet."""
    ipv6: bool = False
    """Greet them over IPv6 too."""
    names: Sequence[str] = ()
    """Names to look up, by the host's own resolver."""
    certificate: str = ""
    """File whose digest is wanted."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the host said. A fact that it could not find out is missing."""

    error: str = ""
    """Why it said nothing."""
    cause: str = ""
    """What that comes from: unreachable, host-key, agent, deploy-key, sudo, python, other."""
    values: Mapping[str, Any] = field(default_factory=dict)
    skew: float = 0
    """Seconds the host's clock is ahead of this machine's."""


def ask(settings: Settings, questions: Questions, *, timeout: float, patience: float) -> Facts:
    """Run the script as root and return its facts. `timeout` is for the connection, `patience` for the whole."""
    where, began = f"{settings.ssh.host}:{settings.ssh.port}", time.monotonic()
    try:
        return asyncio.run(asyncio.wait_for(_ask(settings, questions, timeout), patience))
    except TimeoutError:
        return Facts(error=f"{where}: no answer within {time.monotonic() - began:.0f} s", cause="unreachable")
    except asyncssh.HostKeyNotVerifiable:
        pinned = asyncssh.import_public_key(settings.host_key).get_fingerprint()
        shown = asyncio.run(_fingerprint(settings, timeout))
        return Facts(error=f"{where} shows the host key {shown}, `hostKey` is {pinned}", cause="host-key")
    except asyncssh.PermissionDenied:
        with_what = "the key in `sshPrivateKey`" if settings.ssh_private_key else "any key of the SSH agent"
        cause = "deploy-key" if settings.ssh_private_key else "agent"
        return Facts(error=f"{settings.ssh.user} may not log in with {with_what}", cause=cause)
    except (asyncssh.Error, OSError) as error:
        number = getattr(error, "errno", None)
        said = os.strerror(number) if number and number > 0 else getattr(error, "reason", None) or error
        return Facts(error=f"{where}: {said}", cause="unreachable")


async def _fingerprint(settings: Settings, timeout: float) -> str:
    """Return the fingerprint of the host key that is served instead of the pinned one."""
    with suppress(asyncssh.Error, OSError):
        look = asyncssh.get_server_host_key(
            settings.ssh.host, settings.ssh.port, config=None, server_host_key_algs=["ssh-ed25519"]
        )
        if key := await asyncio.wait_for(look, timeout):
            return key.get_fingerprint()
    return "of somebody else"


@asynccontextmanager
async def session(settings: Settings, timeout: float) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Connect to the host as the program does: with the pinned host key, and the stack's key or the agent's."""
    keys: dict[str, Any] = {}
    if settings.ssh_private_key:
        secret = settings.ssh_private_key.get_secret_value()
        keys = {"client_keys": [asyncssh.import_private_key(secret)], "agent_path": None}
    pinned = asyncssh.import_public_key(settings.host_key)
    async with asyncssh.connect(
        settings.ssh.host,
        settings.ssh.port,
        username=settings.ssh.user,
        known_hosts=([pinned], [], []),
        server_host_key_algs=["ssh-ed25519"],
        connect_timeout=timeout,
        # The operator's own configuration of ssh is not part of what is deployed.
        config=None,
        **keys,
    ) as connection:
        yield connection


async def _ask(settings: Settings, questions: Questions, timeout: float) -> Facts:
    wanted = json.dumps(
        {
            "port25": list(questions.port25),
            "ipv6": questions.ipv6,
            "names": list(questions.names),
            "certificate": questions.certificate,
            "timeout": timeout,
        }
    )
    command = ["python3", "-", wanted]
    if settings.ssh.user != "root":
        command = ["sudo", "-n", *command]
    async with session(settings, timeout) as connection:
        started = time.time()
        done = await connection.run(shlex.join(command), input=_SCRIPT.read_text(encoding="utf-8"), check=False)
        return facts(done.exit_status, str(done.stdout or ""), str(done.stderr or ""), started)


def facts(status: int | None, out: str, said: str, started: float) -> Facts:
    """Read what the script printed; `started` is this machine's clock when it began."""
    if status == _NOT_FOUND or "ModuleNotFoundError" in said:
        return Facts(error="there is no python3, or only python3-minimal", cause="python")
    try:
        values = json.loads(out)
        skew = float(values["now"]) - started
    except (ValueError, KeyError, TypeError):
        last = said.strip().splitlines()[-1:] or [f"it ended with {status}"]
        return Facts(error=last[0], cause="sudo" if "sudo" in last[0] else "other")
    return Facts(values=values, skew=skew)
