"""A mailbox is lent for as long as a session lasts, and to nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mailhostctl
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
HASH = "{ARGON2ID}$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0$0123456789abcdefghijklmnopqrstuvwxyzABCDEF0"
FILE = "/run/mailhost-lent/passwords"


@pytest.fixture
def lender(host: Host) -> Host:
    host.write("/etc/dovecot/users", f"alice@example.com:{HASH}::::::\nbob@example.com:{{CRYPT}}!::::::\n")
    host.write(FILE, "")
    return host


def started(address: str = "alice@example.com") -> subprocess.Popen[str]:
    """The command as sshd runs it, told the hash; its session is still open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mailhostctl", "lend", address],
        env={**os.environ, "PYTHONPATH": str(Path(mailhostctl.__file__).parent.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(f"{HASH}\n")
    process.stdin.flush()
    return process


@pytest.mark.parametrize("end", ["session", "term"])
def test_it_is_lent_until_the_end_however_it_ends(lender: Host, end: str) -> None:
    process = started()
    assert process.stdout
    assert process.stdout.readline() == "lent\n"
    assert lender.live(FILE) == f"alice@example.com:{HASH}\n"
    assert (lender.root / FILE[1:]).stat().st_mode & 0o777 == 0o640
    if end == "term":
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert lender.live(FILE) == ""


def test_one_look_at_a_time(lender: Host, capsys: Capsys) -> None:
    process = started()
    assert process.stdout
    assert process.stdout.readline() == "lent\n"
    assert lender.run("lend", "alice@example.com", stdin=f"{HASH}\n") == 1
    assert "held by process" in capsys.readouterr().err
    assert HASH in (lender.live(FILE) or "")
    process.communicate(timeout=10)


@pytest.mark.parametrize(
    ("address", "stdin", "said"),
    [
        ("carla@example.com", HASH, "carla@example.com is no mailbox here"),
        ("bob@example.com", HASH, "or a disabled one"),
        ("alice@example.com", "{PLAIN}secret", "is no ARGON2ID hash (not shown)"),
        ("alice@example.com", f"{HASH}:::::: extra=1", "is no ARGON2ID hash (not shown)"),
        ("alice@example.com", "", "is no ARGON2ID hash (not shown)"),
    ],
)
def test_what_it_does_not_lend(lender: Host, capsys: Capsys, address: str, stdin: str, said: str) -> None:
    assert lender.run("lend", address, stdin=f"{stdin}\n") == 1
    err = capsys.readouterr().err
    assert said in err
    assert "secret" not in err
    assert lender.live(FILE) == ""


SYSTEMD_RUN = """
for word; do
    case "$word" in --property=ExecStopPost=*) last=${word#--property=ExecStopPost=} ;; esac
done
echo "$*" >> "$FAKE/guard"
while [ "$1" != -- ]; do shift; done
shift
( "$@"; $last; echo emptied >> "$FAKE/guard" ) < /dev/null > /dev/null 2>&1 &
"""
"""What systemd-run(1) does: the command in the background, then what is to be done after its end."""


def test_a_lender_that_is_killed_leaves_no_password(lender: Host) -> None:
    lender.play("systemd-run", SYSTEMD_RUN)
    process = started()
    assert process.stdout
    assert process.stdout.readline() == "lent\n"
    process.kill()
    process.communicate(timeout=10)
    guard = lender.fake / "guard"
    deadline = time.monotonic() + 10
    while "emptied" not in guard.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lender.live(FILE) == ""
    assert "RuntimeMaxSec=310" in guard.read_text()
    assert "argon2" not in guard.read_text().lower()


def test_without_somebody_to_take_it_back_nothing_is_lent(lender: Host, capsys: Capsys) -> None:
    lender.fails("systemd-run", "Failed to start transient service unit")
    assert lender.run("lend", "alice@example.com", stdin=f"{HASH}\n") == 1
    assert "Failed to start transient service unit" in capsys.readouterr().err
    assert lender.live(FILE) == ""


def test_the_guard_of_a_killed_lender_is_dismissed_before_the_next_one_lends(lender: Host) -> None:
    """It would empty the file under it."""
    lender.calls()
    process = started()
    process.communicate(timeout=10)
    assert process.returncode == 0
    calls = [call for call in lender.calls("system") if "mailhost-lent.service" in call]
    assert [call.split()[0] for call in calls] == ["systemctl", "systemd-run", "systemctl"]
    assert calls[0] == calls[2] == "systemctl stop mailhost-lent.service"
