"""No secret in the state, a preview, a log or the host's process list."""

import json
import re
from pathlib import Path

from lab import environment
from lab.addresses import CLOUDFLARE_TOKEN
from lab.demo import PASSWORDS
from tests.e2e.conftest import Host


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


def test_a_preview_shows_no_secret(host: Host) -> None:
    for options in (("--diff", "--refresh", "--show-sames"), ("--json", "--show-sames")):
        assert_none(host, host.stack.preview(*options).must_pass().output, "preview")


def test_a_preview_from_scratch_shows_no_secret(host: Host, tmp_path: Path) -> None:
    # The same settings, and a state that knows of nothing.
    backend = environment.backend(tmp_path)
    with host.stack.kept():
        host.stack.pulumi("stack", "init", host.stack.name, PULUMI_BACKEND_URL=backend).must_pass()
        shown = host.stack.preview("--diff", PULUMI_BACKEND_URL=backend).must_pass().output
    assert "mail-accounts-secrets" in shown
    assert_none(host, shown, "preview")


def test_the_first_up_printed_no_secret(host: Host) -> None:
    assert_none(host, host.first_up.output, "up")


def test_no_command_line_on_the_host_held_a_secret(host: Host) -> None:
    seen = set(re.findall(r"mailhostctl ([a-z-]+)", host.held.command_lines))
    assert {"apply", "certificate", "wait-dns"} <= seen
    assert_none(host, host.held.command_lines, "processes")


def test_the_hosts_logs_hold_no_secret(host: Host) -> None:
    journal = host.run("journalctl", "--no-pager", "-o", "cat")
    for logs in ("Accepted publickey", "status=sent", "DKIM-Signature field added", "lmtp("):
        assert logs in journal, logs
    assert_none(host, journal, "journal")


def test_only_their_daemons_read_the_secret_files(host: Host) -> None:
    (key,) = host.run("sh", "-c", "ls /etc/dkimkeys/*.private").split()
    assert host.run("stat", "-c", "%a %U:%G", key).strip() == "600 opendkim:opendkim"
    assert host.run("stat", "-c", "%a %U:%G", "/etc/dovecot/users").strip() == "640 root:dovecot"
    assert host.run("stat", "-c", "%a %U:%G", "/var/lib/mailhost").strip() == "700 root:root"
