"""Becomes an offline plugin: `python -I -S launch.py SOCKET NAME ENGINE-ADDRESS`, as the launchers of `install` do.

The nursery at SOCKET hands over a process that has imported everything already; where there is none, the plugin starts
from nothing. A preview runs this three times, so it imports only what is part of the interpreter.
"""

import _socket
import os
import sys

_PATIENCE = 5
"""Seconds for the nursery's answer."""


def main() -> None:
    """Stand between the engine and the plugin: when one of us ends, so do the others."""
    address, name, *arguments = sys.argv[1:]
    plugin = _adopt(address, name, arguments)
    if plugin is None:
        here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs as much as the rest
        os.execv(sys.executable, [sys.executable, "-I", here, name, *arguments])  # noqa: S606 - no shell on purpose
    engine = os.getppid()
    plugin.settimeout(1)
    # The engine ends its plugins; one that was itself killed cannot.
    while os.getppid() == engine:
        try:
            plugin.recv(1)
        except TimeoutError:
            continue
        sys.exit(f"the offline plugin {name} has ended")


def _adopt(address: str, name: str, arguments: list[str]) -> _socket.socket | None:
    """The connection to a plugin with our streams, folder and environment; None when there is no nursery."""
    nursery = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    nursery.settimeout(_PATIENCE)
    words = (os.getcwd(), str(len(arguments)), name, *arguments)  # noqa: PTH109 - likewise
    variables = (key + b"=" + value for key, value in os.environb.items())
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    try:
        nursery.connect(address)
        nursery.sendmsg(
            [b"\0".join([*map(os.fsencode, words), *variables])],
            [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)],
        )
        return nursery if nursery.recv(1) else None
    except OSError:
        return None


main()
