"""The DNS client: its codec against dnspython, and its waiting against small servers on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailhostctl import dns as codec
from mailhostctl import resolver
from mailhostctl.paths import Root
from mailhostctl.system import MailhostError

LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)
ADDRESS4 = st.ip_addresses(v=4).map(str)
ADDRESS6 = st.ip_addresses(v=6).map(str)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=700)


def _quoted(text: str) -> str:
    pieces = [text[start : start + 255] for start in range(0, len(text), 255)] or [""]
    return " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)


def _reply(question: bytes, rrsets: list[dns.rrset.RRset]) -> dns.message.Message:
    reply = dns.message.make_response(dns.message.from_wire(question))
    reply.answer = rrsets
    return reply


@settings(max_examples=50, deadline=None)
@given(NAME, st.sampled_from(sorted(codec.TYPES)), st.booleans(), st.integers(0, 0xFFFF))
def test_a_question_reads_as_one(name: str, kind: str, recursive: bool, identity: int) -> None:
    message = dns.message.from_wire(codec.encode_query(identity, name, kind, recursive=recursive))
    assert message.id == identity
    assert message.question[0].to_text() == f"{name}. IN {kind}"
    assert bool(message.flags & dns.flags.RD) is recursive
    assert (message.edns, message.payload) == (0, 1232)


@settings(max_examples=50, deadline=None)
@given(NAME, st.lists(ADDRESS4, min_size=1, max_size=5), st.lists(TEXT, min_size=1, max_size=3), NAME, ADDRESS6)
def test_answers_come_back_as_they_were(name: str, four: list[str], texts: list[str], mx: str, six: str) -> None:
    owner = dns.name.from_text(name)
    values = {"A": sorted(set(four)), "AAAA": [six], "MX": [f"10 {mx}"], "NS": [mx], "TXT": sorted(set(texts))}
    values["CAA"] = [f'0 issue "{mx};accounturi=https://{mx}/1"', '128 issuewild ";"']
    rrsets = [
        dns.rrset.from_text_list(
            owner, 60, "IN", kind, [_quoted(value) if kind == "TXT" else _dotted(kind, value) for value in found]
        )
        for kind, found in values.items()
    ]
    wire = _reply(codec.encode_query(7, name, "A", recursive=False), rrsets).to_wire(max_size=65535)
    message = codec.decode(wire)
    assert message.question == (name, codec.TYPES["A"])
    for kind, found in values.items():
        got = [record.value for record in message.answers if record.type == kind]
        assert sorted(got) == [str(value) for value in found]
    assert {record.name for record in message.answers} == {name}


def _dotted(kind: str, value: str) -> str:
    return f"{value}." if kind in {"MX", "NS"} else value


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_ends_in_one_kind_of_error(wire: bytes) -> None:
    with contextlib.suppress(codec.MalformedError):
        codec.decode(wire)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_message_ends_in_one_kind_of_error(data: st.DataObject) -> None:
    owner = dns.name.from_text("mail.example.org")
    rrsets = [
        dns.rrset.from_text(owner, 60, "IN", "TXT", '"a" "b"'),
        dns.rrset.from_text(owner, 60, "IN", "MX", "10 mx.example.org."),
    ]
    wire = bytearray(_reply(codec.encode_query(7, "mail.example.org", "TXT", recursive=False), rrsets).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(codec.MalformedError):
        codec.decode(bytes(wire[: data.draw(st.integers(0, len(wire)))]))


def test_a_pointer_to_itself_is_no_loop() -> None:
    header = b"\0\7\x80\0\0\1\0\0\0\0\0\0"
    with pytest.raises(codec.MalformedError, match="backwards"):
        codec.decode(header + b"\xc0\x0c\0\1\0\1")


@pytest.mark.parametrize("name", ["a" * 64 + ".org", ".".join(["a" * 60] * 5), "a..b"])
def test_a_name_that_cannot_be_asked_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="characters|octets"):
        codec.encode_name(name)


Answer = Callable[[dns.message.Message, bool], bytes | None]


class Server:
    """Answers DNS over UDP and TCP on one loopback address."""

    def __init__(self, address: str, port: int, answer: Answer) -> None:
        self.answer = answer
        self.asked = 0
        while True:
            self._tcp = socket.create_server((address, port))
            self.port: int = self._tcp.getsockname()[1]
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self._udp.bind((address, self.port))
                break
            except OSError:  # a port that is free for TCP need not be so for UDP
                self._udp.close()
                self._tcp.close()
                if port:
                    raise
        self._threads = [threading.Thread(target=target) for target in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def _serve_udp(self) -> None:
        while True:
            wire, peer = self._udp.recvfrom(65535)
            if not wire:
                return
            self.asked += 1
            reply = self.answer(dns.message.from_wire(wire), False)
            if reply is not None:
                self._udp.sendto(reply, peer)

    def _serve_tcp(self) -> None:
        while True:
            client, _ = self._tcp.accept()
            with client:
                length = client.recv(2)
                if not length:
                    return
                reply = self.answer(dns.message.from_wire(client.recv(int.from_bytes(length))), True)
                if reply is not None:
                    client.sendall(len(reply).to_bytes(2) + reply)

    def close(self) -> None:
        address = self._udp.getsockname()
        with socket.socket(self._udp.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"", address)
        socket.create_connection(address[:2]).close()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()


class Zone:
    """Answers from a table: {(name, type): [values]}."""

    def __init__(self, records: dict[tuple[str, str], list[str]], **flags: bool) -> None:
        self.records = records
        self.flags = flags

    def __call__(self, query: dns.message.Message, tcp: bool) -> bytes | None:
        reply = dns.message.make_response(query)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        values = self.records.get((name, kind))
        if values is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        else:
            reply.answer = [dns.rrset.from_text_list(question.name, 60, "IN", kind, values)] if values else []
        if self.flags.get("truncates") and not tcp:
            reply.flags |= dns.flags.TC
            reply.answer = []
        return reply.to_wire()


HOST = "mail.example.org"
GLUE = {
    ("example.org", "NS"): ["ns1.example.net.", "ns2.example.net."],
    ("ns1.example.net", "A"): ["127.0.0.2"],
    ("ns2.example.net", "A"): ["127.0.0.3"],
}
HERE = {(HOST, "A"): ["192.0.2.1"]}


class Network:
    """A resolver on 127.0.0.1 and name servers beside it, all on one port."""

    def __init__(self, folder: Path) -> None:
        (folder / "etc").mkdir()
        (folder / "etc/resolv.conf").write_text("search example.org\nnameserver 127.0.0.1\n")
        self._root = Root(base=folder)
        self.zone = Zone(dict(GLUE))
        self.servers = [Server("127.0.0.1", 0, self.zone)]

    def add(self, address: str, answer: Answer) -> Server:
        self.servers.append(Server(address, self.servers[0].port, answer))
        return self.servers[-1]

    def wait(self, kind: str = "A", value: str = "192.0.2.1", timeout: float = 1, name: str = HOST) -> None:
        self.wait_all(f"example.org {name} {kind} {value}\n", timeout=timeout)

    def wait_all(self, lines: str, timeout: float = 1) -> None:
        resolver.wait(self._root, resolver.read(lines), timeout=timeout, port=self.servers[0].port)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setattr(resolver, "ANSWER", 0.2)
    network = Network(tmp_path)
    yield network
    for server in network.servers:
        server.close()


def test_it_returns_when_every_server_answers(network: Network) -> None:
    one, two = network.add("127.0.0.2", Zone(HERE)), network.add("127.0.0.3", Zone(HERE))
    network.wait()
    assert (one.asked, two.asked) == (1, 1)


def test_one_server_that_lags_is_waited_for_and_the_others_left_alone(network: Network) -> None:
    one, late = network.add("127.0.0.2", Zone(HERE)), Zone({})
    network.add("127.0.0.3", late)
    threading.Timer(0.3, lambda: late.records.update(HERE)).start()
    started = time.monotonic()
    network.wait(timeout=5)
    assert time.monotonic() - started >= 0.3
    assert one.asked == 1


def test_at_the_end_it_tells_what_each_server_said(network: Network) -> None:
    network.add("127.0.0.2", Zone({(HOST, "A"): ["192.0.2.9"]}))
    network.add("127.0.0.3", lambda _query, _tcp: None)
    with pytest.raises(MailhostError) as caught:
        network.wait(timeout=0.5)
    assert "ns1.example.net (127.0.0.2): answers '192.0.2.9'" in str(caught.value)
    assert "ns2.example.net (127.0.0.3): no answer" in str(caught.value)


def test_a_missing_name_and_a_missing_type_read_differently(network: Network) -> None:
    network.add("127.0.0.2", Zone({}))
    network.add("127.0.0.3", Zone({(HOST, "A"): []}))
    with pytest.raises(MailhostError) as caught:
        network.wait(timeout=1)
    assert "ns1.example.net (127.0.0.2): NXDOMAIN" in str(caught.value)
    assert "ns2.example.net (127.0.0.3): has no A record of this name" in str(caught.value)


def test_many_records_are_one_wait_and_each_is_asked_for_once(network: Network) -> None:
    names = [f"autoconfig.d{number}.example" for number in range(50)]
    zone = Zone({(name, "CNAME"): [f"{HOST}."] for name in names} | HERE)
    one, two = network.add("127.0.0.2", zone), network.add("127.0.0.3", zone)
    network.wait_all(
        "".join(f"example.org {name} CNAME {HOST}.\n" for name in names) + f"example.org {HOST} A 192.0.2.1"
    )
    assert (one.asked, two.asked) == (51, 51)


def test_each_record_that_is_missing_is_named_with_what_was_said(network: Network) -> None:
    network.add("127.0.0.2", Zone(HERE))
    network.add("127.0.0.3", Zone({**HERE, ("other.example.org", "A"): ["192.0.2.9"]}))
    with pytest.raises(MailhostError) as caught:
        network.wait_all(f"example.org {HOST} A 192.0.2.1\nexample.org other.example.org A 192.0.2.1\n", timeout=0.2)
    said = str(caught.value)
    assert "other.example.org A: not everywhere after 0 s" in said
    assert f"{HOST} A" not in said
    assert "ns1.example.net (127.0.0.2): NXDOMAIN" in said
    assert "ns2.example.net (127.0.0.3): answers '192.0.2.9'" in said


def test_a_silent_server_does_not_cost_its_patience_for_every_record(network: Network) -> None:
    network.add("127.0.0.2", lambda _query, _tcp: None)
    network.add("127.0.0.3", Zone({}))
    started = time.monotonic()
    with pytest.raises(MailhostError, match="ns1.example.net .127.0.0.2.: no answer"):
        network.wait_all(
            "".join(f"example.org d{number}.example.org A 192.0.2.1\n" for number in range(100)), timeout=1
        )
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("line", ["example.org mail.example.org A", "example.org mail.example.org SPF x", "x"])
def test_a_line_that_is_no_record_is_named(line: str) -> None:
    with pytest.raises(MailhostError, match="line 2 is not ZONE NAME TYPE VALUE"):
        resolver.read(f"example.org {HOST} A 192.0.2.1\n{line}\n")


def test_a_long_text_comes_by_tcp_and_in_pieces(network: Network) -> None:
    key = "v=DKIM1; k=rsa; p=" + "A" * 700
    zone = Zone({("mail._domainkey.example.org", "TXT"): [_quoted(key)]}, truncates=True)
    network.add("127.0.0.2", zone)
    network.add("127.0.0.3", zone)
    network.wait("TXT", key, name="mail._domainkey.example.org")


def test_an_answer_to_another_question_is_passed_over(network: Network) -> None:
    def confused(query: dns.message.Message, tcp: bool) -> bytes | None:
        if not tcp:
            query.question[0].name = dns.name.from_text("other.example.org.")
        return Zone({("other.example.org", "A"): ["192.0.2.1"]})(query, tcp)

    network.add("127.0.0.2", confused)
    network.add("127.0.0.3", Zone(HERE))
    with pytest.raises(MailhostError, match="no answer"):
        network.wait(timeout=0.3)


def test_a_family_without_a_route_is_left_out(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    network.zone.records["ns1.example.net", "AAAA"] = ["2001:db8::1"]
    network.add("127.0.0.2", Zone(HERE))
    network.add("127.0.0.3", Zone(HERE))
    monkeypatch.setattr(resolver, "_has_route", lambda address, _port: ":" not in address)
    network.wait()


def test_without_any_route_it_says_so(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "_has_route", lambda _address, _port: False)
    with pytest.raises(MailhostError, match="no route to any of ns1.example.net"):
        network.wait(timeout=0.1)


def test_a_zone_nobody_serves_is_named(network: Network) -> None:
    del network.zone.records["example.org", "NS"]
    with pytest.raises(MailhostError, match="example.org: no name servers"):
        network.wait(timeout=0.1)


@pytest.mark.parametrize(("kind", "value"), [("A", "2001:db8::1"), ("AAAA", "192.0.2.1"), ("MX", "mail.example.org")])
def test_a_value_that_cannot_be_is_refused_at_once(network: Network, kind: str, value: str) -> None:
    with pytest.raises(MailhostError, match="is not the value of"):
        network.wait(kind, value)


def test_addresses_and_exchanges_are_compared_in_one_form(network: Network) -> None:
    zone = Zone({(HOST, "AAAA"): ["2001:db8:0:0::1"], (HOST, "MX"): ["10 MX.Example.ORG."]})
    network.add("127.0.0.2", zone)
    network.add("127.0.0.3", zone)
    network.wait("AAAA", "2001:DB8::0001")
    network.wait("MX", "10 mx.example.org.")
