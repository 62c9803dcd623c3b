"""What a machine must have before it becomes a mail host: rows that the doctor's table and the host itself share."""

import json
from typing import Final, Literal

from model import constants
from model.frozen import frozen
from model.settings import Settings


@frozen
class Check:
    """One kind of thing to look at: a row of docs/doctor.md."""

    id: str
    what: str
    why: str
    """What goes wrong in the world when it is not so."""
    fix: str
    """What to do, where the finding has nothing more exact to say."""
    level: Literal["stops", "warns"]
    """Whether a violation is a failure, or a warning."""


PORT25: Final = Check(
    id="host.port25",
    what="port 25 of other mail servers can be reached from the host",
    why="No mail leaves.",
    fix="Ask the hosting company to open outgoing port 25 for this machine; many do on request only.",
    level="stops",
)
MEMORY: Final = Check(
    id="host.memory",
    what="there is memory enough for what is on",
    why="Daemons are killed when it runs out.",
    fix="Take a bigger machine, add swap, or switch features off.",
    level="warns",
)
DISK: Final = Check(
    id="host.disk",
    what="3 GB of the disk are free",
    why="The packages do not fit, or mail cannot be stored.",
    fix="Make room on the host, or take a bigger disk.",
    level="stops",
)
OWNERS: Final = Check(
    id="host.ports",
    what="nothing else listens on the ports of the mail host",
    why="The services cannot start beside it.",
    fix="Stop and disable the other program on the host, or take another machine.",
    level="stops",
)

FREE_DISK: Final = 3_000_000_000
"""Octets."""
_MEMORY: Final = 480_000_000
"""Octets for Postfix, Dovecot, the signer and the system: 512 MB machines show some less."""
_RSPAMD: Final = 480_000_000
"""For rspamd, Redis and Unbound."""
_CLAMAV: Final = 1_200_000_000
_DNS: Final = 53
_MAIL: Final = (
    *(constants.SMTP, constants.SUBMISSION, constants.SUBMISSIONS),
    *(constants.IMAP, constants.IMAPS, constants.POP3, constants.POP3S),
)
"""Whatever service is off: another mail server is in the way on any of them."""


def needed_memory(settings: Settings) -> int:
    """Return how many octets of memory the features that are on need."""
    spam = settings.spam
    return _MEMORY + (_RSPAMD if spam.enabled else 0) + (_CLAMAV if spam.enabled and spam.antivirus else 0)


def asked(settings: Settings) -> str | None:
    """Return what the host shall look at before the first change, as JSON; None where that is switched off.

    It depends on few settings, so that few changes make the host look again.
    """
    if not settings.preflight.enabled:
        return None
    ports = [*_MAIL, constants.HTTP]
    # Without a web server of its own, 443 is for one beside the mail host.
    ports += [constants.HTTPS] if settings.web else []
    ports += [_DNS] if settings.spam.enabled else []
    questions = {
        "disk": FREE_DISK,
        "ipv6": settings.ipv6 is not None,
        "memory": needed_memory(settings),
        "ports": sorted(ports),
        "ssh": settings.ssh.port,
        "servers": list(settings.preflight.mail_servers),
        "rows": {row.id: {"fix": row.fix, "level": row.level} for row in (PORT25, MEMORY, DISK, OWNERS)},
    }
    return json.dumps(questions, indent=2, sort_keys=True) + "\n"
