"""`MAILHOST_PLUGINS`: a PULUMI_HOME with the official plugins, used as it is or not at all."""

import sys
from pathlib import Path

import pytest

from lab import environment, official, paths, plugin_cache, plugins
from lab.errors import LabError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What looks like a PULUMI_HOME with all of them; it is named, and the lab's cache is empty."""
    monkeypatch.setenv(official.VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("MAILHOST_CACHE", str(tmp_path / "cache"))
    for name in plugins.NAMES:
        binary = official.binary(tmp_path / "home", name)
        binary.parent.mkdir(parents=True)
        binary.write_bytes(b"\x7fELF")
        binary.chmod(0o755)
    return tmp_path / "home"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_named_plugins_are_all_the_engine_finds(home: Path) -> None:
    before = files(home)
    for _ in range(2):
        plugin_cache.fill()
    engine = Path(environment.variables()["PULUMI_HOME"])
    assert engine == paths.pulumi_home()
    assert engine != home
    assert files(engine / "plugins") == files(home / "plugins")
    # Nothing is added to it: no stand-in, no log, no answer of an earlier look.
    assert files(home) == before


def test_without_the_variable_they_are_gone_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_cache.fill()
    named = paths.pulumi_home()
    monkeypatch.setenv(official.VARIABLE, "")
    assert official.home() is None
    assert paths.pulumi_home() != named
    assert home.exists()


def test_every_plugin_that_is_missing_is_named_with_its_version(home: Path) -> None:
    official.binary(home, "tls").unlink()
    binary = official.binary(home, "command")
    binary.parent.rename(binary.parent.with_name("resource-command-v1.1.0"))
    with pytest.raises(LabError) as error:
        plugin_cache.fill()
    text = str(error.value)
    assert text.startswith(f"MAILHOST_PLUGINS={home} has not every official plugin: ")
    assert "resource-command-v1.2.1/pulumi-resource-command is missing, there is resource-command-v1.1.0 (" in text
    assert f"PULUMI_HOME={home} pulumi plugin install resource tls 5.5.1 --exact" in text
    assert "cloudflare" not in text
    assert not (paths.pulumi_home() / "plugins").exists()


def test_stand_ins_are_no_official_plugins(home: Path) -> None:
    official.binary(home, "cloudflare").unlink()
    plugins.install(Path("pulumi"), home, Path(sys.executable), nursery=home / "none")
    with pytest.raises(LabError, match=r"resource-cloudflare-v6\.17\.0/pulumi-resource-cloudflare is a stand-in"):
        plugin_cache.fill()
