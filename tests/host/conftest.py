"""Fixtures of the host tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.scratch import Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A fresh scratch host. Nothing is really synced: no test pulls the plug, and a busy disk would cost minutes."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)
    umask = os.umask(0o022)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    yield Host(tmp_path, monkeypatch)
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)
