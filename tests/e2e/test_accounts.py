"""Domains, aliases, forwards and rights to send, with real clients: a second domain comes, is lived in, and goes."""

import dataclasses
import secrets
import smtplib
from collections.abc import Iterator

import pytest

from lab import cloudflare, outside
from lab.clients import TIMEOUT_SECONDS, Account, compose, imap_arrival, imap_message, lab_names, submit, wait_for
from lab.demo import account
from tests.e2e.conftest import Host
from tests.e2e.stack import Plan

SELECTOR = "2026b"
"""Of the second domain: another one than the first's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class House:
    """A host with a second domain: dora@ and its catch-all there; in the first one copy@, away@ and eve@."""

    host: Host
    plan: Plan
    """What the second domain alone changed."""

    @property
    def first(self) -> str:
        return self.host.machine.domain

    @property
    def second(self) -> str:
        return self.host.machine.second_domain

    def account(self, address: str) -> Account:
        """All mailboxes of this file have bob's password, but alice."""
        user = "alice" if address == f"alice@{self.first}" else "bob"
        return dataclasses.replace(account(self.host.machine, user), address=address)

    def arrives(self, address: str, about: str) -> None:
        imap_arrival(self.account(address), about)


@pytest.fixture(scope="module")
def house(host: Host) -> Iterator[House]:
    stack, first, second = host.stack, host.machine.domain, host.machine.second_domain
    stack.settle()
    with stack.kept():
        stack.configure({"domains": {second: {"selector": SELECTOR}}})
        plan = stack.plan()
        alice, dora = f"alice@{first}", f"dora@{second}"
        with stack.edited() as config:
            mailboxes = config["mailhost:mailboxes"]
            bobs = mailboxes[f"bob@{first}"]
            mailboxes[dora] = {"password": bobs}
            mailboxes[f"copy@{first}"] = {"password": bobs, "forward": [alice]}
            mailboxes[f"away@{first}"] = {"password": bobs, "forward": [alice], "keepCopy": False}
            mailboxes[f"eve@{first}"] = {"password": bobs, "enabled": False}
            config["mailhost:domains"][second]["catchAll"] = dora
            config["mailhost:aliases"] = {f"info@{first}": f"bob@{first}", f"sales@{second}": [alice, dora]}
        yield House(host=host, plan=plan)


def subject() -> str:
    return f"test {secrets.token_hex(6)}"


def test_a_domain_touches_its_own_records_and_the_lists_of_domains(house: House) -> None:
    own = [name for _, name in house.plan.steps if name.startswith(f"mail-{house.second}")]
    assert {f"mail-{house.second}-{key}" for key in ("rsa", "txt", "spf", "dmarc", "mx")} <= set(own)
    others = {name for _, name in house.plan.steps} - set(own)
    assert {name for name in others if name.startswith("mail-postfix")} == {
        "mail-postfix-apply",
        "mail-postfix-files",
    }
    assert {path for path in house.plan.files if path.startswith("/etc/postfix/")} == {
        "/etc/postfix/sender_logins",
        "/etc/postfix/virtual_aliases",
        "/etc/postfix/virtual_domains",
    }
    assert not [name for name in others if name.startswith((f"mail-{house.first}", "mail-address", "mail-dovecot"))]
    assert not [op for op, _ in house.plan.steps if "replace" in op or "delete" in op]


def test_a_second_up_changes_nothing(house: House) -> None:
    assert house.host.stack.planned() == []


@pytest.mark.parametrize(
    ("to", "readers"),
    [
        ("dora@{second}", ["dora@{second}"]),
        ("info@{first}", ["bob@{first}"]),
        ("sales@{second}", ["alice@{first}", "dora@{second}"]),
        ("nobody-has-this@{second}", ["dora@{second}"]),  # the catch-all
        ("dora+orders@{second}", ["dora@{second}"]),
        ("alice+news@{first}", ["alice@{first}"]),
        ("info+news@{first}", ["bob@{first}"]),
        ("postmaster@{second}", ["alice@{first}"]),
        ("abuse@{second}", ["alice@{first}"]),
        ("copy@{first}", ["copy@{first}", "alice@{first}"]),
        ("away@{first}", ["alice@{first}"]),
    ],
)
def test_mail_from_outside_reaches(house: House, to: str, readers: list[str]) -> None:
    about = subject()
    outside.send(compose(outside.CAROL, to.format(first=house.first, second=house.second), about))
    for reader in readers:
        house.arrives(reader.format(first=house.first, second=house.second), about)


