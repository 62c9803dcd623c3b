"""Mail on its way to other servers: verified by DANE and MTA-STS, and kept back where it cannot be.

The other servers are one, mx.outside.example under more names. The names of a test hold the host's, so that two hosts
under test do not meet.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from lab import cloudflare, dns, machines, outside
from lab.addresses import OUTSIDE, TLD
from lab.clients import compose, wait_for
from tests.e2e.conftest import Host
from tests.e2e.doctor import look

WRONG = f"3 1 1 {'ab' * 32}"
UNPROVED = "Server certificate not "
"""Trusted, or verified: which of the words, depends on Postfix's version."""


@pytest.fixture
def domain(host: Host) -> str:
    """A new domain of the outside server, of which nobody remembers records; what it publishes is the test's."""
    return f"{host.machine.name}-{secrets.token_hex(3)}.{OUTSIDE.domain}"


@pytest.fixture(scope="module", autouse=True)
def _keys_are_out(host: Host) -> Iterator[None]:
    """TLSA records from the beginning: when their turn comes, they are old enough."""
    with host.stack.kept():
        host.stack.configure({"tlsa": {"enabled": True}})
        yield


@pytest.fixture(autouse=True)
def _queue_is_empty(host: Host) -> Iterator[None]:
    yield
    host.run("postsuper", "-d", "ALL")


_LOOK_UP = """
import sys
sys.path.insert(0, "/usr/local/sbin/mailhostctl")
from mailhostctl import resolver
for words in zip(sys.argv[1::2], sys.argv[2::2]):
    question = resolver.Question(name=words[0], kind=words[1], recursive=True)
    assert resolver.query("127.0.0.1", question).answers, words
"""


@contextmanager
def world(host: Host, *sets: dict[str, Any]) -> Iterator[None]:
    """Have records outside, once the host's resolver knows of all.

    It may have proved a moment ago, by what it was told of other names, that these do not exist (RFC 8198).
    """
    words = [word for entry in sets for word in (entry["name"].rstrip("."), entry["type"])]
    look_up = ["python3", "-c", _LOOK_UP, *words]
    with dns.served(OUTSIDE.domain, *sets):
        wait_for(lambda: machines.execute(host.machine.name, look_up).returncode == 0, "the records outside")
        yield


def exchanger(name: str, *, mail_of: str) -> list[dict[str, Any]]:
    """Records that send a domain's mail to the outside server under a name."""
    return [
        dns.record(mail_of, "MX", [f"10 {name}."]),
        dns.record(name, "A", [OUTSIDE.ipv4]),
        dns.record(name, "AAAA", [OUTSIDE.ipv6]),
    ]


def tlsa(name: str, value: str) -> dict[str, Any]:
    return dns.record(f"_25._tcp.{name}", "TLSA", [value])


def policy(domain: str) -> list[dict[str, Any]]:
    """Records that announce a domain's MTA-STS policy: enforce."""
    return [
        dns.record(f"_mta-sts.{domain}", "TXT", ['"v=STSv1; id=1"']),
        dns.record(f"mta-sts.{domain}", "A", [OUTSIDE.ipv4]),
    ]


def key_of(certificate: str) -> str:
    """The TLSA record of a certificate on the outside server."""
    script = (
        f"openssl x509 -in {certificate} -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -c1-64"
    )
    return f"3 1 1 {machines.run(OUTSIDE.name, ['sh', '-c', script]).strip()}"


def send(host: Host, domain: str) -> str:
    """Let a program on the host write to carol at a domain; return the subject."""
    about = f"transport {secrets.token_hex(6)}"
    message = compose(f"alice@{host.machine.domain}", f"carol@{domain}", about)
    host.run("sendmail", "-i", "-f", str(message["From"]), str(message["To"]), content=message.as_string())
    return about


def arrives(host: Host, about: str) -> None:
    """Wait for a mail outside, trying what waits again and again."""

    def look() -> object:
        host.run("postqueue", "-f")
        return outside.message(about)

    wait_for(look, f"{about} outside")


def waits(host: Host, about: str, domain: str, reason: str) -> None:
    """Wait until a mail was tried in vain for this reason, among others; it must not have arrived."""

    def look() -> bool:
        for line in host.run("postqueue", "-j").splitlines():
            (recipient,) = json.loads(line)["recipients"]
            if recipient["address"].endswith(f"@{domain}") and reason in recipient.get("delay_reason", ""):
                return True
        host.run("postqueue", "-f")
        return False

    wait_for(look, f"{reason!r} as the reason why {about} waits")
    assert outside.message(about) is None


@contextmanager
def logged(host: Host) -> Iterator[list[str]]:
    """Lines that Postfix logs meanwhile; the list is filled when the context ends."""
    lines: list[str] = []
    cursor = host.run("journalctl", "-n", "0", "--show-cursor").strip().rpartition(" ")[2]
    yield lines
    host.run("journalctl", "--sync")
    lines += host.run(
        "journalctl", "--no-pager", "-o", "cat", f"--after-cursor={cursor}", "-u", "postfix*"
    ).splitlines()


