"""Who guesses passwords is shut out of every door; whoever deploys never is."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from lab import machines
from lab.addresses import GATEWAY4, GATEWAY6, OUTSIDE
from lab.clients import compose, imap_messages, submit, wait_for
from lab.demo import account
from model.constants import IMAPS, SMTP, SUBMISSIONS
from model.fail2ban import DEPLOYERS, JAILS
from model.options import Ban
from tests.e2e.conftest import Host

ATTEMPTS = Ban().attempts + 1
_GUESS = """
import concurrent.futures, imaplib, smtplib, ssl, sys
kind, host, address, times = sys.argv[1:]
tls = ssl._create_unverified_context()

def guess(attempt):
    try:
        if kind == "imap":
            client = imaplib.IMAP4_SSL(host, 993, ssl_context=tls, timeout=20)
            try:
                client.login(address, f"guess-{attempt}")
            finally:
                client.logout()
        else:
            with smtplib.SMTP_SSL(host, 465, context=tls, timeout=20) as client:
                client.ehlo()
                client.user, client.password = address, f"guess-{attempt}"
                client.auth("PLAIN", client.auth_plain)
    except (imaplib.IMAP4.error, smtplib.SMTPException, OSError) as error:
        return repr(error)

with concurrent.futures.ThreadPoolExecutor(int(times)) as guessers:  # Dovecot makes each wait, longer every time
    print(*guessers.map(guess, range(int(times))), sep="\\n")
"""
_KNOCK = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), timeout=3).close()
        print(port, "open")
    except OSError as error:
        print(port, "closed")
"""


@pytest.fixture
def stranger(host: Host) -> Iterator[None]:
    """The outside server's addresses are free before, and afterwards, whatever they did meanwhile."""
    _pardon(host)
    yield
    _pardon(host)


def _pardon(host: Host) -> None:
    """Lift all bans and forget what was counted: three bans are one for a week."""
    for jail in JAILS:
        host.run("fail2ban-client", "restart", "--unban", jail)


def _banned(host: Host, jail: str) -> list[str]:
    return host.run("fail2ban-client", "get", jail, "banip").split()


def _found(host: Host, jail: str, address: str) -> int:
    """Count the failures of an address so far."""
    return host.run("cat", "/var/log/fail2ban.log").count(f"[{jail}] Found {address} ")


def _guess(kind: str, server: str, address: str, *, times: int = ATTEMPTS) -> None:
    """Try wrong passwords from the outside server, a connection each."""
    arguments = [kind, server, address, str(times)]
    machines.run(OUTSIDE.name, ["python3", "-", *arguments], content=_GUESS)


def _guess_until(shows: Callable[[], bool], guess: Callable[[], object], what: str) -> None:
    """Try again: Postfix may lose a login that waits behind others for Dovecot's penalty, and that is no failure."""

    def look() -> bool:
        guess()
        with suppress(TimeoutError):
            return wait_for(shows, what, seconds=5)
        return False

    wait_for(look, what, seconds=90)


def _open_doors(server: str) -> dict[str, str]:
    """Knock from the outside server."""
    ports = [str(port) for port in (SMTP, SUBMISSIONS, IMAPS, 22)]
    said = machines.run(OUTSIDE.name, ["python3", "-", server, *ports], content=_KNOCK)
    return dict(line.split() for line in said.splitlines())


def test_every_jail_runs(host: Host) -> None:
    for jail in JAILS:
        host.run("fail2ban-client", "status", jail)


@pytest.mark.parametrize(("kind", "jail", "family"), [("imap", "dovecot", "ipv6"), ("smtp", "postfix-sasl", "ipv4")])
@pytest.mark.usefixtures("stranger")
def test_who_guesses_at_one_door_is_shut_out_of_all(host: Host, kind: str, jail: str, family: str) -> None:
    server = getattr(host.machine, family)
    guesser = getattr(OUTSIDE, family)
    alice = account(host.machine, "alice")
    assert set(_open_doors(server).values()) == {"open"}
    _guess_until(
        lambda: guesser in _banned(host, jail),
        lambda: _guess(kind, server, alice.address),
        f"the ban of {guesser}",
    )
    # fail2ban lists an address before it tells nftables.
    wait_for(lambda: set(_open_doors(server).values()) == {"closed"}, "the doors to close")
    # Only that address: its owner's mail goes on.
    submit(alice, compose(alice.address, alice.address, "after the ban"), port=SUBMISSIONS)
    imap_messages(alice)
    host.run("fail2ban-client", "unban", guesser)
    assert set(_open_doors(server).values()) == {"open"}


@pytest.mark.usefixtures("stranger")
def test_fewer_failures_than_allowed_are_forgiven(host: Host) -> None:
    before = _found(host, "dovecot", OUTSIDE.ipv4)
    _guess("imap", host.machine.ipv4, account(host.machine, "alice").address, times=ATTEMPTS - 2)
    failures = before + ATTEMPTS - 2
    wait_for(lambda: _found(host, "dovecot", OUTSIDE.ipv4) == failures, "the count of the failures")
    assert OUTSIDE.ipv4 not in _banned(host, "dovecot")


@pytest.mark.parametrize(("kind", "jail"), [("imap", "dovecot"), ("smtp", "postfix-sasl")])
def test_whoever_deploys_is_never_banned(host: Host, kind: str, jail: str) -> None:
    assert host.run("cat", DEPLOYERS).split() == [GATEWAY4]
    alice = account(host.machine, "alice")
    command = [sys.executable, "-", kind, host.machine.ipv4, alice.address, str(ATTEMPTS)]
    ignored = f"[{jail}] Ignore {GATEWAY4} by command"
    _guess_until(
        lambda: host.run("cat", "/var/log/fail2ban.log").count(ignored) >= ATTEMPTS,
        lambda: subprocess.run(command, input=_GUESS, text=True, check=True, capture_output=True, timeout=120),
        "the deployer's failures",
    )
    assert GATEWAY4 not in _banned(host, jail)
    imap_messages(alice)


@pytest.mark.usefixtures("stranger")
def test_a_change_of_a_setting_keeps_the_bans(host: Host) -> None:
    host.run("fail2ban-client", "set", "dovecot", "banip", OUTSIDE.ipv4)
    with host.stack.kept():
        host.stack.configure({"ban": {"attempts": 20, "allow": [GATEWAY6, "198.51.100.0/24"]}})
        host.stack.up().must_pass()
    assert host.run("fail2ban-client", "get", "dovecot", "maxretry").strip() == "20"
    assert "198.51.100.0/24" in host.run("fail2ban-client", "get", "dovecot", "ignoreip")
    assert _banned(host, "dovecot") == [OUTSIDE.ipv4]
    host.stack.settle()
    assert host.run("fail2ban-client", "get", "dovecot", "maxretry").strip() == str(ATTEMPTS - 1)
