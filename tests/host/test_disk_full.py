"""A full disk changes nothing, and where it is full only on the way back, the way back is gone later."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailhostctl import durable
from tests.host import crashes
from tests.host.scratch import Host, bundle
from tests.host.test_crash import APPLY, MAIN, NEW, OLD, PATHS, REMOVE, Stage

Capsys = pytest.CaptureFixture[str]
Files = dict[str, str]


def live(host: Host) -> Files:
    return {path: content for path in PATHS if (content := host.live(path)) is not None}


def leftovers(host: Host) -> list[str]:
    """Temporaries, half generations and the parser's scratch tree."""
    return [
        str(path) for path in host.root.rglob("*") if path.name.endswith("~") or path.suffix in {".new", ".old"}
    ] + [str(path) for path in host.state("postfix").glob("candidate")]


def journalled(host: Host) -> bool:
    return host.state("postfix/journal.json").exists()


def fillings(stage: Stage, argv: list[str], stdin: str = "", *, refused: str = "") -> Iterator[tuple[int, int]]:
    """Lets the disk be full at every step; yields the step and the exit code."""
    for step in range(1, 1000):
        stage.reset()
        code, full = crashes.run_full(stage.host, argv, stdin, full_at=step, refused=refused)
        if not full:
            return
        yield step, code


def test_a_full_disk_changes_nothing_and_leaves_nothing(stage: Stage, capsys: Capsys) -> None:
    host = stage.host
    steps = 0
    for step, code in fillings(stage, APPLY, bundle(NEW)):
        steps = step
        assert code == 1, step
        assert "No space left on device (" in capsys.readouterr().err, step
        assert live(host) == stage.origin, step
        assert not (host.root / "etc/made").exists(), step
        assert leftovers(host) == [], step
        assert not journalled(host), step
        assert crashes.run_full(host, APPLY, bundle(NEW), full_at=0) == (0, False), step
        stage.assert_new(f"with space again after step {step}")
    assert steps > 15


def test_a_daemon_that_refuses_on_a_full_disk_is_never_left_between_two_generations(
    stage: Stage, capsys: Capsys
) -> None:
    host = stage.host
    stayed = 0
    for step, code in fillings(stage, APPLY, bundle(NEW), refused=NEW[MAIN]):
        assert code == 1, step
        said = capsys.readouterr().err
        if journalled(host):
            stayed += 1
            assert live(host) == NEW, step
            assert "systemctl re" in said, "the full disk hides why there is a way back"
            assert "mailhostctl recover" in said, step
        else:
            assert live(host) == stage.origin, step
        assert leftovers(host) == [] or journalled(host), step
        assert crashes.run_full(host, ["recover"], full_at=0) == (0, False), step
        assert live(host) == stage.origin, step
        assert leftovers(host) == [], step
        assert not journalled(host), step
        assert host.running == (OLD[MAIN] if stage.origin == OLD else None), step
    assert stayed >= 2


def test_a_full_disk_does_not_half_remove_a_service(stage: Stage, capsys: Capsys) -> None:
    host = stage.host
    assert crashes.run_full(host, APPLY, bundle(NEW), full_at=0) == (0, False)
    applied = Stage(host, host.root.parent / "applied", NEW)
    steps = 0
    for step, code in fillings(applied, REMOVE):
        steps = step
        assert code == 1, step
        assert "No space left on device (" in capsys.readouterr().err, step
        assert live(host) == NEW, step
        assert host.running == NEW[MAIN], step
        assert leftovers(host) == [], step
        assert not journalled(host), step
    assert steps > 3


def test_the_message_names_file_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = next(folder for folder in (tmp_path, *tmp_path.parents) if folder.is_mount())

    def write(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space left on device") as caught:
        durable.write(tmp_path / "main.cf", b"x")
    assert str(caught.value.strerror).endswith(f", mounted at {mount})")
    assert caught.value.filename == str(tmp_path / ".main.cf.mailhost~")
    assert list(tmp_path.iterdir()) == []
