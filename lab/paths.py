"""Where the lab keeps its things: one cache folder outside the clone, one environment file inside."""

import os
from pathlib import Path
from typing import Final

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
    """PULUMI_HOME of the lab: its plugins can never end in a user's own cache."""
    return cache() / "pulumi"


def state() -> Path:
    """Pulumi state of the lab's stacks (file backend); goes with the machines it describes."""
    return cache() / "state"


def running() -> Path:
    """Everything of the running lab: configurations, logs, handles, machine disks. `down` removes it."""
    return cache() / "lab"


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
