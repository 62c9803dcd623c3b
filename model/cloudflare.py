"""Cloudflare's API for whoever asks it without the provider: where it is, by which token, and what a refusal says."""

import json
from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr

from model.frozen import frozen

URL: Final = "https://api.cloudflare.com/client/v4/"


@frozen
class Access:
    """The API, as the provider would find it."""

    url: str
    token: SecretStr | None

    @property
    def problem(self) -> str:
        """Why nothing can be asked, empty where it can."""
        if self.token is None:
            return "there is no cloudflare:apiToken in the stack, nor CLOUDFLARE_API_TOKEN"
        return "" if self.url.startswith(("https://", "http://")) else "cloudflare:baseUrl is no URL"

    def at(self, path: str) -> str:
        """Return the URL of a path below the API's."""
        return f"{self.url.rstrip('/')}/{path}"

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries. Secret."""
        token = "" if self.token is None else self.token.get_secret_value()
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


def access(configured: Mapping[str, str], environment: Mapping[str, str]) -> Access:
    """Read where the API is from a stack's configuration (keys as `cloudflare:baseUrl`), else from the environment."""
    token = configured.get("cloudflare:apiToken") or environment.get("CLOUDFLARE_API_TOKEN")
    return Access(
        url=configured.get("cloudflare:baseUrl") or environment.get("CLOUDFLARE_BASE_URL") or URL,
        token=SecretStr(token) if token else None,
    )


def refusal(answer: bytes) -> str:
    """Return what an answer says is wrong, code and message of each error; empty where it is not the API's."""
    try:
        return "; ".join(f"{error['code']} {error['message']}" for error in json.loads(answer)["errors"])
    except (ValueError, TypeError, KeyError):
        return ""
