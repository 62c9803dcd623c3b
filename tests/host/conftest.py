"""Fixtures of the host tests."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.scratch import Host
from tests.host.test_crash import BEFORE, MAIN, OLD, Stage

_MEMORY = Path("/dev/shm")  # noqa: S108 -- a folder of our own is made in it


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: the crash tests make and remove some ten thousand files."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def host(scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A fresh scratch host. Nothing is really synced: no test pulls the plug, and a busy disk would cost minutes."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)
    umask = os.umask(0o022)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    yield Host(scratch, tmp_path, monkeypatch)
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(params=["first apply", "second apply"])
def stage(host: Host, scratch: Path, request: pytest.FixtureRequest) -> Stage:
    """A host before its first apply of Postfix, or after it."""
    host.write(MAIN, BEFORE[MAIN])
    origin = BEFORE
    if request.param == "second apply":
        assert host.apply("postfix", OLD) == 0
        origin = OLD
    return Stage(host, scratch, origin)
