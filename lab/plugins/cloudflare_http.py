"""Requests to Cloudflare's API with the words, retries and patience of cloudflare-go v6.

The official Python client would do, but its import costs more than a whole preview of this program may.
"""

import asyncio
import http.client
import json
import os
import random
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from lab.plugins.serve import Call, Failure

_RETRIES: Final = 10
_FIRST_PAUSE: Final = 2.0  # seconds; doubled each time
_LONGEST_PAUSE: Final = 30.0  # seconds
_JITTER: Final = 0.25  # the share by which a pause may be shorter
_PATIENCE: Final = 60.0  # seconds one request may take; also the longest Retry-After that is honoured
_RETRIED: Final = frozenset({408, 409, 429})
_NOT_FOUND: Final = 404


class NotFound(Failure):
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
        if not token:
            raise Failure("no API token: set the secret cloudflare:apiToken, or CLOUDFLARE_API_TOKEN")
        self._base = f"{str(base).rstrip('/')}/"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        call: Call | None = None,
    ) -> dict[str, Any]:
        """The decoded answer.

        Raises:
            NotFound: status 404.
            Failure: any other status from 400 on, after the retries, or no answer.
        """
        url = self._base + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body, sort_keys=True).encode()
        for attempt in range(_RETRIES + 1):
            pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * (1 - _JITTER * random.random())  # noqa: S311
            try:
                response, text = await asyncio.to_thread(self._send, method, url, content)
            except ConnectionRefusedError:
                # The real API never refuses; here it means that nobody started it, and waiting would not.
                raise Failure(f'{method} "{url}": connection refused; is the lab up?') from None
            except (OSError, http.client.HTTPException) as error:
                problem = f'{method} "{url}": {str(error) or type(error).__name__}'
            else:
                if response.status < 400:  # noqa: PLR2004
                    return _decoded(text, problem=f'{method} "{url}"')
                problem = f'{method} "{url}": {response.status} {response.reason} {text}'
                if response.status == _NOT_FOUND:
                    raise NotFound(problem)
                if not _again(response):
                    break
                pause = _wanted_pause(response) or pause
            if attempt == _RETRIES:
                break
            if call is None:
                await asyncio.sleep(pause)
            else:
                await call.status(f"{problem.partition('{')[0]}: retrying in {pause:.0f} s")
                await call.pause(pause)
        raise Failure(problem)

    def _send(self, method: str, url: str, content: bytes | None) -> tuple[http.client.HTTPResponse, str]:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(parts.netloc, timeout=_PATIENCE)
        try:
            connection.request(method, f"{parts.path}?{parts.query}".rstrip("?"), body=content, headers=self._headers)
            response = connection.getresponse()
            return response, response.read().decode(errors="replace")
        finally:
            connection.close()


def _again(response: http.client.HTTPResponse) -> bool:
    wish = response.headers.get("x-should-retry")
    if wish in {"true", "false"}:
        return wish == "true"
    return response.status in _RETRIED or response.status >= 500  # noqa: PLR2004


def _wanted_pause(response: http.client.HTTPResponse) -> float | None:
    for header, unit in (("Retry-After-Ms", 0.001), ("Retry-After", 1.0)):
        text = response.headers.get(header, "")
        if text.replace(".", "", 1).isdigit() and float(text) * unit < _PATIENCE:
            return float(text) * unit
    return None


def _decoded(text: str, *, problem: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        raise Failure(f"{problem}: the answer is not JSON: {text[:200]}") from None
    return dict(answer)
