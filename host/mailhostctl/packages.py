"""Debian packages in one apt transaction: nothing is started before it is configured, nothing more than asked."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mailhostctl import durable, generations, nosync
from mailhostctl.paths import Root
from mailhostctl.services import SERVICES
from mailhostctl.system import MailhostError, must, run, say

POLICY = "/usr/sbin/policy-rc.d"
KEPT_POLICY = "/usr/sbin/policy-rc.d.before-mailhost"
OURS = b"""#!/bin/sh
# mailhostctl: nothing is started while packages are installed (it takes this file away again)
exit 101
"""
LISTS_AGE = 86400
"""Seconds after which apt's package lists count as old."""
PRESEED = """\
postfix postfix/main_mailer_type select No configuration
"""
APT = (
    "apt-get",
    "--yes",
    "--quiet",
    "--no-install-recommends",
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
)
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true"}
QUIET = {**ENVIRONMENT, "SYSTEMD_OFFLINE": "1"}
"""systemctl then leaves the running systemd alone: one daemon-reload at the end instead of one per package."""


def install(root: Root, names: list[str]) -> list[str]:
    """Makes sure the packages are installed; returns `name version` of each, sorted. Repeating it is cheap."""
    # A run that died may have left our policy behind, and packages half configured.
    _restore_policy(root)
    if run(["dpkg", "--audit"]).out.strip():
        say("an earlier installation was interrupted; finishing it")
        with _nothing_starts(root):
            must(["dpkg", "--configure", "-a"], env=ENVIRONMENT, timeout=600)
    missing = sorted(set(names) - set(_versions(names)))
    if missing:
        if _lists_are_old(root) or run(["apt-cache", "show", "--no-all-versions", *missing]).code != 0:
            must([*APT, "-o", "Acquire::Languages=none", "update"], env=ENVIRONMENT, timeout=300)
        run(["debconf-set-selections"], stdin=PRESEED.encode(), env=ENVIRONMENT)
        first = not any(generations.current(root.service(name)) for name in SERVICES)
        with _nothing_starts(root):
            must([*APT, "install", *missing], env=QUIET, timeout=900, before=nosync.suppressor() if first else None)
        must(["systemctl", "daemon-reload"])
        if first:
            os.sync()
    versions = _versions(names)
    absent = sorted(set(names) - set(versions))
    if absent:
        raise MailhostError(f"packages: {', '.join(absent)} not installed although apt-get reported success")
    return [f"{name} {version}" for name, version in sorted(versions.items())]


def _versions(names: list[str]) -> dict[str, str]:
    """Versions of those packages that are completely installed."""
    done = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package} ${Version}\n", *names])
    lines = [line.split() for line in done.out.splitlines()]
    return {words[1]: words[2] for words in lines if len(words) == 3 and words[0] == "ii"}  # noqa: PLR2004 -- the format


def _lists_are_old(root: Root) -> bool:
    lists = [entry.stat().st_mtime for entry in root.live("/var/lib/apt/lists").glob("*_Packages*")]
    return not lists or time.time() - _updated(root, max(lists)) > LISTS_AGE


def _updated(root: Root, newest: float) -> float:
    """Time of the last update: list files carry the archive's time, the folder `partial` that of the run."""
    with contextlib.suppress(OSError):
        return max(newest, root.live("/var/lib/apt/lists/partial").stat().st_mtime)
    return newest


@contextlib.contextmanager
def _nothing_starts(root: Root) -> Iterator[None]:
    """invoke-rc.d(8) asks policy-rc.d; 101 means no. A policy of the operator's own is kept aside meanwhile."""
    policy = root.live(POLICY)
    if durable.read(policy) is not None:
        policy.replace(root.live(KEPT_POLICY))
    durable.write(policy, OURS, mode=0o755)
    try:
        yield
    finally:
        _restore_policy(root)


def _restore_policy(root: Root) -> None:
    policy, kept = root.live(POLICY), root.live(KEPT_POLICY)
    if durable.read(policy) == OURS:
        durable.remove(policy)
    if durable.read(kept) is not None and durable.read(policy) is None:
        Path(kept).replace(policy)
