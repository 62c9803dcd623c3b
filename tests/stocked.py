"""Disks of the lab on which mailhostctl has installed the program's packages, for tests of what comes afterwards."""

from pathlib import Path
from typing import Final

from lab import machines, stock
from lab.addresses import MACHINES, Machine
from lab.clients import wait_for
from model.packages import packages
from tests.parsers.judge import judge
from tests.parsers.samples import settings

_BUILDERS: Final = ("p13", "p12")


def layer(release: str) -> Path:
    """Return the layer of a release; made once, in half a minute."""
    (builder,) = (MACHINES[name] for name in _BUILDERS if MACHINES[name].release == release)
    names = packages(settings("debian13-minimal", release))
    return stock.ensure(builder, names, lambda: _install(builder, names))


def _install(machine: Machine, names: tuple[str, ...]) -> None:
    before = _enabled(machine)
    with judge(machine) as helper:
        helper.install(names)
    # Nothing starts at an installation by mailhostctl, but at the boot of the next machine all of it would.
    machines.run(machine.name, ["systemctl", "disable", "--quiet", *sorted(_enabled(machine) - before)])
    compiling = ["systemctl", "is-active", "mailhost-suffixes"]
    wait_for(lambda: machines.execute(machine.name, compiling).returncode, "rspamd's suffixes", seconds=120)


def _enabled(machine: Machine) -> set[str]:
    options = ("--state=enabled", "--type=service,socket", "--plain", "--no-legend")
    return {
        line.split()[0] for line in machines.run(machine.name, ["systemctl", "list-unit-files", *options]).splitlines()
    }
