"""An empty main.cf for as long as Postfix is not configured.

Without one, postconf waits a second before it says that there is none; before Debian 13 each reload of systemd asks it
(postfix-instance-generator), and each service of a first `up` reloads systemd.
"""

from __future__ import annotations

from mailhostctl import durable
from mailhostctl.paths import MAIN_CF, Root

EMPTY = b"# mailhost puts its own here.\n"


def provide(root: Root) -> None:
    """Writes it, where Postfix is installed and has none."""
    file = root.live(MAIN_CF)
    if file.parent.is_dir() and durable.read(file) is None:
        durable.write(file, EMPTY, mode=0o644)


def forget(root: Root) -> None:
    """Takes it away again; another one stays."""
    file = root.live(MAIN_CF)
    if durable.read(file) == EMPTY:
        durable.remove(file)
