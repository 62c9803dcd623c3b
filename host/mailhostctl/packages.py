"""Debian packages in one apt transaction: nothing is started before it is configured, nothing more than asked.

What holds the starts back is `SYSTEMD_OFFLINE` in apt's environment, not a policy-rc.d(8): it ends with the processes
that have it. A policy is a file, which a killed run leaves for every later upgrade to obey, and which is the
operator's.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import time
from collections.abc import Iterator

from mailhostctl import durable, main_cf, suffixes
from mailhostctl.paths import STATE, Root
from mailhostctl.system import Completed, MailhostError, must, run, say

FORMER_POLICY = "/usr/sbin/policy-rc.d"
FORMER_POLICY_TEXT = b"""#!/bin/sh
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
    # systemctl starts, stops and reloads nothing (systemd's ENVIRONMENT.md), also where packages' scripts call it, and
    # also when apt goes on after we were killed. systemd is told once, at the end.
    "SYSTEMD_OFFLINE": "1",
}


def install(root: Root, names: list[str]) -> list[str]:
    """Makes sure the packages are installed; returns `name version` of each, sorted. Repeating it is cheap.

    Raises `MailhostError` with the package manager's own words.
    """
    _undo_former_run(root)
    if set(names) - set(_versions(names)) or _interrupted(root):
        _wait_for_others(root)
        _install(root, names)
    main_cf.provide(root)
    # Also when apt had nothing to do: a run that was killed may not have come to this.
    must(["systemctl", "daemon-reload"])
    versions = _versions(names)
    absent = sorted(set(names) - set(versions))
    if absent:
        raise MailhostError(f"packages: {', '.join(absent)} not installed although apt-get reported success")
    return [f"{name} {version}" for name, version in sorted(versions.items())]


def faults(root: Root, names: list[str]) -> Iterator[tuple[str, str]]:
    """What `install` would put right: a package, or dpkg, and what is wrong with it."""
    if _interrupted(root):
        yield "dpkg", "an installation was interrupted"
    for name in sorted(set(names) - set(_versions(names))):
        yield name, "not installed"


def _install(root: Root, names: list[str]) -> None:
    broken = False
    if _interrupted(root):
        say("an earlier installation was interrupted; finishing it")
        # It fails where a dependency has not come yet: that is apt-get's.
        broken = run(["dpkg", "--configure", "-a"], env=ENVIRONMENT, timeout=600).code != 0
    missing = sorted(set(names) - set(_versions(names)))
    if missing or broken:
        _get(root, missing, broken=broken)


def _get(root: Root, missing: list[str], *, broken: bool) -> None:
    if "postfix" in missing:
        _preseed("postfix postfix/main_mailer_type select No configuration")
    unknown = bool(missing) and run(["apt-cache", "show", "--no-all-versions", *missing]).code != 0
    updated = unknown or _lists_are_old(root)
    if updated:
        _update()
    done = _apt_install(missing, broken=broken)
    if done.code != 0 and not updated:  # a version in the lists may be gone from the archive
        _update()
        done = _apt_install(missing, broken=broken)
    if done.code != 0:
        raise MailhostError(_refusal(done) or f"apt-get install {' '.join(missing)}: {done.said}")


def _refusal(done: Completed) -> str:
    """What to do where apt-get would have had to remove something; empty where that is not why it failed."""
    found = re.search(r"^The following packages will be REMOVED:\n((?: .*\n)+)", done.out, re.MULTILINE)
    if found is None:
        return ""
    removed = found[1].replace("*", "").split()
    return (
        f"packages: {', '.join(removed)} would have to be removed, so nothing was installed. If you do not need them, "
        f"run `apt-get remove {' '.join(removed)}` on the host, then pulumi up again"
    )


def _update() -> None:
    must([*APT, "-o", "Acquire::Languages=none", "update"], env=ENVIRONMENT, timeout=300)


def _apt_install(missing: list[str], *, broken: bool) -> Completed:
    fix = ["--fix-broken"] if broken else []
    with suffixes.compiled_meanwhile(missing):
        return run([*APT, "--no-remove", *fix, "install", *missing], env=ENVIRONMENT, timeout=1800)


def _preseed(answer: str) -> None:
    must(["debconf-set-selections"], stdin=f"{answer}\n".encode(), env=ENVIRONMENT)


def _versions(names: list[str]) -> dict[str, str]:
    """Versions of those packages that are completely installed (also when held)."""
    done = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package} ${Version}\n", *names])
    lines = [line.split() for line in done.out.splitlines()]
    return {words[1]: words[2] for words in lines if len(words) == 3 and words[0] in {"ii", "hi"}}  # noqa: PLR2004 -- state, name, version


def _interrupted(root: Root) -> bool:
    """Whether dpkg died at work: a package is half there, or its journal is left, over which apt refuses to work."""
    journal = root.live("/var/lib/dpkg/updates")
    left = journal.is_dir() and any(path.name.isdigit() for path in journal.iterdir())
    return left or bool(run(["dpkg", "--audit"]).out.strip())


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


def _undo_former_run(root: Root) -> None:
    """Takes away what a run of version 0.1.0 that was killed has left: a policy that forbids every start, and a marker.

    The marker says that debconf keeps man-db from indexing manual pages.
    """
    policy, kept = root.live(FORMER_POLICY), root.live(f"{FORMER_POLICY}.before-mailhost")
    if not policy.is_symlink() and durable.read(policy) == FORMER_POLICY_TEXT:
        durable.remove(policy)
    if kept.is_file() and not policy.exists():
        kept.replace(policy)
        durable.sync_folder(policy.parent)
    marker = root.live(f"{STATE}/man-db-is-off")
    if marker.exists():
        _preseed("man-db man-db/auto-update boolean true")
        durable.remove(marker)
