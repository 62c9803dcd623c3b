"""Keys that are written down elsewhere are the lab's."""

from pathlib import Path

import yaml
from cryptography import x509

from lab import keys
from lab.addresses import CLOUDFLARE_URL, MACHINES, STACK

CONFIG = yaml.safe_load((Path(__file__).parents[2] / f"Pulumi.{STACK}.yaml").read_text())["config"]


def test_stack_dev_pins_the_host_key_of_its_machine() -> None:
    assert CONFIG["mailhost:hostKey"] == keys.host_public("trixie")


def test_stack_dev_describes_its_machine() -> None:
    machine = MACHINES["trixie"]
    assert CONFIG["mailhost:domain"] == machine.domain
    assert CONFIG["mailhost:ipv4"] == machine.ipv4
    assert CONFIG["mailhost:ipv6"] == machine.ipv6
    assert CONFIG["cloudflare:baseUrl"] == CLOUDFLARE_URL


def test_every_machine_has_its_own_host_key() -> None:
    assert len({keys.host_public(name) for name in MACHINES}) == len(MACHINES)


def test_keys_and_certificates_are_the_same_in_every_run() -> None:
    assert keys.api_authority() == keys.api_authority()
    assert keys.root_ds() == ". IN DS 36051 13 2 4c586786461ad449bd1d2bbba152ac16249421d0ebffcf1a29b7a974d8c521d8"


def test_the_acme_servers_certificate_is_issued_by_the_authority_that_machines_trust() -> None:
    authority = x509.load_pem_x509_certificate(keys.api_authority().encode())
    certificate = x509.load_pem_x509_certificate(keys.api_certificate()[0].encode())
    certificate.verify_directly_issued_by(authority)
