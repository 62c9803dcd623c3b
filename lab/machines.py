"""Debian machines: systemd-nspawn containers that boot a base under an overlay of their own.

Owns `machines/NAME` in the running folder (`upper`, the machine's disk), one cgroup per machine, and the process. The
overlay is mounted in the mount namespace of the machine's own process, so that mount, network interface and processes
all go with it, however it ends. The disk stays until `remove()`.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lab import bases, keys, paths, processes
from lab.addresses import BRIDGE, GATEWAY4, GATEWAY6, MACHINES, RESOLVER4, Machine
from lab.errors import LabError

_CGROUPS: Final = Path("/sys/fs/cgroup")
_BOOT_LIMIT: Final = 60.0
_SSH: Final = 22
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLEAN: Final = signal.SIGRTMIN + 4
"""Asks systemd as PID 1 to power off (systemd(1), Signals)."""

_LAUNCH: Final = """set -e
machine=$1 folder=$2 lower=$3 cgroup=$4
shift 4
mkdir -p "$cgroup"
echo $$ >"$cgroup/cgroup.procs"
mkdir -p "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay "$machine" -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
exec "$@"
"""


def _process(name: str) -> str:
    return f"machine-{name}"


def _folder(name: str) -> Path:
    return paths.running() / "machines" / name


def _unified() -> Path:
    """Where cgroup v2 is mounted: everywhere at the top, except on hybrid machines."""
    return _CGROUPS if (_CGROUPS / "cgroup.controllers").exists() else _CGROUPS / "unified"


def _label(name: str) -> str:
    """Name of the container: short (its interface is called after it), and another one in another lab."""
    return f"{zlib.crc32(str(paths.cache()).encode()) & 0xFFF:03x}-{name}"


def cgroup(name: str) -> str:
    """Name of the machine's cgroup, directly below the top of each hierarchy."""
    return f"mailhost-{_label(name)}"


def made() -> list[str]:
    """Names of all machines that have a disk."""
    return sorted(folder.name for folder in _folder("").glob("*"))


def get(name: str) -> Machine:
    """The machine called `name`."""
    if name not in MACHINES:
        raise LabError(f"machine {name!r} does not exist; the lab has: {', '.join(MACHINES)}")
    return MACHINES[name]


def _network(machine: Machine) -> str:
    # Duplicate address detection would hold IPv6 back for seconds at each boot.
    return (
        "[Match]\nName=host0\n\n[Network]\nIPv6AcceptRA=no\nLinkLocalAddressing=ipv6\n"
        f"Gateway={GATEWAY4}\nGateway={GATEWAY6}\n\n"
        f"[Address]\nAddress={machine.ipv4}/24\n\n"
        f"[Address]\nAddress={machine.ipv6}/64\nDuplicateAddressDetection=none\n"
    )


