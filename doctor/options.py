"""How to look: everything the command line decides, for the doctor and for preflight."""

import ssl
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from doctor.observe.names import Names

BLOCKLISTS: Final = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com", "bl.mailspike.net")
"""Lists that many receivers ask, that answer everybody's own resolver, and that keep RFC 5782."""
PORT25_TARGETS: Final = ("gmail.com", "outlook.com", "yahoo.com")
"""Domains whose mail servers are greeted to see whether port 25 is open; one that answers is enough."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to look."""

    names: Names
    context: ssl.SSLContext
    """What is trusted."""
    outdated: ssl.SSLContext
    """TLS 1.1 and older."""
    timeout: float
    """Seconds for one answer."""
    deadline: float
    """Seconds for everything together."""
    blocklists: tuple[str, ...]
    port25_targets: tuple[str, ...]
    stranger: str
    """A domain that is nobody's here, for the relay attempts."""
    name: str
    """What we call ourselves in EHLO."""
    ssh: bool
    """Whether to ask the host itself."""
    account: tuple[str, SecretStr] | None = None
    """Address and password of a mailbox to try."""
    borrow: bool = False
    """Without one, let the host lend one for the look."""
    not_lent: str = ""
    """Why there is none."""
