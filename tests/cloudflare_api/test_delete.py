"""The one call that the program makes itself: a record that no state knows is deleted."""

from collections.abc import Callable, Iterator
from typing import Any

import pulumi
import pytest

from components.cloudflare import delete_record
from tests.cloudflare_api.fakes import TOKEN, ZONE, Lab


@pytest.fixture
def configured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the provider's configuration, the service's URL and token unless said otherwise."""
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    monkeypatch.delenv("CLOUDFLARE_BASE_URL", raising=False)

    def configure(**values: str) -> None:
        known = {"baseUrl": lab.url, "apiToken": TOKEN} | values
        pulumi.runtime.set_all_config({f"cloudflare:{key}": value for key, value in known.items() if value})

    configure()
    yield configure
    pulumi.runtime.set_all_config({})


@pytest.fixture
def made(client: Any, zone: str) -> str:
    """Id of a record, as Pulumi writes it."""
    record = client.dns.records.create(zone_id=zone, type="A", name=f"mail.{ZONE}", content="203.0.113.13", ttl=60)
    return f"{zone}/{record.id}"


@pytest.mark.usefixtures("configured")
def test_a_record_is_deleted_and_one_that_is_gone_is_no_failure(client: Any, zone: str, made: str) -> None:
    delete_record(made)
    assert list(client.dns.records.list(zone_id=zone)) == []
    delete_record(made)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"apiToken": ""}, "there is no cloudflare:apiToken in the stack, nor CLOUDFLARE_API_TOKEN"),
        ({"apiToken": "x" * 40}, "Authentication error"),
        ({"baseUrl": "http://127.0.0.1:9"}, "refused"),
        ({"baseUrl": "nonsense"}, "cloudflare:baseUrl is no URL"),
    ],
)
def test_what_cannot_be_deleted_says_why(
    configured: Callable[..., None], lab: Lab, made: str, settings: dict[str, str], said: str
) -> None:
    configured(**settings)
    with pytest.raises(OSError, match=said):
        delete_record(made)
    assert lab.powerdns.sets
