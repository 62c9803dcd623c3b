"""Files that survive a crash: whole old or whole new content, on disk before the next step relies on it.

Every write goes to a temporary name in the same folder, is fsynced, then renamed (rename(2) replaces atomically), and
the folder is fsynced, because a rename is only durable with its folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from mailhostctl.system import MailhostError

TEMPORARY_SUFFIX = ".mailhost~"
"""Ends in `~`: certbot skips such hooks, and systemd's *.conf folders never read it."""


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path, mode: int = 0o700) -> list[Path]:
    """Creates `folder` and its missing parents with `mode`, durably; returns those created, outermost first."""
    if folder.is_dir():
        return []
    made = make_folder(folder.parent, mode)
    with contextlib.suppress(FileExistsError):  # another service may be staged at the same moment
        folder.mkdir()
        folder.chmod(mode)  # whatever the umask was
        made.append(folder)
    sync_folder(folder.parent)
    return made


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
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    _create(temporary, content, mode, owner)
    temporary.replace(path)


def write_tree(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Fills the new folder `folder` with files, by host path, durably: each file and each folder is synced once.

    Only for a folder whose own name nobody relies on yet.
    """
    folders = {folder}
    remove_tree(folder)
    folder.mkdir(parents=True, mode=0o700)
    for path, content in contents.items():
        place = folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folders.update(parent for parent in place.parents if parent.is_relative_to(folder))
        _create(place, content, 0o600, None)
    for made in folders:
        sync_folder(made)


def backdate(file: int | Path) -> None:
    """Sets a new file's time three seconds back.

    Each Postfix program that finds main.cf younger than two seconds takes it for half written and waits until it is
    older: six times 0.3 s in `postfix check`, and again at the start. Ours are never half written.
    """
    before = time.time() - 3
    os.utime(file, (before, before))


def _create(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None) -> None:
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


def link(path: Path, target: str) -> None:
    """Puts a symbolic link to `target` at `path` atomically; durable after `sync_folder` of the folder."""
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


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
    """Content of a regular file; None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise MailhostError(f"{path}: is not a regular file")
        return file.read()


@contextlib.contextmanager
def locked(path: Path, *, patience: float = 300) -> Iterator[None]:
    """Holds flock(2) on `path`, waiting at most `patience` seconds. The kernel lets go when the process dies."""
    make_folder(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise MailhostError(f"{path}: another mailhostctl has held it for {patience:.0f} s") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(fd)
