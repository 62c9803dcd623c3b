"""Abuse is answered: a stolen account is contained."""

import contextlib
import imaplib
import json
import secrets
import smtplib
from collections.abc import Iterator

import pytest

from lab import machines, outside
from lab.addresses import OUTSIDE
from lab.clients import TIMEOUT_SECONDS, Account, compose, imap_messages, imap_session, lab_names, submit
from lab.demo import account
from model.constants import SUBMISSION
from tests.e2e.conftest import Host
from tests.e2e.doctor import look

# ---- A stolen account: enabled=false

NOWHERE = "nobody@[203.0.113.250]"
"""No machine of the lab has this address: mail to it stays in the queue."""


@pytest.fixture(scope="module")
def bob(host: Host) -> Iterator[Account]:
    """Bob's account, as it was again afterwards."""
    with host.stack.kept():
        yield account(host.machine, "bob")
    host.run("postsuper", "-d", "ALL")


def queued(host: Host) -> list[str]:
    """Senders of what waits in the queue."""
    listing = host.run("postqueue", "-j")
    return sorted(json.loads(line)["sender"] for line in listing.splitlines())


@contextlib.contextmanager
def submission(sender: Account) -> Iterator[smtplib.SMTP]:
    """Log in to submit mail, and stay; the host may end it."""
    with lab_names():
        client = smtplib.SMTP(sender.host, SUBMISSION, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(client):
        client.starttls(context=sender.tls)
        client.login(sender.address, sender.password)
        yield client


def answer_to_recipient(host: Host, address: str) -> tuple[int, str]:
    """What port 25 answers the outside server when it has mail for an address."""
    script = (
        "import smtplib, sys\n"
        "client = smtplib.SMTP(sys.argv[1], 25, 'mx.outside.example', timeout=30)\n"
        "client.ehlo(); client.mail(sys.argv[2]); code, text = client.rcpt(sys.argv[3])\n"
        "print(code, text.decode())\n"
    )
    answer = machines.run(OUTSIDE.name, ["python3", "-", host.machine.hostname, outside.CAROL, address], content=script)
    code, _, text = answer.strip().partition(" ")
    return int(code), text


def test_a_shut_account_loses_sessions_logins_and_queue_and_keeps_its_mail(host: Host, bob: Account) -> None:
    alice = account(host.machine, "alice")
    for sender in (alice, bob, bob):
        submit(sender, compose(sender.address, NOWHERE, secrets.token_hex(4)), port=SUBMISSION)
    assert queued(host) == sorted([alice.address, bob.address, bob.address])
    mail = len(imap_messages(bob))
    with imap_session(alice) as other, imap_session(bob) as reading, submission(bob) as writing:
        host.stack.mailbox("--address", bob.address, "--enabled", "no").must_pass()
        host.stack.up().must_pass()
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            reading.noop()
        with pytest.raises(smtplib.SMTPServerDisconnected):
            writing.noop()
        assert other.noop()[0] == "OK"
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        imap_messages(bob)
    with pytest.raises(smtplib.SMTPAuthenticationError), submission(bob):
        pass
    assert queued(host) == [alice.address]
    assert f"no more logins for {bob.address}" in host.run("journalctl", "--no-pager", "-t", "mailhostctl")
    # It exists for delivery, and its mail waits outside (RFC 3463 §3.3: X.2.1, mailbox disabled).
    host.run("doveadm", "user", bob.address)
    host.run_fails("doveadm", "auth", "test", bob.address, bob.password)
    code, text = answer_to_recipient(host, bob.address)
    assert code == 450
    assert "4.2.1" in text
    host.stack.preview("--expect-no-changes").must_pass()

    host.stack.mailbox("--address", bob.address, "--enabled", "yes").must_pass()
    host.stack.up().must_pass()
    assert len(imap_messages(bob)) == mail
    assert answer_to_recipient(host, bob.address)[0] == 250
    with submission(bob) as again:
        assert again.noop()[0] == 250


def test_a_quota_below_what_a_mailbox_holds_is_told(host: Host, bob: Account) -> None:
    host.run("doveadm", "save", "-u", bob.address, content="Subject: large\n\n" + f"{secrets.token_hex(30)}\n" * 200)
    host.stack.mailbox("--address", bob.address, "--quota", "1K").must_pass()
    assert f"warning: {bob.address} holds" in host.stack.up().must_pass().output
    # That line is gone from a terminal; the doctor goes on saying it.
    assert f"warning host: {bob.address}: " in look(host).not_well()["host.quota"]
