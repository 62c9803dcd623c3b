"""Long-running processes, started detached and ended by handle.

A handle is a file with the boot id and the process's own /proc/PID/stat line, written by the process itself before it
becomes the daemon. So there is no moment in which a daemon runs without a handle, whatever dies, and a process id that
the kernel has given to somebody else since is never mistaken for ours (its start time differs).
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import paths
from lab.errors import LabError

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_LAUNCH: Final = (
    "read -r boot </proc/sys/kernel/random/boot_id && read -r stat </proc/$$/stat &&"
    ' printf "%s\\n%s\\n" "$boot" "$stat" >"$1" && shift && exec "$@"'
)
_cancelled: Final = threading.Event()
_START_TIME: Final = 19
"""Index of field 22 (starttime, proc_pid_stat(5)) among the fields after the command name."""


@dataclass(frozen=True, kw_only=True)
class _Handle:
    pid: int
    start: str


def _parse(stat: str) -> tuple[str, _Handle]:
    """State and identity of a /proc/PID/stat line; the command name may itself contain spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return fields[0], _Handle(pid=int(stat.split(maxsplit=1)[0]), start=fields[_START_TIME])


def _folder() -> Path:
    return paths.running() / "processes"


def _recorded(name: str) -> _Handle | None:
    try:
        boot, stat = (_folder() / name).read_text().splitlines()
    except (FileNotFoundError, ValueError):
        return None  # absent, or its writer died while writing it: then it never became the daemon
    return _parse(stat)[1] if boot == _BOOT_ID.read_text().strip() else None


def heed_interrupts() -> None:
    """Undo for this process and its children what a shell does to a command in the background: SIGINT is ignored.

    The pulumi command ends a language host by SIGINT, and waits five seconds for one that ignores it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pid(name: str) -> int | None:
    """Process id of `name` while it runs."""
    handle = _recorded(name)
    if handle is None:
        return None
    with contextlib.suppress(ChildProcessError):
        os.waitpid(handle.pid, os.WNOHANG)  # our own child would otherwise stay as a zombie
    try:
        state, present = _parse(Path(f"/proc/{handle.pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return handle.pid if present == handle and state != "Z" else None


def names() -> list[str]:
    """Every process that was started and not yet stopped, alive or not."""
    return sorted(entry.name for entry in _folder().glob("*"))


def start(name: str, argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
    """Start `argv` in its own session, its output in the log of `name`. Does nothing when it runs already."""
    if pid(name) is not None:
        return
    _folder().mkdir(parents=True, exist_ok=True)
    (_folder() / name).unlink(missing_ok=True)
    log = str(paths.log(name))
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _LAUNCH, "sh", str(_folder() / name), *argv],
        {**os.environ, **(environment or {})},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )


def stop(name: str, *, with_signal: int = signal.SIGTERM, timeout: float = 5.0) -> None:
    """End `name` and wait for it; what is left after `timeout` seconds is killed. Does nothing when it does not run."""
    number = pid(name)
    if number is not None:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(number)
            try:
                # The descriptor pins the process: only now is it certain that the id is still ours.
                if pid(name) == number:
                    signal.pidfd_send_signal(descriptor, with_signal)
                    if not _wait(descriptor, timeout):
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                        _wait(descriptor, timeout)
            finally:
                os.close(descriptor)
        pid(name)
    (_folder() / name).unlink(missing_ok=True)


def _wait(descriptor: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def wait_for(name: str, ready: Callable[[], bool], *, timeout: float) -> None:
    """Wait until `ready()`; a process that has ended or is not ready after `timeout` seconds is a `LabError`."""
    deadline = time.monotonic() + timeout
    while not ready():
        ended = _recorded(name) is not None and pid(name) is None
        if ended or time.monotonic() > deadline:
            tail = "\n".join(paths.log(name).read_text(errors="replace").splitlines()[-8:])
            raise LabError(f"{name} did not start; end of its log {paths.log(name)}:\n{tail}")
        _pause(0.05)


def cancel() -> None:
    """Make everything that waits in this program give up with a `LabError` (Ctrl-C, while threads work)."""
    _cancelled.set()


def _pause(seconds: float) -> None:
    if _cancelled.wait(seconds):
        raise LabError("interrupted")


def listening(host: str, port: int) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def run_logged(name: str, argv: Sequence[str], *, timeout: float) -> None:
    """Run a long command to its end, output in the log of `name`. It ends when we do; failure is a `LabError`."""
    _folder().mkdir(parents=True, exist_ok=True)
    with paths.log(name).open("w") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _LAUNCH, "sh", str(_folder() / name), "setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + timeout
            while process.poll() is None and time.monotonic() < deadline:
                _pause(0.1)
        finally:
            process.kill()
            process.wait()
            (_folder() / name).unlink(missing_ok=True)
    if process.returncode:
        tail = "\n".join(paths.log(name).read_text(errors="replace").splitlines()[-8:])
        raise LabError(f"{name} failed; end of its log {paths.log(name)}:\n{tail}")


def run(argv: Sequence[str], *, what: str, content: str | None = None, timeout: float = 60) -> str:
    """Run a short command and return its output; it dies with us. Failure is a `LabError` with what it said."""
    try:
        done = subprocess.run(
            # A killed `lab` must not leave half a command running behind it.
            ["setpriv", "--pdeathsig", "KILL", *argv],
            input=content,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{what}: no answer from {argv[0]} within {timeout:.0f} s") from error
    if done.returncode:
        raise LabError(f"{what}: {' '.join(argv[:3])} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
