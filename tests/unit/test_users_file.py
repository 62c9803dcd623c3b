"""Dovecot's users file: who may log in, and how much each mailbox may hold."""

import pytest

from model import accounts
from tests.unit.samples import ARGON2ID, BCRYPT, settings


def lines(os: str = "debian13", **boxes: object) -> list[str]:
    """The lines of these mailboxes of example.com."""
    mailboxes = {f"{name}@example.com": box for name, box in boxes.items()}
    made = settings(os=os, mailboxes=mailboxes, postmaster=next(reversed(mailboxes)))
    return [line for line in accounts.users_file(made).content.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("os", "quota", "field"),
    [
        ("debian12", "512M", "userdb_quota_rule=*:bytes=536870912"),
        ("ubuntu24.04", "1073741824", "userdb_quota_rule=*:bytes=1073741824"),
        ("debian13", "5G", "userdb_quota_storage_size=5368709120B"),
        ("debian12", 0, "userdb_quota_rule=*:bytes=0"),  # unlimited
        ("debian13", 0, "userdb_quota_storage_size=0B"),
        ("debian13", None, ""),  # the default stands in dovecot.conf
    ],
)
def test_a_quota_of_its_own_stands_in_the_language_of_the_hosts_dovecot(os: str, quota: object, field: str) -> None:
    box = {"password": ARGON2ID, **({} if quota is None else {"quota": quota})}
    assert lines(os, alice=box) == [f"alice@example.com:{ARGON2ID}::::::{field}"]


def test_a_disabled_mailbox_is_there_without_its_hash() -> None:
    shut, open_ = lines(alice={"password": ARGON2ID, "enabled": False, "quota": "1M"}, bob=BCRYPT)
    assert shut == "alice@example.com:{CRYPT}!::::::userdb_quota_storage_size=1048576B"
    assert open_ == f"bob@example.com:{BCRYPT}::::::"


def test_a_mailbox_that_is_an_object_is_the_same_as_its_hash_alone() -> None:
    assert lines(alice={"password": ARGON2ID}) == lines(alice=ARGON2ID)
