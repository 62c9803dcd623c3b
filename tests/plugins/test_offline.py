"""What only the offline plugins do: they refuse more, and end where the official ones know no end.

They also show here what the tests' SSH server cannot make an official plugin do: it takes every variable silently.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from lab import official
from lab.plugins import ssh as connections
from lab.plugins.serve import Call, Failure
from lab.plugins.values import Secret
from tests.plugins.conftest import (
    ROOT,
    Engine,
    Plugin,
    PluginError,
    ResourceCalls,
    Served,
    SshServer,
    eventually,
)

pytestmark = pytest.mark.skipif(official.home() is not None, reason="the official plugins differ, on purpose")


@pytest.fixture
def command(start: Callable[..., Plugin], engine: Engine) -> ResourceCalls:
    assert engine.lines == []
    return start("command").resource("command:remote:Command")


# What is refused


@pytest.mark.parametrize(
    ("change", "path", "reason"),
    [
        ({"stdinn": "x"}, "stdinn", "there is no property 'stdinn' here"),  # a typo
        ({"create": 3}, "create", "must be a value of type string"),
        ({"logging": "some"}, "logging", "must be one of none, stdout"),
        ({"environment": {"A": 1}}, "environment['A']", "must be a value of type string"),
        ({"connection": None}, "connection", "the required property 'connection' is missing"),
        ({"connection": {"hostname": "h"}}, "connection.hostname", "there is no property 'hostname' here"),
    ],
)
def test_inputs_outside_the_schema_are_refused(
    command: ResourceCalls, ssh: SshServer, change: dict[str, Any], path: str, reason: str
) -> None:
    _, refused = command.check({"connection": ssh.connection(), "create": "true"} | change)
    assert reason in refused[path]


def test_refused_connection_shows_none_of_its_secrets(command: ResourceCalls, ssh: SshServer) -> None:
    connection = Secret(ssh.connection(privatKey=Secret("BEGIN PRIVATE KEY"), port=Secret("BEGIN PRIVATE KEY")))
    _, refused = command.check({"connection": connection, "create": "true"})
    assert sorted(refused) == ["connection.port", "connection.privatKey"]
    assert "BEGIN" not in "".join(refused.values())


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "the host key of 127.0.0.1 is not pinned"),
        ("ssh-ed25519", "is not a public key line"),
        ("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==", "is not a public key line"),  # a name that the key contradicts
    ],
)
def test_host_key_must_be_pinned(command: ResourceCalls, ssh: SshServer, key: str | None, reason: str) -> None:
    _, refused = command.check({"connection": ssh.connection(hostKey=key), "create": "true"})
    assert reason in refused["connection.hostKey"]
    _, refused = command.check({"connection": ssh.connection(proxy=ssh.connection(hostKey=key)), "create": "true"})
    assert reason in refused["connection.proxy.hostKey"]


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({}, "algorithm"),
        ({"algorithm": "DSA"}, "algorithm"),
        ({"algorithm": "RSA", "bits": 2048}, "bits"),  # the official plugin takes no notice
        ({"algorithm": "RSA", "rsaBits": "2048"}, "rsaBits"),  # and makes it a number
    ],
)
def test_inputs_of_a_key_are_refused_by_their_name(
    start: Callable[..., Plugin], inputs: dict[str, Any], path: str
) -> None:
    assert list(start("tls").resource("tls:index/privateKey:PrivateKey").check(inputs)[1]) == [path]


# What ends


@pytest.mark.parametrize("write", ["head -c 65536 /dev/zero; echo", "head -c 70000 /dev/zero"])
def test_logged_line_at_which_the_official_plugin_hangs_is_a_failure(
    command: ResourceCalls, ssh: SshServer, write: str
) -> None:
    inputs = {"connection": ssh.connection(), "create": f"({write}) >&2; touch ran"}
    with pytest.raises(PluginError, match="a logged line has 65536 octets or more: the official plugin would hang"):
        command.create(inputs)
    assert (
        len(command.create({**inputs, "create": "head -c 70000 /dev/zero", "logging": "stderr"})[1]["stdout"]) == 70000
    )


def test_host_that_never_says_anything_is_given_up(ssh: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ignored(*_: object) -> None:
        pass

    monkeypatch.setattr(connections, "SILENCE_SECONDS", 0.2)
    call = Call(urn="a::b", status=ignored, log=ignored, pause=ignored)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Failure, match=f"127.0.0.1:{port} accepted the connection and has said nothing for"):
            asyncio.run(connections.connect(ssh.connection(port=port), call))


# Variables


def test_environment_that_sshd_drops_is_an_error(command: ResourceCalls, ssh: SshServer, engine: Engine) -> None:
    inputs = {"connection": ssh.connection(), "create": "touch ran", "environment": {"SECRET_THING": "x"}}
    with pytest.raises(PluginError) as error:
        command.create(inputs)
    assert str(error.value) == 'could not set environment variable "SECRET_THING": ssh: setenv failed'
    assert not (ssh.folder / "ran").exists()
    (line,) = engine.lines
    assert line.startswith("ERROR: Unable to set 'SECRET_THING'. This only works if your SSH server is configured to ")


def test_previous_output_that_sshd_drops_warns_for_each_variable_and_goes_on(
    command: ResourceCalls, serve: Callable[[SshServer], SshServer], tmp_path: Path, engine: Engine
) -> None:
    server = serve(SshServer(tmp_path, accepts=()))
    inputs = {"connection": server.connection(), "create": "echo new"}
    assert command.update({**inputs, "stdout": "old", "stderr": "older"}, inputs)["stdout"] == "new"
    variables = ["PULUMI_COMMAND_STDOUT", "PULUMI_COMMAND_STDERR"]
    assert [line.partition(".")[0] for line in engine.lines] == [
        f"WARNING: Unable to set '{name}'" for name in variables
    ]
    engine.lines.clear()
    quiet = {**inputs, "addPreviousOutputInEnv": False}
    command.update({**quiet, "stdout": "old", "stderr": "older"}, quiet)
    assert engine.lines == []


# The process


def test_plugin_ends_with_its_engine(engine: Engine) -> None:
    script = (
        "p = __import__('subprocess').Popen(__import__('sys').argv[1:], stdout=-1); p.stdout.readline(); print(p.pid)"
    )
    plugin = [sys.executable, "-I", str(ROOT / "lab/plugins"), "command", engine.address]
    pid = int(subprocess.run([sys.executable, "-c", script, *plugin], capture_output=True, check=True).stdout)
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "the plugin outlived its engine"
        time.sleep(0.05)


ENGINE = """
import subprocess, sys
plugin = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
print(plugin.pid, int(plugin.stdout.readline()), flush=True)
sys.stdin.read()
"""
"""An engine that starts a plugin, and lives until it is killed."""


def test_plugin_outlives_its_engine_until_its_command_has_ended(ssh: SshServer, engine: Engine) -> None:
    argv = [sys.executable, "-I", str(ROOT / "lab/plugins"), "command", engine.address]
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        pid, port = map(int, killed.stdout.readline().split())
        orphan = Served(port)
        create = "touch begun; echo line; sleep 2; echo line; touch ended"
        inputs = {"connection": ssh.connection(), "create": create}
        with futures.ThreadPoolExecutor(1) as pool:
            pool.submit(orphan.resource("command:remote:Command").create, inputs)
            eventually((ssh.folder / "begun").exists)
            killed.kill()
            orphan.hang_up()
    assert Path(f"/proc/{pid}").exists()
    eventually((ssh.folder / "ended").exists)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
