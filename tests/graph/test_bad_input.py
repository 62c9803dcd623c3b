"""A wrong setting stops the program before anything is registered, with a message and no traceback."""

import pulumi
import pytest

from tests.graph.conftest import CONFIG
from tests.graph.harness import run


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"domain": "co.uk"}, "domain"),
        ({"ttl": "300"}, "ttl"),  # a typo: it belongs under dns
        ({"hostname": "mail.example.net"}, "hostname"),
        ({"os": "debian11"}, "os"),
    ],
)
def test_the_message_names_the_field(changes: dict[str, object], names: str) -> None:
    with pytest.raises(pulumi.RunError, match=names):
        run(CONFIG | changes, secret_keys=("mailboxes",))
