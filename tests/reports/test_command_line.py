"""Which mailbox has the reports."""

import pytest

from reports.command_line import arriving
from tests.unit.samples import ARGON2ID, settings

BOXES = {f"{user}@example.com": ARGON2ID for user in ("alice", "dmarc")}


@pytest.mark.parametrize(
    ("addresses", "mailbox"),
    [
        ([], "alice@example.com"),
        (["dmarc+daily@example.com"], "dmarc@example.com"),
        (["x@service.example", "dmarc@example.com"], "dmarc@example.com"),
        (["x@service.example"], "alice@example.com"),  # somebody else reads them
    ],
)
def test_reports_are_looked_for_where_they_are_sent(addresses: list[str], mailbox: str) -> None:
    made = settings(mailboxes=BOXES, postmaster="alice@example.com", reports={"addresses": addresses})
    assert arriving(made) == mailbox