def verified(lines: list[str], name: str) -> bool:
    """Whether a connection to a server was proved to be to that server."""
    return any(f"Verified TLS connection established to {name}[" in line for line in lines)


def test_a_server_with_tlsa_records_is_verified_and_another_one_only_encrypted(host: Host, domain: str) -> None:
    name = f"mx-{domain}"
    records = [*exchanger(name, mail_of=domain), tlsa(name, key_of("/etc/postfix/tls.crt"))]
    with world(host, *records), logged(host) as lines:
        arrives(host, send(host, domain))
    assert verified(lines, name)
    with logged(host) as lines:
        arrives(host, send(host, OUTSIDE.domain))
    assert not verified(lines, OUTSIDE.hostname)
    assert any(f"TLS connection established to {OUTSIDE.hostname}[" in line for line in lines)


def test_mail_waits_while_no_tlsa_record_matches(host: Host, domain: str) -> None:
    name = f"mx-{domain}"
    with world(host, *exchanger(name, mail_of=domain), tlsa(name, WRONG)):
        about = send(host, domain)
        waits(host, about, domain, UNPROVED)
        with world(host, tlsa(name, key_of("/etc/postfix/tls.crt"))), logged(host) as lines:
            arrives(host, about)
    assert verified(lines, name)


def test_mail_waits_while_the_resolver_is_away(host: Host, domain: str) -> None:
    name = f"mx-{domain}"
    records = [*exchanger(name, mail_of=domain), tlsa(name, key_of("/etc/postfix/tls.crt"))]
    with world(host, *records):
        with host.stopped("unbound"):
            about = send(host, domain)
            waits(host, about, domain, "try again")
        with logged(host) as lines:
            arrives(host, about)
    assert verified(lines, name)


def test_the_resolver_is_the_hosts_own_whatever_the_hosts_resolv_conf_says(host: Host, domain: str) -> None:
    name = f"mx-{domain}"
    host.run("mv", "/etc/resolv.conf", "/etc/resolv.conf.kept")
    host.run("sh", "-c", "echo nameserver 203.0.113.1 > /etc/resolv.conf")  # nobody resolves there
    try:
        with world(host, *exchanger(name, mail_of=domain)):
            arrives(host, send(host, domain))
    finally:
        host.run("mv", "/etc/resolv.conf.kept", "/etc/resolv.conf")


def test_a_policy_to_enforce_keeps_mail_from_a_server_with_a_bad_certificate(host: Host) -> None:
    domain, _ = outside.strict_domains(host.machine.name)
    bad, good = domain, f"{domain.partition('.')[0]}.trusted.{OUTSIDE.domain}"
    with world(host, *policy(domain), *exchanger(bad, mail_of=domain)):
        about = send(host, domain)
        waits(host, about, domain, UNPROVED)
        with world(host, *exchanger(good, mail_of=domain)), logged(host) as lines:
            arrives(host, about)
    assert verified(lines, good)


def test_mail_waits_while_policies_cannot_be_asked_for(host: Host) -> None:
    domain, _ = outside.strict_domains(host.machine.name)
    good = f"{domain.partition('.')[0]}.trusted.{OUTSIDE.domain}"
    with world(host, *policy(domain), *exchanger(good, mail_of=domain)):
        with host.stopped("postfix-mta-sts-resolver"):
            about = send(host, domain)
            waits(host, about, domain, "TLS configuration problem")
        arrives(host, about)


