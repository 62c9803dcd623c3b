"""Keeps the lab's processes out of each other's way, such as tests beside each other."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from lab import paths


@contextmanager
def held(name: str) -> Iterator[None]:
    """Do something while no other process does what has the same name; it may be done already when the turn comes."""
    paths.cache().mkdir(parents=True, exist_ok=True)
    with (paths.cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
