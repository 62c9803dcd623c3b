"""Which Go builds, with what settings, and what a failure looks like."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolchain import golang, pypi
from toolchain.console import ToolchainError

Write = Callable[[Path, str], Path]
TOOL = golang.GoTool(module="actionlint")

FAKE_GO = """
case "$1" in
env) echo go{version};;
list) echo 'go: downloading example.com/m v1.0.0' >&2; echo fmt; echo example.com/m;;
install) echo fmt >&2; echo example.com/m >&2; env > "$GOBIN/environment";;
esac
"""


def test_a_new_go_on_path_builds_with_the_users_own_caches(
    path: Path, program: Write, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(path / "go", FAKE_GO.format(version="1.26.1"))
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    monkeypatch.delenv("GOMODCACHE", raising=False)
    cache_folder.mkdir()
    with golang.go(TOOL) as go:
        go.build(TOOL, tmp_path)
    environment = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert environment["CGO_ENABLED"] == "0"
    assert environment["GOTOOLCHAIN"] == "local"
    assert "-mod=readonly" in environment["GOFLAGS"]
    assert "GOMODCACHE" not in environment


@pytest.mark.parametrize("version", [None, "1.24.9", "1.25.10", "devel +abc"])
def test_without_a_new_go_the_one_from_pypi_builds_and_leaves_no_caches(  # noqa: PLR0917 - fixtures
    path: Path,
    program: Write,
    cache_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
) -> None:
    if version is not None:
        program(path / "go", FAKE_GO.format(version=version))
    own = program(tmp_path / "pypi" / "go", FAKE_GO.format(version="1.26.6"))
    monkeypatch.setattr(pypi, "program", lambda _name, _requirements: own)
    cache_folder.mkdir()
    with golang.go(TOOL) as go:
        (cache_folder / "go-build" / "cache").mkdir(parents=True)
        go.build(TOOL, tmp_path)
    assert f"GOCACHE={cache_folder}/go-build/cache" in (tmp_path / "environment").read_text()
    assert not (cache_folder / "go-build").exists()


def test_a_failing_build_says_go_s_own_words(path: Path, program: Write, cache_folder: Path, tmp_path: Path) -> None:
    failing = FAKE_GO.format(version="1.26.1").replace("fmt >&2", "'m.go:3: undefined: x' >&2; exit 1")
    program(path / "go", failing)
    cache_folder.mkdir()
    with golang.go(TOOL) as go, pytest.raises(ToolchainError, match=r"exit 1\)\nm\.go:3: undefined: x"):
        go.build(TOOL, tmp_path)


def test_a_full_disk_is_named_before_the_build(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_folder.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=500_000_000))
    with (
        pytest.raises(ToolchainError, match=r"needs 1 GB of disk, \S+ has 0\.5: free some, or set MAILHOST_CACHE"),
        golang.go(TOOL),
    ):
        pass


def test_the_stamp_changes_with_the_flags() -> None:
    assert golang.GoTool(module="actionlint", tags="x").stamp != TOOL.stamp
