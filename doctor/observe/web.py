"""Asks over HTTPS: an MTA-STS policy, and what Cloudflare knows of a zone."""

import http.client
import json
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

from doctor.observe.doors import explain
from model import cloudflare, constants, mta_sts

_LARGEST_POLICY: Final = 65_536
"""Octets (RFC 8461 §3.3 suggests a limit of 64 kilobytes)."""
_OK: Final = 200


def policy(domain: str, *, context: ssl.SSLContext, timeout: float) -> tuple[str, str]:
    """Fetch the MTA-STS policy of a domain (RFC 8461 §3.3): its text and nothing, or nothing and why not.

    Redirects are not followed, as senders do not follow them.
    """
    host = f"{constants.POLICY_LABEL}.{domain}"
    try:
        with (
            socket.create_connection((host, 443), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            client = http.client.HTTPConnection(host, timeout=timeout)
            client.sock = secured
            client.request("GET", mta_sts.PATH)
            answer = client.getresponse()
            text = answer.read(_LARGEST_POLICY).decode("utf-8", "backslashreplace")
    except ssl.SSLCertVerificationError as error:
        return "", f"TLS: {error.verify_message}"
    except (OSError, http.client.HTTPException) as error:
        return "", explain(error)
    return (text, "") if answer.status == _OK else ("", f"HTTP {answer.status}")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A zone as Cloudflare sees it."""

    name: str
    found: bool = False
    status: str = ""
    """active, pending, moved, …"""
    servers: tuple[str, ...] = ()
    """The name servers Cloudflare wants delegated."""
    error: str = ""
    """Why Cloudflare could not be asked."""


def zone(name: str, zone_id: str | None, *, api: cloudflare.Access, timeout: float) -> Zone:
    """Ask Cloudflare for a zone, by id or by name. The token is sent in a header and shown nowhere."""
    if api.problem:
        return Zone(name=name, error=api.problem)
    path = f"zones/{zone_id}" if zone_id else f"zones?{urllib.parse.urlencode({'name': name})}"
    request = urllib.request.Request(api.at(path), headers=api.headers)  # noqa: S310 because the scheme was looked at
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 because of the same look
            document = json.load(answer)
    except urllib.error.HTTPError as error:
        return Zone(name=name, error=f"it answers {error.code}: {_said(error)}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Zone(name=name, error=explain(reason) if isinstance(reason, Exception) else str(reason))
    return parse_zone(name, document)


def parse_zone(name: str, document: Any) -> Zone:
    """Read an answer of the API: one zone, or a list of them."""
    result = document.get("result") if isinstance(document, dict) else None
    entry = (result[0] if result else None) if isinstance(result, list) else result
    if not isinstance(entry, dict):
        return Zone(name=name)
    servers = entry.get("name_servers") or []
    return Zone(
        name=name,
        found=True,
        status=str(entry.get("status", "")),
        servers=tuple(sorted(str(server).lower().rstrip(".") for server in servers)),
    )


def _said(error: urllib.error.HTTPError) -> str:
    try:
        with error:
            return cloudflare.refusal(error.read()) or error.reason
    except (OSError, http.client.HTTPException):
        return error.reason
