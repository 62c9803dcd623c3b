"""A Debian machine with the packages installed, and a judge on it; one worker at a time uses it (an xdist group)."""

from collections.abc import Iterator

import pytest

from lab import control, machines
from lab.addresses import MACHINES, Machine
from model.packages import packages
from tests.parsers.judge import Judge, judge
from tests.parsers.samples import settings


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
    """A running machine on which the daemons are installed, whatever else happened to it."""
    found = MACHINES[request.param]
    was_running = machines.running(found.name)
    control.up((found.name,))
    with judge(found) as helper:
        helper.install(packages(settings("debian13-minimal", found.release)))
    yield found
    if not was_running:
        machines.stop(found.name)


@pytest.fixture
def court(machine: Machine) -> Iterator[Judge]:
    """A judge with a scratch root of its own."""
    with judge(machine) as fresh:
        yield fresh
