"""Filters: users edit them over ManageSieve, a broken one loses no mail, spam goes to Junk and moving mail teaches."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from imap_tools import MailBox
from managesieve import MANAGESIEVE  # type: ignore[import-untyped] # because it has no types

from lab import outside
from lab.clients import TIMEOUT_SECONDS, Account, compose, imap_message, lab_names, wait_for
from lab.demo import account
from model import constants
from tests.e2e.conftest import Host
from tests.e2e.delivery import deliver

FILTER = 'require "fileinto";\nif header :contains "Subject" "{mark}" {{ fileinto "Archive"; }}\n'
BROKEN = 'require "no-such-extension";\nkeep;\n'


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """The client trusts what the system trusts: make that the lab's authority."""
    roots = tmp_path / "roots.pem"
    roots.write_text(account(host.machine, "bob").trust)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))


@contextlib.contextmanager
def editor(owner: Account, *, tls: bool = True) -> Iterator[MANAGESIEVE]:
    """Speak ManageSieve as a mail program does, with a verified certificate."""
    with lab_names():
        client = MANAGESIEVE(owner.host, constants.MANAGESIEVE, use_tls=tls, timeout=TIMEOUT_SECONDS)
    try:
        yield client
    finally:
        client.logout()
        # The library closes the plain socket only.
        getattr(client.sock, "sslobj", client.sock).close()


@contextlib.contextmanager
def folders(owner: Account) -> Iterator[MailBox]:
    with (
        lab_names(),
        MailBox(owner.host, ssl_context=owner.tls, timeout=TIMEOUT_SECONDS).login(owner.address, owner.password) as box,
    ):
        yield box


def subjects(owner: Account, folder: str) -> list[str]:
    with folders(owner) as box:
        box.folder.set(folder)
        return [message.subject for message in box.fetch(mark_seen=False, headers_only=True)]


def move(owner: Account, about: str, origin: str, target: str) -> None:
    """Move one mail, as a user does in a mail program."""
    with folders(owner) as box:
        box.folder.set(origin)
        (uid,) = [message.uid for message in box.fetch(mark_seen=False, headers_only=True) if message.subject == about]
        box.move([str(uid)], target)


def hand_in(host: Host, owner: Account, about: str, **headers: str) -> None:
    message = compose(outside.CAROL, owner.address, about)
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    assert deliver(host, message)[0] == 250


@pytest.mark.usefixtures("trusted")
def test_a_filter_is_uploaded_activated_and_obeyed(host: Host) -> None:
    bob, mark = account(host.machine, "bob"), secrets.token_hex(6)
    with editor(bob) as client:
        assert client.login("", bob.address, bob.password) == "OK"
        assert client.putscript("work", FILTER.format(mark=mark)) == "OK"
        assert client.setactive("work") == "OK"
        assert client.listscripts() == ("OK", [("work", True)])
    hand_in(host, bob, f"about {mark}")
    hand_in(host, bob, f"other {mark[::-1]}")
    assert f"about {mark}" in subjects(bob, "Archive")
    assert f"about {mark}" not in subjects(bob, "INBOX")
    assert f"other {mark[::-1]}" in subjects(bob, "INBOX")


@pytest.mark.usefixtures("trusted")
def test_a_broken_filter_is_refused_at_upload_and_the_old_one_goes_on(host: Host) -> None:
    bob = account(host.machine, "bob")
    with editor(bob) as client:
        client.login("", bob.address, bob.password)
        assert client.putscript("work", BROKEN) == "NO"
        assert "no-such-extension" in client.response_text
        typ, kept = client.getscript("work")
        assert typ == "OK"
        assert 'require "fileinto"' in kept
        assert client.setactive("") == "OK"
        assert client.deletescript("work") == "OK"


@pytest.mark.usefixtures("trusted")
def test_users_cannot_run_programs_of_the_host(host: Host) -> None:
    bob = account(host.machine, "bob")
    with editor(bob) as client:
        client.login("", bob.address, bob.password)
        assert client.putscript("work", 'require ["vnd.dovecot.pipe"];\npipe "learn" "ham";\n') == "NO"


def test_no_password_is_taken_before_tls(host: Host) -> None:
    bob = account(host.machine, "bob")
    with editor(bob, tls=False) as client:
        assert client.loginmechs == []
        assert client.supports_tls


