"""An update that was cut off, and then a change of mind: what the next `up` reports is what the host runs.

The engine is killed while a command runs on the host. The command goes on without it, and the state never hears of it.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Final

import pytest

from lab import faults
from lab.addresses import GATEWAY6
from lab.clients import wait_for
from tests.e2e.conftest import Host

pytestmark = pytest.mark.one_release("debian13")

PROGRAM: Final = "/usr/local/sbin/mailhostctl"
STATE: Final = "/var/lib/mailhost"
PYTHON: Final = "/usr/local/bin/python3"
"""Earlier in the path of an SSH session than the system's own."""
HELD: Final = "/run/held"
SLOW: Final = """#!/bin/sh
# While {held} is locked, some commands wait: before they run, once their input has come, or with their answer.
trap '' HUP
umask 077
case "$*" in
{before}) cat > {held}.stdin; flock {held} true; exec {real} "$@" < {held}.stdin ;;
{after}) {real} "$@"; code=$?; flock {held} true; exit $code ;;
esac
exec {real} "$@"
"""
WAITING: Final = f"flock {HELD} true"
ANOTHERS: Final = "==> /etc/another 0644 root:root 0 " + sha256(b"").hexdigest() + " <==\n"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What makes the files of one service others, and how the host shows which ones it runs with."""

    service: str
    shown: str
    """A shell command, whose output is another after the change."""
    settings: dict[str, object] = field(default_factory=dict)
    template: str = ""
    """Where no setting is the service's alone: this template gets a comment."""


def commented(service: str, template: str, live: str) -> Change:
    return Change(service=service, template=template, shown=f"tail -n 1 {live}")


CHANGES: Final = (
    Change(service="firewall", settings={"firewall": {"allow": [2525]}}, shown="iptables -S ufw-user-input"),
    commented("certificate", "letsencrypt/deploy-hook.j2", "/etc/letsencrypt/renewal-hooks/deploy/mailhost"),
    commented("accounts", "dovecot/users.j2", "/etc/dovecot/users"),
    Change(service="dovecot", settings={"storage": {"trashDays": 44}}, shown="doveconf -n | grep autoexpunge"),
    commented("resolver", "unbound/mailhost.conf.j2", "/etc/unbound/unbound.conf.d/mailhost.conf"),
    commented("tls-policy", "tls_policy/mta-sts-daemon.yml.j2", "/etc/mta-sts-daemon.yml"),
    commented("redis", "redis/redis.conf.j2", "/etc/redis/redis.conf"),
    Change(service="rspamd", settings={"spam": {"junk": 6.5}}, shown="rspamadm configdump actions"),
    commented("opendkim", "opendkim/TrustedHosts.j2", "/etc/opendkim/TrustedHosts"),
    Change(service="postfix", settings={"messageSizeLimit": "23068672"}, shown="postconf -h message_size_limit"),
    Change(
        service="fail2ban",
        settings={"ban": {"allow": [GATEWAY6], "attempts": 7}},
        shown="fail2ban-client get sshd maxretry",
    ),
    Change(service="nginx", settings={"mtaSts": {"maxAgeDays": 21}}, shown="cat /var/www/mailhost/mta-sts.txt"),
    commented("metrics", "metrics/logrotate.j2", "/etc/logrotate.d/mailhost"),
)
"""Every service of a mail host with the default settings; none waits for one that stands after it."""
OPENDKIM: Final = next(change for change in CHANGES if change.service == "opendkim")
POSTFIX: Final = next(change for change in CHANGES if change.service == "postfix")


def shown(host: Host, change: Change) -> str:
    return host.run("sh", "-c", change.shown)


@contextmanager
def made(host: Host, *changes: Change) -> Iterator[None]:
    """Have other settings and templates, and the former ones again afterwards."""
    with host.stack.kept(), ExitStack() as former:
        for change in changes:
            host.stack.configure(change.settings)
            if change.template:
                former.enter_context(host.stack.extended(f"templates/{change.template}", "# one line more\n"))
        yield


