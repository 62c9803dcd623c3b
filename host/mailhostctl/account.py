"""The ACME account that certbot uses, as CAA records name it (RFC 8657 section 3).

certbot keeps it in /etc/letsencrypt/accounts/SERVER, and makes it here once, before the first certificate: the records
must be there when an authority looks at them.
"""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from mailhostctl import durable
from mailhostctl.certificate import Issuer
from mailhostctl.paths import Root
from mailhostctl.system import MailhostError, must

_ACCOUNTS = "/etc/letsencrypt/accounts"
_PATIENCE = 20.0
"""Seconds for the server's directory."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_URI = re.compile(r"https://[A-Za-z0-9._~:/?#@!$&()*+,=%\[\]-]+")


def identity(server: str) -> str:
    """The name by which CAA records mean this server: the first that its directory lists (RFC 8555 section 7.1.1)."""
    try:
        with urllib.request.urlopen(server, timeout=_PATIENCE) as answer:  # noqa: S310 -- settings let https: pass
            directory: Any = json.load(answer)
    except (OSError, ValueError) as error:
        raise MailhostError(f"caa: the directory {server} cannot be read: {error}") from None
    meta = directory.get("meta") if isinstance(directory, dict) else None
    names = meta.get("caaIdentities") if isinstance(meta, dict) else None
    if not isinstance(names, list) or not names or not _NAME.fullmatch(str(names[0])):
        raise MailhostError(
            f"caa: {server} does not say by which name CAA records mean it; set caa.issuer to that, or caa.enabled to "
            "false"
        )
    return str(names[0])


def uri(root: Root, issuer: Issuer) -> str:
    """The URI of the account at the server; certbot makes one where there is none."""
    if not _registrations(root, issuer.server):
        words = ["certbot", "register", "--non-interactive", "--agree-tos", "--no-eff-email"]
        must([*words, "--server", issuer.server, "--email", issuer.contact], timeout=120)
    found = _registrations(root, issuer.server)
    if len(found) != 1:
        folder = _folder(root, issuer.server)
        raise MailhostError(f"caa: there are {len(found)} accounts in {folder}, and certbot must have one to use")
    try:
        account = json.loads(durable.read(found[0]) or b"")["uri"]
    except (ValueError, KeyError, TypeError):
        account = ""
    if not isinstance(account, str) or not _URI.fullmatch(account):
        raise MailhostError(f"caa: {found[0]} names no account")
    return account


def _folder(root: Root, server: str) -> Path:
    return root.live(f"{_ACCOUNTS}/{server.removeprefix('https://')}")


def _registrations(root: Root, server: str) -> list[Path]:
    return sorted(_folder(root, server).glob("*/regr.json"))
