"""The lab's DNS: signed from its own root, validated, answered alike by both name servers, never cached."""

import dns.dnssec
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.reversename
import pytest

from lab import dns as lab_dns
from lab import keys, machines
from lab.addresses import MACHINES, NS1_4, NS1_6, NS2_4, NS2_6, RESOLVER4, RESOLVER6, TLD, Machine
from lab.clients import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("undisturbed")]


def ask(server: str, name: str, kind: str) -> dns.message.Message:
    question = dns.message.make_query(name, kind, want_dnssec=True)
    return dns.query.udp_with_fallback(question, server, timeout=5)[0]


def values(answer: dns.message.Message, kind: str) -> list[str]:
    return sorted(str(item) for rrset in answer.answer if rrset.rdtype.name == kind for item in rrset)


@pytest.mark.parametrize("resolver", [RESOLVER4, RESOLVER6])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mx.outside.example.", "A"),
        ("mx.outside.example.", "AAAA"),
        ("outside.example.", "MX"),
        ("lab._domainkey.outside.example.", "TXT"),
        ("trixie.example.", "SOA"),
        ("trixie.example.", "DS"),
        ("13.113.0.203.in-addr.arpa.", "PTR"),
    ],
)
def test_answers_are_validated(resolver: str, name: str, kind: str) -> None:
    answer = ask(resolver, name, kind)
    assert answer.rcode() == dns.rcode.NOERROR
    assert values(answer, kind)
    assert answer.flags & dns.flags.AD


@pytest.mark.parametrize("name", ["nothing.trixie.example.", "debian.org.", "nothing.example."])
def test_absence_is_validated(name: str) -> None:
    answer = ask(RESOLVER4, name, "A")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.flags & dns.flags.AD


def test_a_zone_that_was_bogus_is_believed_again_once_the_resolver_forgets() -> None:
    zone = MACHINES["trixie"].second_domain
    with lab_dns.served(TLD, lab_dns.record(zone, "DS", [f"1 13 2 {'0' * 64}"])):
        wait_for(lambda: lab_dns.validated(zone) == "bogus", "a zone that is bogus")
    assert lab_dns.validated(zone) == "bogus"
    lab_dns.forget_bogus()
    assert lab_dns.validated(zone) == "secure"


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_addresses_lead_back_to_the_host_name(machine: Machine) -> None:
    for address in (machine.ipv4, machine.ipv6):
        pointer = dns.reversename.from_address(address)
        assert values(ask(RESOLVER4, str(pointer), "PTR"), "PTR") == [f"{machine.hostname}."]


def test_the_root_is_signed_with_the_key_that_machines_trust() -> None:
    answer = ask(NS1_4, ".", "DNSKEY")
    (key,) = (item for rrset in answer.answer if rrset.rdtype.name == "DNSKEY" for item in rrset)
    assert f". IN DS {dns.dnssec.make_ds('.', key, 'SHA256')}" == keys.root_ds()


def test_a_machine_has_the_labs_root_as_its_anchor(guest: Machine) -> None:
    assert machines.run(guest.name, ["cat", "/usr/share/dns/root.key"]).strip() == keys.root_ds()
    diverted = machines.run(guest.name, ["dpkg-divert", "--truename", "/usr/share/dns/root.key"])
    assert diverted.strip() != "/usr/share/dns/root.key"


def test_a_record_is_visible_everywhere_at_once_also_after_it_was_absent() -> None:
    name = "fresh.trixie.example"
    everyone = (RESOLVER4, RESOLVER6, NS1_4, NS1_6, NS2_4, NS2_6)
    try:
        for server in everyone:
            assert values(ask(server, name, "TXT"), "TXT") == []
        for text in ('"first"', '"second"'):
            lab_dns.api("PATCH", "/zones/trixie.example.", {"rrsets": [lab_dns.record(name, "TXT", [text], 3600)]})
            for server in everyone:
                assert values(ask(server, name, "TXT"), "TXT") == [text], server
    finally:
        gone = {"name": f"{name}.", "type": "TXT", "changetype": "DELETE"}
        lab_dns.api("PATCH", "/zones/trixie.example.", {"rrsets": [gone]})
