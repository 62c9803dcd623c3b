"""What cannot work says so, clearly and soon, and changes nothing."""

import time

import pytest

from lab import cloudflare, faults, keys
from lab.addresses import ACME_DIRECTORY
from tests.e2e.conftest import Host


def refused(host: Host, **changes: object) -> str:
    """Preview with changed settings, put them back, and return what was said."""
    with host.stack.kept():
        host.stack.configure(changes)
        said = host.stack.preview()
    assert said.code != 0, said.output
    assert "Traceback" not in said.output
    return said.output


@pytest.mark.one_release("debian13")
@pytest.mark.parametrize(
    "wrong",
    [
        {"domain": "exa mple", "hostKey": None, "ipv4": "2001:db8::1"},
        {"domain": "co.uk", "hostKey": "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7", "ipv6": "192.0.2.1"},
        {"hostname": "mail.elsewhere.example", "mesageSizeLimit": "20971520", "os": "debian11"},
    ],
)
def test_all_wrong_settings_are_named_at_once(host: Host, wrong: dict[str, object]) -> None:
    said = refused(host, **wrong)
    for name in wrong:
        assert f"{name}: " in said, name


@pytest.mark.one_release("debian13")
def test_a_plaintext_password_is_refused_and_not_shown(host: Host) -> None:
    with host.stack.kept():
        host.stack.set_secret(f'mailboxes["bob@{host.machine.domain}"]', "correct-horse-battery")
        said = host.stack.preview()
    assert said.code != 0
    assert "bob@" in said.output
    assert "correct-horse-battery" not in said.output


@pytest.mark.one_release("debian13")
def test_a_wrong_host_key_is_one_clear_message(host: Host) -> None:
    logins = host.ssh_connections()
    with host.stack.kept():
        host.stack.configure({"hostKey": keys.host_public("stranger")})
        began = time.monotonic()
        said = host.stack.up()
        seconds = time.monotonic() - began
    assert said.code != 0
    assert "Traceback" not in said.output
    assert "after 2 failed attempts: ssh: handshake failed: ssh: host key mismatch" in said.output
    assert host.ssh_connections() == logins
    assert seconds < 60


@pytest.mark.one_release("debian13")
def test_an_unreachable_host_is_one_clear_message(host: Host) -> None:
    with host.stack.kept():
        host.stack.configure({"ssh": {"port": 2222}, "firewall": {"allow": [22]}})
        said = host.stack.up()
    assert said.code != 0
    assert "Traceback" not in said.output
    assert f"after 2 failed attempts: dial tcp {host.machine.ipv4}:2222: " in said.output
    host.stack.preview("--expect-no-changes").must_pass()


@pytest.mark.one_release("debian13")
def test_a_wrong_token_is_cloudflares_message_and_ours(host: Host) -> None:
    with host.stack.kept():
        host.stack.set_secret("cloudflare:apiToken", "wrong-token-0123456789-0123456789-0123456789")
        said = host.stack.preview()
    assert said.code != 0
    assert "Traceback" not in said.output
    assert "Authentication error" in said.output
    assert "cloudflare:apiToken" in said.output
    assert "wrong-token" not in said.output


@pytest.mark.one_release("debian13")
def test_an_absent_zone_is_named(host: Host) -> None:
    absent = {
        "domain": "absent.example",
        "mailboxes": {"bob@absent.example": "{BLF-CRYPT}$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe"},
        "postmaster": None,
    }
    said = refused(host, **absent)
    assert "absent.example" in said
    assert ".zoneId' ID" in said


@pytest.mark.one_release("debian13")
def test_a_new_host_key_means_a_new_machine(host: Host) -> None:
    with host.stack.kept():
        host.stack.configure({"hostKey": keys.host_public("stranger")})
        planned = {name for _, name in host.stack.planned()}
    commands = {name for name, kind in host.stack.names().items() if kind.startswith("command:remote:")}
    # A new machine may have another ACME account.
    assert planned == commands | {"mail-certificate-caa"}


def test_a_silent_name_server_is_waited_for(host: Host) -> None:
    zone = host.machine.domain
    with faults.publication_held(zone):
        line = f"{zone} late.{zone} A 192.0.2.1"
        said = host.run_fails("sh", "-c", 'echo "$1" | mailhostctl wait-dns --timeout 3', "sh", line)
    assert "ns1.example" in said
    assert "ns2.example" in said


def test_without_a_certificate_authority_nothing_changes_and_then_heals(host: Host) -> None:
    hostname = f"mx2.{host.machine.domain}"
    lives = host.run("cat", "/etc/postfix/main.cf")
    with host.stack.kept():
        host.stack.configure({"hostname": hostname})
        with faults.certificate_authority_away(host.machine):
            failed = host.stack.up()
        assert failed.code != 0
        assert ACME_DIRECTORY.split("/")[2] in failed.output
        assert "Traceback" not in failed.output
        assert host.run("cat", "/etc/postfix/main.cf") == lives
        exchangers = [r["content"] for r in cloudflare.records(host.machine.domain) if r["type"] == "MX"]
        assert exchangers == [f"mail.{host.machine.domain}"]
        host.stack.up().must_pass()
    assert host.run("postconf", "-h", "myhostname").strip() == hostname


def test_a_machine_that_reaches_no_mail_server_is_left_as_it_is(host: Host) -> None:
    generation = host.run("cat", "/var/lib/mailhost/postfix/current")
    with host.stack.kept():
        host.stack.configure({"preflight": {"mailServers": ["nobody.outside.example"]}, "messageSizeLimit": 20_000_000})
        stopped = host.stack.up()
    assert stopped.code != 0
    assert "this machine cannot become a mail host; nothing was changed" in stopped.output
    assert "host.port25: nobody.outside.example over IPv4: " in stopped.output
    assert "Ask the hosting company to open outgoing port 25" in stopped.output
    assert host.run("cat", "/var/lib/mailhost/postfix/current") == generation
    host.stack.up().must_pass()
