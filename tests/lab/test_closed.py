"""The lab is closed: a machine reaches lab addresses, and nothing else, however it tries."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from lab import machines, network
from lab.addresses import GATEWAY4, GATEWAY6, RESOLVER4, Machine
from tests.lab.inside import run_inside

pytestmark = pytest.mark.lab

CONNECT = """
import json, socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.5).close()
    print(json.dumps("connected"))
except OSError as error:
    print(json.dumps(type(error).__name__))
"""

ASK = """
import json, sys
import dns.flags, dns.message, dns.query
question = dns.message.make_query(sys.argv[2], "SOA", want_dnssec=True)
ask = dns.query.tcp if sys.argv[3] == "tcp" else dns.query.udp
answer = ask(question, sys.argv[1], timeout=5)
authoritative = bool(answer.flags & dns.flags.AA)
print(json.dumps([authoritative, [str(item) for rrset in answer.answer for item in rrset]]))
"""


def addresses_of_the_outer_machine() -> list[str]:
    """Its addresses outside the lab, other than loopback and link-local ones."""
    listed = json.loads(subprocess.run(["ip", "-j", "address"], capture_output=True, check=True).stdout)
    return [
        entry["local"]
        for link in listed
        for entry in link["addr_info"]
        if entry["scope"] == "global" and not entry["local"].startswith(("203.0.113.", "2001:db8:113:"))
    ]


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on which the outer machine listens on all its addresses."""
    with closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("address", ["198.51.100.7", "192.0.2.200", "2001:db8:ffff::7", "203.0.113.200"])
def test_a_machine_reaches_no_foreign_address(guest: Machine, address: str) -> None:
    assert run_inside(guest.name, CONNECT, address, "443") != "connected"


@pytest.mark.parametrize("address", ["198.51.100.7", "2001:db8:ffff::7"])
def test_what_it_sends_there_is_dropped_and_counted(guest: Machine, address: str) -> None:
    before = network.dropped()
    run_inside(guest.name, CONNECT, address, "443")
    assert network.dropped() > before


def test_a_machine_does_not_reach_other_addresses_of_the_outer_machine(guest: Machine, listener: int) -> None:
    foreign = addresses_of_the_outer_machine()
    assert foreign, "the outer machine has no address besides the lab's: nothing to try"
    before = network.dropped()
    for address in foreign:
        socket.create_connection((address, listener), timeout=5).close()  # it does listen
        assert run_inside(guest.name, CONNECT, address, str(listener)) != "connected", address
    assert network.dropped() > before


@pytest.mark.parametrize("address", [GATEWAY4, GATEWAY6, RESOLVER4])
def test_a_machine_does_not_reach_other_services_of_the_outer_machine(
    guest: Machine, listener: int, address: str
) -> None:
    socket.create_connection((address, listener), timeout=5).close()
    assert run_inside(guest.name, CONNECT, address, str(listener)) != "connected"


def test_nothing_was_ever_forwarded(guest: Machine) -> None:
    run_inside(guest.name, CONNECT, "203.0.113.200", "80")
    rules = subprocess.run(["nft", "list", "table", "inet", network.TABLE], capture_output=True, text=True, check=True)
    assert rules.stdout.count('counter name "forwards" drop') == 2
    assert "masquerade" not in rules.stdout


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("root_server", ["198.41.0.4", "2001:503:ba3e::2:30"])
def test_the_real_root_servers_addresses_are_answered_by_the_lab(
    guest: Machine, root_server: str, transport: str
) -> None:
    authoritative, found = run_inside(guest.name, ASK, root_server, ".", transport)
    assert authoritative
    assert any(item.startswith("ns1.example. hostmaster.example. ") for item in found)


def test_packages_come_through_the_cache_on_the_bridge(guest: Machine) -> None:
    machines.run(guest.name, ["apt-get", "update"])
    assert "Candidate: 1:9." in machines.run(guest.name, ["apt-cache", "policy", "openssh-server"])
