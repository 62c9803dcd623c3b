"""The running lab, brought up once for all tests of this folder."""

from collections.abc import Iterator

import pytest

from lab import control, faults
from lab.addresses import MACHINES, OUTSIDE, Machine


@pytest.fixture(scope="session")
def guest() -> Machine:
    """A running mail host of the lab; tests leave it as they found it."""
    control.up(("bookworm", OUTSIDE.name))
    return MACHINES["bookworm"]


@pytest.fixture
def undisturbed(guest: Machine) -> Iterator[None]:
    """The lab without faults, whatever tests run beside this one."""
    del guest
    with faults.undisturbed():
        yield
