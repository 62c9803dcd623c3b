"""No secret in the state, a preview, a log or the host's process list."""

import json

from lab.addresses import CLOUDFLARE_TOKEN
from lab.demo import PASSWORDS
from tests.e2e.conftest import Host
from tests.e2e.stack import Stack


def secrets_of(host: Host) -> list[str]:
    """Everything that must not show: token, hashes, the DKIM key's lines."""
    users = host.run("cat", "/etc/dovecot/users")
    hashes = [part for line in users.splitlines() for part in line.split(":") if part.startswith("{ARGON2ID}")]
    (key,) = host.run("sh", "-c", "ls /etc/dkimkeys/*.private").split()
    lines = [line for line in host.run("cat", key).splitlines() if "-----" not in line]
    # The first half is the modulus (RFC 8017 appendix A.1.2), which the published record shows to everybody.
    private = lines[len(lines) // 2 :]
    assert len(hashes) == 2
    assert len(private) > 10
    return [CLOUDFLARE_TOKEN, *PASSWORDS.values(), *hashes, *private]


def assert_none(host: Host, text: str, where: str) -> None:
    assert text, where
    # JSON escapes some characters of a hash.
    plain = text + text.replace("\\u003d", "=").replace("\\/", "/")
    assert [secret for secret in secrets_of(host) if secret in plain] == [], where


def test_the_exported_state_holds_no_plain_secret(host: Host) -> None:
    state = host.stack.state()
    assert len(json.loads(state)["deployment"]["resources"]) > 50
    assert_none(host, state, "state")


def test_a_preview_from_scratch_shows_no_secret(host: Host) -> None:
    twin = Stack(machine=host.machine, folder=host.stack.folder, environment=host.stack.environment)
    shown = twin.preview("--diff", "--refresh").output + twin.preview("--json", "--show-sames").output
    assert_none(host, shown, "preview")


def test_the_first_up_printed_no_secret(host: Host) -> None:
    assert_none(host, host.first_up.output, "up")


def test_no_command_line_on_the_host_held_a_secret(host: Host) -> None:
    assert "mailhostctl stage" in host.held.command_lines or "mailhostctl wait-dns" in host.held.command_lines
    assert_none(host, host.held.command_lines, "processes")


def test_the_hosts_logs_hold_no_secret(host: Host) -> None:
    journal = host.run("journalctl", "--no-pager", "-o", "cat")
    assert "mailhostctl" in journal or "Accepted publickey" in journal
    assert_none(host, journal, "journal")


def test_only_their_daemons_read_the_secret_files(host: Host) -> None:
    (key,) = host.run("sh", "-c", "ls /etc/dkimkeys/*.private").split()
    assert host.run("stat", "-c", "%a %U:%G", key).strip() == "600 opendkim:opendkim"
    assert host.run("stat", "-c", "%a %U:%G", "/etc/dovecot/users").strip() == "640 root:dovecot"
    assert host.run("stat", "-c", "%a %U:%G", "/var/lib/mailhost").strip() == "700 root:root"
