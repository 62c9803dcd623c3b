"""Mail in both directions with real clients and a real outside server."""

import imaplib
import poplib
import secrets
import smtplib
import ssl

import pytest

from lab import outside
from lab.clients import (
    TIMEOUT_SECONDS,
    compose,
    imap_arrival,
    imap_message,
    imap_messages,
    lab_names,
    pop3_message,
    pop3_messages,
    submit,
    wait_for,
)
from lab.demo import account, checks
from tests.e2e.conftest import Host


def subject() -> str:
    return f"test {secrets.token_hex(6)}"


def test_everything_the_newcomers_table_shows_passes(host: Host) -> None:
    findings = list(checks(host.machine))
    assert len(findings) >= 8
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("port", [587, 465])
def test_submitted_mail_is_signed_and_passes_every_check_outside(host: Host, port: int) -> None:
    alice, about = account(host.machine, "alice"), subject()
    submit(alice, compose(alice.address, outside.CAROL, about), port=port)
    delivered = wait_for(lambda: outside.message(about), "the mail outside")
    verdicts = outside.verdicts(delivered)
    assert "spf=pass" in verdicts
    assert "dmarc=pass" in verdicts
    assert "dkim=pass" in verdicts
    assert f"header.d={host.machine.domain}" in verdicts
    # Each server on the way adds one; the host's own says nothing of the login.
    assert "with ESMTPSA" not in " ".join(map(str, delivered.get_all("Received", [])))


def test_a_signature_names_the_configured_selector(host: Host) -> None:
    alice, about = account(host.machine, "alice"), subject()
    submit(alice, compose(alice.address, outside.CAROL, about), port=587)
    delivered = wait_for(lambda: outside.message(about), "the mail outside")
    signature = "".join(str(delivered["DKIM-Signature"]).split())
    assert "s=mail;" in signature
    assert f"d={host.machine.domain};" in signature
    assert "a=rsa-sha256;" in signature


@pytest.mark.parametrize(("port", "user"), [(993, "alice"), (143, "bob")])
def test_mail_from_outside_is_read_over_imap(host: Host, port: int, user: str) -> None:
    reader, about = account(host.machine, user), subject()
    outside.send(compose(outside.CAROL, reader.address, about))
    message = imap_arrival(reader, about, port=port)
    assert message.get_content().startswith("Hello")


@pytest.mark.parametrize(("port", "user"), [(995, "bob"), (110, "alice")])
def test_mail_from_outside_is_read_over_pop3(host: Host, port: int, user: str) -> None:
    reader, about = account(host.machine, user), subject()
    outside.send(compose(outside.CAROL, reader.address, about))
    wait_for(lambda: pop3_message(reader, about, port=port), "the mail in the maildrop")


def test_one_users_mail_is_not_anothers(host: Host) -> None:
    alice, bob, about = account(host.machine, "alice"), account(host.machine, "bob"), subject()
    outside.send(compose(outside.CAROL, alice.address, about))
    imap_arrival(alice, about)
    assert imap_message(bob, about) is None


def test_users_of_the_host_write_to_each_other(host: Host) -> None:
    alice, bob, about = account(host.machine, "alice"), account(host.machine, "bob"), subject()
    submit(alice, compose(alice.address, bob.address, about), port=465)
    imap_arrival(bob, about)


@pytest.mark.parametrize("name", ["postmaster", "abuse"])
def test_the_required_addresses_reach_the_postmaster(host: Host, name: str) -> None:
    alice, about = account(host.machine, "alice"), subject()
    outside.send(compose(outside.CAROL, f"{name}@{host.machine.domain}", about))
    imap_arrival(alice, about)


@pytest.mark.parametrize("port", [587, 465])
def test_a_wrong_password_is_refused_on_submission(host: Host, port: int) -> None:
    stranger = account(host.machine, "alice", password="wrong")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submit(stranger, compose(stranger.address, outside.CAROL, "never"), port=port)


