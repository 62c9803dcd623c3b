"""The lab comes and goes without a trace, also when it is interrupted or killed.

The lab under test is a second one beside the running one: its own network namespace, cache folder and mounts.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import addresses, bases, machines, outside, paths
from lab.addresses import BRIDGE, Machine

pytestmark = pytest.mark.lab

MACHINES = ("bookworm", "outside")


class SecondLab:
    """A lab of its own; `namespace` is the process that holds its network and mount namespaces."""

    def __init__(self, folder: Path, namespace: subprocess.Popen[bytes]) -> None:
        self.cache = folder / "cache"
        self.namespace = namespace

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        enter = ["nsenter", "--net", "--mount", f"--target={self.namespace.pid}", f"--wd={paths.CLONE}", "--"]
        return subprocess.Popen(
            [*enter, sys.executable, *arguments],
            env={**os.environ, "MAILHOST_CACHE": str(self.cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        with self.start("-m", "lab", *arguments) as process:
            output = process.communicate(timeout=120)[0].decode()
        assert process.returncode == status, output
        return output

    def processes(self) -> list[str]:
        """Command lines of everything that lives in this lab's network or in one made from its cache."""
        network = Path(f"/proc/{self.namespace.pid}/ns/net").readlink()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            if process.name == str(self.namespace.pid):
                continue
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if line and (str(self.cache) in line or (process / "ns/net").readlink() == network):
                    found.append(line)
            except OSError:
                continue  # it has just ended
        return found

    def traces(self) -> list[str]:
        """Everything that a lab may leave behind."""
        inside = ["nsenter", "--net", "--mount", f"--target={self.namespace.pid}", "--"]
        show = 'ip -brief link; nft list tables; grep -F -- "$1" /proc/self/mounts; ls "$1"/lab "$1"/state'
        listed = subprocess.run([*inside, "sh", "-c", show, "sh", str(self.cache)], capture_output=True, check=False)
        links = [line for line in listed.stdout.decode().splitlines() if not re.match(r"(lo|sit0|tunl0)[@ ]", line)]
        return [*links, *self.processes()]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: daemons make sockets below it."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        yield Path(name)


@pytest.fixture
def second(guest: Machine, folder: Path) -> Iterator[SecondLab]:
    """A second lab that shares the first one's built bases."""
    del guest
    (folder / "cache/bases").mkdir(parents=True)
    (folder / "environment").mkdir()
    for tree in (bases.path("debian12"), bases.path("debian13"), outside.layer()):
        (folder / "cache/bases" / tree.name).symlink_to(tree)
    paths.environment().parent.mkdir(exist_ok=True)
    prepare = 'ip link set lo up && mount --bind "$1" "$2" && echo ready && exec sleep 1000'
    mounts = [str(folder / "environment"), str(paths.environment().parent)]
    unshare = ["unshare", "--net", "--mount", "--propagation", "private", "--"]
    with subprocess.Popen([*unshare, "sh", "-c", prepare, "sh", *mounts], stdout=subprocess.PIPE) as namespace:
        assert namespace.stdout is not None
        assert namespace.stdout.readline() == b"ready\n"
        lab = SecondLab(folder, namespace)
        try:
            yield lab
        finally:
            lab.run("down")
            namespace.kill()


def test_down_leaves_nothing(second: SecondLab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILHOST_CACHE", str(second.cache))
    cgroup = machines.cgroup("bookworm")
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{cgroup}"))
    second.run("up", *MACHINES)
    assert sum("systemd-nspawn" in line for line in second.processes()) == len(MACHINES)
    assert list(Path("/sys/fs/cgroup").glob(f"**/{cgroup}"))
    assert any(BRIDGE in trace for trace in second.traces())
    assert (folder / "environment/env").exists()
    second.run("down")
    assert second.traces() == []
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{cgroup}"))
    assert not (folder / "environment/env").exists()
    assert second.run("down") == ""
    second.run("status", status=1)
    assert second.traces() == []  # looking does not leave anything either


def test_up_again_changes_nothing(second: SecondLab) -> None:
    second.run("up", *MACHINES)
    before = second.run("status")
    assert second.run("up", *MACHINES) == ""
    assert second.run("status") == before


def test_status_tells_by_its_exit_status_whether_anything_runs(second: SecondLab) -> None:
    second.run("status", status=1)


@pytest.mark.parametrize("after", [0.15, 0.3, 0.6, 0.9, 1.2])
def test_a_killed_up_is_cleaned_up_by_down(second: SecondLab, after: float) -> None:
    with second.start("-m", "lab", "up", *MACHINES) as process:
        time.sleep(after)
        process.kill()
    second.run("down")
    assert second.traces() == []


@pytest.mark.parametrize("after", [0.3, 0.9])
def test_a_killed_up_is_completed_by_up(second: SecondLab, after: float) -> None:
    with second.start("-m", "lab", "up", *MACHINES) as process:
        time.sleep(after)
        process.kill()
    second.run("up", *MACHINES)
    assert second.run("shell", "bookworm", "hostname", "--fqdn").strip() == "mail.bookworm.example"


def test_ctrl_c_ends_up_at_once_and_without_a_traceback(second: SecondLab) -> None:
    with second.start("-m", "lab", "up", *MACHINES) as process:
        time.sleep(0.6)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=20)[0].decode()
    assert "Traceback" not in output
    assert process.returncode in (0, 130)
    second.run("down")
    assert second.traces() == []


def test_what_is_started_in_the_background_heeds_an_interrupt_too() -> None:
    script = (
        "import os; from lab import processes; processes.heed_interrupts();"
        " os.execvp('grep', ['grep', '^SigIgn:', '/proc/self/status'])"
    )
    background = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", script]
    said = subprocess.run(background, cwd=paths.CLONE, stdout=subprocess.PIPE, text=True, check=True).stdout
    ignored = int(said.removeprefix("SigIgn:"), 16)
    assert not ignored & 1 << (signal.SIGINT - 1)


def test_a_power_cut_loses_no_disk(second: SecondLab) -> None:
    second.run("up", "bookworm")
    second.run("shell", "bookworm", "echo kept >/root/kept; sync")
    cut = "from lab import machines; machines.stop('bookworm', clean=False)"
    with second.start("-c", cut) as process:
        assert process.wait(30) == 0
    second.run("up", "bookworm")
    assert second.run("shell", "bookworm", "cat", "/root/kept").strip() == "kept"


def test_reset_gives_a_fresh_machine(second: SecondLab) -> None:
    second.run("up", "bookworm")
    second.run("shell", "bookworm", "echo old >/root/old")
    second.run("reset", "bookworm")
    assert second.run("shell", "bookworm", "ls", "/root").strip() == ""


def test_an_unknown_machine_is_named(second: SecondLab) -> None:
    output = second.run("up", "potato", status=1)
    known = ", ".join(addresses.MACHINES)
    assert output.strip().endswith(f"machine 'potato' does not exist; the lab has: {known}")


def test_a_shell_into_a_stopped_machine_says_how_to_start_it(second: SecondLab) -> None:
    assert "python -m lab up bookworm" in second.run("shell", "bookworm", status=1)
