"""Keeps plugin processes one fork away: a preview starts three, and each would import gRPC for a tenth of a second.

A launcher (launch.py) sends its folder, arguments, environment and standard streams; a fork of this process takes them
over and is the plugin from then on. It ends when its launcher does. Before the fork there is no thread and no gRPC
channel: neither would survive it.
"""

import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LONGEST_REQUEST: Final = 1 << 20
"""Octets; more than the launcher's kernel sends in one message (socket(7), wmem_max)."""


def serve(address: str, become: Callable[[list[str]], None]) -> None:
    """Listen at the socket `address` for ever; `become` runs the plugin of a name with its arguments.

    Changed sources start the nursery anew, so that nobody runs the plugins of yesterday.
    """
    sources = {file: _changed(file) for file in _imported()}
    Path(address).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = os.umask(0o077)
    server.bind(address)
    os.umask(mask)
    server.listen()
    # Nobody waits for the plugins.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # The collector of a fork would touch, and so copy, every page.
    gc.freeze()
    while True:
        launcher, _ = server.accept()
        if any(_changed(file) != then for file, then in sources.items()):
            os.execv(sys.executable, [sys.executable, "-I", *sys.argv])  # noqa: S606 - no shell on purpose
        if os.fork() == 0:
            server.close()
            become(_take_over(launcher))
            return
        launcher.close()


def _imported() -> set[Path]:
    names = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
    return {Path(name) for name in names if name}


def _changed(file: Path) -> float:
    """When the file changed last; one that is gone counts as old as can be."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0


def _take_over(launcher: socket.socket) -> list[str]:
    """Get what the launcher has; returns the name of the plugin and its arguments."""
    request, streams, _, _ = socket.recv_fds(launcher, _LONGEST_REQUEST, 3)
    folder, count, *rest = request.split(b"\0")
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    words, variables = rest[: int(count) + 1], rest[int(count) + 1 :]
    os.environb.clear()
    for variable in variables:
        key, _, value = variable.partition(b"=")
        os.environb[key] = value
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    launcher.send(b"+")
    threading.Thread(target=_end_with, args=(launcher,), daemon=True).start()
    return [os.fsdecode(word) for word in words]


def _end_with(launcher: socket.socket) -> None:
    launcher.recv(1)
    os._exit(0)
