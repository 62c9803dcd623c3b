"""rspamd's list of public suffixes, compiled while apt is still at work.

rspamd(8) needs it at its first start, and the compiler (Hyperscan) some 12 s for it. On a first `up` mail waits for
that start, while a processor lies idle during the installation.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator

from mailhostctl.system import run

_PACKAGE = "rspamd"
_LOOK_SECONDS = 0.5
_COMPILE = (
    *("systemd-run", "--quiet", "--collect", "--unit=mailhost-suffixes", "--property=User=_rspamd"),
    # The unit's own compilation, which comes later, waits for the lock and then finds the work done.
    *("flock", "/var/lib/rspamd", "rspamadm", "mime", "urls", "/etc/hostname"),
)


@contextlib.contextmanager
def compiled_meanwhile(missing: Collection[str]) -> Iterator[None]:
    """Starts the compilation once rspamd is there, if it is among the packages that are installed within the context.

    Nothing waits for it, and its failure is none: rspamd compiles for itself then.
    """
    if _PACKAGE not in missing:
        yield
        return
    over = threading.Event()
    watch = threading.Thread(target=_compile, args=(over,))
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _compile(over: threading.Event) -> None:
    while not over.wait(_LOOK_SECONDS):
        if run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", _PACKAGE]).out.startswith("ii"):
            run(_COMPILE)
            return
