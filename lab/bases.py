"""Root trees of the machines: built once per release, read-only afterwards, kept in the cache.

A base is a bare server as a hosting company hands it out (OpenSSH, python3, no mail package), plus what the lab cannot
do without: its apt proxy, its DNSSEC root anchor in place of the real one, the authority of its ACME server's HTTPS.
The name of a base carries a digest of its recipe: another recipe is another base.
"""

import hashlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from lab import keys, packages, paths, processes
from lab.addresses import APT_PROXY, SUITES
from lab.errors import LabError
from lab.progress import step

_PACKAGES: Final = (
    "apt-utils",
    "ca-certificates",
    "dbus",
    "iproute2",
    "less",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
)
_ANCHOR: Final = "/usr/share/dns/root.key"
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_BUILD_LIMIT: Final = 900
"""Seconds a base may take to build before it counts as hung."""


def _customize() -> str:
    """Shell script mmdebstrap runs when the packages are installed; $1 is the root tree."""
    return f"""set -eu
root=$1
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
# The proxy stays for the machine's own apt.
mv "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/apt/apt.conf.d/00lab"
chroot "$root" systemctl --quiet enable systemd-networkd.service ssh.service
# Background updates would take apt's lock at moments of their own.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer
chroot "$root" dpkg-divert --quiet --local --no-rename --divert {_ANCHOR}.real --add {_ANCHOR}
mkdir -p "$root/usr/share/dns"
cat >"$root/usr/share/dns/root.key" <<'END'
{keys.root_ds()}
END
cat >"$root/usr/local/share/ca-certificates/lab-acme-api.crt" <<'END'
{keys.api_authority()}END
chroot "$root" update-ca-certificates >/dev/null
"""


def _sources(release: str) -> list[str]:
    main, security = packages.mirrors()
    suite, signed = SUITES[release], f"[signed-by={_KEYRING}]"
    return [
        f"deb {signed} {main} {suite} main",
        f"deb {signed} {main} {suite}-updates main",
        f"deb {signed} {security} {suite}-security main",
    ]


def _argv(release: str, target: Path) -> list[str]:
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--include={','.join(_PACKAGES)}",
        f'--aptopt=Acquire::http::Proxy "{APT_PROXY}"',
        "--dpkgopt=force-unsafe-io",
        f"--customize-hook={_customize()}",
        SUITES[release],
        str(target),
        *_sources(release),
    ]


def path(release: str) -> Path:
    """Where the base of `release` lies, built or not."""
    recipe = "\n".join(_argv(release, Path("target")))
    return paths.bases() / f"{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def stock(release: str, names: Collection[str]) -> Path:
    """Where the layer lies that has these packages installed over the base of `release`, made or not (lab/stock.py)."""
    recipe = "\n".join(sorted(names))
    return paths.bases() / f"stock-{path(release).name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def stocks() -> list[Path]:
    """The last such layer over each of today's bases."""
    made = [list(paths.bases().glob(f"stock-{path(release).name}-*")) for release in SUITES]
    return [max(trees, key=lambda tree: tree.stat().st_ctime) for trees in made if trees]


def ready(release: str) -> bool:
    """Whether the base of `release` is built."""
    return path(release).is_dir()


def ensure(release: str) -> Path:
    """Build the base of `release` unless it is there (about half a minute). Needs the package cache running."""
    target = path(release)
    if target.is_dir():
        return target
    partial = target.with_suffix(".partial")
    with step(f"building the base of {release} (once, about a minute)"):
        clear(partial)
        paths.bases().mkdir(parents=True, exist_ok=True)
        build(f"base-{release}", _argv(release, partial))
        partial.rename(target)
    return target


def prune(*, keep: Collection[Path]) -> None:
    """Remove trees made by other recipes than today's, and half-built ones. No machine may be running."""
    current = {path(release) for release in SUITES} | set(keep)
    for tree in paths.bases().glob("*"):
        if tree not in current:
            clear(tree)


def build(name: str, argv: list[str]) -> None:
    """Run a builder to its end; killed with all its children and mounts when we die, or by the next `down`."""
    processes.stop(name)
    contained = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *argv]
    processes.run_logged(name, contained, timeout=_BUILD_LIMIT)


def clear(tree: Path) -> None:
    """Remove a root tree that nothing uses."""
    if tree.is_symlink() or not tree.exists():
        return
    with Path("/proc/self/mountinfo").open() as mounts:
        # A mount below would make this remove somebody's files through it.
        inside = [words[4] for words in map(str.split, mounts) if words[4].startswith(f"{tree}{os.sep}")]
    if inside:
        raise LabError(f"{tree} cannot be removed, still mounted: {', '.join(inside)}; run: umount {' '.join(inside)}")
    shutil.rmtree(tree)
