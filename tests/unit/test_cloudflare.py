"""Where Cloudflare's API is for what asks it without the provider, and what it says no with."""

import pytest

from model.cloudflare import URL, access, refusal

TOKEN = "a-token"  # noqa: S105 because it opens nothing


def test_the_stack_decides_before_the_environment() -> None:
    environment = {"CLOUDFLARE_API_TOKEN": "another", "CLOUDFLARE_BASE_URL": "https://api.env.example"}
    found = access({"cloudflare:apiToken": TOKEN, "cloudflare:baseUrl": "https://api.stack.example/v4/"}, environment)
    assert found.headers["Authorization"] == f"Bearer {TOKEN}"
    assert found.at("zones") == "https://api.stack.example/v4/zones"
    found = access({}, environment)
    assert found.headers["Authorization"] == "Bearer another"
    assert found.at("zones") == "https://api.env.example/zones"


def test_nothing_configured_is_cloudflare_itself_without_a_token() -> None:
    found = access({}, {})
    assert found.url == URL
    assert "cloudflare:apiToken" in found.problem


def test_a_url_is_one_of_the_web() -> None:
    assert access({"cloudflare:apiToken": TOKEN}, {}).problem == ""
    assert "baseUrl" in access({"cloudflare:apiToken": TOKEN, "cloudflare:baseUrl": "file:///etc"}, {}).problem


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(access({"cloudflare:apiToken": TOKEN}, {}))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"errors": [{"code": 9109, "message": "Invalid"}, {"code": 1, "message": "x"}]}', "9109 Invalid; 1 x"),
        (b'{"errors": []}', ""),
        (b'{"errors": [{}]}', ""),
        (b"<html>", ""),
        (b"\xff", ""),
        (b"[]", ""),
    ],
)
def test_a_refusal_is_what_the_api_says(answer: bytes, said: str) -> None:
    assert refusal(answer) == said
