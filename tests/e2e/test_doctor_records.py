"""What the doctor finds in DNS; it reads the same there whatever the host runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from lab import cloudflare, dns, faults
from lab.addresses import OUTSIDE, TLD
from lab.clients import wait_for
from lab.dns import served
from tests.e2e.conftest import Host
from tests.e2e.doctor import changed, look, zone_path

pytestmark = pytest.mark.one_release("debian13")


@contextmanager
def added(host: Host, **record: object) -> Iterator[None]:
    """Add a record at Cloudflare that is not the stack's."""
    made = cloudflare.request("POST", zone_path(host), {"ttl": 60, **record})
    try:
        yield
    finally:
        cloudflare.request("DELETE", f"{zone_path(host)}/{made['id']}")


def test_a_record_of_the_settings_changed(host: Host) -> None:
    with changed(host, f"_dmarc.{host.machine.domain}", "TXT", content='"v=DMARC1; p=reject"'):
        seen = look(host).not_well()
    assert set(seen) == {"dns.record"}
    assert "v=DMARC1; p=reject" in seen["dns.record"]


def test_a_time_to_live_changed(host: Host) -> None:
    with changed(host, host.machine.domain, "MX", ttl=3600):
        assert set(look(host).not_well()) == {"dns.ttl"}


def test_a_second_spf_record(host: Host) -> None:
    with added(host, name=host.machine.domain, type="TXT", content='"v=spf1 mx -all"'):
        seen = look(host).not_well()
    assert set(seen) == {"dns.spf"}
    assert "2 records" in seen["dns.spf"]


def test_a_second_mail_exchanger(host: Host) -> None:
    with added(host, name=host.machine.domain, type="MX", content=OUTSIDE.hostname, priority=5):
        seen = look(host).not_well()
    assert set(seen) == {"dns.foreign"}
    assert OUTSIDE.hostname in seen["dns.foreign"]


def test_a_second_dmarc_record(host: Host) -> None:
    with added(host, name=f"_dmarc.{host.machine.domain}", type="TXT", content='"v=DMARC1; p=none"'):
        assert set(look(host).not_well()) == {"dns.dmarc"}


def test_a_second_record_for_reports_on_tls(host: Host) -> None:
    record = {"type": "TXT", "content": '"v=TLSRPTv1; rua=mailto:old@example.net"'}
    with added(host, name=f"_smtp._tls.{host.machine.domain}", **record):
        assert set(look(host).not_well()) == {"dns.tls-rpt"}


def test_a_tlsa_record_of_another_key(host: Host) -> None:
    name = f"_25._tcp.{host.machine.hostname}"
    with served(host.machine.domain, dns.record(name, "TLSA", [f"3 1 1 {'ab' * 32}"])):
        seen = look(host).not_well()
    assert set(seen) == {"dane.match"}


def test_a_zone_that_is_not_signed(host: Host) -> None:
    with served(TLD, {"name": f"{host.machine.domain}.", "type": "DS", "changetype": "DELETE"}):
        believed(host, "insecure")
        assert set(look(host, "--no-ssh").not_well()) == {"dns.dnssec"}
    believed(host, "secure")


def believed(host: Host, state: str) -> None:
    """Wait until the resolver has forgotten what it had proved before."""
    wait_for(lambda: dns.validated(host.machine.domain) == state, f"a zone that is {state}")


def test_a_caa_record_for_another_authority(host: Host) -> None:
    name = host.machine.hostname
    record = dns.record(name, "CAA", ['0 issue "other.example"', '0 issuewild ";"'], ttl=60)
    with served(host.machine.domain, record):
        seen = look(host).not_well()
    assert set(seen) == {"dns.record", "dns.caa"}
    for affected in (name, f"autoconfig.{host.machine.domain}", f"mta-sts.{host.machine.domain}"):
        assert f'failed {affected}: issue "other.example": none of them permits' in seen["dns.caa"]


def test_a_zone_whose_signatures_do_not_hold(host: Host) -> None:
    with served(TLD, dns.record(host.machine.domain, "DS", [f"1 13 2 {'0' * 64}"])):
        believed(host, "bogus")
        found = look(host, "--no-ssh").not_well()
    assert "dns.bogus" in found
    assert "dns.dnssec" not in found
    dns.forget_bogus()
    believed(host, "secure")
    assert look(host, "--no-ssh").not_well() == {}


def test_a_wrong_reverse_name(host: Host) -> None:
    pointer = ip_address(host.machine.ipv4).reverse_pointer
    with served("113.0.203.in-addr.arpa", dns.record(pointer, "PTR", ["vps13.hoster.example."])):
        assert set(look(host).not_well()) == {"address.ptr"}
        assert set(look(host, "--preflight").not_well()) == {"address.ptr"}


def test_a_name_server_that_is_silent(host: Host) -> None:
    with faults.second_nameserver_silent():
        seen = look(host, timeout=2).not_well()
    assert set(seen) == {"dns.delegation"}
    assert "ns2.example" in seen["dns.delegation"]


def test_preflight_finds_a_delegation_to_others(host: Host) -> None:
    with served(host.machine.domain, dns.record(host.machine.domain, "NS", ["ns1.example.", "ns9.example."])):
        assert set(look(host, "--preflight").not_well()) == {"zone.delegation"}
