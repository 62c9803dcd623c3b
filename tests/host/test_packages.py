"""One apt transaction that starts nothing, repairs what died, and is quiet the second time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time

import pytest

from mailhostctl import main_cf, packages
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
POLICY = "/usr/sbin/policy-rc.d"
OPERATORS = "#!/bin/sh\nexit 0\n"
DPKG_QUERY = """for name; do
    case $name in -*) continue ;; esac
    [ ! -f "$FAKE/installed/$name" ] || echo "ii  $name 1.0"
done
"""
APT_GET = """echo "apt-get $*" >> "$FAKE/log"
case "$*" in
*" update") : > "$FAKE/updated" ;;
*" install"*)
    echo "$SYSTEMD_OFFLINE" > "$FAKE/offline"
    [ ! -f "$FAKE/removes" ] || { cat "$FAKE/removes"; echo "E: remove is disabled." >&2; exit 100; }
    [ ! -f "$FAKE/fail/install" ] || { cat "$FAKE/fail/install" >&2; exit 100; }
    rm -f "$FAKE/broken" "$MAILHOSTCTL_ROOT"/var/lib/dpkg/updates/*
    for name; do case $name in postfix | ufw) : > "$FAKE/installed/$name" ;; esac; done ;;
esac
"""
DPKG = """echo "dpkg $*" >> "$FAKE/log"
case $1 in
--audit) [ ! -f "$FAKE/broken" ] || echo "postfix is half configured" ;;
--configure)
    [ "$SYSTEMD_OFFLINE" = 1 ] || { echo "starts daemons" >&2; exit 1; }
    [ ! -f "$FAKE/unmet" ] || { echo "dependency problems" >&2; exit 1; }
    rm -f "$FAKE/broken" "$MAILHOSTCTL_ROOT"/var/lib/dpkg/updates/*
    : > "$FAKE/installed/postfix" ;;
esac
"""


@pytest.fixture(autouse=True)
def _apt(host: Host) -> None:
    (host.fake / "installed").mkdir()
    for name, script in {"dpkg-query": DPKG_QUERY, "apt-get": APT_GET, "dpkg": DPKG}.items():
        host.play(name, script)
    (host.root / "usr/sbin").mkdir(parents=True)
    host.write("/var/lib/apt/lists/deb.example_Packages", "")
    (host.root / "var/lib/apt/lists/partial").mkdir()


def _apt_calls(host: Host) -> list[str]:
    return [call.rpartition(" -o ")[2].partition(" ")[2] for call in host.calls("apt-get")]


def test_all_in_one_transaction_and_nothing_starts(host: Host, capsys: Capsys) -> None:
    assert host.run("packages", stdin="ufw postfix ufw") == 0
    assert capsys.readouterr().out == "postfix 1.0\nufw 1.0\n"
    assert _apt_calls(host) == ["--no-remove install postfix ufw"]
    assert (host.fake / "offline").read_text() == "1\n"


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
    assert _apt_calls(host) == ["--no-remove install postfix"]


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
    assert _apt_calls(host) == ["update", "--no-remove install ufw"]


def test_a_failed_installation_is_tried_once_more_with_new_lists(host: Host, capsys: Capsys) -> None:
    (host.fake / "fail/install").write_text("E: Failed to fetch: 404")
    assert host.run("packages", stdin="ufw") == 1
    assert "E: Failed to fetch: 404" in capsys.readouterr().err
    assert _apt_calls(host) == ["--no-remove install ufw", "update", "--no-remove install ufw"]


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("left", ["a package", "the journal"])
def test_an_interrupted_dpkg_is_healed(host: Host, capsys: Capsys, left: str, installed: bool) -> None:
    """Also where all names are installed, and where only its journal is left: apt would refuse to work."""
    journal = host.write("/var/lib/dpkg/updates/0001", "")
    if left == "a package":
        journal.unlink()
        (host.fake / "broken").touch()
    if installed:
        (host.fake / "installed/postfix").touch()
    assert host.run("packages", stdin="postfix") == 0
    assert capsys.readouterr().out == "postfix 1.0\n"
    assert "dpkg --configure -a" in host.calls("dpkg")
    assert not journal.exists()
    assert not (host.fake / "broken").exists()


def test_where_dpkg_died_before_all_was_unpacked_apt_brings_the_rest(host: Host) -> None:
    for name in ("broken", "unmet", "installed/ufw"):
        (host.fake / name).touch()
    assert host.run("packages", stdin="ufw") == 0
    assert _apt_calls(host) == ["--no-remove --fix-broken install"]
    assert not (host.fake / "broken").exists()


def test_systemd_is_told_also_by_the_run_after_a_dead_one(host: Host) -> None:
    (host.fake / "installed/ufw").touch()
    assert host.run("packages", stdin="ufw") == 0
    assert "systemctl daemon-reload" in host.calls("systemctl")


def test_nothing_on_the_host_is_removed_for_it(host: Host, capsys: Capsys) -> None:
    (host.fake / "removes").write_text(
        "The following packages will be REMOVED:\n  exim4-base* exim4-config*\n  exim4-daemon-light*\n"
        "The following NEW packages will be installed:\n  postfix\n"
    )
    assert host.run("packages", stdin="postfix") == 1
    names = "exim4-base exim4-config exim4-daemon-light"
    assert f"run `apt-get remove {names}` on the host, then pulumi up again" in capsys.readouterr().err
    assert not (host.fake / "installed/postfix").exists()


@pytest.mark.parametrize("linked", [False, True])
def test_a_policy_of_the_operator_is_left_alone(host: Host, linked: bool) -> None:
    """Also where it is a link, as update-alternatives makes it, and while apt is at work."""
    policy = host.root / POLICY[1:]
    if linked:
        policy.symlink_to(host.write("/etc/alternatives/policy-rc.d", OPERATORS))
    else:
        policy.write_text(OPERATORS)
    host.play("apt-get", f'{APT_GET}cp -P {policy} "$FAKE/policy"\n')
    assert host.run("packages", stdin="ufw") == 0
    for found in (policy, host.fake / "policy"):
        assert (found.is_symlink(), found.read_text()) == (linked, OPERATORS)


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_killed_run_of_version_0_1_0_left_goes(host: Host, kept: bool) -> None:
    host.write(POLICY, packages.FORMER_POLICY_TEXT.decode())
    if kept:
        host.write(f"{POLICY}.before-mailhost", OPERATORS)
    marker = host.write("/var/lib/mailhost/man-db-is-off", "")
    answer = host.fake / "answer"
    host.play("debconf-set-selections", f"cat >> {answer}\n")
    (host.fake / "installed/ufw").touch()
    assert host.run("packages", stdin="ufw") == 0
    assert host.live(POLICY) == (OPERATORS if kept else None)
    assert not marker.exists()
    assert answer.read_text() == "man-db man-db/auto-update boolean true\n"


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
