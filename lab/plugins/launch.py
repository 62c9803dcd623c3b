"""Becomes an offline plugin: `python -I -S launch.py FOLDER NAME ENGINE-ADDRESS`, as the launchers of `install` do.

The nursery's socket in FOLDER leads to a process that is the plugin already; where there is none, the plugin starts
from nothing. A preview runs this three times, so it imports only what is part of the interpreter: `os` alone would
cost more than all that happens here.
"""

import _signal  # type: ignore[import-not-found] # `signal` itself imports `enum`
import _socket
import posix
import sys

_PATIENCE = 5
"""Seconds for the nursery's answer."""


def main() -> None:
    """Stand between the engine and the plugin.

    When the plugin ends, so do we, and the other way round. Without its engine the plugin ends when nothing runs.
    """
    # So the engine ends its plugins, and waits until they are gone.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    # Before the plugin can answer it: it may be killed from then on.
    engine = posix.getppid()
    folder, name, *arguments = sys.argv[1:]
    plugin = _adopt(f"{folder}/{name}", engine, arguments)
    if plugin is None:
        here = __file__.rpartition("/")[0]
        posix.execv(sys.executable, [sys.executable, "-I", here, name, *arguments])
    plugin.settimeout(1)
    while True:
        try:
            plugin.recv(1)
        except TimeoutError:
            continue
        sys.exit(f"the offline plugin {name} has ended" if posix.getppid() == engine else 0)


def _adopt(address: str, engine: int, arguments: list[str]) -> _socket.socket | None:
    """The connection to a plugin with our streams, folder and environment; None when there is no nursery."""
    nursery = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    nursery.settimeout(_PATIENCE)
    encoding = sys.getfilesystemencoding()
    numbers = (str(engine), str(len(arguments)))
    words = (word.encode(encoding, "surrogateescape") for word in (*numbers, *arguments))
    variables = (key + b"=" + value for key, value in posix.environ.items())
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    try:
        nursery.connect(address)
        nursery.sendmsg(
            [b"\0".join([posix.getcwdb(), *words, *variables])],
            [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)],
        )
        return nursery if nursery.recv(1) else None
    except OSError:
        return None


main()
