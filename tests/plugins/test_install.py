"""The plugin cache that `install` fills, and what a plugin costs to start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import plugins
from tests.plugins.conftest import ROOT

NURSERY = Path("/nowhere/nursery")
HEAVY = (
    "asyncssh",
    "cryptography",
    "cloudflare",
    "aiohttp",
    "pulumi.automation",
    "pulumi.resource",
    "yaml",
)


def binaries(home: Path) -> list[Path]:
    return sorted(home.glob("plugins/*/pulumi-resource-*"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    plugins.install(Path("pulumi"), tmp_path / "home", Path(sys.executable), nursery=NURSERY)
    return tmp_path / "home"


def test_cache_has_the_engine_s_layout(home: Path) -> None:
    assert [str(path.relative_to(home)) for path in binaries(home)] == [
        "plugins/resource-cloudflare-v6.17.0/pulumi-resource-cloudflare",
        "plugins/resource-command-v1.2.1/pulumi-resource-command",
        "plugins/resource-tls-v5.5.1/pulumi-resource-tls",
    ]
    assert all(os.access(path, os.X_OK) for path in binaries(home))


def test_installing_again_changes_nothing(home: Path) -> None:
    before = [path.read_text() for path in binaries(home)]
    plugins.install(Path("pulumi"), home, Path(sys.executable), nursery=NURSERY)
    assert [path.read_text() for path in binaries(home)] == before


def test_an_official_plugin_stays(home: Path) -> None:
    official = binaries(home)[0]
    official.write_bytes(b"\x7fELF official")
    plugins.install(Path("pulumi"), home, Path(sys.executable), nursery=NURSERY)
    assert official.read_bytes() == b"\x7fELF official"


def test_launcher_needs_no_folder_and_heeds_no_python_variable(home: Path, tmp_path: Path) -> None:
    variables = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHOME": "/nonexistent"}
    (tmp_path / "grpc.py").write_text("raise SystemExit('the wrong grpc')")
    for binary in binaries(home):
        process = subprocess.Popen(
            [binary, "127.0.0.1:1"], stdout=subprocess.PIPE, cwd=tmp_path, env=os.environ | variables
        )
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        process.terminate()
        process.communicate(timeout=10)


def test_interpreter_s_path_may_hold_spaces(tmp_path: Path) -> None:
    python = tmp_path / "a b" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    plugins.install(Path("pulumi"), tmp_path, python, nursery=Path("/a nursery"))
    output = subprocess.run([binaries(tmp_path)[1], "address"], capture_output=True, text=True, check=True).stdout
    assert output == f"-I -S {ROOT}/lab/plugins/launch.py /a nursery command address\n"


@pytest.mark.parametrize("name", plugins.NAMES)
def test_start_imports_nothing_that_only_an_operation_needs(name: str) -> None:
    command = [sys.executable, "-I", "-X", "importtime", str(ROOT / "lab/plugins"), name, "127.0.0.1:1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    _, errors = process.communicate(timeout=10)
    imported = {line.rpartition("|")[2].strip() for line in errors.splitlines() if line.startswith("import time:")}
    assert "lab.plugins.serve" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.engine
def test_engine_lists_them(home: Path) -> None:
    environment = os.environ | {"PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "true"}
    listed = subprocess.run(
        ["pulumi", "plugin", "ls"], capture_output=True, text=True, check=True, env=environment
    ).stdout
    for name in plugins.NAMES:
        assert f"{name}" in listed
        assert plugins.version(name) in listed
