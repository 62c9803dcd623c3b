"""The cache folder outside the clone: where it is, its lock, and how finished programs get into its `bin/`."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from toolchain.console import ToolchainError, say

SOURCE: Final = Path(__file__).parent
"""This package's folder, which holds the go.mod and requirements files."""

CLONE: Final = SOURCE.parent


def folder() -> Path:
    """Returns `$MAILHOST_CACHE`, or `mailhost` in the user's cache folder (XDG base directory specification)."""
    if own := os.environ.get("MAILHOST_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "mailhost"


def binaries() -> Path:
    """Returns the folder of the programs, one to put on PATH. The language host must lie beside `pulumi` in it."""
    return folder() / "bin"


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Lets one process at a time change the cache; the others wait and say so. Released by the kernel if we die."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        handle = (folder() / "toolchain.lock").open("w")
    except OSError as error:
        message = f"the cache folder {folder()} cannot be written ({error.strerror}): set MAILHOST_CACHE to another"
        raise ToolchainError(message) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("toolchain: another process is preparing it; waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        for stale in folder().glob("build-*"):  # of a process that was killed: the living ones hold the lock
            shutil.rmtree(stale, ignore_errors=True)
        yield


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Yields an empty folder on the cache's file system, so that files can be renamed into place; removed after."""
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder(), ignore_cleanup_errors=True) as path:
        yield Path(path)


def digest(*parts: str | Path) -> str:
    """Returns the SHA-256 over texts and file contents, for stamps."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()


def is_current(name: str, stamp: str) -> bool:
    """Returns whether program `name` was installed with exactly this stamp and is still there."""
    record = binaries() / f".{name}.stamp"
    return os.access(binaries() / name, os.X_OK) and record.is_file() and record.read_text() == stamp


def install(name: str, stamp: str, built: Path) -> Path:
    """Renames every file of `built` into `bin/`, `name` last, then records the stamp. Each rename is atomic.

    A process that dies in between leaves an older or missing stamp, so that the next run installs again.
    """
    binaries().mkdir(parents=True, exist_ok=True)
    record = binaries() / f".{name}.stamp"
    record.unlink(missing_ok=True)
    for file in sorted(built.iterdir(), key=lambda path: path.name == name):
        file.chmod(0o755)
        file.replace(binaries() / file.name)
    part = record.with_suffix(".part")
    part.write_text(stamp)
    part.replace(record)
    return binaries() / name


def require_space(gigabytes: int, purpose: str) -> None:
    """Refuses to start what would fill the disk.

    Raises:
        ToolchainError: less than `gigabytes` are free where the cache is.
    """
    free = shutil.disk_usage(folder()).free / 1e9
    if free < gigabytes:
        message = (
            f"{purpose} needs {gigabytes} GB of disk, {folder()} has {free:.1f}: "
            "free some, or set MAILHOST_CACHE to a folder on a larger disk"
        )
        raise ToolchainError(message)
