"""What is measured: each piece of work in turn with its reference, so that both meet the same moods of the machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from lab import control, environment, machines, plugin_cache
from lab.addresses import MACHINES, OUTSIDE
from model.packages import packages
from tests.bench import service, size
from tests.bench.processes import lab_tests_run, peak_megabytes
from tests.bench.samples import (
    APT,
    CHANGED_LOGINS,
    CHANGED_UP,
    EMPTY_MEMORY,
    EMPTY_PREVIEW,
    EMPTY_UP,
    FRESH_MEMORY,
    MAKE_TEST,
    MAKE_UP,
    MEMORY,
    NEW_PREVIEW,
    PREVIEW,
    SAME_LOGINS,
    SAME_UP,
    UP,
    Samples,
    say,
    wait_for_tests,
)
from tests.e2e.stack import ROOT, Stack
from tests.golden.cases import settings

MACHINE: Final = MACHINES["e13"]
_NEWCOMER: Final = replace(MACHINE, domain=MACHINE.second_domain)
"""A host that is only planned, in a zone that nothing was published in."""
_INSTALL_SECONDS: Final = 900
"""After that an installation counts as hung."""
_CHANGES: Final = ("20971520", None)
"""The setting messageSizeLimit, to and fro: one file and one service."""
_EVERYDAY: Final = 3
"""How much more often than a fresh machine the quick things are measured: a busy machine disturbs them more."""


def measure(samples: Samples, folder: Path, runs: int) -> None:
    """Measure the program on a machine of the lab, `runs` times fresh; its disk and its zone's records are lost."""
    wait_for_tests()
    control.up(())
    plugin_cache.fill()
    # First: an operator's plan of many is not made on the mail host itself, which shares its cores here.
    size.measure(samples, _NEWCOMER, folder, _EVERYDAY * runs)
    with _machine():
        host = _fresh(samples, folder, runs)
        _everyday(samples, folder, _EVERYDAY * runs, host)
        service.measure(samples, host, runs)


def measure_newcomer(samples: Samples) -> None:
    """Measure `make up` with warm caches, and `make test`: minutes, and the lab is taken down on the way."""
    wait_for_tests()
    say("make up and make down once, so that the caches are warm")
    _make("up")
    _make("down")
    samples.time(MAKE_UP, lambda: _make("up"))
    samples.time(MAKE_TEST, lambda: _make("test"))


@contextmanager
def _machine() -> Iterator[None]:
    """The machine and what it needs; in the end it is as new, and runs if it did."""
    wait_for_tests()
    was_running = machines.running(MACHINE.name)
    control.up((MACHINE.name, OUTSIDE.name))
    plugin_cache.fill()
    try:
        yield
    finally:
        if not lab_tests_run():  # they reset it for themselves
            control.reset(MACHINE.name)
            if not was_running:
                machines.stop(MACHINE.name)


def _reset() -> None:
    """A fresh machine that has come to rest."""
    wait_for_tests()
    control.reset(MACHINE.name)
    machines.execute(MACHINE.name, ["systemctl", "is-system-running", "--wait"])


def _fresh(samples: Samples, folder: Path, runs: int) -> Stack:
    """Set the machine up again and again, by apt alone and by the program; return the last stack."""
    wanted = packages(settings("debian13-minimal"))
    say("fetching the packages into the lab's cache")
    _reset()
    _apt(wanted, "--download-only")
    for run in range(1, runs + 1):
        say(f"fresh machine, run {run} of {runs}")
        _reset()
        samples.add(FRESH_MEMORY, service.memory(MACHINE), "MB")
        samples.time(APT, lambda: _apt(wanted))
        _reset()
        stack = size.new_stack(MACHINE, folder / f"host{run}")
        samples.time(UP, lambda stack=stack: stack.up().must_pass())  # type: ignore[misc] # mypy cannot infer a lambda with a default
    return stack


def _everyday(samples: Samples, folder: Path, runs: int, host: Stack) -> None:
    """Plan and update without and with a change, an empty program always first."""
    empty, new = _empty_stack(folder / "empty"), size.new_stack(_NEWCOMER, folder / "new")
    say("once unmeasured")
    empty.up().must_pass()
    new.preview().must_pass()
    host.preview().must_pass()
    for run in range(runs):
        say(f"plans and updates, run {run + 1} of {runs}")
        samples.time(EMPTY_PREVIEW, lambda: empty.preview().must_pass())
        samples.time(NEW_PREVIEW, lambda: new.preview().must_pass())
        samples.time(PREVIEW, lambda: host.preview().must_pass())
        samples.add(EMPTY_MEMORY, peak_megabytes(empty), "MB")
        samples.add(MEMORY, peak_megabytes(new), "MB")
        samples.time(EMPTY_UP, lambda: empty.up().must_pass())
        logins = machines.ssh_connections(MACHINE.name)
        samples.time(SAME_UP, lambda: host.up().must_pass())
        samples.add(SAME_LOGINS, machines.ssh_connections(MACHINE.name) - logins, "")
        assert host.changes().keys() == {"same"}
        host.configure({"messageSizeLimit": _CHANGES[run % len(_CHANGES)]})
        logins = machines.ssh_connections(MACHINE.name)
        samples.time(CHANGED_UP, lambda: host.up().must_pass())
        samples.add(CHANGED_LOGINS, machines.ssh_connections(MACHINE.name) - logins, "")
        assert host.changes()["update"] == 2, host.changes()


def _empty_stack(folder: Path) -> Stack:
    """A program that declares nothing, run by the same engine and interpreter."""
    (folder / "state").mkdir(parents=True)
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    (folder / "__main__.py").touch()
    variables = environment.complete() | {"PULUMI_BACKEND_URL": environment.backend(folder / "state")}
    stack = Stack(machine=MACHINE, folder=folder, environment=variables)
    stack.pulumi("stack", "init", stack.name).must_pass()
    return stack


def _apt(wanted: tuple[str, ...], *options: str) -> None:
    """Install the packages as an administrator types it: with what they recommend, their daemons started."""
    script = 'apt-get update && apt-get install -y "$@"'
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script, "sh", *options, *wanted]
    machines.run(MACHINE.name, command, timeout=_INSTALL_SECONDS)


def _make(target: str) -> None:
    # The make that runs this must not hand its flags and job server down.
    variables = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    done = subprocess.run(
        ["make", target],
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"make {target} ended with {done.returncode}:\n{done.stdout}"
