"""Mailboxes as the settings have them: an address each, with a password hash that Dovecot can verify."""

import re
from collections.abc import Mapping

from pydantic import ValidationError

from model import problems, syntax
from model.options import Mailbox

# Hashes as Dovecot stores them, whole: anything else in a mailbox's value is taken for a password in the clear.
_HASHES = (
    re.compile(
        r"\{ARGON2ID\}\$argon2id\$v=19\$m=(?P<memory>[0-9]{1,7}),t=[0-9]{1,3},p=[0-9]{1,3}\$[A-Za-z0-9+/]{8,88}\$[A-Za-z0-9+/]{16,88}"
    ),
    re.compile(r"\{BLF-CRYPT\}\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[A-Za-z0-9./]{53}"),
)
# KiB. Dovecot's auth process may use 256 MiB in all, and a hash that needs as much never matches (tried with 2.3, 2.4).
_MOST_MEMORY = 131_072
_HASH_FIX = "`make mailbox` asks for a password and stores its hash"


def read(value: object) -> dict[str, Mailbox]:
    """Read {address: hash or Mailbox}. Collects every problem; quotes no value, and a key only if it is an address."""
    if not isinstance(value, Mapping):
        raise ValueError('must be an object {"address": "password hash"}')  # noqa: TRY004 - pydantic wants ValueError
    if not value:
        raise ValueError('is empty; give at least one {"address": "password hash"}')
    found: list[str] = []
    boxes: dict[str, Mailbox] = {}
    for number, (key, given) in enumerate(value.items(), start=1):
        try:
            address = syntax.mail_address(str(key))
        except ValueError as error:
            label = problems.shown(key) if "@" in str(key) else f"entry {number}"
            found.append(f"{label} {error}")
            continue
        if address in boxes:
            found.append(f"{address} is listed twice (case does not matter); keep one")
            continue
        try:
            boxes[address] = mailbox(address, given)
        except ValueError as error:
            found += str(error).split("\n")
    if found:
        raise ValueError("\n".join(found))
    return boxes


def mailbox(address: str, given: object) -> Mailbox:
    """Read one mailbox: a password hash, or an object with one.

    Raises:
        ValueError: every problem, one per line; the password is not in it.
    """
    try:
        box = Mailbox.model_validate(given if isinstance(given, Mapping | Mailbox) else {"password": given})
    except ValidationError as error:
        # `from None`: what pydantic was given is secret.
        raise ValueError("\n".join(f"{address}: {line}" for line in problems.describe(error, Mailbox))) from None
    problem = _hash_problem(box.password.get_secret_value())
    if problem:
        raise ValueError(f"the password of {address} {problem}")
    return box


def _hash_problem(text: str) -> str:
    """Say what is wrong with a password hash, without showing it; nothing when it is right."""
    hashed = next((match for pattern in _HASHES if (match := pattern.fullmatch(text))), None)
    if not hashed:
        return f"is not an ARGON2ID or BLF-CRYPT hash (not shown); {_HASH_FIX}"
    if int(hashed.groupdict().get("memory", 0)) > _MOST_MEMORY:
        return f"needs more memory than Dovecot has; make it with m={_MOST_MEMORY} or less"
    return ""
