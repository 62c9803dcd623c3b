"""Every test here has its own cache folder and a PATH on which nothing of the developer's is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain import pulumi


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, already MAILHOST_CACHE; no test fills it by a real build of pulumi, which takes minutes."""

    def refuse(_target: Path) -> None:
        pytest.fail("this test would build pulumi")

    folder = tmp_path / "cache"
    monkeypatch.setenv("MAILHOST_CACHE", str(folder))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(pulumi, "_build", refuse)
    return folder


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the first on PATH before the system's own."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def program() -> Callable[[Path, str], Path]:
    """Writes an executable shell script."""

    def write(file: Path, script: str = ":") -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    return write
