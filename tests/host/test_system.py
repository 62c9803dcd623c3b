"""What every command owes the one who runs it over SSH: an end in time, whole input read, readable output."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mailhostctl
from mailhostctl import __main__ as program
from mailhostctl import durable, system
from tests.host.scratch import Host, bundle

Capsys = pytest.CaptureFixture[str]
MAIN = "/etc/postfix/main.cf"
SOURCES = Path(mailhostctl.__file__).parent


def called(*argv: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    """The command as sshd runs it."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent), **variables}
    command = [sys.executable, "-m", "mailhostctl", *argv]
    return subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False, timeout=30)


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_a_command_that_hangs_is_ended_with_all_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    monkeypatch.setattr(system, "_LAST_SECONDS", 0.2)
    noted = tmp_path / "pid"
    began = time.monotonic()
    done = system.run(["sh", "-c", f"{trap}sleep 60 & echo $! > {noted}; wait; sleep 60"], timeout=0.5)
    assert (done.code, done.err) == (124, "sh: no answer within 0 s")
    assert time.monotonic() - began < 10
    deadline = time.monotonic() + 5
    while alive(int(noted.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(int(noted.read_text()))


def test_a_hanging_reload_fails_the_apply_and_is_undone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_MOST_SECONDS", 1)
    host.apply("postfix", {MAIN: "old\n"})
    (host.fake / "again").mkdir()
    (host.fake / "again/systemctl").symlink_to(host.fake / "play")
    hangs = f'case "$1" in reload | restart) grep -q new {host.root}{MAIN} && exec sleep 60 ;; esac\n'
    host.play("systemctl", f'{hangs}exec "$FAKE/again/systemctl" "$@"\n')
    began = time.monotonic()
    assert host.run("apply", "postfix", stdin=bundle({MAIN: "new\n"})) == 1
    assert time.monotonic() - began < 20
    assert host.live(MAIN) == "old\n"
    assert host.running == "old\n"
    assert not host.state("postfix/journal.json").exists()


def test_a_command_that_is_overdue_says_so(host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(program._SECONDS, "status", 1)
    monkeypatch.setattr("mailhostctl.selfcheck.status_lines", lambda _root: time.sleep(60))
    assert host.run("status") == 1
    assert "status: not done within 1 s" in capsys.readouterr().err
    assert signal.alarm(0) == 0


def test_an_apply_waits_for_the_one_before_and_names_it_when_that_does_not_end(
    host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine was killed, it goes on: the next `up` finds it at work."""
    monkeypatch.setattr(durable, "PATIENCE", 0.3)
    host.apply("postfix", {MAIN: "old\n"})
    lock = host.state("postfix/lock")
    hold = "import sys; from pathlib import Path; from mailhostctl import durable\n"
    hold += "with durable.locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)],
        env={**os.environ, "PYTHONPATH": str(SOURCES.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        code = host.run("remove", "postfix")
        said = capsys.readouterr().err
        holder.communicate()
    assert code == 1
    assert f"{lock}: held by process {holder.pid} (" in said
    assert "waited 0 s for it" in said
    assert host.live(MAIN) == "old\n"
    assert host.run("remove", "postfix") == 0


@pytest.mark.parametrize(
    "argv",
    [
        ("status",),
        ("apply", "postfix"),  # refuses the text
        ("stage", "postfix", "files"),
        ("apply", "sendmail"),  # wrong usage
        ("remove", "postfix"),
        ("generations", "postfix"),
        ("lend", "alice@example.com"),  # stops after the first line
    ],
)
def test_every_command_reads_its_input_to_the_end(host: Host, argv: tuple[str, ...]) -> None:
    """The command plugin fails where it cannot get rid of what it has to send; a pipe takes 64 KiB."""
    del host
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "mailhostctl", *argv],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin
        process.stdin.write(b"x" * 5_000_000)  # raises BrokenPipeError
        process.stdin.close()
        assert process.wait(30) in {0, 1, 2}


def test_an_input_that_stays_open_is_not_waited_for(host: Host) -> None:
    """`ssh HOST mailhostctl status` from a terminal never closes it."""
    del host
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "mailhostctl", "status"], env=environment, stdin=subprocess.PIPE
    ) as process:
        assert process.wait(20) == 0


def test_output_is_utf8_whatever_the_daemon_says_and_the_locale_is(host: Host) -> None:
    host.play("postfix", "printf 'fatal: \\377\\376 B\\303\\274cher\\n' >&2; exit 1\n")
    done = called("apply", "postfix", stdin=bundle({MAIN: "x\n"}).encode(), LC_ALL="en_US.ISO-8859-1", PYTHONUTF8="0")
    assert done.returncode == 1
    assert "Bücher" in done.stderr.decode()
    done = called("apply", "postfix", stdin=b"{}", LC_ALL="C", PYTHONIOENCODING="latin-1")
    assert done.returncode == 1
    assert done.stderr.decode()


def test_a_line_is_never_longer_than_what_reads_it_can_take(host: Host) -> None:
    host.play("postfix", "head -c 300000 /dev/zero | tr '\\0' x | sed 's/x/\\o303\\o274/g' >&2; exit 1\n")
    done = called("apply", "postfix", stdin=bundle({MAIN: "x\n"}).encode())
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert max(map(len, lines)) <= system.LONGEST_LINE
    assert any("… (" in line.decode() for line in lines)


def test_input_that_is_not_utf8_is_refused_in_words(host: Host) -> None:
    del host
    done = called("apply", "postfix", stdin=b"{\xff")
    assert (done.returncode, done.stderr) == (1, b"mailhostctl: standard input: not UTF-8 at octet 1\n")


def test_only_one_module_writes_to_standard_output() -> None:
    others = [file for file in SOURCES.glob("*.py") if file.name not in {"system.py", "facts.py"}]
    assert len(others) > 20
    assert [file.name for file in others if " print(" in file.read_text()] == []


@pytest.mark.parametrize("kind", ["fifo", "socket", "link"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "key.private"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("elsewhere")
    else:
        import socket  # noqa: PLC0415 -- only here

        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
    signal.signal(signal.SIGALRM, _waits)
    signal.alarm(5)
    try:
        with pytest.raises(system.MailhostError, match=r"key\.private: is not a regular file"):
            durable.read(place)
    finally:
        signal.alarm(0)


def _waits(*_: object) -> None:
    raise TimeoutError


def test_a_fifo_among_the_keys_does_not_hang_the_check(host: Host, capsys: Capsys) -> None:
    folder = host.root / "etc/dkimkeys"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "example.org.mail.private")
    began = time.monotonic()
    assert host.run("check", "--hostname", "mail.example.org", stdin="example.org mail\n") == 1
    assert time.monotonic() - began < 20
    assert "example.org.mail.private: is not a regular file" in capsys.readouterr().err
