"""One apt transaction that starts nothing, repairs what died, and is quiet the second time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mailhostctl import main_cf, nosync, packages
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
POLICY = "/usr/sbin/policy-rc.d"
DPKG_QUERY = """for name; do
    case $name in -*) continue ;; esac
    [ ! -f "$FAKE/installed/$name" ] || echo "ii  $name 1.0"
done
"""
APT_GET = """echo "apt-get $*" >> "$FAKE/log"
case "$*" in
*" update") : > "$FAKE/updated" ;;
*" install "*)
    cp "$MAILHOSTCTL_ROOT/usr/sbin/policy-rc.d" "$FAKE/policy"
    [ ! -f "$FAKE/fail/install" ] || { cat "$FAKE/fail/install" >&2; exit 100; }
    for name; do case $name in postfix | ufw) : > "$FAKE/installed/$name" ;; esac; done ;;
esac
"""
DPKG = """echo "dpkg $*" >> "$FAKE/log"
case $1 in
--audit) [ ! -f "$FAKE/broken" ] || echo "postfix is half configured" ;;
--configure) rm "$FAKE/broken"; : > "$FAKE/installed/postfix" ;;
esac
"""


@pytest.fixture(autouse=True)
def _apt(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.fake / "installed").mkdir()
    for name, script in {"dpkg-query": DPKG_QUERY, "apt-get": APT_GET, "dpkg": DPKG}.items():
        host.play(name, script)
    (host.root / "usr/sbin").mkdir(parents=True)
    host.write("/var/lib/apt/lists/deb.example_Packages", "")
    (host.root / "var/lib/apt/lists/partial").mkdir()
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(nosync, "filter_for", lambda _machine: b"")


def _apt_calls(host: Host) -> list[str]:
    return [call.rpartition(" -o ")[2].partition(" ")[2] for call in host.calls("apt-get")]


def test_all_in_one_transaction_and_nothing_starts(host: Host, capsys: Capsys) -> None:
    assert host.run("packages", stdin="ufw postfix ufw") == 0
    assert capsys.readouterr().out == "postfix 1.0\nufw 1.0\n"
    assert _apt_calls(host) == ["install postfix ufw"]
    assert subprocess.run(["sh", host.fake / "policy"], check=False).returncode == 101
    assert not (host.root / POLICY[1:]).exists()


@pytest.mark.parametrize("wanted", ["postfix", "postfix rspamd"])
def test_rspamds_suffixes_are_compiled_while_apt_is_at_work(host: Host, wanted: str) -> None:
    host.play("systemd-run", 'echo "systemd-run $*" >> "$FAKE/log"; : > "$FAKE/compiling"\n')
    # apt is not done before the compilation has begun.
    waits = 'for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$FAKE/compiling" ] || sleep 0.5; done\n'
    host.play("apt-get", APT_GET + f'case "$*" in *rspamd) : > "$FAKE/installed/rspamd"; {waits} esac\n')
    assert host.run("packages", stdin=wanted) == 0
    log = host.calls()
    compiled = [call for call in log if call.endswith("flock /var/lib/rspamd rspamadm mime urls /etc/hostname")]
    assert len(compiled) == wanted.count("rspamd")


def test_postfix_has_a_main_cf_when_systemd_is_reloaded(host: Host) -> None:
    (host.root / "etc/postfix").mkdir(parents=True)
    host.play("systemctl", 'cp "$MAILHOSTCTL_ROOT/etc/postfix/main.cf" "$FAKE/$1"')
    assert host.run("packages", stdin="postfix") == 0
    assert (host.fake / "daemon-reload").read_bytes() == main_cf.EMPTY
    # Young, Postfix would take it for half written.
    assert (host.root / "etc/postfix/main.cf").stat().st_mtime < time.time() - 2


def test_a_main_cf_that_is_there_is_kept(host: Host) -> None:
    host.write("/etc/postfix/main.cf", "compatibility_level = 3.6\n")
    assert host.run("packages", stdin="postfix") == 0
    assert host.run("uninstall") == 0
    assert host.live("/etc/postfix/main.cf") == "compatibility_level = 3.6\n"


def test_the_second_time_nothing_is_asked_of_apt(host: Host, capsys: Capsys) -> None:
    host.run("packages", stdin="postfix ufw")
    first = capsys.readouterr().out
    host.calls()
    assert host.run("packages", stdin="postfix ufw") == 0
    assert capsys.readouterr().out == first
    assert _apt_calls(host) == []


def test_only_what_is_missing_is_installed(host: Host) -> None:
    (host.fake / "installed/ufw").touch()
    assert host.run("packages", stdin="postfix ufw") == 0
    assert _apt_calls(host) == ["install postfix"]


@pytest.mark.parametrize("why", ["no lists", "old lists", "unknown package"])
def test_the_lists_are_fetched_when_they_must_be(host: Host, why: str) -> None:
    lists = host.root / "var/lib/apt/lists"
    if why == "no lists":
        (lists / "deb.example_Packages").unlink()
    elif why == "old lists":
        os.utime(lists / "partial", (time.time() - 90_000,) * 2)
    else:
        host.fails("apt-cache")
    assert host.run("packages", stdin="ufw") == 0
    assert _apt_calls(host) == ["update", "install ufw"]


def test_a_failed_installation_is_tried_once_more_with_new_lists(host: Host, capsys: Capsys) -> None:
    (host.fake / "fail/install").write_text("E: Failed to fetch: 404")
    assert host.run("packages", stdin="ufw") == 1
    assert "E: Failed to fetch: 404" in capsys.readouterr().err
    assert _apt_calls(host) == ["install ufw", "update", "install ufw"]
    assert not (host.root / POLICY[1:]).exists()


def test_what_a_dead_run_left_is_repaired(host: Host, capsys: Capsys) -> None:
    policy = host.write(POLICY, packages.OURS.decode())
    (host.fake / "broken").touch()
    assert host.run("packages", stdin="postfix") == 0
    assert capsys.readouterr().out == "postfix 1.0\n"
    assert "dpkg --configure -a" in host.calls("dpkg")
    assert not policy.exists()


def test_the_policy_of_a_dead_run_goes_also_when_all_is_installed(host: Host) -> None:
    policy = host.write(POLICY, packages.OURS.decode())
    (host.fake / "installed/ufw").touch()
    assert host.run("packages", stdin="ufw") == 0
    assert not policy.exists()


def test_a_policy_of_the_operator_is_kept(host: Host) -> None:
    policy = host.write(POLICY, "#!/bin/sh\nexit 0\n")
    assert host.run("packages", stdin="ufw") == 0
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_policy_of_the_operator_survives_a_dead_run(host: Host) -> None:
    host.write(packages.KEPT_POLICY, "#!/bin/sh\nexit 0\n")
    policy = host.write(POLICY, packages.OURS.decode())
    assert host.run("packages", stdin="ufw") == 0
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_manual_pages_are_not_indexed_meanwhile(host: Host) -> None:
    seen = host.fake / "seen"
    host.play("debconf-set-selections", f'read answer; case $answer in man-db*) echo "$answer" >> {seen} ;; esac\n')
    host.write(
        "/var/cache/debconf/config.dat", "Name: man-db/auto-update\nTemplate: x\nValue: true\nOwners: man-db\n\n"
    )
    assert host.run("packages", stdin="ufw") == 0
    off, on = seen.read_text().splitlines()
    assert off == "man-db man-db/auto-update boolean false"
    assert on == "man-db man-db/auto-update boolean true"


def test_another_package_manager_is_waited_for(host: Host, capsys: Capsys) -> None:
    lock = host.write(packages.LOCKS[0], "")
    hold = "import fcntl, sys, time; f = open(sys.argv[1], 'ab'); fcntl.lockf(f, 2); print(flush=True); time.sleep(0.5)"
    holder = subprocess.Popen([sys.executable, "-c", hold, lock], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert host.run("packages", stdin="ufw") == 0
    assert "another package manager" in capsys.readouterr().err


def test_one_that_never_ends_is_named(host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_: object) -> None:
        raise BlockingIOError

    host.write(packages.LOCKS[0], "")
    monkeypatch.setattr(packages, "PATIENCE", 0.1)
    monkeypatch.setattr(fcntl, "lockf", held)
    assert host.run("packages", stdin="ufw") == 1
    assert "lock-frontend: another package manager" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="seccomp(2) without no_new_privs needs root")
def test_the_filter_lets_syncs_succeed_and_all_else_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed file's fsync would fail with EBADF; with the filter it does not even look."""
    monkeypatch.undo()
    code = "import os; os.fsync(99); os.sync(); open('x', 'w').write('y'); print(os.path.getsize('x'))"
    suppress = nosync.suppressor()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=suppress
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_on_an_unknown_machine_there_is_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert nosync.filter_for("riscv64") == b""
