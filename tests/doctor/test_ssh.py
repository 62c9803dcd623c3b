"""What hinders `pulumi up` on its way to the host, as `make preflight` says it: with the setting that is wrong."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from doctor.judge import host as judge
from doctor.observe import host
from model.settings import Settings
from tests.plugins.conftest import SshServer
from tests.unit.samples import settings


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """A host, and nobody's agent."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    ready, ended = threading.Event(), threading.Event()
    server = SshServer(tmp_path)
    thread = threading.Thread(target=server.run, args=(ready, ended))
    thread.start()
    assert ready.wait(10)
    yield server
    ended.set()
    thread.join(10)


def reach(server: SshServer, **changes: object) -> Settings:
    where = {"host": "127.0.0.1", "port": server.port}
    keys = {"hostKey": server.host_key_line, "sshPrivateKey": server.user_pem}
    return settings(**keys | {"ssh": where} | changes)


def look(to: Settings) -> tuple[str, str]:
    """What was found, and the advice."""
    facts = host.ask(to, host.Questions(), timeout=2, patience=5)
    finding = judge.ssh(facts, "there")
    return finding.found, f"{finding.cause} {finding.fix}"


def test_a_host_that_lets_us_in_is_ok(server: SshServer) -> None:
    assert look(reach(server))[0] == "logged in"


def test_a_wrong_host_key_is_told_with_both_fingerprints(server: SshServer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    found, advice = look(reach(server, hostKey=other.export_public_key().decode()))
    assert f"127.0.0.1:{server.port} shows the host key {server.host_key.get_fingerprint()}, " in found
    assert f"`hostKey` is {other.get_fingerprint()}" in found
    assert "Only if that is the key it shows, set `hostKey`" in advice
    assert server.commands == []


def test_a_port_that_nobody_listens_on_is_told_with_the_settings_that_name_it(server: SshServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        found, advice = look(reach(server, ssh={"host": "127.0.0.1", "port": port}))
    assert found == f"127.0.0.1:{port}: Connection refused"
    assert "`ssh.host`, or else `ipv4`; the port is `ssh.port`" in advice


def test_a_port_that_accepts_and_says_nothing_is_no_longer_than_the_timeout(server: SshServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found, _ = look(reach(server, ssh={"host": "127.0.0.1", "port": port}))
    assert found == f"127.0.0.1:{port}: no answer within 2 s"


def test_a_deploy_key_that_the_host_does_not_know_is_named_by_its_setting(server: SshServer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    found, advice = look(reach(server, sshPrivateKey=other))
    assert found == "root may not log in with the key in `sshPrivateKey`"
    assert "the agent is not asked" in advice


def test_an_agent_without_the_right_key_is_named(server: SshServer) -> None:
    found, advice = look(reach(server, sshPrivateKey=None))
    assert found == "root may not log in with any key of the SSH agent"
    assert "`ssh-add -l`" in advice
