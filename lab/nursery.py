"""The nursery of the lab's offline plugins: what a preview starts three of is ready before it begins."""

import sys
from pathlib import Path

from lab import paths, plugins, processes

_NAME = "plugins"


def folder() -> Path:
    """Where the plugins' launchers ask: a socket for each plugin."""
    return paths.running() / "plugins"


def start() -> None:
    """Start the nursery and wait until launchers can ask. Not needed by official plugins, and idle then."""
    paths.folder("plugins")
    if processes.pid(_NAME) is None:
        program = str(Path(plugins.__file__).parent)
        sockets = [folder() / name for name in plugins.NAMES]
        for socket in sockets:
            socket.unlink(missing_ok=True)
        processes.start(_NAME, [sys.executable, "-I", program, "nursery", str(folder())])
        processes.wait_for(_NAME, lambda: all(socket.is_socket() for socket in sockets), timeout=15)
