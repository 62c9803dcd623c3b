"""Where things are: the live files, and the state of this program below /var/lib/mailhost (0700, root)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mailhostctl.system import MailhostError

PROGRAM = "/usr/local/sbin/mailhostctl"
STATE = "/var/lib/mailhost"
MAIN_CF = "/etc/postfix/main.cf"
LINEAGES = "/etc/letsencrypt/live"
"""Where certbot keeps the current certificates, a folder per name."""
RENEWAL = "/etc/letsencrypt/renewal"
"""Where certbot notes how to renew each of them."""

_HOST_PATH = re.compile(r"(/[A-Za-z0-9_@%+=:,-][A-Za-z0-9._@%+=:,-]*)+")


def certificate(name: str) -> str:
    """The host path of certbot's current certificate of a name, without its chain."""
    return f"{LINEAGES}/{name}/cert.pem"


def renewal(name: str) -> str:
    """The host path of certbot's notes on how to renew the certificate of a name."""
    return f"{RENEWAL}/{name}.conf"


def retired(name: str) -> str:
    """Where these notes are kept once nobody serves the certificate any more: certbot reads *.conf."""
    return f"{RENEWAL}/{name}.retired"


@dataclass(frozen=True, kw_only=True)
class Root:
    """The file system this run works on: `/`, or a scratch folder (tests), where nothing is given to another owner."""

    base: Path

    @property
    def gives_ownership(self) -> bool:
        """Whether owners are set and compared: only as root on the real system."""
        return self.base == Path("/") and os.geteuid() == 0

    def live(self, path: str) -> Path:
        """The file on disk that host path `path` means."""
        return self.base / path.lstrip("/")

    def service(self, name: str) -> ServiceState:
        """The state folder of one service."""
        return ServiceState(folder=self.live(STATE) / name)


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """State of one service: generations, which one is current, and the journal of a change under way."""

    folder: Path

    @property
    def lock(self) -> Path:
        """Lock file (flock): whoever changes anything of this service holds it."""
        return self.folder / "lock"

    @property
    def candidate(self) -> Path:
        """Scratch tree that the daemon's parser judges."""
        return self.folder / "candidate"

    @property
    def generations(self) -> Path:
        """One folder per kept generation; 0 holds what was there before us."""
        return self.folder / "generations"

    @property
    def current(self) -> Path:
        """Number of the generation that is applied."""
        return self.folder / "current"

    @property
    def journal(self) -> Path:
        """Present only while live files are being exchanged."""
        return self.folder / "journal.json"


def host_path(text: str) -> str:
    """Returns `text` when it is an absolute, normalised host path; raises `MailhostError` otherwise."""
    if not _HOST_PATH.fullmatch(text):
        raise MailhostError(f"path {text!r}: must be absolute and normalised, without '.', '..', spaces or a final '/'")
    return text


def below(folder: Path, path: str) -> Path:
    """The place of host path `path` in a tree of ours."""
    return folder / path.lstrip("/")
