"""The DKIM key's place in DNS: its name, its text, and the quoted form of long TXT records."""

import base64
import binascii
import re
from typing import Final

CHUNK_OCTETS: Final = 255
"""Longest character-string of a TXT record (RFC 1035 §3.3)."""

_PEM: Final = re.compile(r"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*", re.A)
# AlgorithmIdentifier rsaEncryption with NULL parameters, as every SubjectPublicKeyInfo of an RSA key has it
# (RFC 3279 §2.3.1).
_RSA: Final = bytes.fromhex("300d06092a864886f70d0101010500")

# The whole of the two structures but for their last 32 octets, the key (RFC 8410 §4, §7): there are no parameters.
_ED25519_PUBLIC: Final = bytes.fromhex("302a300506032b6570032100")
_ED25519_PRIVATE: Final = bytes.fromhex("302e020100300506032b657004220420")


def key_name(selector: str, domain: str) -> str:
    """Return the name of the key in DNS (RFC 6376 §3.6.2.1), which the signing tables use too."""
    return f"{selector}._domainkey.{domain}"


def key_record(public_key_pem: str) -> str:
    """Return the text of the key record (RFC 6376 §3.6.1) of an RSA public key, unquoted.

    `h=sha256` forbids signatures with SHA-1, which RFC 8301 §3.1 rules out.

    Raises:
        ValueError: not a PEM SubjectPublicKeyInfo of an RSA key.
    """
    match = _PEM.fullmatch(public_key_pem)
    try:
        der = base64.b64decode("".join(match[1].split()), validate=True) if match else b""
    except binascii.Error:
        der = b""
    if _RSA not in der[:32]:
        raise ValueError("the DKIM public key is not an RSA key in PEM form (BEGIN PUBLIC KEY)")
    return f"v=DKIM1; h=sha256; k=rsa; p={base64.b64encode(der).decode('ascii')}"


def ed25519_selector(selector: str) -> str:
    """Return the name of the second key: verifiers find the algorithm in the record, people in its name."""
    return f"{selector}-ed25519"


WITHDRAWN: Final = "v=DKIM1; p="
"""The text of the record of a key that is not to be trusted any more (RFC 6376 §3.6.1), unquoted."""


def selectors(selector: str, signer: str) -> tuple[str, ...]:
    """Return the names of all keys of a domain: rspamd signs with a second one."""
    return (selector, ed25519_selector(selector)) if signer == "rspamd" else (selector,)


def ed25519_record(public_key_pem: str) -> str:
    """Return the text of the key record of an Ed25519 public key: its 32 octets, bare (RFC 8463 §4.2), unquoted.

    Raises:
        ValueError: not a PEM SubjectPublicKeyInfo of an Ed25519 key.
    """
    return f"v=DKIM1; h=sha256; k=ed25519; p={_bare(public_key_pem, 'PUBLIC', _ED25519_PUBLIC)}"


def ed25519_seed(private_key_pem: str) -> str:
    """Return an Ed25519 private key as rspamd reads it: its 32 octets in base64, one line. Secret.

    Raises:
        ValueError: not a PEM PKCS #8 private Ed25519 key; the key is not in the message.
    """
    return f"{_bare(private_key_pem, 'PRIVATE', _ED25519_PRIVATE)}\n"


def _bare(pem: str, kind: str, prefix: bytes) -> str:
    """Take the last 32 octets out of PEM, as base64."""
    match = re.fullmatch(rf"\s*-----BEGIN {kind} KEY-----([A-Za-z0-9+/=\s]+)-----END {kind} KEY-----\s*", pem, re.A)
    try:
        der = base64.b64decode("".join(match[1].split()), validate=True) if match else b""
    except binascii.Error:
        der = b""
    if not der.startswith(prefix) or len(der) != len(prefix) + 32:
        raise ValueError(f"the second DKIM key is not an Ed25519 key in PEM form (BEGIN {kind} KEY)")
    return base64.b64encode(der[-32:]).decode("ascii")


def quoted(text: str) -> str:
    """Return TXT content as Cloudflare keeps it: strings of at most 255 octets, quoted, joined by one space.

    Any other form comes back changed and would show as a difference in every preview.

    Raises:
        ValueError: a character that would need escaping.
    """
    if not re.fullmatch(r"[ !#-\[\]-~]*", text):
        raise ValueError("a TXT record may hold printable ASCII without quotes and backslashes only")
    chunks = [text[start : start + CHUNK_OCTETS] for start in range(0, len(text), CHUNK_OCTETS)] or [""]
    return " ".join(f'"{chunk}"' for chunk in chunks)
