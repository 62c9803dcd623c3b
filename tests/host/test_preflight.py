"""The look before the first change: what stops, what only warns, and what is nobody's business."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from mailhostctl import facts
from model import preflight
from tests.host.scratch import Host
from tests.unit.samples import settings

Capsys = pytest.CaptureFixture[str]
GOOD: dict[str, Any] = {
    "memory": {"MemTotal": 2_000_000_000, "SwapTotal": 0},
    "disk": 20_000_000_000,
    "listeners": [{"address": "0.0.0.0", "port": 22, "program": "sshd"}],  # noqa: S104
    "port25": [{"host": "mx.example", "family": "IPv4", "greeting": "220 mx.example ESMTP", "error": ""}],
}
ROWS = ["host.memory", "host.disk", "host.ports", "host.port25"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the machine says of itself; a test changes it."""
    seen = dict(GOOD)
    monkeypatch.setattr(facts, "collect", lambda asked, only: seen | {"asked": asked, "only": only})
    return seen


def look(host: Host, **changes: object) -> int:
    asked = preflight.asked(settings(**changes))
    assert asked
    return host.run("preflight", stdin=asked)


def listener(port: int, program: str, address: str = "0.0.0.0") -> dict[str, Any]:  # noqa: S104
    return {"address": address, "port": port, "program": program}


@pytest.mark.usefixtures("machine")
def test_a_good_machine_is_fit_in_every_row(host: Host, capsys: Capsys) -> None:
    assert look(host) == 0
    assert capsys.readouterr().out.splitlines() == [f"ok {row}" for row in ROWS]
    assert not host.state().exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"disk": 2_900_000_000}, "host.disk: 2.9 GB are free, 3.0 GB are needed. Make room"),
        ({"listeners": [listener(25, "exim4")]}, "host.ports: exim4 listens on port 25. Stop and disable"),
        ({"listeners": [listener(143, "")]}, "host.ports: a program listens on port 143"),
        ({"listeners": [listener(443, "apache2", "::")]}, "host.ports: apache2 listens on port 443"),
        ({"listeners": [listener(53, "named", "127.0.0.1")]}, "host.ports: named listens on port 53"),
        (
            {"port25": [{"host": "mx.example", "family": "IPv4", "greeting": "", "error": "timeout"}]},
            "host.port25: mx.example over IPv4: timeout. Ask the hosting company",
        ),
        (
            {"port25": [{"host": "mx.example", "family": "IPv4", "greeting": "554 go away", "error": ""}]},
            "host.port25: mx.example over IPv4: 554 go away.",
        ),
        (  # one family works, the other does not
            {"port25": [*GOOD["port25"], {"host": "mx.example", "family": "IPv6", "greeting": "", "error": "timeout"}]},
            "host.port25: mx.example over IPv6: timeout",
        ),
    ],
)
def test_what_would_fail_later_stops_now(
    host: Host, machine: dict[str, Any], capsys: Capsys, changes: dict[str, Any], said: str
) -> None:
    machine |= changes
    assert look(host) == 1
    out, err = capsys.readouterr()
    assert "this machine cannot become a mail host; nothing was changed" in err
    assert said in err
    assert len(out.splitlines()) == 3


def test_one_server_that_greets_is_enough(host: Host, machine: dict[str, Any]) -> None:
    machine["port25"] = [*GOOD["port25"], {"host": "b.example", "family": "IPv4", "greeting": "", "error": "timeout"}]
    assert look(host) == 0


def test_too_little_memory_warns_and_goes_on(host: Host, machine: dict[str, Any], capsys: Capsys) -> None:
    machine["memory"] = {"MemTotal": 900_000_000, "SwapTotal": 0}
    assert look(host) == 0
    out, err = capsys.readouterr()
    assert "warning: host.memory: there are 0.9 GB, what is on needs 1.0 GB, swap counted. Take a bigger" in err
    assert "ok host.memory" not in out


@pytest.mark.parametrize(
    ("program", "changes"),
    [
        (listener(53, "systemd-resolve", "127.0.0.53"), {}),
        (listener(443, "caddy"), {"clientSetup": {"enabled": False}}),
        (listener(53, "named"), {"spam": {"enabled": False}, "limits": {"enabled": False}}),
        (listener(587, "sshd"), {"ssh": {"port": 587}}),
        (listener(8080, "apache2"), {}),
    ],
)
def test_who_is_in_nobodys_way_may_stay(
    host: Host, machine: dict[str, Any], program: dict[str, Any], changes: dict[str, object]
) -> None:
    machine["listeners"] = [program]
    assert look(host, **changes) == 0


def test_on_a_mail_host_the_ports_are_its_own(host: Host, machine: dict[str, Any]) -> None:
    machine["listeners"] = [listener(25, "master")]
    assert look(host) == 1
    assert host.apply("accounts", {"/etc/dovecot/users": "alice@example.com:{ARGON2ID}$argon2id$x::::::\n"}) == 0
    assert look(host) == 0


def test_the_real_facts_are_what_the_look_reads(host: Host, capsys: Capsys) -> None:
    asked = json.loads(preflight.asked(settings()) or "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked |= {"ports": [server.getsockname()[1]], "servers": [], "disk": 1, "memory": 1}
        assert host.run("preflight", stdin=json.dumps(asked)) == 1
    assert f"listens on port {asked['ports'][0]}" in capsys.readouterr().err


def test_few_settings_make_a_machine_look_again() -> None:
    asked = preflight.asked(settings())
    assert preflight.asked(settings(services={"pop3": False, "imap": False}, dns={"ttl": 300})) == asked
    assert preflight.asked(settings(spam={"antivirus": True})) != asked
    assert preflight.asked(settings(preflight={"enabled": False})) is None


def test_mailboxes_over_their_quota_are_facts(host: Host) -> None:
    row = r"%s\tUser quota\t%s\t%s\t%s\t1\n"
    rows = [
        ("alice", "STORAGE", "20480", "10240"),
        ("bob", "STORAGE", "5", "-"),
        ("carol", "STORAGE", "20480", "20480"),
    ]
    rows.append(("dave", "MESSAGE", "9", "8"))
    printed = "".join(row % cells for cells in rows)
    host.play("doveadm", f"printf 'Username\\tQuota name\\tType\\tValue\\tLimit\\t%%%%\\n{printed}'\n")
    asked = {"port25": [], "ipv6": False, "names": [], "certificate": "", "deployed": "", "timeout": 1}
    assert facts.collect(asked, {"full"})["full"] == ["alice"]
    host.play("doveadm", "exit 75\n")
    assert facts.collect(asked, {"full"})["full"] is None
