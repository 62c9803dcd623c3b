"""The firewall is judged by the kernel's own parser, and the operator is never locked out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from host import build
from mailhostctl.services import ssh_connection
from mailhostctl.validate import allowed_tcp_ports
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
RULES = "/etc/ufw/user.rules"
RULES6 = "/etc/ufw/user6.rules"


def _rules(*ports: int, chain: str = "ufw-user-input") -> str:
    lines = [f"-A {chain} -p tcp --dport {port} -j ACCEPT" for port in ports]
    return "\n".join(["*filter", f":{chain} - [0:0]", "### RULES ###", *lines, "COMMIT", ""])


BOTH = {RULES: _rules(22, 25), RULES6: _rules(22, 25, chain="ufw6-user-input")}


def test_it_is_enabled_first_and_reloaded_afterwards(host: Host) -> None:
    assert host.apply("firewall", BOTH) == 0
    assert host.calls("ufw") == ["ufw --force enable"]
    assert host.apply("firewall", {**BOTH, RULES: _rules(22)}) == 0
    assert host.calls("ufw") == ["ufw reload"]
    assert host.run("remove", "firewall") == 0
    assert host.calls("ufw") == ["ufw --version", "ufw --force disable"]
    assert host.live(RULES) is None


@pytest.mark.parametrize("parser", ["iptables-restore", "ip6tables-restore"])
def test_rules_the_kernel_refuses_stay_out(host: Host, capsys: Capsys, parser: str) -> None:
    host.fails(parser, "invalid port/service `99999' specified")
    assert host.apply("firewall", BOTH) == 1
    assert f"{parser} refuses" in capsys.readouterr().err
    assert host.live(RULES) is None


@pytest.mark.parametrize(
    ("connection", "name"),
    [("192.0.2.9 50000 192.0.2.1 2222", "user.rules"), ("2001:db8::9 50000 2001:db8::1 2222", "user6.rules")],
)
def test_the_connection_in_use_stays_open(
    host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, connection: str, name: str
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", connection)
    assert host.apply("firewall", BOTH) == 1
    assert f"{name} does not allow tcp port 2222" in capsys.readouterr().err
    allowed = {RULES: _rules(2222), RULES6: _rules(2222, chain="ufw6-user-input")}
    assert host.apply("firewall", allowed) == 0


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        ("-A ufw-user-input -p tcp --dport 22 -j ACCEPT", {22}),
        ("-A ufw6-user-input -p tcp --dport 22 -j ufw6-user-limit-accept", {22}),
        ("-A ufw-user-input -p tcp -m multiport --dports 80,440:443 -j ACCEPT", {80, 440, 441, 442, 443}),
        ("-A ufw-user-input -p udp --dport 22 -j ACCEPT", set()),
        ("-A ufw-user-input -p tcp --dport 22 -s 192.0.2.0/24 -j ACCEPT", set()),  # perhaps not from where we are
        ("-A ufw-user-input -p tcp --dport 22 -j DROP", set()),
        ("### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in", set()),
        ("", set()),
    ],
)
def test_allowed_ports_are_read_from_the_rules(line: str, ports: set[int]) -> None:
    assert allowed_tcp_ports(f"{line}\n") == ports


def test_the_connection_is_found_through_sudo_too() -> None:
    """Sudo drops the variable, but a parent process (here sh) still has it."""
    show = "from mailhostctl.services import ssh_connection; print(ssh_connection())"
    done = subprocess.run(
        ["sh", "-c", 'env -u SSH_CONNECTION "$0" -c "$1"; exit', sys.executable, show],
        env={"SSH_CONNECTION": "192.0.2.9 50000 192.0.2.1 2222", "PYTHONPATH": str(Path(build.__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[('192.0.2.1', 2222)]\n"


def test_without_a_connection_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "odd")
    assert ssh_connection() == []
