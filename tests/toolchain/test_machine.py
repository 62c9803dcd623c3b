"""What is missing is named in one line with its remedy, all of it at once."""

import ast
import importlib.util
import os
import platform
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from toolchain import __main__ as command
from toolchain import cache, machine, pulumi, venv


@pytest.mark.parametrize(
    ("release", "accepted"),
    [
        ({"ID": "debian", "VERSION_ID": "12"}, True),
        ({"ID": "debian", "VERSION_ID": "13"}, True),
        ({"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux forky/sid"}, True),  # unstable has no number
        ({"ID": "debian", "VERSION_ID": "11", "PRETTY_NAME": "Debian GNU/Linux 11 (bullseye)"}, False),
        ({"ID": "ubuntu", "VERSION_ID": "24.04", "PRETTY_NAME": "Ubuntu 24.04 LTS"}, False),
        ({"ID": "alpine"}, False),
    ],
)
def test_the_lab_needs_debian_12_or_newer(
    monkeypatch: pytest.MonkeyPatch, release: dict[str, str], accepted: bool
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    missing = machine.missing_for_lab()
    assert (missing == []) is accepted
    assert accepted or release.get("PRETTY_NAME", "alpine") in missing[0]


def test_everything_missing_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(platform, "freedesktop_os_release", unknown)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert command.main(["lab"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("toolchain: ") for line in lines] == [True] * 3
    assert "apt-get install python3-venv" in lines[0]
    assert "Debian" in lines[1]
    assert "apt-get install sudo" in lines[2]


def test_an_old_python_is_told_which_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(
        SystemExit, match=r"^Python 3\.11 or newer is needed, .*: apt-get install python3 python3-venv$"
    ):
        runpy.run_path(str(cache.SOURCE / "__main__.py"))


def test_an_old_python_can_read_the_first_file() -> None:
    ast.parse((cache.SOURCE / "__main__.py").read_text(), feature_version=(3, 6))


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MAILHOST_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(pulumi, "on_path", lambda: None)
    assert command.main(["pulumi"]) == 1
    assert f"{tmp_path}/file/cache cannot be written (Not a directory): set MAILHOST_CACHE" in capsys.readouterr().err


def test_ctrl_c_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(venv, "provide", interrupted)
    assert command.main(["venv"]) == 130
    assert capsys.readouterr().err == "toolchain: stopped; run it again to go on\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in command.COMMANDS)
