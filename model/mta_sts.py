"""The MTA-STS policy (RFC 8461): what senders may rely on when they deliver to this host.

All domains have the same, because they have the same MX.
"""

import hashlib
from typing import Final

from model import constants
from model.files import ConfigFile
from model.settings import Settings

DOCUMENT: Final = "mta-sts.txt"
"""The policy's file, below constants.WEB_DOCUMENTS."""
PATH: Final = f"/.well-known/{DOCUMENT}"
"""Where senders look for it (§3.3)."""
_DAY: Final = 86_400
_ID_LENGTH: Final = 32


def policy(settings: Settings) -> str:
    """Return the policy (§3.2); with mode none, how to leave without harm (§8.3): soon forgotten, and no condition."""
    wanted = settings.mta_sts
    leaving = wanted.mode == "none"
    fields = [("version", "STSv1"), ("mode", wanted.mode)]
    fields += [] if leaving else [("mx", settings.hostname)]
    fields.append(("max_age", str(_DAY * (1 if leaving else wanted.max_age_days))))
    return "".join(f"{key}: {value}\r\n" for key, value in fields)


def announcement(settings: Settings) -> str:
    """Return the text of the TXT record (§3.1): its id is another one exactly when the policy is."""
    return f"v=STSv1; id={hashlib.sha256(policy(settings).encode()).hexdigest()[:_ID_LENGTH]}"


def documents(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return what nginx serves. No secrets."""
    return (ConfigFile(path=f"{constants.WEB_DOCUMENTS}/{DOCUMENT}", content=policy(settings)),)
