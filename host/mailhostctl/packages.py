"""Debian packages in one apt transaction: nothing is started before it is configured, nothing more than asked.

Measured for the ten packages of this program on an empty Debian 13: 17 s, a plain `apt-get install` 27 s (two cores).
The difference: no recommended packages, no start of each daemon, one systemd reload instead of ten, no syncs (see
nosync), no index of manual pages.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from mailhostctl import durable, generations, main_cf, nosync, suffixes
from mailhostctl.paths import STATE, Root
from mailhostctl.services import SERVICES
from mailhostctl.system import Completed, MailhostError, must, run, say

POLICY = "/usr/sbin/policy-rc.d"
KEPT_POLICY = "/usr/sbin/policy-rc.d.before-mailhost"
OURS = b"""#!/bin/sh
# mailhostctl: nothing is started while packages are installed (it takes this file away again)
exit 101
"""
LISTS_AGE = 86400
"""Seconds after which apt's package lists count as old."""
PATIENCE = 300.0
"""Seconds to wait for another apt or dpkg (a fresh machine often runs its own first upgrade)."""
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock")
APT = (
    *("apt-get", "--yes", "--quiet", "--no-install-recommends", "-o", f"DPkg::Lock::Timeout={PATIENCE:.0f}"),
    *("-o", "Dpkg::Use-Pty=0", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
)
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "NEEDRESTART_SUSPEND": "1",  # Ubuntu: no other service is restarted behind our back
    "SYSTEMD_OFFLINE": "1",  # systemctl leaves the running systemd alone; it is told once, at the end
}
_MAN_DB = "man-db/auto-update"


def install(root: Root, names: list[str]) -> list[str]:
    """Makes sure the packages are installed; returns `name version` of each, sorted. Repeating it is cheap.

    Raises `MailhostError` with the package manager's own words.
    """
    _restore(root)
    incomplete = set(names) - set(_versions(names)) or _interrupted()
    if incomplete:
        _wait_for_others(root)
        _install(root, names)
    main_cf.provide(root)
    if incomplete:
        must(["systemctl", "daemon-reload"])
    versions = _versions(names)
    absent = sorted(set(names) - set(versions))
    if absent:
        raise MailhostError(f"packages: {', '.join(absent)} not installed although apt-get reported success")
    return [f"{name} {version}" for name, version in sorted(versions.items())]


def _install(root: Root, names: list[str]) -> None:
    first = not any(generations.current(root.service(name)) for name in SERVICES)
    with _quietly(root):
        if _interrupted():
            say("an earlier installation was interrupted; finishing it")
            must(["dpkg", "--configure", "-a"], env=ENVIRONMENT, timeout=600)
        missing = sorted(set(names) - set(_versions(names)))
        if missing:
            _get(root, missing, first=first)
    if first:
        os.sync()


def _get(root: Root, missing: list[str], *, first: bool) -> None:
    if "postfix" in missing:
        _preseed("postfix postfix/main_mailer_type select No configuration")
    updated = _lists_are_old(root) or run(["apt-cache", "show", "--no-all-versions", *missing]).code != 0
    if updated:
        _update()
    done = _apt_install(missing, first=first)
    if done.code != 0 and not updated:  # a version in the lists may be gone from the archive
        _update()
        done = _apt_install(missing, first=first)
    if done.code != 0:
        raise MailhostError(f"apt-get install {' '.join(missing)}: {done.said}")


def _update() -> None:
    must([*APT, "-o", "Acquire::Languages=none", "update"], env=ENVIRONMENT, timeout=300)


def _apt_install(missing: list[str], *, first: bool) -> Completed:
    before = nosync.suppressor() if first else None
    with suffixes.compiled_meanwhile(missing):
        return run([*APT, "install", *missing], env=ENVIRONMENT, timeout=1800, before=before)


def _preseed(answer: str) -> None:
    must(["debconf-set-selections"], stdin=f"{answer}\n".encode(), env=ENVIRONMENT)


def _versions(names: list[str]) -> dict[str, str]:
    """Versions of those packages that are completely installed (also when held)."""
    done = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package} ${Version}\n", *names])
    lines = [line.split() for line in done.out.splitlines()]
    return {words[1]: words[2] for words in lines if len(words) == 3 and words[0] in {"ii", "hi"}}  # noqa: PLR2004 -- state, name, version


def _interrupted() -> bool:
    return bool(run(["dpkg", "--audit"]).out.strip())


def _lists_are_old(root: Root) -> bool:
    lists = root.live("/var/lib/apt/lists")
    if not any(lists.glob("*_Packages*")):
        return True
    # Lists carry the archive's time; each run of `apt-get update` leaves its own on this folder.
    with contextlib.suppress(OSError):
        return time.time() - (lists / "partial").stat().st_mtime > LISTS_AGE
    return True


def _wait_for_others(root: Root) -> None:
    """Waits until nobody else holds a lock of apt or dpkg: neither `dpkg` nor `apt-get update` waits itself."""
    deadline = time.monotonic() + PATIENCE
    said = False
    for path in map(root.live, LOCKS):
        if not path.parent.is_dir():
            continue
        with path.open("ab") as lock:
            while True:
                try:
                    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        held = f"{path}: another package manager has held it for {PATIENCE:.0f} s"
                        raise MailhostError(held) from None
                if not said:
                    say("another package manager is at work; waiting for it")
                    said = True
                time.sleep(0.2)


@contextlib.contextmanager
def _quietly(root: Root) -> Iterator[None]:
    """Nothing is started (invoke-rc.d(8) asks policy-rc.d; 101 means no), and man-db does not index its pages.

    Both are put back in any case; `_restore` does it for a run that died.
    """
    policy = root.live(POLICY)
    if durable.read(policy) not in {None, OURS}:
        policy.replace(root.live(KEPT_POLICY))
    durable.write(policy, OURS, mode=0o755)
    debconf = durable.read(root.live("/var/cache/debconf/config.dat")) or b""
    if re.search(rf"^Name: {_MAN_DB}\n(?:.+\n)*Value: true$".encode(), debconf, re.MULTILINE):
        durable.make_folder(root.live(STATE))
        durable.write(_man_db_marker(root), b"")
        _preseed(f"man-db {_MAN_DB} boolean false")
    try:
        yield
    finally:
        _restore(root)


def _restore(root: Root) -> None:
    policy, kept = root.live(POLICY), root.live(KEPT_POLICY)
    if durable.read(policy) == OURS:
        durable.remove(policy)
    if durable.read(kept) is not None and durable.read(policy) is None:
        kept.replace(policy)
    if durable.read(_man_db_marker(root)) is not None:
        _preseed(f"man-db {_MAN_DB} boolean true")
        durable.remove(_man_db_marker(root))


def _man_db_marker(root: Root) -> Path:
    return root.live(STATE) / "man-db-is-off"
