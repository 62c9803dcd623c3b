"""One way in which this host is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not as the applied generation says. Holds no content of a file: that may be secret."""

    what: str
    """A file, a systemd unit, a chain in the kernel."""
    wanted: str
    found: str