def test_a_policy_lets_nothing_pass_that_dane_refuses(host: Host) -> None:
    _, domain = outside.strict_domains(host.machine.name)
    good = f"{domain.partition('.')[0]}.trusted.{OUTSIDE.domain}"
    with world(host, *policy(domain), *exchanger(good, mail_of=domain), tlsa(good, WRONG)):
        about = send(host, domain)
        waits(host, about, domain, UNPROVED)
        right = tlsa(good, key_of("/etc/postfix/trusted.pem"))
        with world(host, right), logged(host) as lines:
            arrives(host, about)
    assert verified(lines, good)


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What came of the mail that another server sent all the time."""

    verified: int
    """Connections that were proved to lead to the host."""
    sent: int
    troubles: Sequence[str]
    """What its log says of mail that was put off, refused, or sent to somebody not proved."""


@contextmanager
def flow(host: Host) -> Iterator[Callable[[], Flow]]:
    """Let the outside server, which keeps to TLSA records, write to alice more than once a second."""
    unit, alice = f"flow-{host.machine.name}", f"alice@{host.machine.domain}"
    letter = f"From: {outside.CAROL}\nTo: {alice}\nSubject: flow\n\nOne of many.\n"
    loop = f'while :; do printf "$1" | sendmail -f {outside.CAROL} {alice}; sleep 0.6; done'
    cursor = machines.run(OUTSIDE.name, ["journalctl", "-n", "0", "--show-cursor"]).strip().rpartition(" ")[2]

    def log() -> list[str]:
        command = ["journalctl", "--no-pager", "-o", "cat", f"--after-cursor={cursor}", "-u", "postfix*"]
        machines.run(OUTSIDE.name, ["journalctl", "--sync"])
        return machines.run(OUTSIDE.name, command).splitlines()

    def seen() -> Flow:
        to_host = [line for line in log() if f"to {host.machine.hostname}[" in line and "TLS connection" in line]
        to_alice = [line for line in log() if f"to=<{alice}>" in line]
        return Flow(
            verified=sum("Verified TLS connection established" in line for line in to_host),
            sent=sum("status=sent" in line for line in to_alice),
            troubles=[line for line in to_host if "Verified" not in line]
            + [line for line in to_alice if "status=sent" not in line],
        )

    machines.run(OUTSIDE.name, ["systemd-run", "--quiet", f"--unit={unit}", "sh", "-c", loop, "sh", letter])
    try:
        wait_for(lambda: seen().verified, "the first mail of the flow")
        yield seen
    finally:
        machines.run(OUTSIDE.name, ["systemctl", "stop", unit])


def served(host: Host) -> str:
    """The TLSA record of the certificate on port 25."""
    script = (
        "openssl s_client -starttls smtp -connect 127.0.0.1:25 </dev/null 2>/dev/null | openssl x509 -noout -pubkey"
        " | openssl pkey -pubin -outform DER | sha256sum | cut -c1-64"
    )
    return f"3 1 1 {host.run('sh', '-c', script).strip().upper()}"


def serial(host: Host) -> str:
    script = (
        "openssl s_client -starttls smtp -connect 127.0.0.1:25 </dev/null 2>/dev/null | openssl x509 -noout -serial"
    )
    return host.run("sh", "-c", script)


def published(host: Host) -> set[str]:
    return {str(record["content"]) for record in cloudflare.records(host.machine.domain) if record["type"] == "TLSA"}


def test_a_key_is_published_before_it_is_used_and_no_mail_notices(host: Host) -> None:
    first, before = served(host), published(host)
    assert len(before) == 2
    assert first in before
    (following,) = before - {first}
    with flow(host) as seen:
        number = serial(host)
        host.run(
            "certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew", "--cert-name", host.machine.hostname
        )
        assert serial(host) != number
        assert served(host) == first
        host.stack.preview("--expect-no-changes").must_pass()
        renewed = seen()

        host.stack.configure({"tlsa": {"enabled": True, "key": 2}})
        host.stack.up().must_pass()
        assert served(host) == following
        assert following in published(host)
        assert first not in published(host)
        sent = seen().sent
        wait_for(lambda: seen().sent > sent + 5, "more mail of the flow")
        wait_for(lambda: seen().verified >= renewed.verified + 10, "more proved connections")
        exchanged = seen()
    assert exchanged.troubles == []
    assert renewed.verified >= 3
    assert exchanged.verified >= renewed.verified + 10
    host.stack.preview("--expect-no-changes").must_pass()
    assert look(host, "--no-ssh").states("dane.match") == {"ok"}


def test_a_key_that_has_no_record_is_not_used(host: Host) -> None:
    in_use = served(host)
    with host.stack.kept():
        host.stack.configure({"tlsa": {"enabled": True, "key": 9}})
        said = host.stack.up()
    assert said.code != 0
    assert "tlsa.key: is 9, but key 2 is in use" in said.output
    assert served(host) == in_use
    assert in_use in published(host)


def test_tlsa_records_for_an_unsigned_zone_are_refused(host: Host) -> None:
    unsigned = {"name": f"{host.machine.domain}.", "type": "DS", "changetype": "DELETE"}
    with host.stack.kept(), dns.served(TLD, unsigned):
        host.stack.configure({"tlsa": {"enabled": True, "key": 3}})
        host.run("systemctl", "restart", "unbound")  # it forgets what it has proved
        said = host.stack.up()
    host.run("systemctl", "restart", "unbound")
    assert said.code != 0
    assert f"DNSSEC does not prove {host.machine.hostname}" in said.output


def test_a_destination_may_be_asked_for_more_and_mail_for_ipv4(host: Host, domain: str) -> None:
    name = f"mx-{domain}"
    secure = {domain: "secure"}
    host.stack.configure(
        {"tlsa": None, "outbound": {"policies": secure, "queueDays": 3, "bounceDays": 0, "ipv6": False}}
    )
    host.stack.up().must_pass()
    assert host.run("postconf", "-h", "maximal_queue_lifetime", "bounce_queue_lifetime").split() == ["3d", "0d"]
    with world(host, *exchanger(name, mail_of=domain)):
        waits(host, send(host, domain), domain, UNPROVED)
        with logged(host) as lines:
            arrives(host, send(host, OUTSIDE.domain))
    sent = [line for line in lines if "status=sent" in line and f"relay={OUTSIDE.hostname}[" in line]
    assert sent
    assert [line for line in sent if f"relay={OUTSIDE.hostname}[{OUTSIDE.ipv4}]" not in line] == []
    host.stack.preview("--expect-no-changes").must_pass()
