"""The service as its own process, with a real PowerDNS on loopback behind it, and DNS answers as the judge."""

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import httpx
import pytest
from cloudflare import BadRequestError, Cloudflare

from tests.cloudflare_api.fakes import TOKEN, ZONE

ROOT = Path(__file__).parents[2]
SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
PDNS = shutil.which("pdns_server", path="/usr/sbin:/usr/bin")

pytestmark = pytest.mark.skipif(PDNS is None or not SCHEMA.exists(), reason="PowerDNS is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=10)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 15
    while True:
        try:
            httpx.get(url)
        except httpx.TransportError:
            assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
            assert time.monotonic() < end, f"{url} does not answer"
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def powerdns(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """URL of the REST API and port of the DNS server of a PowerDNS that serves the zone, signed."""
    database = sqlite3.connect(tmp_path / "pdns.db")
    database.executescript(SCHEMA.read_text())
    database.close()
    dns_port, web_port = free_port(), free_port()
    (tmp_path / "pdns.conf").write_text(
        f"""launch=gsqlite3
gsqlite3-database={tmp_path}/pdns.db
gsqlite3-dnssec=yes
local-address=127.0.0.1:{dns_port}
api=yes
api-key=key
webserver=yes
webserver-address=127.0.0.1
webserver-port={web_port}
socket-dir={tmp_path}
daemon=no
guardian=no
security-poll-suffix=
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
"""
    )
    with (tmp_path / "pdns.log").open("wb") as log:
        process = subprocess.Popen([str(PDNS), f"--config-dir={tmp_path}"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{web_port}"
        wait_for(url, process)
        zone = {
            "name": f"{ZONE}.",
            "kind": "Native",
            "nameservers": ["ns1.example."],
            "api_rectify": True,
            "dnssec": True,
        }
        httpx.post(f"{url}/api/v1/servers/localhost/zones", json=zone, headers={"X-API-Key": "key"}).raise_for_status()
        yield url, dns_port
    finally:
        stop(process)


@pytest.fixture
def client(powerdns: tuple[str, int], tmp_path: Path) -> Iterator[Cloudflare]:
    port = free_port()
    arguments = {
        "--listen": f"127.0.0.1:{port}",
        "--powerdns": powerdns[0],
        "--key": "key",
        "--token": TOKEN,
        "--state": str(tmp_path / "records.json"),
        "--zone": ZONE,
    }
    command = [sys.executable, "-m", "lab.cloudflare_api", *(word for pair in arguments.items() for word in pair)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        base = f"http://127.0.0.1:{port}/client/v4"
        wait_for(base, process)
        with Cloudflare(api_token=TOKEN, base_url=base, max_retries=0) as client:
            yield client
    finally:
        assert stop(process) == 0


def test_records_are_answered_by_the_name_server(client: Any, powerdns: tuple[str, int], tmp_path: Path) -> None:
    def answer(name: str, kind: str) -> list[str]:
        question = dns.message.make_query(name, kind, use_edns=True, payload=4096)
        response = dns.query.udp(question, "127.0.0.1", port=powerdns[1], timeout=5)
        return sorted(item.to_text() for rrset in response.answer for item in rrset)

    (found,) = client.zones.list(name=ZONE)
    zone = found.id
    host = f"mail.{ZONE}"
    dkim = f'"v=DKIM1; k=rsa; p={"A" * 230}" "{"B" * 180}"'
    create = client.dns.records.create
    address = create(zone_id=zone, name=host, type="A", ttl=3600, content="203.0.113.13")
    create(zone_id=zone, name=host, type="AAAA", ttl=3600, content="2001:db8:113::13")
    create(zone_id=zone, name=ZONE, type="MX", ttl=3600, content=host, priority=10)
    create(zone_id=zone, name=ZONE, type="TXT", ttl=3600, content="v=spf1 mx -all")
    create(zone_id=zone, name=f"mail._domainkey.{ZONE}", type="TXT", ttl=3600, content=dkim)
    create(zone_id=zone, name=f"www.{ZONE}", type="CNAME", ttl=3600, content=host)
    target = {"priority": 0, "weight": 1, "port": 993, "target": host}
    create(zone_id=zone, name=f"_imaps._tcp.{ZONE}", type="SRV", ttl=3600, data=target)
    create(zone_id=zone, name=ZONE, type="CAA", ttl=3600, data={"flags": 0, "tag": "issue", "value": "ca.example"})

    assert answer(host, "A") == ["203.0.113.13"]
    assert answer(host, "AAAA") == ["2001:db8:113::13"]
    assert answer(ZONE, "MX") == [f"10 {host}."]
    assert answer(ZONE, "TXT") == ['"v=spf1 mx -all"']
    assert answer(f"mail._domainkey.{ZONE}", "TXT") == [dkim]
    assert answer(f"www.{ZONE}", "A") == ["203.0.113.13", f"{host}."]
    assert answer(f"_imaps._tcp.{ZONE}", "SRV") == [f"0 1 993 {host}."]
    assert answer(ZONE, "CAA") == ['0 issue "ca.example"']

    with pytest.raises(BadRequestError, match="Conflicts"):
        # PowerDNS's own judgement: a CNAME stands alone (RFC 1034 section 3.6.2).
        create(zone_id=zone, name=f"www.{ZONE}", type="TXT", ttl=3600, content="beside it")
    client.dns.records.delete(address.id, zone_id=zone)
    assert answer(host, "A") == []
    assert len(json.loads((tmp_path / "records.json").read_text())["records"][ZONE]) == 7