@contextmanager
def slow(host: Host, program: str, real: str, *, before: str = "-", after: str = "-") -> Iterator[None]:
    """Put a program in front of another; commands that match these shell patterns wait until the context ends."""
    script = SLOW.format(real=real, held=HELD, before=before, after=after)
    host.run("sh", "-c", 'cat > "$1.new"; chmod 755 "$1.new"; mv "$1.new" "$1"', "sh", program, content=script)
    with faults.lock_held(host.machine, HELD):
        yield


@contextmanager
def slow_helper(host: Host, *, before: str = "-", after: str = "-") -> Iterator[None]:
    """The helper takes its time, see `slow`; at the end all that it was asked for over SSH is done."""
    # A copy: what systemd starts meanwhile goes on from it.
    real = f"{PROGRAM}.real"
    host.run("cp", "-p", PROGRAM, real)
    try:
        with slow(host, PROGRAM, real, before=before, after=after):
            yield
        wait_for(lambda: not left_running(host), "the end of what the engine left on the host")
    finally:
        host.run("sh", "-ec", 'cp -p "$1" "$2.new"; mv "$2.new" "$2"', "sh", real, PROGRAM)


def processes(host: Host) -> list[str]:
    return host.run("ps", "-eo", "args").splitlines()


def left_running(host: Host) -> list[str]:
    return [line for line in processes(host) if re.search(rf"{PROGRAM}(\.real)? (apply|remove|stage) ", line)]


def waiting(host: Host) -> int:
    return processes(host).count(WAITING)