def test_a_forward_without_a_copy_keeps_none_and_a_catch_all_takes_from_nobody(house: House) -> None:
    about = subject()
    for to in (f"away@{house.first}", f"sales@{house.second}"):
        outside.send(compose(outside.CAROL, to, f"{about} {to}"))
        house.arrives(f"alice@{house.first}", f"{about} {to}")
    assert imap_message(house.account(f"away@{house.first}"), f"{about} away@{house.first}") is None
    outside.send(compose(outside.CAROL, f"postmaster@{house.second}", about))
    house.arrives(f"alice@{house.first}", about)
    assert imap_message(house.account(f"dora@{house.second}"), about) is None


@pytest.mark.parametrize(
    ("login", "sender"),
    [
        ("dora@{second}", "dora@{second}"),
        ("dora@{second}", "sales@{second}"),
        ("dora@{second}", "whatever-i-like@{second}"),
        ("alice@{first}", "sales@{second}"),
        ("alice@{first}", "postmaster@{second}"),
        ("alice@{first}", "alice+news@{first}"),
        ("bob@{first}", "info@{first}"),
    ],
)
def test_who_gets_an_addresss_mail_sends_as_it_and_it_passes_outside(house: House, login: str, sender: str) -> None:
    login, sender = (text.format(first=house.first, second=house.second) for text in (login, sender))
    about = subject()
    submit(house.account(login), compose(sender, outside.CAROL, about), port=465)
    verdicts = outside.verdicts(wait_for(lambda: outside.message(about), "the mail outside"))
    domain = sender.rpartition("@")[2]
    assert all(f"{check}=pass" in verdicts for check in ("spf", "dkim", "dmarc"))
    assert f"header.d={domain}" in verdicts
    assert f"header.s={SELECTOR if domain == house.second else 'mail'}" in verdicts


@pytest.mark.parametrize(
    ("login", "sender"),
    [
        ("dora@{second}", "alice@{first}"),
        ("dora@{second}", "postmaster@{second}"),  # whoever has the catch-all does not speak for the postmaster
        ("bob@{first}", "sales@{second}"),
        ("bob@{first}", "unknown@{first}"),
        ("alice@{first}", "copy@{first}"),  # a copy gives no right
    ],
)
def test_nobody_sends_as_another(house: House, login: str, sender: str) -> None:
    login, sender = (text.format(first=house.first, second=house.second) for text in (login, sender))
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        submit(house.account(login), compose(sender, outside.CAROL, subject()), port=465)
    code, text = caught.value.recipients[outside.CAROL]
    assert code == 553
    assert f"not owned by user {login}" in text.decode()