def test_a_filter_broken_on_disk_loses_no_mail_and_its_user_is_told_once(host: Host) -> None:
    bob, mark = account(host.machine, "bob"), secrets.token_hex(6)
    user, _, domain = bob.address.partition("@")
    home = f"{constants.MAIL_DIR}/{domain}/{user}"
    host.run("rm", "-f", f"{home}/.filter-errors-told")
    host.run("sh", "-c", f"cat > {home}/.dovecot.sieve; chown vmail:vmail {home}/.dovecot.sieve", content=BROKEN)
    about = "Your mail filter does not work"
    before = subjects(bob, "INBOX").count(about)
    try:
        for number in range(3):
            hand_in(host, bob, f"{mark} {number}")
        assert {f"{mark} {number}" for number in range(3)} <= set(subjects(bob, "INBOX"))
        wait_for(lambda: subjects(bob, "INBOX").count(about) > before, "the message about the filter")
        hand_in(host, bob, f"{mark} later")
        reports = "/run/mailhost-filter-errors"
        wait_for(lambda: host.run("ls", reports) == "", "the end of the second report")
        assert f"{mark} later" in subjects(bob, "INBOX")
        assert subjects(bob, "INBOX").count(about) == before + 1
    finally:
        host.run("rm", "-f", f"{home}/.dovecot.sieve", f"{home}/.dovecot.svbin")
    told = imap_message(bob, about)
    assert told is not None
    assert "no-such-extension" in told.get_content()
    assert told["From"].addresses[0].addr_spec == f"postmaster@{domain}"


def test_what_rspamd_calls_spam_goes_to_junk(host: Host) -> None:
    bob, mark = account(host.machine, "bob"), secrets.token_hex(6)
    hand_in(host, bob, f"spam {mark}", X_Spam="Yes")
    hand_in(host, bob, f"no spam {mark}", X_Spam="No")
    assert f"spam {mark}" in subjects(bob, "Junk")
    assert f"no spam {mark}" in subjects(bob, "INBOX")
    assert f"spam {mark}" not in subjects(bob, "INBOX")


def test_scripts_of_the_host_are_compiled_where_only_root_writes(host: Host) -> None:
    """Otherwise every delivery would compile them again and complain that it cannot keep the result."""
    listed = host.run("ls", "-l", "/etc/dovecot/sieve").splitlines()[1:]
    names = {line.split()[-1] for line in listed}
    assert {f"{name}.{kind}" for name in ("junk", "learn-ham", "learn-spam") for kind in ("sieve", "svbin")} == names
    assert all(line.split()[2:4] == ["root", "root"] for line in listed)


def learned(host: Host) -> int:
    """How many mails rspamd's classifier has learned so far."""
    said = host.run("rspamc", f"--connect={constants.RSPAMD_LEARN_SOCKET}", "stat")
    return sum(int(line.split()[-1]) for line in said.splitlines() if line.startswith("Messages learned"))


def junk(host: Host, owner: Account) -> str:
    """Deliver a mail of its own words to Junk; returns its subject."""
    about = f"spam {secrets.token_hex(6)}"
    words = " ".join(secrets.token_hex(4) for _ in range(60))
    message = compose(outside.CAROL, owner.address, about, f"{words}\n")
    message["X-Spam"] = "Yes"
    assert deliver(host, message)[0] == 250
    return about


def test_moving_mail_into_or_out_of_junk_teaches_rspamd(host: Host) -> None:
    bob = account(host.machine, "bob")
    about, before = junk(host, bob), learned(host)
    move(bob, about, "Junk", "INBOX")
    assert wait_for(lambda: learned(host) - before, "the mail learned as ham") == 1
    move(bob, about, "INBOX", "Junk")
    assert wait_for(lambda: learned(host) - before - 1, "the mail learned as spam") == 1


def test_throwing_spam_away_teaches_nothing(host: Host) -> None:
    bob = account(host.machine, "bob")
    about, before = junk(host, bob), learned(host)
    move(bob, about, "Junk", "Trash")
    assert about in subjects(bob, "Trash")
    assert learned(host) == before


def test_a_move_succeeds_while_rspamd_is_away_and_the_log_says_so(host: Host) -> None:
    bob = account(host.machine, "bob")
    about = junk(host, bob)
    with host.stopped("rspamd"):
        move(bob, about, "Junk", "INBOX")
        assert about in subjects(bob, "INBOX")
    assert "learn_ham" in host.run("journalctl", "-o", "cat", "--no-pager", "-t", "mailhost-learn")
