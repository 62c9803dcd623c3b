"""A Debian machine with the packages installed, and a judge on it; one worker at a time uses it (an xdist group)."""

from collections.abc import Iterator

import pytest

from lab import control, machines
from lab.addresses import MACHINES, Machine
from tests import stocked
from tests.parsers.judge import Judge, judge


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; each machine is a group."""
    for item in items:
        if item.path.parent.name == "parsers":
            item.add_marker(pytest.mark.lab)
            machine = item.callspec.params["machine"]  # type: ignore[attr-defined] # because all here have one
            item.add_marker(pytest.mark.xdist_group(str(machine)))


@pytest.fixture(scope="session", params=["p13", "p12"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine on which the daemons are installed."""
    found = MACHINES[request.param]
    control.up(())
    control.reset(found.name, layers=[stocked.layer(found.release)])
    yield found
    machines.stop(found.name, clean=False)


@pytest.fixture(scope="session")
def set_up(machine: Machine) -> Iterator[Judge]:
    """A judge on the machine."""
    with judge(machine) as lent:
        yield lent


@pytest.fixture
def court(set_up: Judge) -> Judge:
    """The judge with an empty scratch root."""
    return set_up.renewed()
