"""Debian packages: the ones the lab itself runs on, and the cache through which machines of the lab get theirs."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from lab import locks, paths, processes
from lab.addresses import APT_PORT, GATEWAY4
from lab.errors import LabError
from lab.progress import step

REQUIRED: Final = (
    "apt-cacher-ng",
    "debian-archive-keyring",
    "iproute2",
    "mmdebstrap",
    "nftables",
    "openssh-client",
    "pdns-backend-sqlite3",
    "pdns-server",
    "pebble",
    "sqlite3",
    "systemd-container",
    "unbound",
    "util-linux",
)
"""Packages the outer machine needs for the lab."""
BROWSER: Final = ("chromium", "chromium-driver", "libnss3-tools")
"""Packages of lab.browser, 135 MB, which only tests need."""

_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT: Final = (
    "#!/bin/sh\n# Written by the mailhost lab while it installs packages: their own services stay off.\nexit 101\n"
)
_SET_ASIDE: Final = Path("/usr/sbin/policy-rc.d.mailhost-lab")


def missing(wanted: Sequence[str] = REQUIRED) -> list[str]:
    """Packages that are not installed on the outer machine."""
    if shutil.which("dpkg-query") is None:
        raise LabError("the lab needs Debian 12 or newer (dpkg was not found on this machine)")
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def restore_policy() -> None:
    """Undo what an installation that was killed left of `_services_off()`."""
    if _POLICY.exists() and _POLICY.read_text() == _POLICY_TEXT:
        _POLICY.unlink()
    if _SET_ASIDE.is_symlink() or _SET_ASIDE.exists():
        _SET_ASIDE.rename(_POLICY)


@contextmanager
def _services_off() -> Iterator[None]:
    """No service is started by an installation meanwhile (invoke-rc.d(8)); somebody else's policy comes back."""
    restore_policy()
    if _POLICY.is_symlink() or _POLICY.exists():
        _POLICY.rename(_SET_ASIDE)
    try:
        _POLICY.write_text(_POLICY_TEXT)
        _POLICY.chmod(0o755)
        yield
    finally:
        restore_policy()


def install_missing(wanted: Sequence[str] = REQUIRED) -> None:
    """Install what `missing()` names; their own services are neither started nor enabled for the next boot."""
    with locks.held("packages"):
        restore_policy()
        if names := missing(wanted):
            _install(names)


def _install(names: list[str]) -> None:
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *names]
    by_hand = f"install them by hand: apt-get update && {' '.join(command)}"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing the Debian packages {' '.join(names)}"), _services_off():
        for argv in (["apt-get", "update"], command):
            done = subprocess.run(
                ["env", *(f"{key}={value}" for key, value in quiet.items()), *argv],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                said = "\n".join(done.stdout.splitlines()[-5:])
                raise LabError(f"packages {' '.join(names)} could not be installed; {by_hand}\n{said}")
        _disable_services(names)


def _disable_services(names: list[str]) -> None:
    """The lab starts its own instances, so the packaged services must not come with the next boot."""
    units = {"apt-cacher-ng", "pdns", "unbound"} & {name.removesuffix("-server") for name in names}
    if units and Path("/run/systemd/system").is_dir():
        processes.run(["systemctl", "disable", "--quiet", *sorted(units)], what="keeping packaged services off")


def _sources() -> Iterator[tuple[str, str]]:
    """(URI, suites) of each Debian source of the outer machine, both file formats of sources.list(5)."""
    folder = Path("/etc/apt/sources.list.d")
    for file in [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list"))]:
        lines = file.read_text().splitlines() if file.exists() else []
        for line in lines:
            words = [word for word in line.split() if not word.startswith(("[", "signed-by", "arch="))]
            if len(words) > 2 and words[0] == "deb":  # noqa: PLR2004  type, URI and suite
                yield words[1], words[2]
    for file in sorted(folder.glob("*.sources")):
        for paragraph in file.read_text().split("\n\n"):
            fields = {
                key.strip().lower(): value.strip()
                for key, _, value in (line.partition(":") for line in paragraph.splitlines() if line[:1].isalpha())
            }
            if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
                for uri in fields.get("uris", "").split():
                    yield uri, fields.get("suites", "")


def mirrors() -> tuple[str, str]:
    """URIs of the main and the security archive: those the outer machine itself uses, else deb.debian.org."""
    main, security = "http://deb.debian.org/debian", ""
    found = [uri.rstrip("/") for uri, _ in _sources()]
    for uri in reversed(found):
        path = urlsplit(uri).path
        if path.endswith("/debian"):
            main = uri
        elif path.endswith("/debian-security"):
            security = uri
    # apt-cacher-ng fetches https itself when it is spelled like this, and so can keep what it fetched.
    both = (main, security or "http://deb.debian.org/debian-security")
    return both[0].replace("https://", "http://HTTPS///"), both[1].replace("https://", "http://HTTPS///")


def start_cache() -> None:
    """Start apt-cacher-ng on the bridge and wait until it answers. What it fetched survives `down`."""
    folder = paths.folder("acng")
    paths.packages().mkdir(parents=True, exist_ok=True)
    proxy = processes.run(
        ["apt-config", "dump", "--format", "%v%n", "Acquire::http::Proxy"], what="reading apt's proxy"
    )
    upstream = f"Proxy: {proxy.strip()}\n" if proxy.strip() else ""
    (folder / "acng.conf").write_text(
        f"CacheDir: {paths.packages()}\nLogDir: {paths.folder('logs')}\nPort: {APT_PORT}\nBindAddress: {GATEWAY4}\n"
        f"ForeGround: 1\nReportPage:\nPidFile: {folder / 'pid'}\nSocketPath: {folder / 'socket'}\n{upstream}"
    )
    processes.start("apt-cacher-ng", ["apt-cacher-ng", "-c", str(folder)])
    processes.wait_for("apt-cacher-ng", cache_answers, timeout=15)


def cache_answers() -> bool:
    """Whether apt-cacher-ng accepts connections."""
    return processes.listening(GATEWAY4, APT_PORT)
