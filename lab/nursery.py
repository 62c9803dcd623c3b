"""The nursery of the lab's offline plugins: what a preview starts three of is ready before it begins."""

import sys
from pathlib import Path

from lab import paths, plugins, processes

_NAME = "plugins"


def folder() -> Path:
    """Where the plugins' launchers ask: a socket for each plugin."""
    return paths.running() / "plugins"


def ready() -> bool:
    """Whether launchers can ask."""
    return processes.pid(_NAME) is not None and all(socket.is_socket() for socket in _sockets())


def start() -> None:
    """Start the nursery and wait until launchers can ask. Not needed by official plugins, and idle then."""
    if ready():
        return
    # One of an earlier version listens elsewhere.
    processes.stop(_NAME)
    paths.folder("plugins")
    for socket in _sockets():
        socket.unlink(missing_ok=True)
    program = str(Path(plugins.__file__).parent)
    processes.start(_NAME, [sys.executable, "-I", program, "nursery", str(folder())])
    processes.wait_for(_NAME, ready, timeout=15)


def _sockets() -> list[Path]:
    return [folder() / name for name in plugins.NAMES]
