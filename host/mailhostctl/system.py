"""The one place that starts other programs, talks to the operator and defines what a failure is."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LAST_SECONDS = 3
"""Seconds between SIGTERM and SIGKILL."""
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
) -> Completed:
    """Runs a command to its end with captured output, in the C locale, never through a shell.

    `timeout` in seconds, after which the command is killed with all it started.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        done = execute(argv, stdin, environment, timeout)
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


def execute(
    argv: Sequence[str],
    stdin: bytes,
    environment: Mapping[str, str],
    timeout: float,
) -> subprocess.CompletedProcess[bytes]:
    """Like subprocess.run(), which on a timeout kills the command alone."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        process_group=0,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except BaseException:
            _end(process)
            raise
        return subprocess.CompletedProcess(argv, process.returncode, out, err)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a command and what it has started."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_LAST_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def must(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> Completed:
    """Like `run`, but raises `MailhostError` with the command's own words unless it exits 0."""
    done = run(argv, stdin=stdin, env=env, timeout=timeout)
    if done.code != 0:
        raise MailhostError(f"{' '.join(argv)}: {done.said}")
    return done


def is_active(unit: str) -> bool:
    """Whether systemd says that a unit is."""
    return run(["systemctl", "is-active", "--quiet", unit]).code == 0


LONGEST_LINE = 60_000
"""Octets. What logs a command's output gives up on a line of 64 KiB (bufio.Scanner)."""


def say(text: str) -> None:
    """Progress on stderr. A reader who has gone away (SSH died) must not stop a transaction."""
    try:
        sys.stderr.write(bounded(f"mailhostctl: {text}\n"))
        sys.stderr.flush()
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 -- lives as long as the process


def tell(text: str) -> None:
    """A result on stdout."""
    sys.stdout.write(bounded(f"{text}\n"))


def bounded(text: str) -> str:
    """Cuts each line of a text to `LONGEST_LINE` octets of UTF-8."""
    return "\n".join(map(_cut, text.split("\n")))


def _cut(line: str) -> str:
    octets = line.encode(errors="backslashreplace")
    if len(octets) < LONGEST_LINE:
        return line
    return f"{octets[: LONGEST_LINE - 100].decode(errors='ignore')} … ({len(octets)} octets)"


def speak_utf8() -> None:
    """Makes stdout and stderr valid UTF-8 whatever the locale is, and whatever a text has in it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def read_text() -> str:
    """All of stdin, as it was sent; raises `MailhostError` when it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise MailhostError(f"standard input: not UTF-8 at octet {error.start}") from None


_QUIET_SECONDS = 1.0


def drain() -> None:
    """Reads what is left on stdin: the command plugin fails where it can't get rid of it.

    Ends with the input, or when nothing has come for a second: an operator's `ssh HOST mailhostctl status` keeps it
    open.
    """
    try:
        fd = sys.stdin.fileno()
        if os.isatty(fd):
            return
        while select.select([fd], [], [], _QUIET_SECONDS)[0] and os.read(fd, 65536):
            pass
    except (AttributeError, OSError, ValueError):  # closed, or played by a test
        return


def described(error: OSError) -> str:
    """An error of the system in one line, with the file it is about."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
