"""HTTP to the lab's own services, past any proxy the operator may have set."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from lab.errors import LabError

_TIMEOUT = 20
"""Seconds."""


def ask(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: object = None,
    authority: str | None = None,
) -> bytes:
    """One request; returns the body of the answer.

    Args:
        url: Full URL of a service of the lab.
        method: HTTP method.
        headers: Additional header fields.
        body: Sent as JSON unless None.
        authority: Certificate (PEM) that HTTPS is verified against.

    Raises:
        LabError: The service refuses or does not answer.
    """
    request = urllib.request.Request(  # noqa: S310  every caller's URL starts with a constant of lab.addresses
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if authority is not None:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority)))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode(errors="replace")
        raise LabError(f"{method} {url} was refused: {error.code} {said}") from error
    except OSError as error:
        raise LabError(f"{url} does not answer: {error}; is the lab up? `python -m lab status` says") from error


def ask_json(url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: object = None) -> Any:
    """Like `ask()`, with the answer read as JSON; None when there is no body."""
    answer = ask(url, method=method, headers=headers, body=body)
    return json.loads(answer) if answer else None
