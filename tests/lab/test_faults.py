"""Faults on purpose do what they say, and are gone afterwards."""

import dns.exception
import pytest

from lab import acme, faults
from lab import dns as lab_dns
from lab.addresses import NS1_4, NS2_4, RESOLVER4
from lab.errors import LabError
from tests.lab.test_names import ask, values

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("guest")]

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


def test_certificate_authority_is_away_and_back_with_a_new_root() -> None:
    before = acme.issuing_roots()
    with faults.certificate_authority_stopped(), pytest.raises(LabError, match="does not answer"):
        acme.issuing_roots()
    after = acme.issuing_roots()
    assert "BEGIN CERTIFICATE" in after
    assert after != before
