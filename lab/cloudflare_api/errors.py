"""Errors with Cloudflare's codes, messages and statuses (developers.cloudflare.com/api, and its users' bug reports)."""

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An answer other than success.

    Args:
        status: HTTP status.
        code: Cloudflare's number of the error.
        message: Cloudflare's words.
        chain: the precise reason behind a general error, as (code, message).
    """

    def __init__(self, status: int, code: int, message: str, chain: tuple[int, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"code": code, "message": message}
        if chain is not None:
            self.error["error_chain"] = [{"code": chain[0], "message": chain[1]}]

    @property
    def body(self) -> Mapping[str, Any]:
        """The envelope every failed request gets."""
        return {"result": None, "success": False, "errors": [self.error], "messages": []}


def invalid(code: int, message: str) -> ApiError:
    """A record the DNS rules refuse."""
    return ApiError(400, 1004, "DNS Validation Error", (code, message))


def no_route(path: str) -> ApiError:
    """An identifier that is none."""
    return ApiError(404, 7003, f"Could not route to {path}, perhaps your object identifier is invalid?")


def no_record() -> ApiError:
    """A record id nobody has."""
    return ApiError(404, 81044, "Record does not exist.")


def authentication() -> ApiError:
    """A token that is not ours, or a zone it may not touch."""
    return ApiError(403, 10000, "Authentication error")
