"""mailhostctl's own judgement of files, by the daemons of a real machine, on a scratch root there.

`mailhostctl --root` keeps everything it writes below the scratch root. What would act on the machine all the same
(systemd, ufw) is played by stand-ins; the parsers are the real ones.
"""

import base64
import io
import secrets
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from subprocess import CompletedProcess
from typing import Final

from host.build import zipapp
from lab import machines
from lab.addresses import Machine
from model.bundle import bundle
from model.files import ConfigFile

_PROGRAM: Final = "/usr/local/sbin/mailhostctl"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_DONE: Final = """#!/bin/sh
# Success, and a unit that runs: mailhostctl believes it has told systemd or ufw.
[ "$1" != show ] || echo running
"""
_ONLY_PARSES: Final = """#!/bin/sh
# The real one as long as it only parses.
case " $* " in
  *" --dry-run "* | *" --prefix=/nonexistent "*) exec /usr/bin/${0##*/} "$@" ;;
esac
"""
_ONLY_VERIFIES: Final = """#!/bin/sh
# The real one; the program that our units start is not where it belongs here.
said=$(/usr/bin/systemd-analyze "$@" 2>&1 | grep -v "Command /usr/local/sbin/mailhostctl is not executable")
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
"""
_STAND_INS: Final = {
    "systemctl": _DONE,
    "systemd-analyze": _ONLY_VERIFIES,
    "ufw": _DONE,
    "iptables": _DONE,  # asked only whether ufw's rules are loaded; the parser is iptables-restore
    "systemd-sysusers": _ONLY_PARSES,
    "systemd-tmpfiles": _ONLY_PARSES,
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of an `apply` on the scratch root."""

    code: int
    said: str
    live: frozenset[str]
    """The files that are live on the scratch root now."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """mailhostctl on one machine, installed below `folder`, with a scratch root there."""

    machine: Machine
    folder: str
    root: str
    """The scratch root, which need not exist yet."""

    @property
    def program(self) -> str:
        """Where mailhostctl is on the machine."""
        return f"{self.folder}{_PROGRAM}"

    def renewed(self) -> "Judge":
        """Return the same with an empty scratch root."""
        return replace(self, root=f"{self.folder}/{secrets.token_hex(4)}")

    def set_up(self) -> None:
        """Install mailhostctl as a host does."""
        digest = sha256(zipapp()).hexdigest()
        copy = ["/usr/bin/python3", "-I", f"{self.folder}/mailhostctl", "--root", self.folder]
        machines.run(
            self.machine.name, ["env", f"PATH={self.folder}/bin:{_PATH}", *copy, "install", "--sha256", digest]
        )

    def install(self, packages: Iterable[str]) -> None:
        """Install the packages for real, nothing started; quick when they are there."""
        done = self._call("packages", content="\n".join(packages), root="/", path=_PATH, timeout=400)
        assert done.returncode == 0, done.stderr

    def judge(self, service: str, files: Iterable[ConfigFile], **environment: str) -> Verdict:
        """Apply the files of a service as the program would, without health probes."""
        done = self._call("apply", service, content=bundle(files), environment=environment)
        ours = ["-path", f"{self.root}/var/lib/mailhost", "-prune", "-o", "-type", "f", "-print"]
        found = machines.execute(self.machine.name, ["find", self.root, *ours]).stdout.split()
        live = frozenset(path.removeprefix(self.root) for path in found)
        return Verdict(code=done.returncode, said=done.stderr, live=live)

    def live(self, path: str) -> str:
        """Return a live file of the scratch root."""
        return machines.run(self.machine.name, ["cat", f"{self.root}{path}"])

    def _call(
        self,
        *arguments: str,
        content: str = "",
        root: str | None = None,
        path: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> CompletedProcess[str]:
        variables = {"PATH": path or f"{self.folder}/bin:{_PATH}", **(environment or {})}
        program = ["/usr/bin/python3", "-I", self.program, "--root", root or self.root]
        command = ["env", *(f"{name}={value}" for name, value in variables.items()), *program, *arguments]
        return machines.execute(self.machine.name, command, content=content, timeout=timeout)


@contextmanager
def judge(machine: Machine) -> Iterator[Judge]:
    """Lend a judge on a running machine; nothing of it stays."""
    folder = machines.run(machine.name, ["mktemp", "-d"]).strip()
    try:
        unpack = ["sh", "-c", 'base64 -d | tar -x -C "$1"', "sh", folder]
        machines.run(machine.name, unpack, content=base64.b64encode(_luggage()).decode())
        lent = Judge(machine=machine, folder=folder, root=f"{folder}/root")
        lent.set_up()
        yield lent
    finally:
        machines.execute(machine.name, ["rm", "-rf", folder])


def _luggage() -> bytes:
    """The program and the stand-ins as a tar file."""
    files = {"mailhostctl": zipapp()} | {f"bin/{name}": script.encode() for name, script in _STAND_INS.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
