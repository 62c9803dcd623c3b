"""The one place that starts other programs, talks to the operator and defines what a failure is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ADMIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MailhostError(Exception):
    """Something the operator must know: one clear message, shown without a traceback; exit code 1."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What a finished command left: exit code (124 after a timeout, 127 when not found), stdout and stderr as text."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The command's own words: stderr, else stdout, else its exit code."""
        return self.err.strip() or self.out.strip() or f"exit code {self.code}, without a message"


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    before: Callable[[], None] | None = None,
) -> Completed:
    """Runs a command to its end with captured output, in the C locale, never through a shell.

    `timeout` in seconds; `before` is called in the child just before the command takes its place.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            env=environment,
            timeout=timeout,
            check=False,
            preexec_fn=before,
        )
    except FileNotFoundError:
        return Completed(argv=tuple(argv), code=127, out="", err=f"{argv[0]}: command not found")
    except subprocess.TimeoutExpired:
        return Completed(argv=tuple(argv), code=124, out="", err=f"{argv[0]}: no answer within {timeout:.0f} s")
    return Completed(
        argv=tuple(argv),
        code=done.returncode,
        out=done.stdout.decode(errors="replace"),
        err=done.stderr.decode(errors="replace"),
    )


def must(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    before: Callable[[], None] | None = None,
) -> Completed:
    """Like `run`, but raises `MailhostError` with the command's own words unless it exits 0."""
    done = run(argv, stdin=stdin, env=env, timeout=timeout, before=before)
    if done.code != 0:
        raise MailhostError(f"{' '.join(argv)}: {done.said}")
    return done


def is_active(unit: str) -> bool:
    """Whether systemd says that a unit is."""
    return run(["systemctl", "is-active", "--quiet", unit]).code == 0


def say(text: str) -> None:
    """One line of progress on stderr. A reader who has gone away (SSH died) must not stop a transaction."""
    try:
        sys.stderr.write(f"mailhostctl: {text}\n")
        sys.stderr.flush()
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 -- lives as long as the process
