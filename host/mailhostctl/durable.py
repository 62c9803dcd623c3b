"""Files that survive a crash: whole old or whole new content, on disk before the next step relies on it.

Every write goes to a temporary name in the same folder, is fsynced, then renamed (rename(2) replaces atomically), and
the folder is fsynced, because a rename is only durable with its folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailhostctl.system import MailhostError, say

TEMPORARY_SUFFIX = ".mailhost~"
"""Ends in `~`: certbot skips such hooks, and systemd's *.conf folders never read it."""


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(folder):
            os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path, mode: int = 0o700) -> list[Path]:
    """Creates `folder` and its missing parents with `mode`, durably; returns those created, outermost first.

    When it fails, it leaves none.
    """
    if folder.is_dir():
        return []
    made = make_folder(folder.parent, mode)
    try:
        with naming(folder), contextlib.suppress(FileExistsError):  # another service may do so at the same moment
            folder.mkdir()
            made.append(folder)
            folder.chmod(mode)  # whatever the umask was
        sync_folder(folder.parent)
    except BaseException:
        unmake(made)
        raise
    return made


def unmake(made: Sequence[Path]) -> None:
    """Removes folders that `make_folder` has created, where they are empty."""
    for folder in reversed(made):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")


def forget_temporary(path: Path) -> None:
    """Removes what a writer of `path` that died has left."""
    _temporary(path).unlink(missing_ok=True)


def write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Puts `content` at `path` atomically and durably."""
    replace(path, content, mode=mode, owner=None)
    sync_folder(path.parent)


def replace(path: Path, content: bytes, *, mode: int, owner: tuple[int, int] | None) -> None:
    """Puts `content` at `path` atomically, with permissions in place before the name appears.

    The content is on disk by then, the name only after `sync_folder` of the folder.
    """
    prepare(path, content, mode=mode, owner=owner).commit()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One path's next content, complete and on disk under a temporary name; or, without one, its removal."""

    path: Path
    temporary: Path | None

    def commit(self) -> None:
        """Makes it live by one rename or one unlink, which need no space; durable after `sync_folder`."""
        if self.temporary is None:
            self.path.unlink(missing_ok=True)
        else:
            self.temporary.replace(self.path)

    def discard(self) -> None:
        """Forgets it: the path stays as it is."""
        if self.temporary is not None:
            self.temporary.unlink(missing_ok=True)


def prepare(path: Path, content: bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> Prepared:
    """Writes what `path` is to hold, durably but for its name. When it fails, nothing of it is left."""
    temporary = _temporary(path)
    prepared = Prepared(path=path, temporary=temporary)
    temporary.unlink(missing_ok=True)
    try:
        _create(temporary, content, mode, owner)
    except BaseException:
        prepared.discard()
        raise
    return prepared


def prepare_link(path: Path, target: str) -> Prepared:
    """The same for a symbolic link."""
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    with naming(path):
        temporary.symlink_to(target)
    return Prepared(path=path, temporary=temporary)


def write_tree(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Fills the new folder `folder` with files, by host path, durably: each file and each folder is synced once.

    Only for a folder whose own name nobody relies on yet. When it fails, nothing of the folder is left.
    """
    folders = {folder}
    remove_tree(folder)
    try:
        with naming(folder):
            folder.mkdir(parents=True, mode=0o700)
            for path, content in contents.items():
                place = folder / path.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                folders.update(parent for parent in place.parents if parent.is_relative_to(folder))
                _create(place, content, 0o600, None)
            for made in folders:
                sync_folder(made)
    except BaseException:
        remove_tree(folder)
        raise


def backdate(file: int | Path) -> None:
    """Sets a new file's time three seconds back.

    Each Postfix program that finds main.cf younger than two seconds takes it for half written and waits until it is
    older: six times 0.3 s in `postfix check`, and again at the start. Ours are never half written.
    """
    before = time.time() - 3
    os.utime(file, (before, before))


def _create(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    with naming(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(fd, left) :]
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)  # after fchown, which clears setuid and setgid bits
            backdate(fd)
            os.fsync(fd)
        finally:
            os.close(fd)


_DEVICE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes an error of a file system name the file, and its device where that is at fault.

    write(2) and fsync(2) know no path.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DEVICE_ERRORS or isinstance(error, DeviceError):
            raise
        raise DeviceError(error.errno, f"{error.strerror} ({_device(path)})", str(error.filename or path)) from None


class DeviceError(OSError):
    """A device is full, read-only or broken; the message names it."""


def _device(path: Path) -> str:
    """Mount point and source of the file system that holds `path`, as proc_pid_mountinfo(5) has them."""
    mount = next(folder for folder in (path, *path.parents) if folder.is_mount() or folder == folder.parent)
    with contextlib.suppress(OSError):
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            fields, _, source = line.partition(" - ")
            if fields.split()[4] == str(mount):
                return f"{source.split()[1]}, mounted at {mount}"
    return f"file system at {mount}"


def remove(path: Path) -> None:
    """Removes `path` durably, and what a writer of it that died has left; absent is fine."""
    if not path.parent.is_dir():
        return
    forget_temporary(path)
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def remove_tree(folder: Path) -> None:
    """Removes a folder of ours with everything in it; links are removed, never followed. Absent is fine."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path))
        else:
            Path(entry.path).unlink(missing_ok=True)
    folder.rmdir()


def read(path: Path) -> bytes | None:
    """Content of a regular file; None when there is none. Anything else at `path` raises `MailhostError` at once."""
    try:
        # A FIFO without a writer would block the opening, a terminal might become ours.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENODEV, errno.ELOOP}:  # a socket, a device without driver, a link
            raise MailhostError(f"{path}: is not a regular file") from None
        raise
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise MailhostError(f"{path}: is not a regular file")
        return file.read()


PATIENCE = 300.0
"""Seconds to wait for a lock."""


@contextlib.contextmanager
def locked(path: Path, *, patience: float | None = None) -> Iterator[None]:
    """Holds flock(2) on `path`, waiting at most `patience` seconds (default: `PATIENCE`).

    The kernel lets go when the process dies. The file names its latest holder, for the one who waits in vain.
    """
    patience = PATIENCE if patience is None else patience
    with naming(path):
        make_folder(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        told = False
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(fd, 500, 0).decode(errors="replace").strip() or "another mailhostctl"
                if time.monotonic() > deadline:
                    raise MailhostError(
                        f"{path}: held by {holder}; waited {patience:.0f} s for it. "
                        "Run this again when it has ended, or end it with `kill` on the host first"
                    ) from None
                if not told and patience:
                    say(f"waiting for {holder}")
                    told = True
                time.sleep(0.05)
        _sign(fd)
        yield
    finally:
        os.close(fd)


def _sign(fd: int) -> None:
    """Notes who holds a lock. On a full disk it stays unsigned."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} ({command}) since {time.strftime('%F %T %Z')}\n".encode(), 0)
