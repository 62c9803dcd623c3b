"""A process that dies at a chosen step: every system call that changes the disk, and every command, is a step."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailhostctl.__main__ import main
from tests.host.scratch import Host

CHANGES = (
    "replace",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
    "symlink",
    "fchmod",
    "fchown",
    "chmod",
    "fsync",
    "ftruncate",
)
DIED = 137


class World:
    """Replaces the system calls and the daemons in this (forked) process, and counts."""

    def __init__(self, host: Host, *, die_at: int) -> None:
        self._host = host
        self._die_at = die_at
        self.steps = 0

    def enter(self) -> None:
        """From now on this process counts, and dies when it is time."""
        for name in CHANGES:
            setattr(os, name, self._counted(getattr(os, name), real=name != "fsync"))
        open_file, write = os.open, os.write

        def open_counted(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._step()
            return open_file(path, flags, *more, **named)

        def write_torn(fd: int, data: Any) -> int:
            if fd > 2 and self.steps + 1 == self._die_at:
                write(fd, bytes(data)[: len(data) // 2])
            if fd > 2:
                self._step()
            return write(fd, data)

        os.open, os.write = open_counted, write_torn  # type: ignore[assignment]
        subprocess.run = self._command  # type: ignore[assignment]

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self._die_at:
            os._exit(DIED)

    def _counted(self, call: Callable[..., Any], *, real: bool) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            self._step()
            return call(*args, **named) if real else None

        return counted

    def _command(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self._step()
        active = self._host.fake / "active/postfix.service"
        code = 0
        out = b""
        match argv[:2]:
            case ["systemctl", "restart" | "reload"]:
                active.touch()
                (self._host.fake / "running").write_text(self._host.live("/etc/postfix/main.cf") or "")
            case ["systemctl", "disable"]:
                active.unlink(missing_ok=True)
            case ["postfix", "status"] | ["systemctl", "is-active"]:
                code = 0 if active.exists() else 3
            case ["postconf", "-h"]:
                out = (self._host.live("/etc/postfix/main.cf") or "").partition("\n")[0].encode()
        self._step()  # the command has done its work, we have not noticed
        return subprocess.CompletedProcess(argv, code, out, b"")


def run(host: Host, argv: list[str], stdin: str = "", *, die_at: int = 0) -> tuple[int, int]:
    """Runs a command in a child that dies at step `die_at` (0: never); returns its exit code and its steps."""
    counter = Path(host.fake / "steps")
    child = os.fork()
    if child == 0:
        code = 99
        try:
            sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
            sys.stderr = sys.stdout = io.TextIOWrapper(io.BytesIO())
            world = World(host, die_at=die_at)
            world.enter()
            code = main(argv)
            counter.write_text(str(world.steps))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code, 0 if code == DIED else int(counter.read_text())
