"""The program itself: the same bytes from everywhere, in its place atomically, and quick to start."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from host import build
from mailhostctl import main_cf
from mailhostctl.paths import MAIN_CF
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
PROGRAM = "/usr/local/sbin/mailhostctl"


def test_two_builds_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.zipapp()
    copy = tmp_path / "host"
    umask = os.umask(0o077)
    try:
        shutil.copytree(Path(build.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    finally:
        os.umask(umask)
    for file in copy.rglob("*.py"):
        os.utime(file, (1, 1_700_000_000))
        file.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "__file__", str(copy / "build.py"))
    assert build.zipapp() == first


def test_another_source_is_other_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.zipapp()
    shutil.copytree(Path(build.__file__).parent, tmp_path / "host")
    with (tmp_path / "host/mailhostctl/paths.py").open("a") as source:
        source.write("# changed\n")
    monkeypatch.setattr(build, "__file__", str(tmp_path / "host/build.py"))
    assert build.zipapp() != first


@pytest.fixture
def upload(host: Host) -> Path:
    file = host.root / "mailhostctl.pyz"
    file.write_bytes(build.zipapp())
    return file


def _run(*argv: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=30)


def test_the_upload_takes_its_place_and_runs(host: Host, upload: Path) -> None:
    digest = sha256(upload.read_bytes()).hexdigest()
    done = _run(sys.executable, "-I", upload, "install", "--sha256", digest)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{digest}\n", "")
    program = host.root / PROGRAM[1:]
    assert os.access(program, os.X_OK)
    assert program.read_bytes().startswith(b"#!/usr/bin/python3 -I\n")
    again = _run(sys.executable, "-I", upload, "install", "--sha256", digest)
    assert (again.returncode, again.stdout) == (0, f"{digest}\n")
    help_text = _run(sys.executable, "-I", program, "--help").stdout
    assert "wait until every authoritative name server answers" in help_text


def test_the_installer_carries_the_program_and_runs_it(host: Host) -> None:
    archive = build.zipapp()
    digest = sha256(archive).hexdigest()
    for serial in ("5e71a1", "5e71a2"):
        done = _run(*(sys.executable, "-", "--sha256", digest, "--serial", serial), stdin=build.installer(archive))
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{digest}\n", "")
    assert _run(host.root / PROGRAM[1:], "--help").returncode == 0


def test_an_installer_that_did_not_arrive_whole_installs_nothing(host: Host) -> None:
    archive = build.zipapp()
    done = _run(*(sys.executable, "-", "--sha256", sha256(archive).hexdigest()), stdin=build.installer(archive)[:-2000])
    assert done.returncode != 0
    assert host.live(PROGRAM) is None


def test_what_is_installed_is_compiled_and_another_python_takes_the_sources(host: Host, upload: Path) -> None:
    digest = sha256(upload.read_bytes()).hexdigest()
    assert _run(sys.executable, "-I", upload, "install", "--sha256", digest).returncode == 0
    program = host.root / PROGRAM[1:]
    look = "import sys; sys.path.insert(0, sys.argv[1]); import mailhostctl.staging as module; print(module.__file__)"
    assert _run(sys.executable, "-I", "-c", look, program).stdout == f"{program}/mailhostctl/staging.pyc\n"
    program.write_bytes(program.read_bytes().replace(importlib.util.MAGIC_NUMBER, b"none"))
    assert _run(sys.executable, "-I", "-c", look, program).stdout == f"{program}/mailhostctl/staging.py\n"
    assert _run(sys.executable, "-I", program, "--help").returncode == 0


def test_a_damaged_upload_is_refused_and_the_old_program_stays(host: Host, upload: Path) -> None:
    old = host.write(PROGRAM, "the old one")
    done = _run(sys.executable, "-I", upload, "install", "--sha256", "0" * 64)
    assert done.returncode == 1
    assert f"expected {'0' * 64}; run the command again" in done.stderr
    assert old.read_text() == "the old one"


def test_wrong_usage_is_exit_code_two(upload: Path) -> None:
    assert _run(sys.executable, "-I", upload, "stage", "sendmail", "files").returncode == 2
    assert _run(sys.executable, "-I", upload).returncode == 2


def test_it_does_not_go_while_a_service_is_applied(host: Host, capsys: Capsys) -> None:
    host.write(PROGRAM, "")
    host.write(MAIN_CF, main_cf.EMPTY.decode())
    host.apply("postfix", {MAIN_CF: "x\n"})
    assert host.run("uninstall") == 1
    assert "mailhostctl remove postfix" in capsys.readouterr().err
    host.run("remove", "postfix")
    for _ in range(2):
        assert host.run("uninstall") == 0
    assert not host.state().exists()
    assert host.live(PROGRAM) is host.live(MAIN_CF) is None


UNITS = Path("etc/systemd/system")


def _install(upload: Path) -> None:
    digest = sha256(upload.read_bytes()).hexdigest()
    assert _run(sys.executable, "-I", upload, "install", "--sha256", digest).returncode == 0


def test_its_units_come_and_go_with_it(host: Host, upload: Path) -> None:
    _install(upload)
    folder = host.root / UNITS
    recover = (folder / "mailhost-recover.service").read_text()
    (before,) = [line for line in recover.splitlines() if line.startswith("Before=")]
    assert {"postfix@-.service", "postfix.service", "dovecot.service", "ufw.service"} <= set(before[7:].split())
    assert "ConditionPathExistsGlob=/var/lib/mailhost/*/journal.json\n" in recover
    assert f"ExecStart={PROGRAM} recover --boot\n" in recover
    for unit in ("mailhost-recover.service", "mailhost-expire.timer"):
        assert (host.fake / "enabled" / unit).exists()
    calls = host.calls("systemctl ")
    assert "systemctl daemon-reload" in calls
    assert "systemctl start mailhost-expire.timer" in calls
    assert "systemctl start mailhost-recover.service" not in calls
    _install(upload)
    assert "systemctl daemon-reload" not in host.calls("systemctl ")
    for _ in range(2):
        assert host.run("uninstall") == 0
    assert list(folder.iterdir()) == []
    assert not (host.fake / "enabled/mailhost-recover.service").exists()
    assert not (host.fake / "enabled/mailhost-expire.timer").exists()


def test_another_program_restarts_what_runs_the_former_one(host: Host, upload: Path) -> None:
    restart = "systemctl try-restart mailhost-tls-policy.service"
    _install(upload)
    assert restart in host.calls("systemctl ")
    time.sleep(2.1)  # the clock of ZIP files ticks every two seconds
    _install(upload)
    assert restart not in host.calls("systemctl "), "the program is the same"
    (host.root / PROGRAM[1:]).write_bytes(b"an older one")
    _install(upload)
    assert restart in host.calls("systemctl ")


def test_every_unit_that_runs_the_program_for_long_is_known() -> None:
    """Those of a request, of a mail a day or at boot find the new one at their next start."""
    templates = Path(build.__file__).parents[1] / "templates"
    running = {file.name.removesuffix(".j2") for file in templates.rglob("*.service.j2") if PROGRAM in file.read_text()}
    assert running == {"mailhost-metrics.service", "mailhost-digest.service", "mailhost-tls-policy.service"}
    short = {name for name in running if "Type=oneshot" in (next(templates.rglob(f"{name}.j2"))).read_text()}
    assert short == {"mailhost-digest.service"}
