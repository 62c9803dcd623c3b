"""What the graph tests share: one configuration, run as `up` and as a first `preview`."""

import pytest

from tests.graph.harness import Graph, run

ALICES_HASH = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$0123456789abcdefghijklmnopqrstuvwxyzABCDEF0"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJgtZCKxUMcfgYW0JwKjPLhHqSmRoH2yyBPvmXQtUMLT"

CONFIG: dict[str, object] = {
    "domain": "example.org",
    "ipv4": "203.0.113.13",
    "ipv6": "2001:db8:113::13",
    "hostKey": HOST_KEY,
    "mailboxes": {"alice@example.org": ALICES_HASH, "bob@example.org": ALICES_HASH},
    "postmaster": "alice@example.org",
    # Off by default, and components.
    "spam": {"antivirus": True},
    "metrics": {"digest": True},
    "tlsa": {"enabled": True},
}


@pytest.fixture(scope="session")
def graph() -> Graph:
    """The program as `up` sees it the first time."""
    return run(CONFIG, secret_keys=("mailboxes",))


@pytest.fixture(scope="session")
def preview() -> Graph:
    """The program as the first preview sees it."""
    return run(CONFIG, secret_keys=("mailboxes",), preview=True)
