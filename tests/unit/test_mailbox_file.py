"""The mailbox file: a round trip, a key that matters, and every way in which a stack and its file may disagree."""

import itertools
import json

import pytest

from model import mailbox_file
from model.problems import SettingsError
from model.settings import load
from tests.unit.samples import ARGON2ID, BCRYPT, raw

KEY = mailbox_file.new_key()
SEAL = mailbox_file.Seal(KEY)
ALICE, BOB = "alice@example.com", "bob@example.com"


def listed(**more: object) -> str:
    """The file with Bob's mailbox, and what else is said of it."""
    return mailbox_file.text({BOB: {"password": SEAL.close(BOB, BCRYPT), **more}})


def problems(text: str | None, **changes: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(raw(**changes), listed=text)
    assert "$" not in str(caught.value)
    return str(caught.value)


def test_mailboxes_of_configuration_and_file_are_one() -> None:
    made = load(raw(mailboxesKey=KEY, postmaster=ALICE), listed=listed(quota="1G", name="Bob O'Hara"))
    assert list(made.mailboxes) == [ALICE, BOB]
    assert made.mailboxes[BOB].password.get_secret_value() == BCRYPT
    assert made.mailboxes[BOB].quota == 1 << 30
    assert made.mailboxes[ALICE].password.get_secret_value() == ARGON2ID


def test_a_file_is_enough() -> None:
    assert list(load(raw(mailboxes=None, mailboxesKey=KEY), listed=listed()).mailboxes) == [BOB]


def test_a_file_shows_addresses_line_by_line_and_no_hash() -> None:
    text = mailbox_file.text({address: {"password": SEAL.close(address, ARGON2ID)} for address in (BOB, ALICE)})
    assert "argon2" not in text.lower()
    assert [line[1:6] for line in text.splitlines()[1:-1]] == ["alice", "bob@e"]
    assert json.loads(text).keys() == {ALICE, BOB}


def test_the_same_hash_never_looks_the_same() -> None:
    assert SEAL.close(BOB, ARGON2ID) != SEAL.close(BOB, ARGON2ID)


@pytest.mark.parametrize(
    ("text", "changes", "problem"),
    [
        (None, {"mailboxesKey": KEY}, "mailboxesKey: is set, but the mailbox file mailboxes.<stack>.json is missing"),
        (listed(), {}, "mailboxesKey: is missing, and the mailbox file cannot be read without"),
        (listed(), {"mailboxesKey": "c2hvcnQ="}, "mailboxesKey: is not a key of the mailbox file"),
        (listed(), {"mailboxesKey": "not base64"}, "mailboxesKey: is not a key of the mailbox file"),
        (listed(), {"mailboxesKey": mailbox_file.new_key()}, f"the password of {BOB} was not encrypted with"),
        # A line copied to another address would give its owner the other's mail.
        (listed().replace(BOB, "eve@example.com"), {"mailboxesKey": KEY}, "the password of eve@example.com was not"),
        (listed().replace("v1:", "v2:"), {"mailboxesKey": KEY}, f"the password of {BOB} was not encrypted with"),
        (f'{{"{BOB}": {{}}}}', {"mailboxesKey": KEY}, f"the password of {BOB} was not encrypted with"),
        (f'{{"{BOB}": "x"}}', {"mailboxesKey": KEY}, "mailbox file: must be an object"),
        ("[]", {"mailboxesKey": KEY}, "mailbox file: must be an object"),
        ('{\n"a": {},\n<<<<<<<', {"mailboxesKey": KEY}, "mailbox file: is not JSON (line 3)"),
        (f'{{"{BOB}": {{}}, "{BOB}": {{}}}}', {"mailboxesKey": KEY}, f"mailbox file: '{BOB}' is listed twice"),
        (listed().replace(BOB, ALICE), {"mailboxesKey": KEY}, f"the password of {ALICE} was not"),
        (listed(quota="much"), {"mailboxesKey": KEY}, f"mailboxes: {BOB}: quota: 'much' is not"),
    ],
    # The same names in every process: what is encrypted never looks the same.
    ids=map(str, itertools.count()),
)
def test_refused(text: str | None, changes: dict[str, object], problem: str) -> None:
    assert problem in problems(text, **changes)


def test_an_address_in_both_places_is_refused_with_the_way_out() -> None:
    text = mailbox_file.text({ALICE: {"password": SEAL.close(ALICE, BCRYPT)}})
    said = problems(text, mailboxesKey=KEY)
    assert f"mailboxes: {ALICE} stands in the configuration and in the mailbox file" in said
    assert f"pulumi config rm --path 'mailboxes[\"{ALICE}\"]'" in said
