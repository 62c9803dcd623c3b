"""The nursery of the lab's offline plugins: what a preview needs three of is ready before it begins."""

import sys
from pathlib import Path

from lab import paths, plugins, processes

_NAME = "plugins"


def socket() -> Path:
    """Where the plugins' launchers ask."""
    return paths.running() / "plugins" / "nursery"


def start() -> None:
    """Start the nursery and wait until launchers can ask. Not needed by official plugins, and idle then."""
    paths.folder("plugins")
    if processes.pid(_NAME) is None:
        socket().unlink(missing_ok=True)
        program = str(Path(plugins.__file__).parent)
        processes.start(_NAME, [sys.executable, "-I", program, "nursery", str(socket())])
    processes.wait_for(_NAME, socket().is_socket, timeout=15)
