"""Faults on purpose, for tests: each is a context, and the lab is whole again when it ends.

Everybody in the lab feels most faults. What must not meet one runs in `undisturbed()`: a fault waits until all such
sections have ended, also those of other processes, and they wait until the fault is over.
"""

import fcntl
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

from lab import cloudflare, dns, machines, network, paths
from lab.addresses import ACME_PORT, Machine
from lab.errors import LabError

_held = 0
"""How many sections of this process hold the lock: only the outermost takes it."""


@contextmanager
def _lock(kind: int) -> Iterator[None]:
    global _held  # noqa: PLW0603  one lock per process is the point
    with (paths.folder("faults") / "lock").open("w") as lock:
        if not _held:
            fcntl.flock(lock, kind)
        _held += 1
        try:
            yield
        finally:
            _held -= 1


@contextmanager
def undisturbed() -> Iterator[None]:
    """No other process's fault disturbs the lab meanwhile. Inside a fault of our own it changes nothing."""
    with _lock(fcntl.LOCK_SH):
        yield


@contextmanager
def second_nameserver_silent() -> Iterator[None]:
    """ns2 answers nothing."""
    with _lock(fcntl.LOCK_EX):
        dns.stop_second()
        try:
            yield
        finally:
            dns.start_second()


@contextmanager
def second_nameserver_lagging() -> Iterator[None]:
    """ns2 goes on answering what it knew when the context began."""
    with _lock(fcntl.LOCK_EX):
        old = paths.folder("pdns") / "old.db"
        old.unlink(missing_ok=True)
        with closing(sqlite3.connect(dns.database())) as source, closing(sqlite3.connect(old)) as copy:
            source.backup(copy)
        dns.stop_second()
        try:
            dns.start_second(old)
            yield
        finally:
            dns.stop_second()
            dns.start_second()


@contextmanager
def publication_held(zone: str, *, delay: str = "hold") -> Iterator[None]:
    """Changes of a zone through Cloudflare's API reach the name servers only after the context, or seconds late.

    Only those who use the zone feel it, so nobody else has to wait.
    """
    file = cloudflare.delay_file(zone)
    file.write_text(delay)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def answers_held(zone: str) -> Iterator[None]:
    """Cloudflare makes and changes the zone's records, and whoever asked for it hears of that only after the context.

    Only those who use the zone feel it, so nobody else has to wait.
    """
    file = cloudflare.mute_file(zone)
    file.touch()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def certificate_authority_away(machine: Machine) -> Iterator[None]:
    """The ACME server refuses every connection of the machine.

    Only that machine feels it. Were the server stopped, it would forget the accounts of all, unlike a real authority.
    """
    network.refuse(machine.ipv4, ACME_PORT)
    try:
        yield
    finally:
        network.admit(machine.ipv4, ACME_PORT)


@contextmanager
def lock_held(machine: Machine, path: str) -> Iterator[None]:
    """Another process on the machine holds flock(2) on a file: whatever needs that lock waits until the context ends.

    Only that machine feels it.
    """
    command = machines.command(machine.name, ["flock", path, "sh", "-c", "echo held; cat"])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            if holder.stdout is None or holder.stdout.readline() != "held\n":
                raise LabError(f"{machine.name}: {path} cannot be locked")
            yield
        finally:
            holder.communicate(timeout=10)
