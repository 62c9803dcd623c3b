"""What tests use to look into machines."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab import machines, network, paths
from lab.addresses import BRIDGE, MACHINES, OUTSIDE, Machine
from lab.errors import LabError

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("name", ["bookworm", OUTSIDE.name])
def test_ssh_logins_are_counted_and_looking_is_not_one(guest: Machine, name: str) -> None:
    del guest
    before = machines.ssh_connections(name)
    assert machines.run(name, ["hostname", "--fqdn"]).strip() == MACHINES[name].hostname
    assert machines.ssh_connections(name) == before
    login = [sys.executable, "-m", "lab", "shell", name, "true"]
    subprocess.run(login, cwd=paths.CLONE, check=True, timeout=30)
    assert machines.ssh_connections(name) == before + 1


def test_a_command_gets_its_input_and_only_that(guest: Machine) -> None:
    assert machines.run(guest.name, ["cat"], content="hello\n") == "hello\n"
    assert machines.run(guest.name, ["cat"]) == ""


def test_a_failing_command_is_reported_with_its_words(guest: Machine) -> None:
    with pytest.raises(LabError, match=r"bookworm: ls /absent failed with 2: .*No such file"):
        machines.run(guest.name, ["ls", "/absent"])


def test_a_machine_boots_without_a_failed_unit(guest: Machine) -> None:
    assert machines.run(guest.name, ["systemctl", "is-system-running", "--wait"]).strip() == "running"


def test_files_of_a_machine_can_be_read_from_outside_it(guest: Machine) -> None:
    release = (machines.root(guest.name) / "usr/lib/os-release").read_text()
    assert "VERSION_CODENAME=bookworm" in release


def test_the_bridge_keeps_its_hardware_address_whichever_machines_run(guest: Machine) -> None:
    del guest
    bridge = Path("/sys/class/net", BRIDGE)
    set_by_hand = "3"  # NET_ADDR_SET, linux/netdevice.h
    assert (bridge / "address").read_text().strip() == network.HARDWARE_ADDRESS
    assert (bridge / "addr_assign_type").read_text().strip() == set_by_hand
