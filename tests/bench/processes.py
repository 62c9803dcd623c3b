"""How long a piece of work takes, and how much memory the program's own process needs."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.e2e.stack import Stack

_PROGRAM: Final = b"pulumi-language-python-exec"
"""In the command line of the process that runs `__main__.py`."""
_LOOK_EVERY: Final = 0.02
"""Seconds. The kernel keeps the peak; only the last moments of the process can be missed."""


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` took on the wall clock."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def peak_megabytes(stack: Stack) -> float:
    """Preview once and return the peak resident memory of the program's Python process (VmHWM, proc_pid_status(5)).

    Not to be timed: looking costs time too.
    """
    peak = 0
    command = ["pulumi", "preview", "--non-interactive", "--stack", stack.name]
    with subprocess.Popen(
        command, cwd=stack.folder, env=stack.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as engine:
        while engine.poll() is None:
            for process in _descendants(engine.pid):
                if _PROGRAM in _read(process / "cmdline"):
                    lines = _read(process / "status").splitlines()
                    peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith(b"VmHWM:"))])
            time.sleep(_LOOK_EVERY)
    assert engine.returncode == 0, f"pulumi preview ended with {engine.returncode}"
    assert peak, "the program's process was not seen"
    return peak * 1024 / 1e6


def lab_tests_run() -> bool:
    """Whether tests run somewhere that use machines of the lab."""
    return any(_is_lab_test(_read(process / "cmdline").split(b"\0")) for process in Path("/proc").glob("[0-9]*"))


def _is_lab_test(words: list[bytes]) -> bool:
    named = any(folder in word for word in words for folder in (b"tests/e2e", b"tests/parsers"))
    return any(word.rpartition(b"/")[2] == b"pytest" for word in words) and (named or b"lab" in words)


def _descendants(pid: int) -> Iterator[Path]:
    children = b" ".join(_read(thread / "children") for thread in Path(f"/proc/{pid}/task").glob("*")).split()
    for child in children:
        yield Path("/proc", child.decode())
        yield from _descendants(int(child))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has ended
        return b""
