"""The outside mail server judges mail as a careful stranger would, and answers."""

import base64
import secrets
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lab import dns as lab_dns
from lab import outside
from lab.addresses import OUTSIDE, Machine
from tests.lab.inside import run_inside

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("undisturbed")]

DOMAIN = f"sender-{secrets.token_hex(4)}.bookworm.example"
"""Another one in every process: tests run beside each other."""
SEND = """
import json, smtplib, sys
with smtplib.SMTP(sys.argv[1], 25, local_hostname="mail.bookworm.example", timeout=20) as server:
    server.sendmail(sys.argv[2], [sys.argv[3]], sys.argv[4].encode())
print(json.dumps("sent"))
"""


def publish_new_key() -> bytes:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    der = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    public = base64.b64encode(der).decode()
    text = f'"v=DKIM1; k=rsa; p={public[:200]}" "{public[200:]}"'
    # As long-lived as production's records: nothing in the lab may go by an old one.
    record = lab_dns.record(f"test._domainkey.{DOMAIN}", "TXT", [text], 3600)
    lab_dns.api("PATCH", "/zones/bookworm.example.", {"rrsets": [record]})
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture(scope="module")
def key(guest: Machine) -> Iterator[bytes]:
    """A DKIM key of a domain that may send from the guest only, published together with its SPF and DMARC records."""
    texts = {DOMAIN: f'"v=spf1 ip4:{guest.ipv4} -all"', f"_dmarc.{DOMAIN}": '"v=DMARC1; p=reject"'}
    sets = [lab_dns.record(name, "TXT", [text]) for name, text in texts.items()]
    lab_dns.api("PATCH", "/zones/bookworm.example.", {"rrsets": sets})
    yield publish_new_key()
    texts[f"test._domainkey.{DOMAIN}"] = ""
    gone = [{"name": f"{name}.", "type": "TXT", "changetype": "DELETE"} for name in texts]
    lab_dns.api("PATCH", "/zones/bookworm.example.", {"rrsets": gone})


def letter(recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"dora@{DOMAIN}"
    message["To"] = recipient
    message["Subject"] = f"letter {time.time_ns()}"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=DOMAIN)
    message.set_content("Hello.\n")
    return message


def signed(message: EmailMessage, key: bytes) -> str:
    text = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
    signature: bytes = dkim.sign(text, b"test", DOMAIN.encode(), key)
    return (signature + text).decode()


def arrived(subject: str) -> EmailMessage:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for message in outside.messages():
            if message["Subject"] == subject:
                return message
        time.sleep(0.1)
    raise AssertionError(f"{subject} did not arrive")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_signed_mail_from_the_right_address(guest: Machine, key: bytes, family: str) -> None:
    message = letter(outside.CAROL)
    server = OUTSIDE.ipv4 if family == "ipv4" else OUTSIDE.ipv6
    run_inside(guest.name, SEND, server, f"dora@{DOMAIN}", outside.CAROL, signed(message, key))
    verdicts = outside.verdicts(arrived(message["Subject"]))
    assert "dkim=pass (2048-bit key; secure)" in verdicts  # secure: the key was read with DNSSEC
    assert ("spf=pass" if family == "ipv4" else "spf=fail") in verdicts
    assert "dmarc=pass" in verdicts


def test_an_unsigned_mail_from_the_right_address(guest: Machine, key: bytes) -> None:
    del key
    message = letter(outside.CAROL)
    run_inside(guest.name, SEND, OUTSIDE.ipv4, f"dora@{DOMAIN}", outside.CAROL, message.as_string())
    verdicts = outside.verdicts(arrived(message["Subject"]))
    assert "dkim=none" in verdicts
    assert "spf=pass" in verdicts


def test_a_changed_mail_from_a_wrong_address(guest: Machine, key: bytes) -> None:
    message = letter(outside.CAROL)
    text = signed(message, key).replace("Hello.", "Send money.")
    run_inside(guest.name, SEND, OUTSIDE.ipv6, f"dora@{DOMAIN}", outside.CAROL, text)
    verdicts = outside.verdicts(arrived(message["Subject"]))
    assert "dkim=fail" in verdicts
    assert "spf=fail" in verdicts
    assert "dmarc=fail" in verdicts


def test_a_replaced_key_counts_at_once(guest: Machine, key: bytes) -> None:
    del key
    for _ in range(2):
        message = letter(outside.CAROL)
        text = signed(message, publish_new_key())
        run_inside(guest.name, SEND, OUTSIDE.ipv4, f"dora@{DOMAIN}", outside.CAROL, text)
        assert "dkim=pass" in outside.verdicts(arrived(message["Subject"]))


def test_echo_answers_with_a_signed_mail() -> None:
    message = letter(outside.ECHO)
    del message["From"]
    message["From"] = outside.CAROL
    outside.send(message)
    answer = arrived(f"Re: {message['Subject']}")
    assert answer["In-Reply-To"].strip() == message["Message-ID"]
    assert answer["Auto-Submitted"] == "auto-replied"
    assert "d=outside.example" in answer["DKIM-Signature"]
