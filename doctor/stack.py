"""What the stack says: its settings, and what its last update published and applied. Asks the pulumi command."""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from model import mailbox_file
from model import settings as model_settings
from model.cloudflare import Access, access
from model.settings import Settings

_COMMAND: Final = "command:remote:Command"
_RECORD: Final = "cloudflare:index/dnsRecord:DnsRecord"
_ROOT: Final = "pulumi:pulumi:Stack"
_PROJECT: Final = "mailhost"


class StackError(Exception):
    """The stack cannot be read: one sentence for the operator."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A record in the stack's state, as Cloudflare keeps it."""

    name: str
    type: str
    content: str
    ttl: int
    priority: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    """The fields of a record that has no content, such as SRV."""
    id: str = ""
    zone_id: str = ""
    proxied: bool = False
    comment: str = ""
    urn: str = ""
    """Of its resource."""


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What the stack has deployed on the host."""

    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the manifest that was applied, by service."""
    packages: tuple[str, ...] = ()
    urns: Mapping[str, str] = field(default_factory=dict)
    """The resource that deploys it: of each service, of `packages` and of `mailhostctl` itself."""

    @property
    def described(self) -> str:
        """What `mailhostctl drift` reads."""
        return json.dumps({"services": {**self.digests}, "packages": list(self.packages)})


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack as far as the doctor needs it."""

    name: str
    settings: Settings
    published: tuple[Published, ...]
    cloudflare: Access
    deployed: Deployed = field(default_factory=Deployed)
    dkim: Mapping[str, Any] = field(default_factory=dict)
    """What the last complete update says of the DKIM keys, see model/rotation.py; nothing if it is older than that."""


def read(name: str, folder: Path, *, timeout: float) -> Stack:
    """Read a stack's settings and state.

    Raises:
        StackError: There is no such stack, it cannot be decrypted, or its settings are wrong.
    """
    return understood(name, folder, *said(name, folder, timeout=timeout))


def said(name: str, folder: Path, *, timeout: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the pulumi command says of a stack: its configuration, with secrets, and its state, without."""
    with ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(_pulumi, folder, words, timeout)
            for words in (
                ("config", "--json", "--show-secrets", "--stack", name),
                ("stack", "export", "--stack", name),
            )
        ]
        config, state = (future.result() for future in asked)
    return config, state


def understood(name: str, folder: Path, config: Mapping[str, Any], state: Mapping[str, Any]) -> Stack:
    """Make a stack of what the pulumi command said of it; raises a StackError where its settings are wrong."""
    values = {key: str(entry.get("value", "")) for key, entry in config.items()}
    own = {key.partition(":")[2]: value for key, value in values.items() if key.startswith(f"{_PROJECT}:")}
    try:
        settings = model_settings.load(own, listed=_listed(name, folder))
    except model_settings.SettingsError as error:
        raise StackError(f"the settings of stack {name} are wrong:\n{error}") from None
    return Stack(
        name=name,
        settings=settings,
        published=tuple(published(state)),
        deployed=deployed(state),
        cloudflare=access(values, os.environ),
        dkim=outputs(state).get("dkim") or {},
    )


def _listed(name: str, folder: Path) -> str | None:
    """The stack's mailbox file beside its program. An organisation before the stack's name is not part of it."""
    stack = name.rpartition("/")[2]
    try:
        return mailbox_file.read(stack, folder)
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{mailbox_file.path(stack, folder).name} cannot be read: {error}") from None


def outputs(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an exported state says as a whole."""
    return next((dict(entry.get("outputs") or {}) for entry in _resources(state) if entry.get("type") == _ROOT), {})


def _resources(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the resources, without those that the next update will only delete."""
    known = (state.get("deployment") or {}).get("resources") or []
    return [entry for entry in known if not entry.get("delete")]


def published(state: Mapping[str, Any]) -> list[Published]:
    """Return the DNS records of an exported state."""
    found = []
    for entry in (entry for entry in _resources(state) if entry.get("type") == _RECORD):
        record = entry.get("outputs") or {}
        priority = record.get("priority")
        found.append(
            Published(
                name=str(record.get("name", "")).lower(),
                type=str(record.get("type", "")),
                content=str(record.get("content") or ""),
                ttl=int(record.get("ttl") or 1),
                priority=None if priority is None else int(priority),
                data=record.get("data") or {},
                id=str(entry.get("id", "")).rpartition("/")[2],
                zone_id=str(record.get("zoneId", "")),
                proxied=bool(record.get("proxied")),
                comment=str(record.get("comment") or ""),
                urn=str(entry.get("urn", "")),
            )
        )
    return found


def deployed(state: Mapping[str, Any]) -> Deployed:
    """Return what an exported state says of the host: the commands that ran there, and what they printed."""
    digests: dict[str, str] = {}
    urns: dict[str, str] = {}
    packages: tuple[str, ...] = ()
    for entry in (entry for entry in _resources(state) if entry.get("type") == _COMMAND):
        outputs, urn = entry.get("outputs") or {}, str(entry.get("urn", ""))
        printed = str(outputs.get("stdout", ""))
        if urn.endswith("-install-helper"):
            urns["mailhostctl"] = urn
        match _words(str((entry.get("inputs") or {}).get("create", ""))):
            case ["mailhostctl", "apply", service, *_]:
                digests[service], urns[service] = printed.strip(), urn
            case ["mailhostctl", "packages", *_]:
                packages, urns["packages"] = tuple(line.split()[0] for line in printed.splitlines()), urn
    return Deployed(digests=digests, packages=packages, urns=urns)


def _words(create: str) -> list[str]:
    """Split a command line, and leave out how it becomes root."""
    words = shlex.split(create)
    return words[2:] if words[:2] == ["sudo", "-n"] else words


def _pulumi(folder: Path, words: Sequence[str], timeout: float) -> dict[str, Any]:
    """Run one command and read its JSON. Its output may hold secrets: it is never shown, only its errors are."""
    command = ["pulumi", *words, "--non-interactive"]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise StackError(
            'the pulumi command is not on PATH; put it there: export PATH="$PWD/.venv/bin:$(make tools):$PATH"'
        ) from None
    except subprocess.TimeoutExpired:
        raise StackError(f"pulumi {words[0]} did not answer within {timeout:.0f} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().removeprefix("error: ") or f"it ended with {done.returncode}"
        raise StackError(f"pulumi {words[0]}: {said}")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise StackError(f"pulumi {words[0]} answered with something that is not JSON") from None
    return dict(answer)
