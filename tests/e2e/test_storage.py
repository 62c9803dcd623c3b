"""What is kept and how: quotas, compression, search, folders that forget, connections, and who was here last."""

import contextlib
import imaplib
import re
import secrets
import smtplib
import time
import zlib
from collections.abc import Callable, Iterator
from email.message import EmailMessage

import pytest
from imap_tools import MailBox

from lab import outside
from lab.clients import (
    TIMEOUT_SECONDS,
    Account,
    compose,
    imap_arrival,
    imap_message,
    imap_messages,
    lab_names,
    pop3_messages,
    submit,
    wait_for,
)
from lab.demo import account
from model import constants
from model.options import Limits
from tests.e2e.conftest import Host
from tests.e2e.delivery import deliver

ZSTD = b"\x28\xb5\x2f\xfd"
"""First bytes of a Zstandard frame (RFC 8878 section 3.1.1)."""
QUOTA = 200 * 1024


@pytest.fixture(scope="module")
def small(host: Host) -> Iterator[Account]:
    """A mailbox of 200 KiB, while these tests last."""
    alice = account(host.machine, "alice")
    owner = Account(host=alice.host, address=f"small@{host.machine.domain}", password=alice.password, trust=alice.trust)
    with host.stack.kept():
        with host.stack.edited() as config:
            mailboxes = config["mailhost:mailboxes"]
            mailboxes[owner.address] = {"password": mailboxes[alice.address], "quota": "200K"}
        yield owner
    host.run("rm", "-r", home(owner))


def home(owner: Account) -> str:
    user, _, domain = owner.address.partition("@")
    return f"{constants.MAIL_DIR}/{domain}/{user}"


def fill(host: Host, owner: Account, size: int) -> tuple[int, str]:
    """Deliver a mail of about `size` bytes."""
    lines = size // 77
    text = "".join(f"{secrets.token_hex(38)}\n" for _ in range(lines))
    return deliver(host, compose(outside.CAROL, owner.address, f"{size} bytes", text))


def ask(host: Host, recipient: str) -> tuple[int, str]:
    """Ask the mail host, as a server outside does, whether it takes mail for an address; send none."""
    with lab_names(), smtplib.SMTP(host.machine.hostname, 25, timeout=TIMEOUT_SECONDS) as client:
        client.ehlo("mx.outside.example")
        client.mail(outside.CAROL)
        code, said = client.rcpt(recipient)
    return code, said.decode()


@contextlib.contextmanager
def session(owner: Account) -> Iterator[imaplib.IMAP4_SSL]:
    """Log in; what ends the session first is what the test sees, not how the logout fares after it."""
    with lab_names():
        client = imaplib.IMAP4_SSL(owner.host, 993, ssl_context=owner.tls, timeout=TIMEOUT_SECONDS)
    try:
        client.login(owner.address, owner.password)
        yield client
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            client.logout()
        with contextlib.suppress(OSError):
            client.shutdown()


def warning(owner: Account, percent: int) -> EmailMessage | None:
    return imap_message(owner, f"Your mailbox is {percent} % full")


def test_a_user_is_told_at_80_and_95_percent_and_refused_at_the_door_when_full(host: Host, small: Account) -> None:
    assert ask(host, small.address)[0] == 250
    for _ in range(2):
        assert fill(host, small, 70_000)[0] == 250
    assert warning(small, 80) is None
    assert fill(host, small, 30_000)[0] == 250
    wait_for(lambda: warning(small, 80), "the first warning")
    assert warning(small, 95) is None
    assert fill(host, small, 28_000)[0] == 250
    told = wait_for(lambda: warning(small, 95), "the second warning")
    assert told["From"].addresses[0].addr_spec == f"postmaster@{host.machine.domain}"
    assert told["Auto-Submitted"] == "auto-generated"
    assert told["Date"].datetime is not None

    # One mail more may go over it; after that, nothing is accepted any more.
    assert fill(host, small, 60_000)[0] == 250
    for recipient in (small.address, small.address.replace("@", "+tag@")):
        code, said = ask(host, recipient)
        assert (code, said[:5]) == (552, "5.2.2")
    code, said = fill(host, small, 1000)
    assert (code, said[:5]) == (552, "5.2.2")
    alice = account(host.machine, "alice")
    assert ask(host, alice.address)[0] == 250
    for port in (587, 465):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            submit(alice, compose(alice.address, small.address, "to a full mailbox"), port=port)
        assert caught.value.recipients[small.address][0] == 552

    with session(small) as client:
        _, (_, limits) = client.getquotaroot("INBOX")
    used, limit = map(int, re.findall(rb"STORAGE (\d+) (\d+)", limits[0])[0])
    assert limit == QUOTA // 1024
    assert used > limit


