"""What is switched off leaves nothing behind, and comes back as it was."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import outside
from lab.clients import compose, imap_arrival, imap_message, submit, wait_for
from lab.demo import account
from model import constants
from tests.e2e.conftest import Host
from tests.e2e.delivery import deliver

OFF = {
    "services": {"pop3": False},
    "sieve": {"enabled": False},
    "spam": {"enabled": False},
    "limits": {"enabled": False},
    "outbound": {"dane": False, "mtaSts": False},
}
UNITS = (
    "mailhost-filter-errors.path",
    "mailhost-tls-policy.socket",
    "postfix-mta-sts-resolver.service",
    "redis-server.service",
    "rspamd.service",
    "unbound.service",
)
PORTS = frozenset({"53", "110", "4190"})
"""The resolver's on localhost, POP3's and ManageSieve's."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a host shows of the services that may be off."""

    listening: frozenset[str]
    open: frozenset[str]
    states: dict[str, str]
    """Of the units."""
    filters: frozenset[str]


def seen(host: Host) -> Seen:
    listening = {line.split()[3].rpartition(":")[2] for line in host.run("ss", "-Hltn").splitlines()}
    rules = {line.partition("/")[0] for line in host.run("ufw", "status").splitlines()}
    states = host.run("sh", "-c", 'systemctl is-active "$@" || true', "sh", *UNITS).split()
    files = host.run("find", "/etc/dovecot/sieve", constants.LIBRARY, "-type", "f").split()
    return Seen(
        listening=frozenset(listening & PORTS),
        open=frozenset(rules & PORTS),
        states=dict(zip(UNITS, states, strict=True)),
        filters=frozenset(path for path in files if "sieve" in path or "filter" in path),
    )


@pytest.fixture(scope="module", autouse=True)
def on(host: Host) -> Iterator[Seen]:
    """Switch all of it off; the value is what there was before."""
    host.stack.settle()
    found = seen(host)
    with host.stack.kept():
        host.stack.configure(OFF)
        yield found


def subject() -> str:
    return f"off {secrets.token_hex(6)}"


def test_nothing_of_it_listens_or_runs(host: Host, on: Seen) -> None:
    running, stopped = dict.fromkeys(UNITS, "active"), dict.fromkeys(UNITS, "inactive")
    assert on == Seen(listening=PORTS, open=PORTS - {"53"}, states=running, filters=on.filters)
    assert on.filters
    assert seen(host) == Seen(listening=frozenset(), open=frozenset(), states=stopped, filters=frozenset())
    host.run_fails("test", "-e", "/var/spool/postfix/private/tls-policy")


def test_mail_from_outside_arrives_unfiltered(host: Host) -> None:
    alice, about = account(host.machine, "alice"), subject()
    outside.send(compose(outside.CAROL, alice.address, about))
    delivered = imap_arrival(alice, about)
    assert delivered["Authentication-Results"] is None


def test_marked_mail_stays_in_the_inbox(host: Host) -> None:
    bob, about = account(host.machine, "bob"), subject()
    message = compose(outside.CAROL, bob.address, about)
    message["X-Spam"] = "Yes"
    assert deliver(host, message)[0] == 250
    assert imap_message(bob, about) is not None


def test_mail_goes_out_without_asking_how_well_it_is_protected(host: Host) -> None:
    settings = host.run("postconf", "-h", "smtp_tls_security_level", "smtp_tls_policy_maps").split()
    assert settings == ["may", "texthash:$config_directory/tls_policies"]
    alice, about = account(host.machine, "alice"), subject()
    submit(alice, compose(alice.address, outside.CAROL, about), port=constants.SUBMISSION)
    delivered = wait_for(lambda: outside.message(about), "the mail outside")
    assert "dkim=pass" in outside.verdicts(delivered)


def test_switched_on_again_all_of_it_is_back(host: Host, on: Seen) -> None:
    host.stack.configure(dict.fromkeys(OFF))
    host.stack.up().must_pass()
    assert seen(host) == on
    assert host.stack.planned() == []
