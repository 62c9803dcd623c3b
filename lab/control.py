"""The lab as a whole: up, down, status, reset. One command at a time."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import (
    acme,
    bases,
    cloudflare,
    dns,
    environment,
    machines,
    network,
    nursery,
    outside,
    packages,
    paths,
    processes,
    ssh_agent,
)
from lab.addresses import DEFAULT_MACHINES, MACHINES, OUTSIDE
from lab.errors import LabError
from lab.progress import say

_SERVICES = ("apt-cacher-ng", "cloudflare-api", "pdns-ns1", "pdns-ns2", "pebble", "plugins", "ssh-agent", "unbound")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing `up` starts, for `status`."""

    name: str
    state: str
    running: bool


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Keep other `lab` commands waiting."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root (containers, a bridge, mounts): run the command with sudo")
    paths.cache().mkdir(parents=True, exist_ok=True)
    with (paths.cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another lab command to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _together(*steps: Callable[[], object]) -> None:
    """Run all steps at once; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool:
        started: list[Future[object]] = [pool.submit(step) for step in steps]
        try:
            wait(started)
        except KeyboardInterrupt:
            processes.cancel()
            raise
    for future in started:
        future.result()


def up(names: Sequence[str] = DEFAULT_MACHINES) -> None:
    """Bring up the services and the machines `names`. What already runs is left alone."""
    wanted = [machines.get(name).name for name in names]
    with locked():
        if _complete(wanted):
            return
        paths.check()
        packages.install_missing()
        _clear_stale()
        network.up()
        outside.make_key()
        _together(
            ssh_agent.start,
            nursery.start,
            _names_and_what_needs_them,
            lambda: _machines(wanted),
        )
        environment.write()


def _names_and_what_needs_them() -> None:
    dns.start_authoritative()
    _together(dns.start_resolver, acme.start, cloudflare.start)


def _machines(names: Sequence[str]) -> None:
    packages.start_cache()
    releases = {MACHINES[name].release for name in names}
    _together(*(partial(bases.ensure, release) for release in releases))
    if OUTSIDE.name in names:
        outside.ensure()
    for name in names:
        _start(name)
    for name in names:
        machines.wait(name)


def _start(name: str, layers: Sequence[Path] = ()) -> None:
    if name == OUTSIDE.name:
        machines.start(name, layers=[outside.layer()], files=outside.files())
    else:
        machines.start(name, layers=layers)


def _complete(names: Iterable[str]) -> bool:
    everything = (*_SERVICES, *(f"machine-{name}" for name in names))
    running = all(processes.pid(name) for name in everything)
    return running and nursery.ready() and network.ready() and paths.environment().exists()


def _clear_stale() -> None:
    """End what an earlier run that was killed left half-done."""
    for name in processes.names():
        if name.startswith("base-"):
            processes.stop(name)


def down() -> None:
    """Stop everything and remove it: processes, disks, zones, network, and the state of stacks that describe them."""
    with locked():
        names = machines.made()
        _together(*(partial(machines.stop, name, clean=False) for name in names))
        _together(*(partial(processes.stop, name) for name in processes.names()))
        _together(network.down, packages.restore_policy, *(partial(machines.remove, name) for name in names))
        bases.prune(keep=[outside.layer(), *bases.stocks()])
        for folder in (paths.running(), paths.state()):
            shutil.rmtree(folder, ignore_errors=True)
        paths.environment().unlink(missing_ok=True)


def reset(name: str, *, layers: Sequence[Path] = ()) -> None:
    """Put a machine back to the day it was bought: fresh disk, no records in its zone, no stack that describes it.

    With `layers` the disk lies over these, see `machines.start`.
    """
    machine = machines.get(name)
    with locked():
        machines.stop(name, clean=False)
        machines.remove(name)
        bases.ensure(machine.release)
        _start(name, layers)
        if machine is not OUTSIDE:
            for domain in (machine.domain, machine.second_domain):
                cloudflare.delete_records(domain)
        if name == DEFAULT_MACHINES[0]:
            environment.forget_stack()
        machines.wait(name)


def status() -> list[Part]:
    """Every part of the lab and whether it runs."""
    parts = []
    for name in _SERVICES:
        number = processes.pid(name)
        parts.append(Part(name=name, state=f"pid {number}" if number else "stopped", running=number is not None))
    for machine in MACHINES.values():
        running = machines.running(machine.name)
        where = f"{machine.release} {machine.ipv4} {machine.ipv6} {machine.hostname}"
        parts.append(Part(name=machine.name, state=where if running else f"stopped ({where})", running=running))
    return parts
