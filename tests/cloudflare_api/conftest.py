"""A service for each test, and official clients of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cloudflare import Cloudflare

from tests.cloudflare_api.fakes import TOKEN, ZONE, Background, Lab


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.close()


@pytest.fixture
def lab(background: Background, tmp_path: Path) -> Lab:
    return Lab.started(background, tmp_path)


@pytest.fixture
def connect(lab: Lab) -> Iterator[Callable[..., Cloudflare]]:
    """Makes official clients of the service."""
    clients = []

    def make(token: str = TOKEN) -> Cloudflare:
        client = Cloudflare(api_token=token, base_url=lab.url, max_retries=0)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Cloudflare]) -> Cloudflare:
    return connect()


@pytest.fixture
def zone(client: Cloudflare) -> str:
    """Id of the zone the tests write to."""
    (found,) = client.zones.list(name=ZONE)
    return str(found.id)