def sent(house: House, *headers: str, body: str = "\r\nHello\r\n") -> tuple[int, str, str]:
    """Send headers and body to alice as alice, whatever From says; return the reply to it and the subject."""
    alice, about = house.account(f"alice@{house.first}"), subject()
    lines = [header.format(first=house.first, second=house.second) for header in headers]
    text = "\r\n".join([*lines, f"Subject: {about}", ""]) + body
    with lab_names(), smtplib.SMTP_SSL(alice.host, 465, timeout=TIMEOUT_SECONDS, context=alice.tls) as client:
        client.login(alice.address, alice.password)
        client.mail(alice.address)
        client.rcpt(alice.address)
        code, reply = client.data(text)
    return code, reply.decode(), about


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        (["From: bob@{first}"], "bob@{first}"),
        (["From: Alice <ALICE+x@{first}>, Bob <Bob+x@{first}>"], "bob+x@{first}"),
        (['From: "alice@{first}" <president@elsewhere.example>'], "president@elsewhere.example"),
        (["From: alice@{first} <bob@{first}>"], "bob@{first}"),
        (["From: <alice@{first}> <bob@{first}>"], "bob@{first}"),
        (["From: Alice <alice@{first}>,", "\tbob@{first}"], "bob@{first}"),
        (["From:", " bob@{first}"], "bob@{first}"),
        (["From\t: bob@{first}"], "bob@{first}"),
        (["From: bob"], "bob@{first}"),  # Postfix completes it
        (["From: dora@{second}"], "dora@{second}"),  # the catch-all is dora's
        (["From: alice@{first}", "fROM: alice@{first}"], "one From header, not 2"),
        (["From: <>"], "holds no address"),
        (["From: team: alice@{first}, alice@{first};"], "alice@{first}"),
    ],
)
def test_nobody_shows_a_sender_that_is_not_his(house: House, headers: list[str], named: str) -> None:
    code, reply, _ = sent(house, *headers)
    assert (code, reply[:26]) == (554, "5.7.1 Sender not allowed: ")
    assert named.format(first=house.first, second=house.second) in reply


def test_a_message_without_a_body_is_looked_at_too(house: House) -> None:
    assert sent(house, "From: bob@{first}", body="")[0] == 554


@pytest.mark.parametrize(
    "headers",
    [
        ["From: =?utf-8?q?Al=C3=ADce?= <Alice+news@{first}>"],
        ["From: sales@{second}, Alice <alice@{first}>", "Sender: alice@{first}"],
        ['From: "Bob, bob@{first}" (<bob@{first}>) <postmaster@{second}>'],
        [],  # Postfix writes one
    ],
)
def test_who_may_send_as_an_address_may_show_it(house: House, headers: list[str]) -> None:
    code, reply, about = sent(house, *headers)
    assert code == 250, reply
    house.arrives(f"alice@{house.first}", about)


@pytest.mark.parametrize("port", [587, 465])
def test_people_of_the_host_do_not_write_to_a_disabled_mailbox_either(house: House, port: int) -> None:
    alice, eve = house.account(f"alice@{house.first}"), f"eve@{house.first}"
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        submit(alice, compose(alice.address, eve, subject()), port=port)
    code, text = caught.value.recipients[eve]
    assert (code, text[:5]) == (450, b"4.2.1")


def test_mail_to_a_disabled_mailbox_waits_outside(house: House) -> None:
    with lab_names(), smtplib.SMTP(house.host.machine.hostname, 25, timeout=TIMEOUT_SECONDS * 3) as client:
        client.ehlo("mx.outside.example")
        client.mail(outside.CAROL)
        for address in (f"eve@{house.first}", f"eve+tag@{house.first}"):
            code, text = client.rcpt(address)
            assert (code, text[:5]) == (450, b"4.2.1")
        assert client.rcpt(f"alice@{house.first}")[0] == 250


def test_the_records_of_a_domain_that_leaves_go_and_its_mail_stays(house: House) -> None:
    host, about = house.host, subject()
    outside.send(compose(outside.CAROL, f"dora@{house.second}", about))
    house.arrives(f"dora@{house.second}", about)
    kept = host.run("find", f"/var/vmail/{house.second}/dora", "-type", "f")
    with host.stack.edited() as config:
        del config["mailhost:domains"]
        del config["mailhost:mailboxes"][f"dora@{house.second}"]
        del config["mailhost:aliases"][f"sales@{house.second}"]
    host.stack.up().must_pass()
    assert [r for r in cloudflare.records(house.second) if r["type"] in ("MX", "TXT", "CNAME", "SRV")] == []
    assert host.run("find", f"/var/vmail/{house.second}/dora", "-type", "f") == kept
    with lab_names(), smtplib.SMTP(host.machine.hostname, 25, timeout=TIMEOUT_SECONDS * 3) as client:
        client.ehlo("mx.outside.example")
        client.mail(outside.CAROL)
        assert client.rcpt(f"dora@{house.second}")[0] == 554
        assert client.rcpt(f"alice@{house.first}")[0] == 250
