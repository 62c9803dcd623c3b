"""Disks on which packages are installed already: read-only layers over a base, kept in the cache.

For tests of what comes after an installation. The installation itself is the caller's, on a machine that boots the
plain base; its disk becomes the layer.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from lab import bases, control, locks, machines
from lab.addresses import Machine
from lab.progress import step


def ensure(builder: Machine, names: Collection[str], install: Callable[[], None]) -> Path:
    """Return the layer with the packages `names`; where it is missing, `install` on a new `builder`, take its disk."""
    target = bases.stock(builder.release, names)
    with locks.held(builder.name):
        if not target.is_dir():
            with step(f"installing {len(names)} packages for later machines of {builder.release} (once)"):
                control.reset(builder.name)
                try:
                    install()
                finally:
                    machines.stop(builder.name)
                machines.hand_over(builder.name, target)
    return target