def test_deleted_mail_makes_room(host: Host, small: Account) -> None:
    replies = [fill(host, small, QUOTA // 2)[0] for _ in range(4)]
    assert replies[-1] == 552
    with session(small) as client:
        client.select("INBOX")
        client.store("1:*", "+FLAGS", r"(\Deleted)")
        client.expunge()
    assert ask(host, small.address)[0] == 250
    assert fill(host, small, 1000)[0] == 250


def test_the_limit_of_the_host_holds_for_the_others(host: Host) -> None:
    with session(account(host.machine, "alice")) as client:
        _, (_, limits) = client.getquotaroot("INBOX")
    assert limits[0].endswith(b" 5242880)")


def test_mail_is_compressed_on_disk_and_whole_for_its_reader(host: Host) -> None:
    bob, about = account(host.machine, "bob"), secrets.token_hex(6)
    text = "The same words, many times.\n" * 2000
    assert deliver(host, compose(outside.CAROL, bob.address, about, text))[0] == 250
    message = imap_arrival(bob, about)
    assert message.get_content().splitlines() == text.splitlines()
    newest = host.run("sh", "-c", f"ls -t {home(bob)}/Maildir/*/*,S=* | head -1").strip()
    start = host.run("sh", "-c", f"head -c 4 '{newest}' | od -An -tx1")
    assert bytes.fromhex(start) == ZSTD
    size = int(newest.rpartition(",S=")[2].partition(",")[0])
    assert int(host.run("stat", "-c", "%s", newest)) < len(text) / 10 < size


def test_text_is_found_through_the_index(host: Host) -> None:
    alice, word, about = account(host.machine, "alice"), f"zq{secrets.token_hex(8)}", secrets.token_hex(6)
    assert deliver(host, compose(outside.CAROL, alice.address, about, f"Grüße aus dem {word} von gestern.\n"))[0] == 250

    def found(text: str) -> list[str]:
        """Ask the index alone, which opens no mail, for the UIDs."""
        said = host.run("doveadm", "fts", "lookup", "-u", alice.address, "mailbox", "INBOX", "text", text)
        return [word for word in said.split() if word.isdigit()]

    indexed = wait_for(lambda: found(word), "the mail in the index")
    assert found(f"{word}no") == []
    with session(alice) as client:
        client.select("INBOX", readonly=True)
        for query in (word, word.upper(), word[:9]):
            _, hits = client.uid("SEARCH", "TEXT", query)
            assert hits[0].decode().split() == indexed
        _, none = client.uid("SEARCH", "TEXT", f"{word}no")
        assert none[0] in (b"", None)


@pytest.mark.parametrize("folder", ["Trash", "Junk"])
def test_old_mail_in_a_folder_that_forgets_goes_at_the_end_of_a_session(host: Host, folder: str) -> None:
    alice = account(host.machine, "alice")

    def kept() -> int:
        status = host.run("doveadm", "-f", "tab", "mailbox", "status", "-u", alice.address, "messages", folder)
        return int(status.split()[-1])

    def leave(*options: str) -> None:
        """Open and end a session, as the IMAP server runs it behind its login."""
        host.run("/usr/lib/dovecot/imap", "-u", alice.address, *options, content="a LOGOUT\r\n")

    host.run("doveadm", "expunge", "-u", alice.address, "mailbox", folder, "all")
    old = compose(outside.CAROL, alice.address, "old").as_string()
    host.run("doveadm", "save", "-u", alice.address, "-m", folder, content=old)
    assert kept() == 1
    leave()
    assert kept() == 1  # 30 days are not over
    time.sleep(1.5)
    leave("-o", f"namespace/inbox/mailbox/{folder}/autoexpunge=1s")
    assert kept() == 0


def test_folders_have_their_days_from_the_settings(host: Host) -> None:
    configured = host.run("doveconf", "-n")
    assert len(re.findall(r"autoexpunge = 30 ?d", configured)) == 2


def test_a_client_that_waits_hears_of_new_mail(host: Host) -> None:
    """IDLE (RFC 2177) with a client people use."""
    bob, about = account(host.machine, "bob"), secrets.token_hex(6)
    with (
        lab_names(),
        MailBox(bob.host, ssl_context=bob.tls, timeout=TIMEOUT_SECONDS).login(bob.address, bob.password) as mailbox,
        mailbox.idle as waiting,
    ):
        assert deliver(host, compose(outside.CAROL, bob.address, about))[0] == 250
        assert any(b"EXISTS" in line for line in waiting.poll(timeout=10))


def test_a_session_can_be_compressed(host: Host) -> None:
    """COMPRESS=DEFLATE (RFC 4978): from its OK on, both directions are deflated."""
    bob = account(host.machine, "bob")
    with session(bob) as client:
        assert "COMPRESS=DEFLATE" in client.capability()[1][0].decode().split()
        line = client.sock
        line.sendall(b"z1 COMPRESS DEFLATE\r\n")
        assert line.recv(1000).startswith(b"z1 OK")
        deflate, inflate = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
        line.sendall(deflate.compress(b"z2 NOOP\r\n") + deflate.flush(zlib.Z_SYNC_FLUSH))
        assert inflate.decompress(line.recv(1000)).startswith(b"z2 OK")


def test_one_user_has_so_many_connections_from_one_address(host: Host) -> None:
    bob = account(host.machine, "bob")
    with contextlib.ExitStack() as stack:
        for _ in range(Limits().connections):
            stack.enter_context(session(bob))
        with pytest.raises(imaplib.IMAP4.error, match="(?i)maximum number of connections"), session(bob):
            pass
        with session(account(host.machine, "alice")):
            pass
    with session(bob):
        pass


@pytest.mark.parametrize(("protocol", "read"), [("imap", imap_messages), ("pop3", pop3_messages)])
def test_the_last_login_is_kept(host: Host, protocol: str, read: Callable[[Account], object]) -> None:
    bob, started = account(host.machine, "bob"), int(time.time())
    read(bob)

    def last() -> int | None:
        lines = host.run("cat", f"{home(bob)}/.last-login").split()
        seen = dict(zip(lines[::2], map(int, lines[1::2]), strict=True))
        when = seen.get(f"shared/last-login/{protocol}", 0)
        return when if when >= started else None

    assert wait_for(last, "the login in the file") <= time.time() + 1


def test_dovecot_shows_its_figures_on_localhost_only(host: Host) -> None:
    fetch = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
    page = host.run("python3", "-c", fetch, f"http://127.0.0.1:{constants.DOVECOT_METRICS}/metrics")
    figures = dict(re.findall(r"^(dovecot_\w+_total) (\d+)$", page, re.M))
    assert int(figures["dovecot_auth_success_total"]) > 0
    assert int(figures["dovecot_mail_delivery_total"]) > 0
    listening = host.run("ss", "-Hltn", f"sport = :{constants.DOVECOT_METRICS}").split()
    assert listening[3] == f"127.0.0.1:{constants.DOVECOT_METRICS}"
