"""Faults on purpose do what they say, and are gone afterwards."""

import subprocess
import sys
import threading
from pathlib import Path

import dns.exception
import pytest

from lab import acme, cloudflare, faults, machines, paths, processes
from lab import dns as lab_dns
from lab.addresses import ACME_PORT, GATEWAY4, NS1_4, NS2_4, RESOLVER4, Machine
from lab.clients import wait_for
from tests.lab.test_names import ask, values

# One after another: they share a name in DNS.
pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("guest"), pytest.mark.xdist_group("faults")]

NAME = "fault.trixie.example"


def publish(text: str) -> None:
    lab_dns.api("PATCH", "/zones/trixie.example.", {"rrsets": [lab_dns.record(NAME, "TXT", [f'"{text}"'])]})


def seen(server: str) -> list[str]:
    return values(ask(server, NAME, "TXT"), "TXT")


def test_second_nameserver_lags() -> None:
    publish("old")
    with faults.second_nameserver_lagging():
        publish("new")
        assert seen(NS1_4) == seen(RESOLVER4) == ['"new"']
        assert seen(NS2_4) == ['"old"']
    assert seen(NS2_4) == ['"new"']


def test_second_nameserver_is_silent() -> None:
    publish("there")
    with faults.second_nameserver_silent():
        with pytest.raises((OSError, dns.exception.Timeout)):
            seen(NS2_4)
        assert seen(RESOLVER4) == ['"there"']
    assert seen(NS2_4) == ['"there"']


def test_the_certificate_authority_is_away_for_one_machine(guest: Machine) -> None:
    def connects() -> bool:
        script = f"import socket; socket.create_connection(('{GATEWAY4}', {ACME_PORT}), 2)"
        done = machines.execute(guest.name, ["python3", "-c", script])
        assert done.returncode == 0 or "ConnectionRefusedError" in done.stderr
        return done.returncode == 0

    assert connects()
    with faults.certificate_authority_away(guest):
        assert not connects()
        assert acme.answers()
    assert connects()


def test_a_restarted_certificate_authority_has_a_new_root() -> None:
    before = acme.issuing_roots()
    processes.stop("pebble")
    acme.start()
    assert acme.issuing_roots().startswith(before)  # certificates of the old one are still out there
    assert len(acme.issuing_roots()) > len(before)


def test_publication_is_held() -> None:
    (zone,) = cloudflare.request("GET", "zones?name=trixie.example")
    records = f"zones/{zone['id']}/dns_records"
    with faults.publication_held("trixie.example"):
        wanted = {"type": "TXT", "name": "held.trixie.example", "content": '"late"', "ttl": 60}
        made = cloudflare.request("POST", records, wanted)
        assert "held.trixie.example" in {record["name"] for record in cloudflare.records("trixie.example")}
        assert values(ask(NS1_4, "held.trixie.example", "TXT"), "TXT") == []
    try:
        wait_for(lambda: values(ask(NS1_4, "held.trixie.example", "TXT"), "TXT"), "the held record")
    finally:
        cloudflare.request("DELETE", f"{records}/{made['id']}")
    assert values(ask(NS1_4, "held.trixie.example", "TXT"), "TXT") == []


def test_a_lock_is_held_on_the_machine(guest: Machine) -> None:
    def free() -> bool:
        return machines.execute(guest.name, ["flock", "--nonblock", "/run/test-lock", "true"]).returncode == 0

    assert free()
    with faults.lock_held(guest, "/run/test-lock"):
        assert not free()
    assert free()


def test_a_fault_waits_for_whoever_must_not_meet_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILHOST_CACHE", str(tmp_path))  # a lock of our own: others may hold the lab's for minutes
    monkeypatch.setattr(lab_dns, "stop_second", lambda: None)
    monkeypatch.setattr(lab_dns, "start_second", lambda: None)
    script = "from lab import faults\nwith faults.undisturbed():\n    print('calm', flush=True)\n    input()"
    started = threading.Event()

    def disturb() -> None:
        with faults.second_nameserver_silent():
            started.set()

    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=paths.CLONE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"calm\n"
        thread = threading.Thread(target=disturb)
        thread.start()
        assert not started.wait(0.5)
        other.communicate(b"\n", timeout=10)
        assert started.wait(10)
        thread.join()
