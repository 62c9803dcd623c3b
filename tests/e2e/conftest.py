"""Two mail hosts per Debian release, brought up once and then lived with, each from its first `up` on.

They live beside each other (pytest-xdist groups), each host's tests one after another in the order below.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from lab import cloudflare, control, faults, machines, plugin_cache
from lab.addresses import MACHINES, OUTSIDE, Machine
from lab.clients import wait_for
from tests import stocked
from tests.e2e.stack import Run, Stack

LIVES: Final = (
    (
        "test_first_up",
        "test_mail",
        "test_spam",
        "test_smtp",
        "test_switched_off",
        "test_ban",
        "test_accounts",
        "test_transport",
        "test_changes",
        "test_reverts",
        "test_power",
        "test_drift",
    ),
    (
        "test_client_setup",
        "test_caa",
        "test_metrics",
        "test_filters",
        "test_zone",
        "test_reports",
        "test_plan",
        "test_secrets",
        "test_abuse",
        "test_storage",
        "test_policies",
        "test_rotation",
        "test_faults",
        "test_doctor",
        "test_doctor_records",
        "test_destroy",
    ),
)
"""What a mail host lives through. Any part of it may be left out, but for its first `up`."""
_ORDER: Final = [module for life in LIVES for module in life]
MACHINE_NAMES: Final = os.environ.get("MAILHOST_E2E_MACHINES", "e13,e12,f13,f12").split(",")
"""One machine of each release for each life. Where there are fewer, the last of a release lives through the rest."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test the machine of each release that lives through its module."""
    if "host" not in metafunc.fixturenames:
        return
    life = next(number for number, modules in enumerate(LIVES) if metafunc.definition.path.stem in modules)
    releases: dict[str, list[str]] = {}
    for machine in MACHINE_NAMES:
        releases.setdefault(MACHINES[machine].release, []).append(machine)
    hosts = [names[min(life, len(names) - 1)] for names in releases.values()]
    if only := metafunc.definition.get_closest_marker("one_release"):
        hosts = [name for name in hosts if MACHINES[name].release == only.args[0]] or hosts
    metafunc.parametrize("host", hosts, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order a host's tests as its life goes; the sort is stable within a module."""
    here = [item for item in items if item.path.parent.name == "e2e"]
    for item in here:
        item.add_marker(pytest.mark.lab)
        item.add_marker(pytest.mark.xdist_group(_host_of(item)))
    ordered = iter(sorted(here, key=lambda item: (_host_of(item), _ORDER.index(item.path.stem))))
    items[:] = [next(ordered) if item in here else item for item in items]


def _host_of(item: pytest.Item) -> str:
    return str(item.callspec.params["host"])  # type: ignore[attr-defined] # because only parametrised items have one


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the world looked like while the name servers did not know the host's records yet."""

    packages: str
    lineages: str
    exchangers: list[str]
    listening: str
    signer: str
    command_lines: str
    """Every process seen on the machine until the end of the first update."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A mail host under test."""

    machine: Machine
    stack: Stack
    held: Held
    first_up: Run

    def run(self, *argv: str, content: str | None = None) -> str:
        """Run a command on the machine, not over SSH."""
        return machines.run(self.machine.name, argv, content=content)

    def run_fails(self, *argv: str) -> str:
        """Run a command on the machine that must fail, and return what it said."""
        done = machines.execute(self.machine.name, argv)
        assert done.returncode != 0, done.stdout
        return done.stderr

    @contextmanager
    def stopped(self, unit: str) -> Iterator[None]:
        """Do without a service for a while."""
        # Debian 12's Postfix is an instance, which `stop postfix` alone only tells to end.
        self.run("systemctl", "stop", unit, f"{unit}@*")
        try:
            yield
        finally:
            self.run("systemctl", "start", unit)

    def damaged(self) -> list[str]:
        """Return what mailhostctl says of each service whose files are not as applied, or which does not run."""
        lines = self.run("mailhostctl", "status").splitlines()
        assert len(lines) > 10
        return [line for line in lines if not line.endswith("files intact, active")]

    def ssh_connections(self) -> int:
        """Count the SSH logins so far, at sshd."""
        return machines.ssh_connections(self.machine.name)


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A fresh machine and its first `up`, held back once by DNS on the way."""
    machine = MACHINES[request.param]
    control.up((OUTSIDE.name,))
    plugin_cache.fill()
    control.reset(machine.name, layers=[] if _installs(machine) else [stocked.layer(machine.release)])
    stack = Stack(machine=machine, folder=tmp_path_factory.mktemp(machine.name))
    stack.create()
    with faults.undisturbed():
        with faults.publication_held(machine.domain):
            running = stack.start_up()
            watch = _Watch()

            def held() -> Held | None:
                assert running.poll() is None, running.communicate()[0]
                return _held(machine, watch)

            seen = wait_for(held, "the packages and the waits for DNS", seconds=480)
        output = watch.until_the_end(machine, running)
    assert running.returncode == 0, output
    stack.applied = stack.settings()
    seen = replace(seen, command_lines="\n".join(sorted(watch.command_lines)))
    yield Host(machine=machine, stack=stack, held=seen, first_up=Run(code=running.returncode, output=output))
    # Its disk is of no more use.
    machines.stop(machine.name, clean=False)


@pytest.fixture(autouse=True)
def _as_configured(host: Host) -> None:
    """A test may rely on what the settings say, and needs no `up` to leave its host to the next one."""
    host.stack.settle()


def _installs(machine: Machine) -> bool:
    """Whether the packages come by the first `up`: on one machine of each release."""
    return machine.name == next(name for name in MACHINE_NAMES if MACHINES[name].release == machine.release)


@dataclass(kw_only=True)
class _Watch:
    """What was seen so far."""

    command_lines: set[str] = field(default_factory=set)

    def look(self, machine: Machine) -> str:
        """Return the command lines of all processes on the machine."""
        processes = machines.execute(machine.name, ["ps", "-eo", "args"]).stdout
        self.command_lines.update(processes.splitlines())
        return processes

    def until_the_end(self, machine: Machine, running: "subprocess.Popen[str]") -> str:
        """Go on looking until an update ends; return what it said."""
        deadline = time.monotonic() + 480
        while True:
            self.look(machine)
            try:
                return running.communicate(timeout=0.5)[0]
            except subprocess.TimeoutExpired:
                assert time.monotonic() < deadline, "the first update does not end"


def _held(machine: Machine, watch: _Watch) -> Held | None:
    """Look at the machine; something once it can only be waiting for DNS."""

    def ask(*argv: str) -> str:
        return machines.execute(machine.name, argv).stdout

    processes = watch.look(machine)
    if "mailhostctl packages" in processes or "mailhostctl wait-dns" not in processes:
        return None
    if "Status: active" not in ask("ufw", "status"):
        return None
    return Held(
        packages=ask("dpkg-query", "-W", "-f", "${Package}\n", "postfix", "certbot"),
        lineages=ask("sh", "-c", "ls /etc/letsencrypt/live 2>/dev/null"),
        exchangers=[str(record["content"]) for record in cloudflare.records(machine.domain) if record["type"] == "MX"],
        listening=ask("ss", "-Hltn"),
        signer=ask("systemctl", "is-active", "opendkim"),
        command_lines="\n".join(sorted(watch.command_lines)),
    )
