"""The running lab, brought up once for all tests of this folder."""

import pytest

from lab import control
from lab.addresses import MACHINES, OUTSIDE, Machine


@pytest.fixture(scope="session")
def guest() -> Machine:
    """A running mail host of the lab; tests leave it as they found it."""
    control.up(("bookworm", OUTSIDE.name))
    return MACHINES["bookworm"]
