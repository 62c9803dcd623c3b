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
NOT_FOUND: Final = 127
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
    deployed: str = ""
    """What the stack has deployed, for `mailhostctl drift` to compare with."""


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


class SessionError(Exception):
    """The host did not let us ask it: one phrase why."""

    def __init__(self, text: str, cause: str) -> None:
        super().__init__(text)
        self.cause = cause
        """As in `Facts`."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that ended on the host."""

    status: int | None
    out: str
    said: str
    """What it wrote to its standard error."""
    started: float
    """This machine's clock when it began."""

    @property
    def last_words(self) -> str:
        """The end of what it said, or how it ended."""
        return (self.said.strip().splitlines()[-1:] or [f"it ended with {self.status}"])[0]


def run(settings: Settings, command: Sequence[str], *, stdin: str, timeout: float, patience: float) -> Done:
    """Run a command as root. `timeout` is for the connection, `patience` for the whole.

    Raises:
        SessionError: The host cannot be reached, or does not let us in.
    """
    where, began = f"{settings.ssh.host}:{settings.ssh.port}", time.monotonic()
    try:
        return asyncio.run(asyncio.wait_for(_run(settings, command, stdin, timeout), patience))
    except TimeoutError:
        raise SessionError(f"{where}: no answer within {time.monotonic() - began:.0f} s", "unreachable") from None
    except asyncssh.HostKeyNotVerifiable:
        pinned = asyncssh.import_public_key(settings.host_key).get_fingerprint()
        shown = asyncio.run(_fingerprint(settings, timeout))
        raise SessionError(f"{where} shows the host key {shown}, `hostKey` is {pinned}", "host-key") from None
    except asyncssh.PermissionDenied:
        with_what = "the key in `sshPrivateKey`" if settings.ssh_private_key else "any key of the SSH agent"
        cause = "deploy-key" if settings.ssh_private_key else "agent"
        raise SessionError(f"{settings.ssh.user} may not log in with {with_what}", cause) from None
    except (asyncssh.Error, OSError) as error:
        number = getattr(error, "errno", None)
        said = os.strerror(number) if number and number > 0 else getattr(error, "reason", None) or error
        raise SessionError(f"{where}: {said}", "unreachable") from None


async def _run(settings: Settings, command: Sequence[str], stdin: str, timeout: float) -> Done:
    if settings.ssh.user != "root":
        command = ["sudo", "-n", *command]
    async with session(settings, timeout) as connection:
        started = time.time()
        done = await connection.run(shlex.join(command), input=stdin, check=False)
        return Done(status=done.exit_status, out=str(done.stdout or ""), said=str(done.stderr or ""), started=started)


async def _fingerprint(settings: Settings, timeout: float) -> str:
    """Return the fingerprint of the host key that is served instead of the pinned one."""
    with suppress(asyncssh.Error, OSError):
        look = asyncssh.get_server_host_key(
            settings.ssh.host, settings.ssh.port, config=None, server_host_key_algs=["ssh-ed25519"]
        )
        if key := await asyncio.wait_for(look, timeout):
            return key.get_fingerprint()
    return "of somebody else"


def ask(settings: Settings, questions: Questions, *, timeout: float, patience: float) -> Facts:
    """Run the script as root and return its facts. `timeout` is for the connection, `patience` for the whole."""
    wanted = json.dumps(
        {
            "port25": list(questions.port25),
            "ipv6": questions.ipv6,
            "names": list(questions.names),
            "certificate": questions.certificate,
            "deployed": questions.deployed,
            "timeout": timeout,
        }
    )
    script = _SCRIPT.read_text(encoding="utf-8")
    try:
        done = run(settings, ["python3", "-", wanted], stdin=script, timeout=timeout, patience=patience)
    except SessionError as error:
        return Facts(error=str(error), cause=error.cause)
    return facts(done)


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


def facts(done: Done) -> Facts:
    """Read what the script printed."""
    if done.status == NOT_FOUND or "ModuleNotFoundError" in done.said:
        return Facts(error="there is no python3, or only python3-minimal", cause="python")
    try:
        values = json.loads(done.out)
        skew = float(values["now"]) - done.started
    except (ValueError, KeyError, TypeError):
        return Facts(error=done.last_words, cause="sudo" if "sudo" in done.last_words else "other")
    return Facts(values=values, skew=skew)
