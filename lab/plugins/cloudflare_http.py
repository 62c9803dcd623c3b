"""Requests to Cloudflare's API with the words and retries of cloudflare-go 6.10.0, which the official plugin uses.

The official Python client would do, but its import costs more than a whole preview of this program may.
"""

import asyncio
import http.client
import json
import math
import os
import random
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from lab.plugins.serve import Diagnostic, Failure

RETRIES: Final = 10
PACE: Final = "MAILHOST_RETRY_PACE"
"""Environment variable for tests: the share of each pause that is really waited. The official plugin has no such."""
REQUEST_FAILED: Final = "failed to make http request"
_FIRST_PAUSE: Final = 2.0  # seconds; doubled each time
_LONGEST_PAUSE: Final = 30.0  # seconds
_JITTER: Final = 0.25  # the share by which a pause may be shorter
_RETRIED: Final = frozenset({408, 409, 429})
_NOT_FOUND: Final = 404


class NotFound(Diagnostic):
    """The API answered 404."""


class Api:
    """One account at one base URL."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        base = settings.get("baseUrl") or os.environ.get("CLOUDFLARE_BASE_URL")
        if not base:
            raise Failure(
                "cloudflare:baseUrl is not set: the offline plugin speaks only to an API of the lab; "
                "for Cloudflare itself use the official plugin, outside the lab's environment"
            )
        token = settings.get("apiToken") or os.environ.get("CLOUDFLARE_API_TOKEN")
        self._base = f"{str(base).rstrip('/')}/"
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        summary: str = REQUEST_FAILED,
    ) -> dict[str, Any]:
        """Return the decoded answer. Retries take minutes and are silent; nothing but the end of the plugin ends them.

        Raises:
            NotFound: status 404.
            Diagnostic: any other status from 400 on, or no answer, after the retries; an answer that is not JSON.
        """
        url = self._base + path + (f"?{urlencode(sorted(query.items()))}" if query else "")
        content = None if body is None else json.dumps(body, sort_keys=True).encode()
        pace = float(os.environ.get(PACE, "1"))
        for attempt in range(RETRIES + 1):
            pause = backoff(attempt, random.random())  # noqa: S311 - no secret depends on it
            try:
                response, text = await asyncio.to_thread(self._send, method, url, content)
            except (OSError, http.client.HTTPException) as error:
                problem: Diagnostic = Diagnostic(summary, f'{method.capitalize()} "{url}": {_explained(error)}')
            else:
                if response.status < 400:  # noqa: PLR2004
                    return _decoded(response, text, summary)
                problem = _refused(summary, f'{method} "{url}"', response, text)
                if not _again(response):
                    break
                asked = retry_after(response.headers, datetime.now(UTC))
                pause = pause if asked is None else asked
            if attempt < RETRIES:
                await asyncio.sleep(pause * pace)
        raise problem

    def _send(self, method: str, url: str, content: bytes | None) -> tuple[http.client.HTTPResponse, str]:
        parts = urlsplit(url)
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        # The official client waits for an answer as long as it takes.
        connection = connect(parts.netloc)
        try:
            _dial(connection)
            connection.request(method, f"{parts.path}?{parts.query}".rstrip("?"), body=content, headers=self._headers)
            response = connection.getresponse()
            return response, response.read().decode(errors="replace")
        finally:
            connection.close()


class _NoConnection(OSError):
    """No TCP connection came about."""


def _dial(connection: http.client.HTTPConnection) -> None:
    try:
        connection.connect()
    except socket.gaierror as error:
        raise _NoConnection(f"dial tcp: lookup {connection.host}: no such host") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _NoConnection(f"dial tcp {connection.host}:{connection.port}: connect: {reason}") from error


def _explained(error: Exception) -> str:
    """Say what is wrong in the words of Go's net/http."""
    if isinstance(error, http.client.RemoteDisconnected):
        return "EOF"
    return str(error) or type(error).__name__


def backoff(attempt: int, jitter: float) -> float:
    """Return the seconds after an attempt (the first is 0) when the API asks for none; `jitter` is from 0 to 1."""
    return min(_FIRST_PAUSE * 2.0**attempt, _LONGEST_PAUSE) * (1 - _JITTER * jitter)


def retry_after(headers: http.client.HTTPMessage, now: datetime) -> float | None:
    """Return the seconds an answer asks to wait, however many; None where it asks for nothing readable."""
    for header, unit in (("Retry-After-Ms", 0.001), ("Retry-After", 1.0)):
        text = str(headers.get(header, ""))
        try:
            seconds = float(text) * unit
        except ValueError:
            if unit < 1 or not text:
                continue
            try:
                seconds = (parsedate_to_datetime(text) - now).total_seconds()
            except (ValueError, TypeError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _again(response: http.client.HTTPResponse) -> bool:
    wish = response.headers.get("x-should-retry")
    if wish in {"true", "false"}:
        return wish == "true"
    return response.status in _RETRIED or response.status >= 500  # noqa: PLR2004


def _refused(summary: str, request: str, response: http.client.HTTPResponse, text: str) -> Diagnostic:
    # Of a body that is not JSON the official client shows nothing.
    shown = text if text.lstrip().startswith(("{", "[")) else ""
    reason = http.client.responses.get(response.status, "")
    kind = NotFound if response.status == _NOT_FOUND else Diagnostic
    return kind(summary, f"{request}: {response.status} {reason} {shown}")


def _decoded(response: http.client.HTTPResponse, text: str, summary: str) -> dict[str, Any]:
    media = response.headers.get_content_type()
    if media != "application/json" and not media.endswith("+json"):
        raise Diagnostic(
            summary,
            "expected destination type of 'string' or '[]byte' for responses with content-type "
            f"'{response.headers.get('Content-Type', '')}' that is not 'application/json'",
        )
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        raise Diagnostic(summary, f"error parsing response json: {text[:200]}") from None