def cut_off(host: Host, commands: int) -> None:
    """Start an update, and kill its engine once so many commands wait on the host."""
    host.stack.cut_off(host.stack.start_up(), lambda: waiting(host) == commands, f"{commands} commands that wait")


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What a host showed of a change."""

    before: dict[str, str]
    """By service, as all that follow."""
    cut: dict[str, str]
    """After the update that was cut off."""
    reverted: dict[str, str]
    """After the update with the former settings."""


@pytest.fixture(scope="module")
def traces(host: Host) -> Traces:
    """Cut one update after another off, each while it applies a change and has just staged the next one."""
    host.stack.settle()
    before = {change.service: shown(host, change) for change in CHANGES}
    cut = {}
    for applied, staged in pairwise((None, *CHANGES, None)):
        at = {
            **({"before": f'"apply {applied.service}"*'} if applied else {}),
            **({"after": f'"stage {staged.service} "*'} if staged else {}),
        }
        with made(host, *filter(None, (applied, staged))), slow_helper(host, **at):
            cut_off(host, len(at))
        if applied:
            cut[applied.service] = shown(host, applied)
    host.stack.up().must_pass()
    return Traces(before=before, cut=cut, reverted={change.service: shown(host, change) for change in CHANGES})


@pytest.mark.parametrize("service", [change.service for change in CHANGES])
def test_a_change_that_was_cut_off_and_taken_back_is_not_live(traces: Traces, service: str) -> None:
    assert traces.cut[service] != traces.before[service], "the host did not go on alone"
    assert traces.reverted[service] == traces.before[service]


@pytest.mark.usefixtures("traces")
def test_after_all_these_cuts_every_service_runs_as_the_state_says(host: Host) -> None:
    assert host.damaged() == []
    assert host.stack.planned() == []


def test_what_was_switched_off_for_a_moment_runs_again(host: Host) -> None:
    units = ("fail2ban", "prometheus-postfix-exporter")
    with host.stack.kept():
        host.stack.configure({"ban": {"enabled": False}, "metrics": {"enabled": False}})
        with slow_helper(host, before='"remove "*'):
            cut_off(host, 2)
        assert host.run_fails("systemctl", "is-active", *units) == ""
    host.stack.up().must_pass()
    assert host.run("systemctl", "is-active", *units).split() == ["active", "active"]
    assert host.damaged() == []


def test_a_staging_that_is_replaced_leaves_the_service_as_it_was(host: Host) -> None:
    live = shown(host, OPENDKIM)
    resources = json.loads(host.stack.state())["deployment"]["resources"]
    (urn,) = [item["urn"] for item in resources if item["urn"].endswith("::mail-opendkim-files")]
    host.stack.up("--replace", urn).must_pass()
    assert shown(host, OPENDKIM) == live
    assert host.damaged() == []
    assert host.stack.planned() == []


def test_what_others_stage_or_delete_on_the_host_does_not_matter(host: Host) -> None:
    live = shown(host, OPENDKIM)
    host.run("rm", "-rf", f"{STATE}/opendkim/staged")
    host.run("mailhostctl", "stage", "opendkim", "secrets", content=ANOTHERS)
    with made(host, OPENDKIM):
        host.stack.up().must_pass()
        assert shown(host, OPENDKIM) != live


def test_a_change_that_was_cut_off_and_undone_on_the_host_is_made_by_the_next_up(host: Host) -> None:
    live = shown(host, OPENDKIM)
    with made(host, OPENDKIM):
        with slow_helper(host, before='"apply opendkim"*'):
            cut_off(host, 1)
        assert shown(host, OPENDKIM) != live
        host.run("mailhostctl", "rollback", "opendkim")
        assert shown(host, OPENDKIM) == live
        host.stack.up().must_pass()
        assert shown(host, OPENDKIM) != live


def helper(host: Host) -> str:
    """Return a module of the installed helper."""
    read = f"import zipfile; print(zipfile.ZipFile({PROGRAM!r}).read('mailhostctl/paths.py').decode())"
    return host.run("python3", "-c", read)


def test_a_helper_that_was_cut_off_and_taken_back_is_the_former_one(host: Host) -> None:
    former = helper(host)
    with host.stack.extended("host/mailhostctl/paths.py", "# one line more\n"):
        try:
            with slow(host, PYTHON, "/usr/bin/python3", after='"- --sha256 "*'):
                cut_off(host, 1)
        finally:
            host.run("rm", "-f", PYTHON)
        assert helper(host) != former
    host.stack.up().must_pass()
    assert helper(host) == former
    assert host.stack.planned() == []


@contextmanager
def full(host: Host, folder: str) -> Iterator[None]:
    """Have a folder on a file system of its own, on which there is no room left."""
    small, kept = "/run/small", "/run/kept"
    host.run("mkdir", "-p", small)
    host.run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small)
    host.run("cp", "-a", f"{folder}/.", small)
    host.run("sh", "-c", f"cat /dev/zero > {small}/filler 2>/dev/null || true")
    # What is mounted below a shared mount cannot be moved.
    host.run("mount", "--bind", small, folder)
    host.run("umount", small)
    try:
        yield
    finally:
        host.run("rm", f"{folder}/filler")
        host.run("cp", "-a", folder, kept)
        host.run("umount", "--lazy", folder)
        host.run("find", folder, "-mindepth", "1", "-delete")
        host.run("cp", "-a", f"{kept}/.", folder)
        host.run("rm", "-r", kept)


def test_a_full_disk_changes_nothing_and_is_named(host: Host) -> None:
    live = host.run("cat", "/etc/postfix/main.cf")
    with made(host, POSTFIX):
        for folder in (f"{STATE}/postfix", "/etc/postfix"):
            with full(host, folder):
                failed = host.stack.up()
                assert host.run("cat", "/etc/postfix/main.cf") == live
            assert failed.code != 0
            assert folder in failed.output
            assert "No space left on device" in failed.output
            assert "Traceback" not in failed.output
            assert host.damaged() == []
        host.stack.up().must_pass()
        assert shown(host, POSTFIX).strip() == POSTFIX.settings["messageSizeLimit"]
