"""A process that dies at a chosen step: every system call that changes the disk, and every command, is a step.

Death is played in this process: from the chosen step on every further step raises `Death` again, so whatever the
program still tries (undoing, cleaning up) reaches neither the disk nor a daemon. A torn write is half a write.

And a disk that is full from a chosen step on: what needs space fails, what frees some works.
"""

from __future__ import annotations

import argparse
import errno
import functools
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailhostctl import __main__ as program
from mailhostctl import system
from tests.host.scratch import Host

_make_parser = program._parser
_really_execute = system.execute

CHANGES = ("replace", "rename", "unlink", "mkdir", "rmdir", "symlink", "fchmod", "fchown", "chmod", "fsync", "link")


class Death(BaseException):
    """The process is gone."""


class World:
    """System calls and daemons, counted."""

    def __init__(self, host: Host, die_at: int, refused: str = "") -> None:
        self.host = host
        self._die_at = die_at
        self._refused = refused
        self.steps = 0
        self.trace: list[tuple[str, tuple[Any, ...]]] = []

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Replaces what changes the disk, and what starts commands."""
        for name in CHANGES:
            patch.setattr(os, name, self._counted(name, getattr(os, name)))
        really_open, really_write = os.open, os.write

        def open_counted(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._step()
                self.trace.append(("open", (path,)))
            return really_open(path, flags, *more, **named)

        def write_torn(fd: int, data: Any) -> int:
            if self.steps + 1 == self._die_at:
                really_write(fd, bytes(data)[: len(data) // 2])
            self._step()
            return really_write(fd, data)

        patch.setattr(os, "open", open_counted)
        patch.setattr(os, "write", write_torn)
        patch.setattr(system, "execute", self._command)

    def _step(self) -> None:
        self.steps += 1
        if self._die_at and self.steps >= self._die_at:
            raise Death

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            where = (Path(f"/proc/self/fd/{args[0]}").readlink(),) if name == "fsync" else args
            self._step()
            result = call(*args, **named)
            self.trace.append((name, where))
            return result

        return counted

    def _command(self, argv: list[str], *more: Any) -> subprocess.CompletedProcess[bytes]:
        self._step()
        done = self.play(argv, *more)
        self._step()  # the command has done its work, its caller has not noticed
        return done

    def play(self, argv: list[str], *_: Any) -> subprocess.CompletedProcess[bytes]:
        """Answers for a command, and does what it would do to the host."""
        active = self.host.fake / "active/postfix.service"
        code = 0
        out = b""
        match argv[:2]:
            case ["systemctl", "restart" | "reload"]:
                settings = self.host.live("/etc/postfix/main.cf") or ""
                code = 1 if settings == self._refused else 0
                active.touch()
                (self.host.fake / "running").write_text(settings)
            case ["systemctl", "disable"] if "--now" in argv:
                active.unlink(missing_ok=True)
            case ["systemctl", "is-active"]:
                code = 0 if active.exists() else 3
            case ["systemctl", "show"]:
                out = b"running\n" if active.exists() else b"dead\n"
            case ["postconf", "-h"]:
                out = (self.host.live("/etc/postfix/main.cf") or "").partition("\n")[0].encode()
        return subprocess.CompletedProcess(argv, code, out, b"")


class RealCommands(World):
    """Commands are started: what a test lets play them."""

    def play(self, argv: list[str], *more: Any) -> subprocess.CompletedProcess[bytes]:
        """Runs it."""
        return _really_execute(argv, *more)


@functools.cache
def _parser(_root: Path) -> argparse.ArgumentParser:
    """The command line's parser, which takes longer to make than many a command to run; the root is its default."""
    return _make_parser()


def run(host: Host, argv: list[str], stdin: str = "", *, die_at: int = 0, world: type[World] = World) -> World | None:
    """Runs a command that dies at step `die_at` (0: never) and must otherwise succeed; None when it died."""
    here = world(host, die_at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        patch.setattr(program, "_parser", lambda: _parser(host.root))
        here.enter(patch)
        try:
            code = program.main(argv)
        except Death:
            return None
    assert code == 0, argv
    return here


class FullDisk(World):
    """Steps are what needs space: new names, and what is written to them. From the chosen one on, each fails."""

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Replaces what needs space, and what starts commands."""
        for name in ("mkdir", "symlink", "write"):
            patch.setattr(os, name, self._needing_space(getattr(os, name)))
        really_open = os.open

        def open_new(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & os.O_CREAT and Path(path).is_relative_to(self.host.root) and not Path(path).exists():
                self._step()
            return really_open(path, flags, *more, **named)

        patch.setattr(os, "open", open_new)
        patch.setattr(Path, "write_bytes", self._needing_space(Path.write_bytes))
        patch.setattr(system, "execute", self.play)

    def _needing_space(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def needing(*args: Any, **named: Any) -> Any:
            self._step()
            return call(*args, **named)

        return needing

    def _step(self) -> None:
        self.steps += 1
        if self._die_at and self.steps >= self._die_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run_full(host: Host, argv: list[str], stdin: str = "", *, full_at: int, refused: str = "") -> tuple[int, bool]:
    """Runs a command whose disk is full at step `full_at`; returns its exit code, and whether it came to that step.

    A Postfix with the settings `refused` does not start.
    """
    world = FullDisk(host, full_at, refused)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        world.enter(patch)
        code = program.main(argv)
    return code, bool(full_at) and world.steps >= full_at
