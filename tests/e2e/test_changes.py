"""A change touches what it must and nothing else; a bad one touches nothing at all."""

import dataclasses
import imaplib
from pathlib import Path

import pytest

from lab import keys
from lab.clients import imap_messages, imap_session
from lab.demo import account, checks
from tests.e2e.conftest import Host
from tests.e2e.stack import password_hashes


def started(host: Host) -> dict[str, str]:
    """When each daemon's main process started: a restart shows."""
    units = ("postfix", "dovecot", "opendkim")
    show = host.run("systemctl", "show", "-P", "ExecMainStartTimestampMonotonic", *units)
    return dict(zip(units, show.split(), strict=True))


def reloads(host: Host, unit: str) -> int:
    if unit == "postfix" and host.machine.release == "debian12":
        unit = "postfix@-"  # postfix.service is only a wrapper there
    journal = host.run("journalctl", "-o", "cat", "--no-pager", "-u", unit)
    return sum(line.startswith("Reloaded ") for line in journal.splitlines())


def test_a_setting_touches_one_file_and_reloads_one_service(host: Host) -> None:
    before, reloaded = started(host), reloads(host, "postfix")
    dovecot = reloads(host, "dovecot")
    host.stack.configure({"messageSizeLimit": "20971520"})
    plan = host.stack.plan()
    assert sorted(name for _, name in plan.steps) == ["mail-postfix-apply", "mail-postfix-files"]
    assert plan.files == {"/etc/postfix/main.cf"}
    logins = host.ssh_connections()
    host.stack.up().must_pass()
    assert host.stack.changes()["update"] == 2
    assert host.ssh_connections() == logins + 2
    assert host.run("postconf", "-h", "message_size_limit").strip() == "20971520"
    assert started(host) == before
    assert reloads(host, "postfix") == reloaded + 1
    assert reloads(host, "dovecot") == dovecot


def test_a_new_password_works_and_ends_no_session(host: Host) -> None:
    before = started(host), reloads(host, "postfix"), reloads(host, "dovecot")
    bob = account(host.machine, "bob")
    new = account(host.machine, "bob", password="a long way to tipperary")
    with host.stack.kept():
        host.stack.mailbox("--address", bob.address, stdin=f"{new.password}\n").must_pass()
        assert sorted(name for _, name in host.stack.planned()) == ["mail-accounts-apply", "mail-accounts-secrets"]
        with imap_session(bob) as session:
            host.stack.up().must_pass()
            assert session.noop()[0] == "OK"
    imap_messages(new)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        imap_messages(bob)
    assert before == (started(host), reloads(host, "postfix"), reloads(host, "dovecot"))


def test_a_list_of_mailboxes_is_one_file_and_the_same_plan(host: Host, tmp_path: Path) -> None:
    domain, resources = host.machine.domain, len(host.stack.names())
    rows = tmp_path / "people.csv"
    hashed = password_hashes()["bob"]
    rows.write_text("address,hash,name,quota\n" + "".join(f'u{n}@{domain},"{hashed}",U {n},1G\n' for n in range(3000)))
    with host.stack.kept():
        host.stack.mailbox("--csv", str(rows)).must_pass()
        listed = host.stack.folder / f"mailboxes.{host.stack.name}.json"
        assert "ARGON2ID" not in listed.read_text()
        host.stack.up().must_pass()
        assert "ARGON2ID" not in host.stack.state()
        assert len(host.stack.names()) == resources
        # One of the list, and one that was there before.
        for user in ("u2999", "bob"):
            imap_messages(dataclasses.replace(account(host.machine, "bob"), address=f"{user}@{domain}"))
        listed.unlink()
    host.stack.up().must_pass()
    assert "u2999" not in host.run("cat", "/etc/dovecot/users")


@pytest.mark.parametrize(
    ("template", "live", "broken", "complaint"),
    [
        ("postfix/main.cf.j2", "/etc/postfix/main.cf", "inet_protocols = carrier-pigeon\n", "carrier-pigeon"),
        (
            "dovecot/{dovecot}/dovecot.conf.j2",
            "/etc/dovecot/dovecot.conf",
            "no_such_setting = yes\n",
            "no_such_setting",
        ),
        ("opendkim/opendkim.conf.j2", "/etc/opendkim.conf", "TrustedHosts nobody\n", "opendkim"),
    ],
)
def test_a_broken_template_never_reaches_the_live_file(
    host: Host, template: str, live: str, broken: str, complaint: str
) -> None:
    lives, before = host.run("cat", live), started(host)
    dovecot = {"debian12": "2.3", "debian13": "2.4"}[host.machine.release]
    with host.stack.extended(f"templates/{template.format(dovecot=dovecot)}", broken):
        failed = host.stack.up()
    assert failed.code != 0
    assert complaint in failed.output
    assert "Traceback" not in failed.output
    assert host.run("cat", live) == lives
    assert started(host) == before
    # The next good `up` heals: the host, not only the state.
    host.stack.up().must_pass()
    assert host.run("cat", live) == lives
    assert host.damaged() == []


def test_a_file_that_parses_but_does_not_work_is_taken_back(host: Host) -> None:
    # Postfix accepts it and listens nowhere: only the health check can see that.
    lives = host.run("cat", "/etc/postfix/main.cf")
    with host.stack.extended("templates/postfix/main.cf.j2", "master_service_disable = inet\n"):
        failed = host.stack.up()
    assert failed.code != 0
    assert host.run("cat", "/etc/postfix/main.cf") == lives
    assert [finding for finding in checks(host.machine) if not finding.passed] == []


@pytest.mark.one_release("debian12")
def test_a_deploy_key_takes_the_agents_place(host: Host) -> None:
    with host.stack.kept():
        host.stack.set_secret("sshPrivateKey", keys.operator_private())
        host.stack.up(SSH_AUTH_SOCK="").must_pass()
    assert "BEGIN OPENSSH PRIVATE KEY" not in host.stack.state()
