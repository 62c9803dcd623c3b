"""What is measured: each piece of work in turn with its reference, so that both meet the same moods of the machine."""

import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lab import control, environment, faults, machines, plugin_cache
from lab.addresses import MACHINES
from model.packages import packages
from tests.bench.figures import Comparison, Figure, Unit
from tests.bench.processes import lab_tests_run, peak_megabytes, seconds
from tests.e2e.stack import ROOT, Stack
from tests.golden.cases import settings

MACHINE: Final = MACHINES["e13"]
_INSTALL_SECONDS: Final = 900
"""After that an installation counts as hung."""
_CHANGES: Final = ("20971520", None)
"""The setting messageSizeLimit, to and fro: one file and one service."""
_EVERYDAY: Final = 3
"""How much more often than a fresh machine the quick things are measured: a busy machine disturbs them more."""

APT: Final = "apt-get update, install"
UP: Final = "fresh up"
EMPTY_PREVIEW: Final = "preview, empty program"
NEW_PREVIEW: Final = "preview, new host"
PREVIEW: Final = "preview, nothing changed"
EMPTY_MEMORY: Final = "program's memory, empty"
MEMORY: Final = "program's memory"
EMPTY_UP: Final = "up, empty program"
SAME_UP: Final = "up, nothing changed"
SAME_LOGINS: Final = "SSH connections, nothing changed"
CHANGED_UP: Final = "up, one file changed"
CHANGED_LOGINS: Final = "SSH connections, one file changed"
MAKE_UP: Final = "make up, the second time"
MAKE_TEST: Final = "make test"

_FIGURES: Final[tuple[tuple[str, str, Unit, Comparison, float | None], ...]] = (
    (UP, APT, "s", "ratio", 1.2),
    (NEW_PREVIEW, EMPTY_PREVIEW, "s", "ratio", 1.5),
    (PREVIEW, EMPTY_PREVIEW, "s", "ratio", 1.5),
    (MEMORY, EMPTY_MEMORY, "MB", "value", 120),
    (SAME_UP, EMPTY_UP, "s", "difference", 2.5),
    (SAME_LOGINS, "", "", "value", 0),
    (CHANGED_UP, EMPTY_UP, "s", "difference", 3.5),
    (CHANGED_LOGINS, "", "", "value", None),
    (MAKE_UP, "", "s", "value", 180),
    (MAKE_TEST, "", "s", "value", 900),
)


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Samples:
    """What was measured so far, by name."""

    values: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def time(self, name: str, work: Callable[[], object]) -> None:
        """Measure `work` once on the wall clock, when no test disturbs it."""
        _wait_for_tests()
        with faults.undisturbed():
            took = seconds(work)
        self.add(name, took, "s")

    def add(self, name: str, value: float, unit: Unit) -> None:
        """Note one value."""
        self.values[name].append(value)
        say(f"  {name}: {value:.2f} {unit}".rstrip())

    def figures(self) -> list[Figure]:
        """Return everything that was measured beside its reference."""
        return [
            Figure(
                name=name,
                unit=unit,
                measured=self.values[name],
                reference=reference,
                references=self.values[reference],
                comparison=comparison,
                aim=aim,
            )
            for name, reference, unit, comparison, aim in _FIGURES
            if name in self.values
        ]


def measure(samples: Samples, folder: Path, runs: int) -> None:
    """Measure the program on a machine of the lab, `runs` times fresh; its disk and its zone's records are lost."""
    with _machine():
        host = _fresh(samples, folder, runs)
        _everyday(samples, folder, _EVERYDAY * runs, host)


def measure_newcomer(samples: Samples) -> None:
    """Measure `make up` with warm caches, and `make test`: minutes, and the lab is taken down on the way."""
    _wait_for_tests()
    say("make up and make down once, so that the caches are warm")
    _make("up")
    _make("down")
    samples.time(MAKE_UP, lambda: _make("up"))
    samples.time(MAKE_TEST, lambda: _make("test"))


def _wait_for_tests() -> None:
    if lab_tests_run():
        say("waiting for tests that use the lab to finish")
        while lab_tests_run():
            time.sleep(2)


@contextmanager
def _machine() -> Iterator[None]:
    """The machine and what it needs; in the end it is as new, and runs if it did."""
    _wait_for_tests()
    was_running = machines.running(MACHINE.name)
    control.up((MACHINE.name,))
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
    _wait_for_tests()
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
        samples.time(APT, lambda: _apt(wanted))
        _reset()
        stack = _stack(folder / f"host{run}")
        samples.time(UP, lambda stack=stack: stack.up().must_pass())  # type: ignore[misc] # mypy cannot infer a lambda with a default
    return stack


def _everyday(samples: Samples, folder: Path, runs: int, host: Stack) -> None:
    """Plan and update without and with a change, an empty program always first."""
    empty, new = _empty_stack(folder / "empty"), _stack(folder / "new")
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


def _stack(folder: Path) -> Stack:
    folder.mkdir()
    stack = Stack(machine=MACHINE, folder=folder)
    stack.create()
    return stack


def _empty_stack(folder: Path) -> Stack:
    """A program that declares nothing, run by the same engine and interpreter."""
    (folder / "state").mkdir(parents=True)
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    (folder / "__main__.py").touch()
    variables = environment.complete() | {"PULUMI_BACKEND_URL": f"file://{folder}/state"}
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
