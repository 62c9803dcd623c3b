"""A change that is cut off by a full disk or by a power cut: the host comes back whole."""

import subprocess
from collections.abc import Iterator

import pytest

from lab import machines
from lab.clients import wait_for
from tests.e2e.conftest import Host

MAIN = "/etc/postfix/main.cf"
JOURNAL = "/var/lib/mailhost/postfix/journal.json"
SLOW = "/run/systemd/system/postfix.service.d/slow.conf"
"""Makes a reload of Postfix take long, until the next boot."""
_SECONDS = 90


@pytest.fixture(scope="module")
def settings(host: Host) -> Iterator[str]:
    """Give Postfix a generation to go back from; the value is its main.cf."""
    with host.stack.kept():
        host.stack.configure({"messageSizeLimit": 20_000_000})
        host.stack.settle()
        yield host.run("cat", MAIN)


def status(host: Host) -> str:
    lines = host.run("mailhostctl", "status").splitlines()
    return next(line for line in lines if line.startswith("postfix: "))


def temporaries(host: Host) -> str:
    return host.run("find", "/etc", "/var/lib/mailhost", "-name", "*.mailhost~")


def test_a_full_disk_changes_nothing_and_says_which(host: Host, settings: str) -> None:
    before = status(host)
    host.run("cp", "-a", "/etc/postfix", "/run/postfix-kept")
    size = int(host.run("sh", "-c", "du -sk /etc/postfix | cut -f1"))
    host.run("mount", "-t", "tmpfs", "-o", f"size={size + 64}k,mode=755", "tmpfs", "/etc/postfix")
    try:
        host.run("cp", "-a", "/run/postfix-kept/.", "/etc/postfix")
        host.run("sh", "-c", "! dd if=/dev/zero of=/etc/postfix/fill bs=1k 2>/dev/null")
        said = host.run_fails("mailhostctl", "rollback", "postfix")
        assert "/etc/postfix/" in said
        assert "No space left on device (tmpfs, mounted at /etc/postfix)" in said
        assert host.run("cat", MAIN) == settings
        assert temporaries(host) == ""
        assert status(host) == before
    finally:
        host.run("umount", "/etc/postfix")
        host.run("rm", "-r", "/run/postfix-kept")


def test_a_power_cut_in_the_middle_of_a_change_is_undone_before_postfix_starts(host: Host, settings: str) -> None:
    name, before = host.machine.name, status(host)
    host.run("mkdir", "-p", SLOW.rpartition("/")[0])
    host.run("tee", SLOW, content="[Service]\nExecReload=\nExecReload=/bin/sleep 300\n")
    host.run("systemctl", "daemon-reload")
    command = machines.command(name, ["mailhostctl", "rollback", "postfix"])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        wait_for(lambda: "reload" in host.run("systemctl", "list-jobs"), "the reload", seconds=_SECONDS)
        assert host.run("cat", JOURNAL)
        assert host.run("cat", MAIN) != settings
        machines.stop(name, clean=False)
        running.wait(_SECONDS)
    machines.start(name)
    machines.wait(name)
    wait_for(lambda: status(host) == before, "the boot", seconds=_SECONDS)
    assert host.run("cat", MAIN) == settings
    assert machines.execute(name, ["test", "-e", JOURNAL]).returncode == 1
    assert temporaries(host) == ""
    recovered, *started = _shown(host, "mailhost-recover.service", "postfix.service", "postfix@-.service")
    assert recovered["Result"] == "success"
    ended = int(recovered["ExecMainExitTimestampMonotonic"])
    assert ended
    begun = [int(unit["InactiveExitTimestampMonotonic"]) for unit in started if unit["ActiveState"] == "active"]
    assert begun
    assert min(begun) > ended
    assert "ordering cycle" not in host.run("journalctl", "-b", "-o", "cat", "_PID=1")
    assert host.run("systemctl", "is-active", "mailhost-filter-errors.path").strip() == "active"
    host.stack.preview("--expect-no-changes").must_pass()


def _shown(host: Host, *units: str) -> list[dict[str, str]]:
    texts = host.run("systemctl", "show", *units).strip().split("\n\n")
    return [dict(line.partition("=")[::2] for line in text.splitlines()) for text in texts]
