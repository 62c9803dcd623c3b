"""Types of single settings: how a value may be written, and what it must be. Errors say what to write instead."""

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from model import problems, syntax

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

_LONGEST_NAME = 64
_REPORT_ADDRESSES = 2
SPF_LOOKUPS = 10
"""Names a receiver looks up for one SPF record, at most (RFC 7208 §4.6.4)."""
_PEM = re.compile(
    r"-----BEGIN ((?:OPENSSH|RSA|EC) )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END \1?PRIVATE KEY-----\n", re.A
)
_OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
_UNENCRYPTED = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"  # magic, NUL, cipher name "none" (OpenSSH's PROTOCOL.key)


def _private_key(value: SecretStr) -> SecretStr:
    """Return a private SSH key with exactly one newline at its end.

    Raises:
        ValueError: not a private key in PEM form, or one with a passphrase.
    """
    text = value.get_secret_value().replace("\r\n", "\n").strip() + "\n"
    if not _PEM.fullmatch(text):
        raise ValueError(
            "is not a private key file; store it with: pulumi config set --secret sshPrivateKey < ~/.ssh/deploy_key "
            "(without a passphrase), or leave it out to use the SSH agent"
        )
    if text.startswith(_OPENSSH) and not text.startswith(_OPENSSH + _UNENCRYPTED):
        raise ValueError("has a passphrase, and nobody is there to type it; give a key without, or use the SSH agent")
    return SecretStr(text)


def _https(value: str) -> str:
    # RFC 8555 §6.1: HTTPS always. The characters are those of RFC 3986 that need no quoting in a command line.
    if not re.fullmatch(r"https://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?", value):
        raise ValueError(f"is not an https:// directory URL, such as {LETS_ENCRYPT}")
    return value


def _size(value: object) -> object:
    """Read 512M or 5G as bytes; a bare number is bytes already."""
    if not isinstance(value, str) or value.strip().isdecimal():
        return value
    match = re.fullmatch(r"([0-9]{1,9})([KMGT])i?B?", value.strip(), re.I)
    if not match:
        raise ValueError("is not a size; write bytes, or such as 512M or 5G")
    return int(match[1]) * 1024 ** ("KMGT".index(match[2].upper()) + 1)


def _duration(value: object) -> object:
    """Read 180d, 12h, 30m or 90s."""
    if not isinstance(value, str):
        raise ValueError("is not a duration; write such as 180d or 12h")  # noqa: TRY004 - pydantic wants ValueError
    match = re.fullmatch(r"([0-9]{1,6})([dhms])", value.strip())
    if not match:
        raise ValueError("is not a duration; write such as 180d or 12h")
    return timedelta(seconds=int(match[1]) * {"d": 86_400, "h": 3600, "m": 60, "s": 1}[match[2]])


def _display_name(value: str) -> str:
    if len(value) > _LONGEST_NAME or not value.isprintable():
        raise ValueError(f"is not a display name; write at most {_LONGEST_NAME} characters in one line")
    return value


def _document(value: str, *, suffix: str) -> str:
    # BIMI's draft wants HTTPS (§4.2); a semicolon would end the tag, and a comma may not be in it.
    if value and not re.fullmatch(rf"https://[a-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._~/%-]*{re.escape(suffix)}", value):
        raise ValueError(f"is not such an address; write it like https://example.com/logo{suffix}")
    return value


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = [value for number, value in enumerate(values) if value in values[:number]]
    if twice:
        raise ValueError(f"names {twice[0]} twice; keep one")
    return values


def _countable(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > SPF_LOOKUPS:
        raise ValueError(
            f"has {len(names)} names, and receivers look up {SPF_LOOKUPS} at most (RFC 7208 §4.6.4); leave some out, "
            "or write their networks into addresses"
        )
    return names


def _few(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if len(addresses) > _REPORT_ADDRESSES:
        raise ValueError(
            f"has {len(addresses)} addresses, and reporters need to heed {_REPORT_ADDRESSES} (RFC 7489 §6.2); "
            "leave some out"
        )
    return addresses


def names_once(value: object) -> object:
    """Refuse an object with two keys that mean the same name: of two entries one would be lost in silence."""
    if not isinstance(value, Mapping):
        return value
    seen: dict[str, object] = {}
    twice = []
    for key in value:
        try:
            name = syntax.mail_address(key) if "@" in key else syntax.domain_name(key)
        except (ValueError, TypeError):
            continue  # the key's own validator says it better
        if name in seen:
            twice.append(f"{name} is listed twice, as {problems.shown(seen[name])} and {problems.shown(key)}; keep one")
        seen[name] = key
    if twice:
        raise ValueError("\n".join(twice))
    return value


def targets(value: object) -> object:
    """Read a single target as a list of one."""
    return (value,) if isinstance(value, str) else value


Domain = Annotated[str, AfterValidator(syntax.registrable_domain)]
Hostname = Annotated[str, AfterValidator(syntax.domain_name)]
Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, AfterValidator(syntax.mail_address)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0, le=1 << 50)]
"""Bytes, written as such or as 512M, 5G."""
Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""Written as 180d, 12h, 30m or 90s."""
DisplayName = Annotated[str, AfterValidator(_display_name)]
DirectoryUrl = Annotated[str, AfterValidator(_https)]
"""Of an ACME server."""
PrivateKey = Annotated[SecretStr, AfterValidator(_private_key)]
"""For SSH."""
Logo = Annotated[str, AfterValidator(partial(_document, suffix=".svg"))]
LogoCertificate = Annotated[str, AfterValidator(partial(_document, suffix=".pem"))]
Includes = Annotated[
    tuple[Annotated[str, AfterValidator(syntax.policy_name)], ...], AfterValidator(_once), AfterValidator(_countable)
]
Networks = Annotated[tuple[Annotated[str, AfterValidator(syntax.network)], ...], AfterValidator(_once)]
ReportAddresses = Annotated[
    tuple[Annotated[str, AfterValidator(syntax.report_address)], ...], AfterValidator(_once), AfterValidator(_few)
]
SpfDefault = Literal["-all", "~all", "?all"]
