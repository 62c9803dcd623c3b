"""Keeps one plugin of each kind ready: a preview starts three, each for a tenth of a second, one after another.

A fork of this process has made its server already and waits for a launcher (launch.py): that sends its folder,
arguments, environment and standard streams, and the fork takes them over and is the plugin from then on. It ends when
its launcher does. Before the fork there is no thread and no gRPC channel: neither would survive it.
"""

import asyncio
import fcntl
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

_LONGEST_REQUEST: Final = 1 << 20
"""Octets; more than the launcher's kernel sends in one message (socket(7), wmem_max)."""
_PAUSE_SECONDS: Final = 0.25
"""From the end of a plugin to its successor: the engine ends in that moment, and needs the processor itself."""

Adoption = Callable[[], Awaitable[tuple[list[str], int]]]
"""Waits for a launcher, takes over what it has, and returns the plugin's arguments and the engine's process."""


def serve(folder: Path, names: Sequence[str], become: Callable[[str, Adoption], None]) -> None:
    """Listen at a socket in `folder` for each plugin; `become` prepares one, awaits its adoption and runs it.

    Changed sources start the nursery anew, so that nobody runs the plugins of yesterday.
    """
    sources = {file: _changed(file) for file in _imported()}
    listeners = {name: _listen(folder / name) for name in names}
    # Nobody waits for the plugins.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # The collector of a fork would touch, and so copy, every page.
    gc.freeze()
    forks: dict[socket.socket, str] = {}
    waiting: dict[str, socket.socket] = {}
    # When the next one of a kind is made.
    due = dict.fromkeys(names, 0.0)
    while True:
        for name in [name for name, then in due.items() if then <= time.monotonic()]:
            del due[name]
            if name in waiting:
                continue
            waiting[name], nursery = socket.socketpair()
            forks[waiting[name]] = name
            if os.fork() == 0:
                for other in (*forks, *(listeners[other] for other in names if other != name)):
                    other.close()
                become(name, partial(_adopted, listeners[name], nursery, sources))
                return
            nursery.close()
        unattended = {listeners[name]: name for name in names if name not in waiting}
        patience = max(0, min(due.values()) - time.monotonic()) if due else None
        heard, _, _ = select.select([*forks, *unattended], [], [], patience)
        if _stale(sources):
            os.execv(sys.executable, [sys.executable, "-I", *sys.argv])  # noqa: S606 - no shell on purpose
        due |= {name: 0.0 for listener, name in unattended.items() if listener in heard}
        for fork in forks.keys() & heard:
            taken = waiting.get(forks[fork]) is not fork
            if not taken:
                del waiting[forks[fork]]
            if fork.recv(1):
                continue
            fork.close()
            name = forks.pop(fork)
            # One that died untaken might die again.
            if taken:
                due.setdefault(name, time.monotonic() + _PAUSE_SECONDS)


def _listen(address: Path) -> socket.socket:
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = os.umask(0o077)
    listener.bind(str(address))
    os.umask(mask)
    listener.listen()
    return listener


def _imported() -> set[Path]:
    names = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
    return {Path(name) for name in names if name}


def _changed(file: Path) -> float:
    """When the file changed last; one that is gone counts as old as can be."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0


def _stale(sources: Mapping[Path, float]) -> bool:
    return any(_changed(file) != then for file, then in sources.items())


async def _adopted(
    listener: socket.socket, nursery: socket.socket, sources: Mapping[Path, float]
) -> tuple[list[str], int]:
    """Wait for a launcher at `listener` and take over what it has; ends with the nursery until then."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_reader(listener, asked.set)
    loop.add_reader(nursery, os._exit, 0)
    await asked.wait()
    loop.remove_reader(listener)
    loop.remove_reader(nursery)
    launcher, _ = listener.accept()
    if _stale(sources):
        # The launcher does without, and the nursery starts anew.
        os._exit(0)
    taken = _take_over(launcher)
    listener.close()
    # The nursery hears that this one was taken, and by the end of the connection that it is over.
    nursery.send(b"+")
    nursery.detach()
    return taken


def _take_over(launcher: socket.socket) -> tuple[list[str], int]:
    """Get what the launcher has, and end with it; returns the plugin's arguments and the engine's process."""
    request, streams, _, _ = socket.recv_fds(launcher, _LONGEST_REQUEST, 3)
    folder, engine, count, *rest = request.split(b"\0")
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    words, variables = rest[: int(count)], rest[int(count) :]
    os.environb.clear()
    for variable in variables:
        key, _, value = variable.partition(b"=")
        os.environb[key] = value
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    launcher.send(b"+")
    _end_with(launcher.detach())
    return [os.fsdecode(word) for word in words], int(engine)


def _end_with(launcher: int) -> None:
    """Have the kernel kill this process once the other end of the connection is closed (fcntl(2), F_SETSIG)."""
    fcntl.fcntl(launcher, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(launcher, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(launcher, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        os.read(launcher, 1)
    except BlockingIOError:
        return
    os._exit(0)
