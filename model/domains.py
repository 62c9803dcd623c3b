"""Domains, everything about each decided: those the host serves, and those without mail."""

from typing import Literal

from model import options
from model.frozen import frozen
from model.rotation import DkimKey


@frozen
class ServedDomain:
    """One domain this host serves, everything about it decided."""

    name: str
    zone_id: str | None
    keys: tuple[DkimKey, ...]
    """Oldest first; exactly one signs."""
    base: str
    """What the selectors of all its keys begin with."""
    base_key: str
    """The setting that says so."""
    dmarc: Literal["none", "quarantine", "reject"]
    spf: options.Spf
    reports: tuple[str, ...]
    """Who gets reports about it."""
    bimi: options.Bimi
    catch_all: str | None

    @property
    def selector(self) -> str:
        """The selector of the key that signs."""
        return next(key.selector for key in self.keys if key.state == "signs")


@frozen
class SilentDomain:
    """One domain that neither sends nor receives mail: it has a zone, and nothing on the host."""

    name: str
    zone_id: str | None
    reports: tuple[str, ...]
    """Who gets reports on mail that others send in its name; often nobody."""
