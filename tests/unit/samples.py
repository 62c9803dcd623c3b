"""Configurations the unit tests start from. All keys and hashes here are made up and open nothing."""

import json
from collections.abc import Mapping

from model.settings import Settings, load

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJgtZCKxUMcfgYW0JwKjPLhHqSmRoH2yyBPvmXQtUMLT"
ARGON2ID = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$0123456789abcdefghijklmnopqrstuvwxyzABCDEF0"
BCRYPT = "{BLF-CRYPT}$2y$05$eH7VL3nnxPwq3JM8SrSWte66toGdogC5kHy6X3oJPM3MUbMfgxqcy"

RAW: Mapping[str, str] = {
    "domain": "example.com",
    "ipv4": "203.0.113.13",
    "hostKey": HOST_KEY,
    "mailboxes": json.dumps({"alice@example.com": ARGON2ID}),
}
"""The least a stack must say."""


def raw(**changes: object) -> dict[str, str]:
    """RAW with changes, as Pulumi gives it: text as it is, everything else as JSON; None removes a key."""
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    return {key: value for key, value in {**RAW, **values}.items() if changes.get(key, "") is not None}


def settings(**changes: object) -> Settings:
    """Settings of RAW with changes."""
    return load(raw(**changes))
