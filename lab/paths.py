"""Where the lab keeps its things: one cache folder outside the clone, one environment file inside."""

import os
from pathlib import Path
from typing import Final

from lab import official
from lab.errors import LabError

_LONGEST_SOCKET: Final = 107
CLONE: Final = Path(__file__).resolve().parent.parent


def cache() -> Path:
    """`$MAILHOST_CACHE`, else `mailhost` in the user's cache folder."""
    chosen = os.environ.get("MAILHOST_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mailhost"


def toolchain() -> Path:
    """Folder of the `pulumi` command and its language host."""
    return cache() / "bin"


def bases() -> Path:
    """Read-only root trees of the machines; survive `down`."""
    return cache() / "bases"


def packages() -> Path:
    """The .debs apt-cacher-ng keeps; survive `down`."""
    return cache() / "apt"


def pulumi_home() -> Path:
    """PULUMI_HOME of the lab: its plugins can never end in a user's own cache, nor beside official ones."""
    return cache() / ("pulumi" if official.home() is None else "pulumi-official")


def state() -> Path:
    """Pulumi state of the lab's stacks (file backend); goes with the machines it describes."""
    return cache() / "state"


def running() -> Path:
    """Everything of the running lab: configurations, logs, handles, machine disks. `down` removes it."""
    return cache() / "lab"


def check() -> None:
    """Refuse a cache folder in which daemons could not make their sockets (unix(7): a path has at most 107 bytes)."""
    longest = running() / "pdns-ns1" / "pdns.controlsocket"
    if len(os.fsencode(longest)) > _LONGEST_SOCKET:
        raise LabError(f"the path of the cache folder {cache()} is too long: set MAILHOST_CACHE to a shorter one")


def folder(*parts: str) -> Path:
    """A folder below `running()`, made when absent."""
    path = running().joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def log(name: str) -> Path:
    """Log file of the process `name`."""
    return folder("logs") / f"{name}.log"


def environment() -> Path:
    """File an operator sources to use stack dev by hand."""
    return CLONE / ".lab" / "env"
