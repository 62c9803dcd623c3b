"""What concerns the whole test suite; pytest reads its options from here only."""

import os

import hypothesis
import pytest

from lab import processes

# A busy machine is not a failure.
hypothesis.settings.register_profile("mailhost", deadline=None)
hypothesis.settings.load_profile("mailhost")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the one way to change the golden files."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew from what is rendered now")


def pytest_configure() -> None:
    """Let the engine end its language hosts at once, also when the tests run in the background."""
    processes.heed_interrupts()
    # In a child that runs Python before its program (preexec_fn) gRPC would start threads anew, which complain.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
