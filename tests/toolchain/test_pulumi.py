"""Which pulumi is used, and how one gets into the cache."""

import functools
import hashlib
import http.server
import io
import platform
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toolchain import cache, pulumi
from toolchain.console import ToolchainError

Write = Callable[[Path, str], Path]
NEW = f"echo v{pulumi.CLI_VERSION}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served as the official release site."""
    folder = tmp_path / "releases"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setattr(pulumi, "RELEASES", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        yield folder
        server.shutdown()


@pytest.fixture
def no_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official release site refuses connections."""
    monkeypatch.setattr(pulumi, "RELEASES", "http://127.0.0.1:9")


@pytest.fixture
def builds(program: Write, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the build from Go modules by scripts; one entry per build."""
    done: list[str] = []

    def build(target: Path) -> None:
        program(target / "pulumi", NEW)
        program(target / "pulumi-language-python", ":")
        (target / "pulumi-language-python-exec").write_text("")
        done.append("built")

    monkeypatch.setattr(pulumi, "_build", build)
    return done


def _publish(folder: Path, *, checksum: str | None = None, script: str = NEW) -> None:
    """Puts an official release into the folder, with its checksum file."""
    name = f"pulumi-v{pulumi.CLI_VERSION}-linux-x64.tar.gz"
    with tarfile.open(folder / name, "w:gz") as archive:
        for file in ("pulumi", "pulumi-language-python", "pulumi-language-python-exec", "pulumi-language-nodejs"):
            content = f"#!/bin/sh\n{script}\n".encode()
            member = tarfile.TarInfo(f"pulumi/{file}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    digest = checksum or hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / f"pulumi-{pulumi.CLI_VERSION}-checksums.txt").write_text(f"{'0' * 64}  other.tar.gz\n{digest}  {name}\n")


@pytest.mark.parametrize("version", [pulumi.CLI_VERSION, "3.300.1", "4.0.0"])
def test_a_new_enough_pulumi_with_its_language_host_is_used_where_it_is(
    path: Path, program: Write, version: str
) -> None:
    program(path / "pulumi-language-python", ":")
    own = program(path / "pulumi", f"echo v{version}")
    assert pulumi.provide() == own


@pytest.mark.usefixtures("no_releases")
@pytest.mark.parametrize(
    ("script", "host"),
    [
        ("echo v3.258.9", True),  # too old
        ("echo v2.999.0", True),  # numbers, not text, are compared
        ("echo", True),  # no version was linked into it
        ("exit 1", True),
        (NEW, False),  # cannot run a Python program
    ],
)
def test_another_pulumi_is_left_aside(  # noqa: PLR0917 - fixtures
    path: Path, program: Write, builds: list[str], cache_folder: Path, script: str, host: bool
) -> None:
    program(path / "pulumi", script)
    if host:
        program(path / "pulumi-language-python", ":")
    assert pulumi.provide() == cache_folder / "bin" / "pulumi"
    assert builds == ["built"]


def test_a_link_on_path_finds_the_language_host_beside_its_target(path: Path, program: Write, tmp_path: Path) -> None:
    program(tmp_path / "opt" / "pulumi-language-python", ":")
    (path / "pulumi").symlink_to(program(tmp_path / "opt" / "pulumi", NEW))
    assert pulumi.provide() == path / "pulumi"


@pytest.mark.usefixtures("no_releases")
def test_what_was_built_once_is_not_built_again(builds: list[str]) -> None:
    assert pulumi.provide() == pulumi.provide()
    assert builds == ["built"]


@pytest.mark.usefixtures("no_releases")
def test_the_caches_own_pulumi_on_path_does_not_hide_that_it_is_outdated(
    cache_folder: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pulumi.provide()
    monkeypatch.setenv("PATH", f"{cache_folder / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(pulumi, "HOST_VERSION", "3.80.0")
    pulumi.provide()
    assert builds == ["built", "built"]


def test_the_official_release_is_preferred_to_a_build(releases: Path, builds: list[str], cache_folder: Path) -> None:
    _publish(releases)
    assert pulumi.version(pulumi.provide()) == (3, 259, 0)
    assert builds == []
    programs = {file.name for file in (cache_folder / "bin").iterdir() if not file.name.startswith(".")}
    assert programs == {"pulumi", "pulumi-language-python", "pulumi-language-python-exec"}


def test_a_release_with_another_checksum_is_not_used(
    releases: Path, builds: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    _publish(releases, checksum="f" * 64)
    assert not list(pulumi.provide().parent.glob("*.gz"))
    assert builds == ["built"]
    assert f"its checksum file says {'f' * 64}" in capfd.readouterr().err


@pytest.mark.usefixtures("releases")
def test_a_site_without_the_release_leads_to_a_build(builds: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    pulumi.provide()
    assert builds == ["built"]
    assert f"{pulumi.CLI_VERSION}-checksums.txt answers 404; building" in capfd.readouterr().err


def test_a_new_pulumi_that_does_not_run_is_not_installed(releases: Path, cache_folder: Path) -> None:
    _publish(releases, script="exit 1")
    with pytest.raises(ToolchainError, match="nothing was installed"):
        pulumi.provide()
    assert not (cache_folder / "bin").exists()
    assert list(cache_folder.glob("build-*")) == []


@pytest.mark.usefixtures("no_releases", "builds")
def test_an_install_that_dies_halfway_is_done_again(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_self: Path, _target: Path) -> Path:
        raise OSError("power failure")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(OSError, match="power failure"):
            pulumi.provide()
    assert not cache.is_current("pulumi", "")
    assert pulumi.provide() == cache_folder / "bin" / "pulumi"


@pytest.mark.usefixtures("no_releases", "builds")
def test_what_a_killed_build_left_is_removed_by_the_next(cache_folder: Path) -> None:
    (cache_folder / "build-abc").mkdir(parents=True)
    pulumi.provide()
    assert not list(cache_folder.glob("build-*"))