def _prepare(machine: Machine, extra: Mapping[str, tuple[str, int]]) -> None:
    """Write what makes the machine this one into its disk, before it boots."""
    upper = _folder(machine.name) / "upper"
    hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    hosts += f"127.0.1.1 {machine.hostname} {machine.host}\n"
    files = {
        "etc/hostname": (machine.host + "\n", 0o644),
        "etc/hosts": (hosts, 0o644),
        "etc/machine-id": (keys.machine_id(machine.name) + "\n", 0o444),
        "etc/resolv.conf": (f"nameserver {RESOLVER4}\n", 0o644),
        "etc/systemd/network/10-host0.network": (_network(machine), 0o644),
        "etc/ssh/ssh_host_ed25519_key": (keys.host_private(machine.name), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (keys.host_public(machine.name) + "\n", 0o644),
        "root/.ssh/authorized_keys": (keys.operator_public() + " mailhost lab operator\n", 0o600),
        **extra,
    }
    for path, (content, mode) in files.items():
        target = upper / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(mode)
    # Folders made here hide nothing of the base, but lend the merged folder their own mode.
    (upper / "root").chmod(0o700)
    (upper / "root/.ssh").chmod(0o700)


def start(name: str, *, layers: Sequence[Path] = (), files: Mapping[str, tuple[str, int]] | None = None) -> None:
    """Boot a machine on its disk (a new one when it has none) and return without waiting. Its base must be ready.

    Args:
        name: The machine.
        layers: Read-only trees between base and disk, uppermost first.
        files: More files (content, mode) for a new disk, by path without the leading slash.
    """
    machine = get(name)
    if processes.pid(_process(name)) is not None:
        return
    _clean_up(name)
    recorded = _folder(name) / "lower"
    if not recorded.exists():
        remove(name)
        _prepare(machine, files or {})
        recorded.write_text(":".join(str(tree) for tree in (*layers, bases.path(machine.release))))
    # A disk stays with the base it was made on, whatever today's recipe is.
    lower = recorded.read_text()
    script = ["sh", "-c", _LAUNCH, "sh", name, str(_folder(name)), lower, str(_unified() / cgroup(name))]
    nspawn = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-users=no"]
    nspawn += ["--resolv-conf=off", "--console=pipe", f"--directory={_folder(name) / 'root'}"]
    nspawn += [f"--machine={_label(name)}", f"--hostname={machine.host}", f"--network-bridge={BRIDGE}"]
    processes.start(
        _process(name),
        ["unshare", "--mount", "--propagation", "private", "--", *script, *nspawn],
        environment={"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
    )


def wait(name: str) -> None:
    """Wait until the machine's SSH server answers; a machine that ends or takes over a minute is a `LabError`."""
    machine = get(name)
    processes.wait_for(_process(name), lambda: _greets(machine), timeout=_BOOT_LIMIT)


def _greets(machine: Machine) -> bool:
    try:
        with socket.create_connection((machine.ipv4, _SSH), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def running(name: str) -> bool:
    """Whether the machine runs."""
    return processes.pid(_process(name)) is not None


def leader(name: str) -> int:
    """Process id, as the outer machine sees it, of the machine's PID 1."""
    outer = processes.pid(_process(name))
    if outer is not None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in Path(f"/proc/{outer}/task/{outer}/children").read_text().split():
                # nspawn's short-lived helpers still live in our own PID namespace.
                if Path(f"/proc/{child}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
                    return int(child)
    raise LabError(f"machine {name} is not running; start it: make up, or python -m lab up {name}")


def root(name: str) -> Path:
    """The running machine's file system, for reading; absolute symbolic links in it lead elsewhere."""
    return Path(f"/proc/{leader(name)}/root")


def begin_power_cut(name: str) -> None:
    """Kill the machine without waiting for its end; `stop()` waits."""
    with contextlib.suppress(LabError, ProcessLookupError):
        os.kill(leader(name), signal.SIGKILL)


def stop(name: str, *, clean: bool = True) -> None:
    """Power the machine off; its disk stays. `clean=False` is a power cut. Bounded: ten seconds, then it is killed."""
    if clean:
        with contextlib.suppress(LabError, ProcessLookupError):
            os.kill(leader(name), _CLEAN)
        _wait_gone(name, 10)
    begin_power_cut(name)
    _wait_gone(name, 5)
    # nspawn ends a moment after its PID 1; what is left of it now hangs.
    processes.stop(_process(name), with_signal=signal.SIGKILL)
    _clean_up(name)


def _wait_gone(name: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while running(name) and time.monotonic() < deadline:
        time.sleep(0.02)


def _clean_up(name: str) -> None:
    """Remove what outlives nspawn: its cgroups and its folder under /run."""
    for folder in ("propagate", "unix-export"):
        shutil.rmtree(Path("/run/systemd/nspawn", folder, _label(name)), ignore_errors=True)
    for hierarchy in {_unified(), _CGROUPS / "systemd"}:
        top = hierarchy / cgroup(name)
        # Deepest first; only folders can be removed in a cgroup tree.
        for group in sorted([top, *top.rglob("*/")], key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # a process may still be on its way out
                group.rmdir()


def hand_over(name: str, target: Path) -> None:
    """Make the disk of a stopped machine a layer for others, without what makes it this machine."""
    upper = _folder(name) / "upper"
    # A machine writes its own of all the rest; of these it would add to what it finds.
    shutil.rmtree(upper / "var/log/journal", ignore_errors=True)
    upper.rename(target)
    remove(name)


def remove(name: str) -> None:
    """Throw the disk of a stopped machine away."""
    folder = _folder(name)
    if folder.exists():
        bases.clear(folder)


def command(name: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` inside the machine as root, through its namespaces: no SSH login is counted."""
    enter = ["nsenter", "--all", "--target", str(leader(name)), "--"]
    return [*enter, "env", "-i", f"PATH={_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", *argv]


def network_command(name: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` of the outer machine on the machine's network, with nothing else of the machine."""
    return ["nsenter", "--net", "--target", str(leader(name)), "--", *argv]


def execute(
    name: str, argv: Sequence[str], *, content: str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command inside the machine, not over SSH, and return what came of it; `timeout` in seconds."""
    try:
        return subprocess.run(
            command(name, argv),
            input="" if content is None else content,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{name}: {argv[0]} did not end within {timeout:.0f} s") from error


def run(name: str, argv: Sequence[str], *, content: str | None = None, timeout: float = 120) -> str:
    """Like `execute()`, but returns the standard output, and a failure is a `LabError` with what it said."""
    done = execute(name, argv, content=content, timeout=timeout)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{name}: {' '.join(argv)} failed with {done.returncode}: {said}")
    return done.stdout


def ssh_connections(name: str) -> int:
    """SSH logins the machine's sshd has accepted since it was made."""
    journal = run(name, ["journalctl", "--output=cat", "--no-pager", "_COMM=sshd", "+", "_COMM=sshd-session"])
    return sum(line.startswith("Accepted ") for line in journal.splitlines())
