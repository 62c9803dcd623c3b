"""Asks over HTTPS: an MTA-STS policy, and what Cloudflare knows of a zone."""

import http.client
import json
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from doctor.observe.doors import explain
from doctor.stack import Published
from model import cloudflare, constants, mta_sts

_LARGEST_POLICY: Final = 65_536
"""Octets (RFC 8461 §3.3 suggests a limit of 64 kilobytes)."""
_OK: Final = 200
_PAGE: Final = 1000
"""Records of one answer."""


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
    id: str = ""
    found: bool = False
    status: str = ""
    """active, pending, moved, …"""
    servers: tuple[str, ...] = ()
    """The name servers Cloudflare wants delegated."""
    error: str = ""
    """Why Cloudflare could not be asked."""


class CloudflareError(Exception):
    """Cloudflare cannot be asked, or refuses: one sentence."""


def zone(name: str, zone_id: str | None, *, api: cloudflare.Access, timeout: float) -> Zone:
    """Ask Cloudflare for a zone, by id or by name."""
    path = f"zones/{zone_id}" if zone_id else f"zones?{urllib.parse.urlencode({'name': name})}"
    try:
        return parse_zone(name, ask(api, path, timeout=timeout))
    except CloudflareError as error:
        return Zone(name=name, error=str(error))


def ask(api: cloudflare.Access, path: str, *, timeout: float, method: str = "GET") -> Any:
    """Return the API's answer. The token is sent in a header and shown nowhere.

    Raises:
        CloudflareError: There is no answer, or it is a refusal.
    """
    if api.problem:
        raise CloudflareError(api.problem)
    request = urllib.request.Request(  # noqa: S310 because the scheme was looked at
        api.at(path), method=method, headers=api.headers
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 because of the same look
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise CloudflareError(f"it answers {error.code}: {_said(error)}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise CloudflareError(explain(reason) if isinstance(reason, Exception) else str(reason)) from None


def records(zone_id: str, *, api: cloudflare.Access, timeout: float) -> list[Published]:
    """Return every record of a zone.

    Raises:
        CloudflareError: Cloudflare does not tell.
    """
    found: list[Published] = []
    page, pages = 1, 1
    while page <= pages:
        answer = ask(api, f"zones/{zone_id}/dns_records?per_page={_PAGE}&page={page}", timeout=timeout)
        found += [_record(zone_id, entry) for entry in answer["result"]]
        pages = int((answer.get("result_info") or {}).get("total_pages") or 1)
        page += 1
    return found


def _record(zone_id: str, entry: Mapping[str, Any]) -> Published:
    priority = entry.get("priority")
    return Published(
        name=str(entry["name"]).lower(),
        type=str(entry["type"]),
        content=str(entry.get("content") or ""),
        ttl=int(entry.get("ttl") or 1),
        priority=None if priority is None else int(priority),
        data=entry.get("data") or {},
        id=str(entry["id"]),
        zone_id=zone_id,
        proxied=bool(entry.get("proxied")),
        comment=str(entry.get("comment") or ""),
    )


def parse_zone(name: str, document: Any) -> Zone:
    """Read an answer of the API: one zone, or a list of them."""
    result = document.get("result") if isinstance(document, dict) else None
    entry = (result[0] if result else None) if isinstance(result, list) else result
    if not isinstance(entry, dict):
        return Zone(name=name)
    servers = entry.get("name_servers") or []
    return Zone(
        name=name,
        id=str(entry.get("id", "")),
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
