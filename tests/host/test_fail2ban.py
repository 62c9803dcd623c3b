"""fail2ban's part on the host: who deploys is noted, a change reloads, a jail that does not start is noticed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mailhostctl import deployers
from mailhostctl.paths import Root
from tests.host.scratch import Host

JAILS = {"/etc/fail2ban/jail.local": "[sshd]\nenabled = true\n"}


def _from(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("SSH_CONNECTION", f"{address} 50000 192.0.2.1 22")


def _noted(root: Path) -> list[str]:
    place = root / "var/lib/mailhost/deployers"
    return place.read_text().splitlines() if place.exists() else []


def test_the_last_five_addresses_that_deployed_are_noted(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "2001:db8::3"]
    for address in addresses:
        _from(monkeypatch, address)
        host.stage("fail2ban", JAILS)
    assert _noted(host.root) == ["192.0.2.2", "192.0.2.4", "192.0.2.5", "192.0.2.6", "2001:db8::3"]


@pytest.mark.parametrize("command", [("status",), ("generations", "fail2ban"), ("remove", "fail2ban")])
def test_whoever_only_looks_or_takes_away_is_not(
    host: Host, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    _from(monkeypatch, "192.0.2.1")
    assert host.run(*command) == 0
    assert _noted(host.root) == []


@pytest.mark.parametrize(
    ("client", "noted"), [("fe80::1%eth0", ["fe80::1"]), ("UNKNOWN", []), (".*", []), ("192.0.2.1\n0.0.0.0", [])]
)
def test_only_an_address_is_noted(host: Host, monkeypatch: pytest.MonkeyPatch, client: str, noted: list[str]) -> None:
    _from(monkeypatch, client)
    host.stage("fail2ban", JAILS)
    assert _noted(host.root) == noted


def test_calls_at_the_same_time_lose_no_address(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Root(base=host.root)
    local = threading.local()
    monkeypatch.setattr(deployers, "ssh_client_and_server", lambda: [local.address])

    def call(number: int) -> None:
        local.address = f"192.0.2.{number}"
        deployers.record(root)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(deployers.KEPT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(_noted(host.root)) == [f"192.0.2.{number}" for number in range(deployers.KEPT)]


def test_a_change_reloads_and_removing_stops(host: Host) -> None:
    assert host.apply("fail2ban", JAILS, health=["jail sshd"]) == 0
    assert host.calls("systemctl re") == [
        "systemctl reset-failed fail2ban.service",
        "systemctl restart fail2ban.service",
    ]
    assert host.apply("fail2ban", {"/etc/fail2ban/jail.local": "[sshd]\n"}, health=["jail sshd"]) == 0
    assert host.calls("systemctl re") == ["systemctl reload fail2ban.service"]
    assert host.run("remove", "fail2ban") == 0
    assert host.live("/etc/fail2ban/jail.local") is None
    stopped = ["systemctl disable --quiet --now fail2ban.service", "systemctl reset-failed fail2ban.service"]
    assert [call for call in host.calls() if call in stopped] == stopped


def test_a_jail_that_does_not_run_is_a_failure(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailhostctl.probes.PATIENCE", 0.05)
    host.fails("fail2ban-client status", "Sorry but the jail 'sshd' does not exist")
    assert host.apply("fail2ban", JAILS, health=["jail sshd"]) == 1
    assert "jail sshd: is not active" in capsys.readouterr().err
    assert host.live("/etc/fail2ban/jail.local") is None


def test_a_value_fail2ban_would_replace_is_refused(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    complaint = "Wrong value for 'maxretry' in 'sshd'. Using default one: 'None'"
    host.play("fail2ban-client", f'echo "{complaint}" >&2\n')
    assert host.apply("fail2ban", JAILS) == 1
    assert complaint in capsys.readouterr().err
    assert host.live("/etc/fail2ban/jail.local") is None