@pytest.mark.parametrize("port", [993, 143])
def test_a_wrong_password_is_refused_on_imap(host: Host, port: int) -> None:
    with pytest.raises(imaplib.IMAP4.error, match="(?i)auth"):
        imap_messages(account(host.machine, "alice", password="wrong"), port=port)


@pytest.mark.parametrize("port", [995, 110])
def test_a_wrong_password_is_refused_on_pop3(host: Host, port: int) -> None:
    with pytest.raises(poplib.error_proto, match="(?i)auth"):
        pop3_messages(account(host.machine, "alice", password="wrong"), port=port)


def test_nobody_sends_as_another(host: Host) -> None:
    alice, bob = account(host.machine, "alice"), account(host.machine, "bob")
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="(?i)sender address rejected"):
        submit(alice, compose(bob.address, outside.CAROL, "never"), port=587)


def test_relaying_is_refused_for_good(host: Host) -> None:
    with lab_names(), smtplib.SMTP(host.machine.hostname, 25, timeout=TIMEOUT_SECONDS) as client:
        client.ehlo("stranger.outside.example")
        client.mail("stranger@outside.example")
        code, _ = client.rcpt("victim@elsewhere.example")
    assert code == 554


def test_port_25_offers_no_authentication(host: Host) -> None:
    alice = account(host.machine, "alice")
    with lab_names(), smtplib.SMTP(host.machine.hostname, 25, timeout=TIMEOUT_SECONDS) as client:
        client.starttls(context=alice.tls)
        client.ehlo()
        assert "auth" not in client.esmtp_features


def test_submission_refuses_to_speak_without_tls(host: Host) -> None:
    with lab_names(), smtplib.SMTP(host.machine.hostname, 587, timeout=TIMEOUT_SECONDS) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        code, _ = client.mail(f"alice@{host.machine.domain}")
    assert code == 530


def test_imap_refuses_a_password_without_tls(host: Host) -> None:
    with lab_names(), imaplib.IMAP4(host.machine.hostname, 143, timeout=TIMEOUT_SECONDS) as client:
        assert "LOGINDISABLED" in client.capabilities


def test_an_unknown_mailbox_is_refused_at_the_door(host: Host) -> None:
    with lab_names(), smtplib.SMTP(host.machine.hostname, 25, timeout=TIMEOUT_SECONDS) as client:
        client.ehlo("stranger.outside.example")
        client.mail(outside.CAROL)
        code, _ = client.rcpt(f"nobody@{host.machine.domain}")
    assert code == 550


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@pytest.mark.parametrize("port", [993, 995, 465])
def test_old_tls_is_refused(host: Host, port: int) -> None:
    context = account(host.machine, "alice").tls
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    # The host refuses, by an alert or by closing: an OpenSSL here that cannot speak TLS 1.1 would fail otherwise.
    refusal = pytest.raises(ssl.SSLError, match="(?i)alert|EOF")
    with lab_names(), refusal, imaplib.IMAP4_SSL(host.machine.hostname, port, ssl_context=context):
        pass


def test_mail_never_leaves_unsigned_while_the_signer_is_away(host: Host) -> None:
    alice, about = account(host.machine, "alice"), subject()

    def reply() -> int:
        try:
            submit(alice, compose(alice.address, outside.CAROL, about), port=587)
        except smtplib.SMTPResponseException as refusal:
            return refusal.smtp_code
        return 250

    with host.stopped("opendkim"):
        assert reply() // 100 == 4
    # Its unit has started before it answers.
    wait_for(lambda: reply() == 250, "the signer")
    wait_for(lambda: outside.message(about), "the mail outside, once the signer is back")


def test_the_log_names_no_warning_of_the_daemons_configuration(host: Host) -> None:
    journal = host.run("journalctl", "-o", "cat", "--no-pager", "-u", "postfix*", "-u", "opendkim*")
    assert "daemon started" in journal
    assert "deprecated" not in journal
    assert "unused parameter" not in journal
