"""What Postfix is told of a destination, by a resolver and a policy daemon of our own."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from mailhostctl import tls_policy
from tests.host.scratch import Host
from tests.host.test_dns import Server

DOMAIN, MX = "example.org", "mx.example.org"
TLSA = f"_25._tcp.{MX}"
ENFORCED = "OK secure match=mx.example.org servername=hostname"
USABLE = f"3 1 1 {'ab' * 32}"
SIGNED = {
    (DOMAIN, "MX"): [f"10 {MX}."],
    (MX, "A"): ["192.0.2.1"],
    (TLSA, "TLSA"): [USABLE],
}


class World:
    """A validating resolver that knows some records, and a daemon that gives one answer."""

    def __init__(self) -> None:
        self.records = dict(SIGNED)
        self.unsigned: set[tuple[str, str]] = set()
        self.broken: set[tuple[str, str]] = set()
        self.policy: str | None = ENFORCED
        self.asked: list[tuple[str, str]] = []
        self._dns = Server("127.0.0.1", 0, self._answer)
        world = self

        class Daemon(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                world.requests.append(str(tls_policy.read(self.rfile)))
                if world.policy is not None:
                    self.wfile.write(b"%d:%s," % (len(world.policy), world.policy.encode()))

        self.requests: list[str] = []
        self._daemon = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Daemon)
        threading.Thread(target=self._daemon.serve_forever, kwargs={"poll_interval": 0.02}).start()
        port: int = self._daemon.server_address[1]
        self.sources = tls_policy.Sources(resolver="127.0.0.1", mta_sts=port, dns_port=self._dns.port)

    def _answer(self, query: dns.message.Message, _tcp: bool) -> bytes:
        question = query.question[0]
        key = (question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype))
        self.asked.append(key)
        reply = dns.message.make_response(query)
        if key in self.broken:
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply.to_wire()
        values = self.records.get(key)
        if values:
            reply.answer = [dns.rrset.from_text_list(question.name, 60, "IN", key[1], values)]
        # RFC 6840 §5.8: AD only for who says that he understands it.
        if query.flags & dns.flags.AD and key not in self.unsigned:
            reply.flags |= dns.flags.AD
        return reply.to_wire()

    def answer(self) -> str:
        return tls_policy.answer(self.sources, f"mta-sts {DOMAIN}")

    def close(self) -> None:
        self._daemon.shutdown()
        self._daemon.server_close()
        self._dns.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_dane_decides_where_both_are(world: World) -> None:
    assert world.answer() == "OK dane-only"
    assert world.requests == [f"mta-sts {DOMAIN}"]


@pytest.mark.parametrize("policy", ["NOTFOUND ", "TEMP later", "PERM never"])
def test_what_is_no_policy_is_handed_on_and_nobody_else_asked(world: World, policy: str) -> None:
    world.policy = policy
    assert world.answer() == policy
    assert world.asked == []


@pytest.mark.parametrize(
    "records",
    [
        {(TLSA, "TLSA"): []},
        {(TLSA, "TLSA"): [f"1 1 1 {'ab' * 32}"]},  # RFC 7672 §3.1.3: not for SMTP
        {(TLSA, "TLSA"): [f"3 1 9 {'ab' * 32}"]},  # nobody knows this digest
        {(DOMAIN, "MX"): [], (DOMAIN, "A"): ["192.0.2.1"]},  # the domain itself, which has no TLSA record
    ],
)
def test_without_usable_tlsa_records_the_policy_holds(world: World, records: dict[tuple[str, str], list[str]]) -> None:
    world.records |= records
    assert world.answer() == ENFORCED


@pytest.mark.parametrize("unsigned", [(DOMAIN, "MX"), (TLSA, "TLSA")])
def test_what_is_not_signed_proves_nothing(world: World, unsigned: tuple[str, str]) -> None:
    world.unsigned = {unsigned}
    assert world.answer() == ENFORCED


def test_a_host_whose_addresses_are_not_signed_is_not_asked_for_tlsa_records(world: World) -> None:
    world.unsigned = {(MX, "A"), (MX, "AAAA")}
    world.broken = {(TLSA, "TLSA")}
    assert world.answer() == ENFORCED
    assert (TLSA, "TLSA") not in world.asked


def test_a_domain_without_mx_is_its_own_server(world: World) -> None:
    world.records = {(DOMAIN, "A"): ["192.0.2.1"], (f"_25._tcp.{DOMAIN}", "TLSA"): [USABLE]}
    assert world.answer() == "OK dane-only"


def test_a_domain_that_takes_no_mail_has_no_server_to_ask(world: World) -> None:
    world.records = {(DOMAIN, "MX"): ["0 ."]}  # RFC 7505
    assert world.answer() == ENFORCED


def test_one_of_two_servers_is_enough(world: World) -> None:
    world.records |= {(DOMAIN, "MX"): ["5 other.example.org.", f"10 {MX}."], ("other.example.org", "A"): ["192.0.2.2"]}
    assert world.answer() == "OK dane-only"


@pytest.mark.parametrize("broken", [(DOMAIN, "MX"), (MX, "A"), (TLSA, "TLSA")])
def test_mail_waits_where_dns_does_not_answer(world: World, broken: tuple[str, str]) -> None:
    world.broken = {broken}
    assert world.answer() == f"TEMP {broken[0]} {broken[1]}: SERVFAIL"


def test_mail_waits_while_the_resolver_is_silent(world: World) -> None:
    silent = tls_policy.Sources(resolver="127.0.0.9", mta_sts=world.sources.mta_sts, dns_port=9, patience=0.1)
    assert tls_policy.answer(silent, f"mta-sts {DOMAIN}").startswith(f"TEMP {DOMAIN} MX: no answer")


def test_mail_waits_while_the_daemon_is_away(world: World) -> None:
    world.policy = None
    assert world.answer() == "TEMP mta-sts-daemon: no answer"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    away = tls_policy.Sources(resolver="127.0.0.1", mta_sts=port)
    assert tls_policy.answer(away, f"mta-sts {DOMAIN}").startswith("TEMP mta-sts-daemon: ")


def test_the_server_answers_one_request_after_another(world: World, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    server = tls_policy.Server(listener, world.sources)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))
            with client.makefile("rb") as stream:
                for _ in range(2):
                    client.sendall(b"19:mta-sts example.org,")
                    assert tls_policy.read(stream) == "OK dane-only"
                client.sendall(b"no netstring")
                assert stream.read() == b""
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("wire", [b"", b":,", b"x", b"3:ab,", b"2:ab;", b"2:ab", b"999999999:", b"5:abc"])
def test_what_is_no_netstring_is_nothing(wire: bytes) -> None:
    assert tls_policy.read(BytesIO(wire)) is None


SOCKET = "/etc/systemd/system/mailhost-tls-policy.socket"
LINK = "etc/systemd/system/sockets.target.wants/mailhost-tls-policy.socket"
SETTINGS = {"/etc/systemd/system/mailhost-tls-policy.service": "[Service]\n"}


def test_without_dane_no_link_to_its_socket_is_left(host: Host) -> None:
    """Systemd would look for the unit at each boot; systemctl disables no unit whose file is gone."""
    assert host.apply("tls-policy", SETTINGS | {SOCKET: "[Socket]\nListenStream=/x\n"}) == 0
    link = host.root / LINK
    link.parent.mkdir(parents=True)
    link.symlink_to(SOCKET)  # as `systemctl enable` does
    assert host.apply("tls-policy", SETTINGS) == 0
    assert not link.is_symlink()
    assert host.live(SOCKET) is None
