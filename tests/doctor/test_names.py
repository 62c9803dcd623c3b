"""The DKIM key in DNS, the names blocklists are asked for, and record data in one form."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from doctor.expected import canonical
from doctor.finding import State
from doctor.judge import names
from doctor.observe.names import listing_names

NAME = "mail._domainkey.example.com"


def rsa_record(bits: int) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; h=sha256; k=rsa; p={base64.b64encode(der).decode()}"


@pytest.fixture(scope="module")
def key() -> str:
    return rsa_record(2048)


def test_the_stacks_key_is_well(key: str) -> None:
    assert names.dkim(NAME, [key], {key}).state is State.OK


def test_white_space_in_a_key_changes_nothing(key: str) -> None:
    assert names.dkim(NAME, [key.replace("p=", "p= ").replace("Q", "Q ", 1)], {key}).state is State.OK


def test_another_key_is_named_by_its_end(key: str) -> None:
    other = rsa_record(2048)
    finding = names.dkim(NAME, [other], {key})
    assert finding.state is State.FAILED
    assert key[-8:] in finding.cause
    assert other[-8:] in finding.found


def test_a_short_key_is_refused() -> None:
    weak = rsa_record(1024)
    finding = names.dkim(NAME, [weak], {weak})
    assert finding.state is State.FAILED
    assert "1024 bits" in finding.cause


def test_an_ed25519_key_is_read_as_such() -> None:
    raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    good = f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"
    assert names.dkim(NAME, [good], {good}).state is State.OK
    short = f"v=DKIM1; k=ed25519; p={base64.b64encode(raw[:31]).decode()}"
    assert "32 octets" in names.dkim(NAME, [short], {short}).cause


@pytest.mark.parametrize("published", [["v=DKIM1; p="], []])
def test_a_key_the_stack_has_withdrawn_is_well_without_one(published: list[str]) -> None:
    finding = names.dkim(NAME, published, {"v=DKIM1; p="})
    assert (finding.state, finding.found) == (State.OK, "withdrawn")


def test_blocklists_are_asked_backwards() -> None:
    # RFC 5782 §2.1 and §2.4
    own, test, control = listing_names("203.0.113.13", "zen.spamhaus.org")
    assert own == "13.113.0.203.zen.spamhaus.org"
    assert (test, control) == ("2.0.0.127.zen.spamhaus.org", "1.0.0.127.zen.spamhaus.org")
    assert listing_names("2001:db8::13", "list.example")[0] == f"3.1.{'0.' * 22}8.b.d.0.1.0.0.2.list.example"


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("TXT", '"v=spf1 " "-all"', '"v=spf1 -all"'),  # strings are joined (RFC 7208 §3.3)
        ("MX", "10 Mail.example.com.", "10 mail.example.com."),
        ("AAAA", "2001:db8:0:0::13", "2001:db8::13"),
        ("SRV", "0 1 993 MAIL.example.com.", "0 1 993 mail.example.com."),
        ("TLSA", "3 1 1 " + "AB" * 32, "3 1 1 " + "ab" * 32),  # Cloudflare writes upper case
    ],
)
def test_equal_data_has_one_form(kind: str, one: str, other: str) -> None:
    assert canonical(kind, one) == canonical(kind, other)


def test_data_that_is_none_stays_as_it_is() -> None:
    assert canonical("MX", "nonsense") == "nonsense"
