"""The mailbox file, mailboxes.<stack>.json: the mailboxes of a stack that has a whole list of them.

Pulumi hands its configuration to a program in one environment variable, and Linux takes none beyond 128 KiB (execve(2),
MAX_ARG_STRLEN): at some 700 mailboxes no program starts. A file has no such limit, and is written at once.

It holds one mailbox a line, so that a review shows whose changed. Password hashes are encrypted with AES-256-GCM (NIST
SP 800-38D); the key is a secret of the stack, mailboxesKey. The address is authenticated with the hash: a hash that was
moved to another line opens nothing.
"""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model import problems
from model.problems import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FOLDER: Final = Path(__file__).resolve().parent.parent
_SCHEME: Final = "v1"
_KEY_OCTETS: Final = 32
_NONCE_OCTETS: Final = 12  # SP 800-38D §5.2.1.1; random, so a key is good for 2^32 passwords (§8.3)


def path(stack: str, folder: Path | None = None) -> Path:
    """Return where the mailbox file of a stack is, if it has one: in the project's folder, this one by default."""
    return (folder or FOLDER) / f"mailboxes.{stack}.json"


def read(stack: str, folder: Path | None = None) -> str | None:
    """Return the mailbox file of a stack as it is; None when there is none. `folder` as in `path`."""
    try:
        return path(stack, folder).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def new_key() -> str:
    """Return a fresh key, in base64."""
    return base64.b64encode(os.urandom(_KEY_OCTETS)).decode()


def entries(text: str) -> dict[str, Any]:
    """Return what a mailbox file says of each address; passwords are still encrypted.

    Raises:
        SettingsError: it is no such file.
    """
    try:
        found = json.loads(text, object_pairs_hook=problems.no_duplicates)
    except problems.DuplicateKeyError as error:
        raise SettingsError([f"mailbox file: {error}"]) from None
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise SettingsError([f"mailbox file: is not JSON{place}; take the last good one from the repository"]) from None
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise SettingsError(['mailbox file: must be an object {"address": {"password": …}}'])
    return found


def text(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the file for these entries: sorted, one mailbox a line."""
    dump = json.JSONEncoder(ensure_ascii=False).encode
    lines = (f"{dump(address)}: {dump(entries[address])}" for address in sorted(entries))
    return "{\n" + ",\n".join(lines) + "\n}\n"


class Seal:
    """Encrypts and decrypts password hashes with the key of a stack.

    Raises:
        SettingsError: the key is none.
    """

    def __init__(self, key: str) -> None:
        self._cipher = _cipher(key)

    def close(self, address: str, password: str) -> str:
        """Return the encrypted form of a mailbox's password hash."""
        nonce = os.urandom(_NONCE_OCTETS)
        sealed = self._cipher.encrypt(nonce, password.encode(), address.encode())
        return f"{_SCHEME}:{base64.b64encode(nonce + sealed).decode()}"

    def open(self, address: str, sealed: str) -> str:
        """Return the password hash of a mailbox.

        Raises:
            ValueError: it was encrypted with another key or for another address, or is damaged.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - 20 ms that a stack without file does not pay

        scheme, _, encoded = sealed.partition(":")
        try:
            octets = base64.b64decode(encoded if scheme == _SCHEME else "", validate=True)
            return self._cipher.decrypt(octets[:_NONCE_OCTETS], octets[_NONCE_OCTETS:], address.encode()).decode()
        except (InvalidTag, ValueError):
            raise ValueError(
                "was not encrypted with mailboxesKey for this address, or is damaged; set it anew with: "
                f"make mailbox ADDRESS={address}"
            ) from None


def opened(content: str, key: str) -> dict[str, dict[str, Any]]:
    """Return what a mailbox file says of each address, the password hashes in the clear.

    Raises:
        SettingsError: it is no such file, or entries cannot be decrypted; each is named.
    """
    seal = Seal(key)
    found: list[str] = []
    boxes: dict[str, dict[str, Any]] = {}
    for address, entry in entries(content).items():
        try:
            boxes[address] = {**entry, "password": seal.open(address, str(entry.get("password", "")))}
        except ValueError as error:
            label = address if "@" in address else "an entry"
            found.append(f"mailbox file: the password of {label} {error}")
    if found:
        raise SettingsError(found)
    return boxes


def _cipher(key: str) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above

    try:
        octets = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if len(octets) != _KEY_OCTETS:
        raise SettingsError(["mailboxesKey: is not a key of the mailbox file; `make mailbox` makes one, never a hand"])
    return AESGCM(octets)
