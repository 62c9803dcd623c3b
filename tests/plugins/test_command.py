"""remote.Command, called like the engine calls them: what official and offline plugin share.

With `MAILHOST_PLUGINS` set, the official plugin of that PULUMI_HOME is under test.
"""

import asyncio
import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from google.protobuf import empty_pb2

from lab.plugins.values import UNKNOWN, Secret, plain
from tests.plugins.conftest import PASSWORD, Engine, Plugin, PluginError, ResourceCalls, SshServer, eventually

COMMAND = "command:remote:Command"


@pytest.fixture
def command(start: Callable[..., Plugin], engine: Engine) -> ResourceCalls:
    assert engine.lines == []
    return start("command").resource(COMMAND)


def test_create_runs_the_command_with_its_stdin(command: ResourceCalls, ssh: SshServer, engine: Engine) -> None:
    inputs = {"connection": ssh.connection(), "create": "cat; echo seen >&2", "stdin": "one\ntwo\n\n"}
    resource_id, state = command.create(inputs)
    assert resource_id[:2] == "it"
    assert len(resource_id) == len("it") + 8
    # One trailing newline is dropped, no more.
    assert (state["stdout"], state["stderr"]) == ("one\ntwo\n", "seen")
    assert state["stdin"] == inputs["stdin"]
    # Each line by itself, and nothing that stays.
    assert [line for line in engine.passing if line != "seen"] == ["one", "two", ""]
    assert "seen" in engine.passing
    assert engine.lines == []


def test_lines_are_shown_while_the_command_runs(command: ResourceCalls, ssh: SshServer, engine: Engine) -> None:
    inputs = {"connection": ssh.connection(), "create": "cat ../go 2>/dev/null; printf 'no end'", "logging": "stdout"}
    command.create(inputs)
    assert engine.passing == ["no end"]


def test_no_create_command_means_no_connection(command: ResourceCalls, ssh: SshServer) -> None:
    _, state = command.create({"connection": ssh.connection()})
    assert (state["stdout"], state["stderr"]) == ("", "")
    assert ssh.connections == 0


def test_preview_never_connects(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(), "create": "true"}
    checked, refused = command.check(inputs)
    assert refused == {}
    _, planned = command.create(checked, preview=True)
    assert (planned["stdout"], planned["stderr"]) == (UNKNOWN, UNKNOWN)
    state = {**inputs, "stdout": "old", "stderr": ""}
    assert command.diff(state, {**inputs, "create": "false"}).changed
    assert command.update(state, {**inputs, "create": "false"}, preview=True)["stdout"] is UNKNOWN
    assert ssh.connections == 0


@pytest.mark.parametrize(("update", "printed"), [("echo updated", "updated"), (None, "created")])
def test_update_runs_update_or_else_create(
    command: ResourceCalls, ssh: SshServer, update: str | None, printed: str
) -> None:
    inputs = {"connection": ssh.connection(), "create": "echo created", "update": update}
    assert command.update({**inputs, "stdout": "", "stderr": ""}, inputs)["stdout"] == printed


def test_update_without_any_command_keeps_the_output(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(), "delete": "echo bye"}
    assert command.update({**inputs, "stdout": "old", "stderr": ""}, inputs)["stdout"] == "old"
    assert ssh.connections == 0


def test_delete_uses_the_connection_in_state(command: ResourceCalls, ssh: SshServer) -> None:
    command.delete({"connection": ssh.connection(), "delete": "touch gone", "stdin": "x", "stdout": "", "stderr": ""})
    assert (ssh.folder / "gone").exists()
    command.delete({"connection": ssh.connection(port=1), "stdout": "", "stderr": ""})


def test_each_command_has_a_connection_that_stays_until_the_plugin_ends(ssh: SshServer, only_engine: Engine) -> None:
    plugin = Plugin("command", only_engine, {})
    command = plugin.resource(COMMAND)
    for _ in range(12):
        command.create({"connection": ssh.connection(), "create": "true"})
    assert (ssh.connections, len(ssh.live)) == (12, 12)
    assert plugin.close() == ""
    eventually(lambda: not ssh.live)


# Failures


def test_failed_command_names_itself_and_all_output_but_never_stdin(
    command: ResourceCalls, ssh: SshServer, engine: Engine
) -> None:
    inputs = {"connection": ssh.connection(), "create": "echo out; echo err >&2; exit 3", "stdin": "hidden"}
    with pytest.raises(PluginError) as error:
        command.create(inputs)
    text = str(error.value)
    assert text.startswith('Process exited with status 3: running "echo out; echo err >&2; exit 3":\n')
    assert sorted(text.split("\n")[1:3]) == ["err", "out"]
    assert "hidden" not in text + "".join(engine.lines + engine.passing)


def test_command_killed_by_a_signal_says_so(command: ResourceCalls, ssh: SshServer) -> None:
    with pytest.raises(PluginError) as error:
        command.create({"connection": ssh.connection(), "create": "kill -TERM $$"})
    assert str(error.value) == 'Process exited with status 143 from signal TERM: running "kill -TERM $$":\n'


def stranger() -> str:
    """A public key that no server here has."""
    return asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()


def test_wrong_host_key_is_dialled_again_like_any_error(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(hostKey=stranger(), dialErrorLimit=2), "create": "touch ran"}
    with pytest.raises(PluginError) as error:
        command.create(inputs)
    assert str(error.value) == "after 2 failed attempts: ssh: handshake failed: ssh: host key mismatch"
    assert (ssh.connections, ssh.commands) == (3, [])


def test_host_without_a_key_of_the_pinned_type_says_what_it_has(
    command: ResourceCalls, serve: Callable[[SshServer], SshServer], tmp_path: Path
) -> None:
    server = serve(SshServer(tmp_path, host_key=asyncssh.generate_private_key("ecdsa-sha2-nistp256")))
    with pytest.raises(PluginError) as error:
        command.create({"connection": server.connection(hostKey=stranger(), dialErrorLimit=0), "create": "true"})
    assert str(error.value) == (
        "after 0 failed attempts: ssh: handshake failed: ssh: no common algorithm for host key; "
        "we offered: [ssh-ed25519], peer offered: [ecdsa-sha2-nistp256]"
    )


def test_ecdsa_host_key_is_as_good_as_ed25519(
    command: ResourceCalls, serve: Callable[[SshServer], SshServer], tmp_path: Path
) -> None:
    server = serve(SshServer(tmp_path, host_key=asyncssh.generate_private_key("ecdsa-sha2-nistp256")))
    assert command.create({"connection": server.connection(), "create": "echo in"})[1]["stdout"] == "in"


def exchange_keys(server: socket.socket, host_keys: str) -> None:
    """Be a server that has host keys of these algorithms, and goes when there is none in common; until shut down."""
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            with client:
                client.sendall(key_exchange(host_keys))
                client.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    while client.recv(4096):
                        pass


def key_exchange(host_keys: str) -> bytes:
    """Return the first two messages of such a server (RFC 4253 sections 4.2 and 7.1)."""
    lists = ("curve25519-sha256", host_keys, *["aes128-ctr"] * 2, *["hmac-sha2-256"] * 2, *["none"] * 2, "", "")
    payload = bytes([20, *[0] * 16])
    payload += b"".join(len(names).to_bytes(4) + names.encode() for names in lists) + bytes(5)
    padding = 4 + -(len(payload) + 9) % 8
    return b"SSH-2.0-test\r\n" + (len(payload) + padding + 1).to_bytes(4) + bytes([padding]) + payload + bytes(padding)


def test_rsa_host_key_fails_against_an_openssh_of_today(command: ResourceCalls, ssh: SshServer) -> None:
    pinned = asyncssh.generate_private_key("ssh-rsa").export_public_key().decode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=exchange_keys, args=(server, "rsa-sha2-512,rsa-sha2-256,ssh-ed25519")).start()
        connection = ssh.connection(port=server.getsockname()[1], hostKey=pinned)
        with pytest.raises(PluginError) as error:
            command.create({"connection": connection, "create": "true"})
        server.shutdown(socket.SHUT_RDWR)
    assert str(error.value) == (
        "after 0 failed attempts: ssh: handshake failed: ssh: no common algorithm for host key; "
        "we offered: [ssh-rsa], peer offered: [rsa-sha2-512 rsa-sha2-256 ssh-ed25519]"
    )


def test_refused_connection_is_dialled_again_as_often_as_asked(
    command: ResourceCalls, ssh: SshServer, engine: Engine
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        begin = time.monotonic()
        with pytest.raises(PluginError) as error:
            command.create({"connection": ssh.connection(port=port, dialErrorLimit=3), "create": "true"})
    assert str(error.value) == f"after 3 failed attempts: dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert engine.passing == [f"Dial {n}/3 failed: retrying" for n in (1, 2, 3)]
    # Pauses of 0.1, 0.15 and 0.225 s.
    assert time.monotonic() - begin >= 0.475
    assert engine.lines == []


def test_host_that_comes_up_late_is_waited_for(
    command: ResourceCalls, serve: Callable[[SshServer], SshServer], tmp_path: Path
) -> None:
    server = serve(SshServer(tmp_path, refuse_first=2))
    _, state = command.create({"connection": server.connection(dialErrorLimit=5), "create": "echo up"})
    assert (state["stdout"], server.connections) == ("up", 3)


def test_name_that_nobody_knows_is_named(command: ResourceCalls, ssh: SshServer) -> None:
    with pytest.raises(
        PluginError, match=r"^after 0 failed attempts: dial tcp: lookup no\.invalid on .+: no such host$"
    ):
        command.create({"connection": ssh.connection(host="no.invalid"), "create": "true"})


def test_address_that_swallows_packets_is_given_up_after_the_dial_timeout(
    command: ResourceCalls, ssh: SshServer
) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        # The kernel drops what comes when the queue is full (listen(2)).
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        with pytest.raises(PluginError) as error:
            command.create({"connection": ssh.connection(port=port, perDialTimeout=1), "create": "true"})
        for client in waiting:
            client.close()
    assert str(error.value) == f"after 0 failed attempts: dial tcp 127.0.0.1:{port}: i/o timeout"


def test_dial_timeout_does_not_end_the_wait_for_a_silent_server(command: ResourceCalls, ssh: SshServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, futures.ThreadPoolExecutor(1) as pool:
        connection = ssh.connection(port=silent.getsockname()[1], perDialTimeout=1)
        waiting = pool.submit(command.create, {"connection": connection, "create": "true"})
        client, _ = silent.accept()
        assert client.recv(8) == b"SSH-2.0-"
        with pytest.raises(futures.TimeoutError):
            waiting.result(2)
        client.recv(100)
        client.close()
        with pytest.raises(PluginError, match="^after 0 failed attempts: ssh: handshake failed: "):
            waiting.result()


def test_unknown_user_key_is_named_by_its_method_only(command: ResourceCalls, ssh: SshServer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(PluginError) as error:
        command.create({"connection": ssh.connection(privateKey=other), "create": "true"})
    assert str(error.value) == refused("none publickey")
    assert ssh.commands == []


def refused(methods: str) -> str:
    return (
        f"after 0 failed attempts: ssh: handshake failed: ssh: unable to authenticate, attempted methods [{methods}], "
        "no supported methods remain"
    )


def test_custom_timeout_does_not_end_a_command_that_runs(command: ResourceCalls, ssh: SshServer) -> None:
    _, state = command.create({"connection": ssh.connection(), "create": "sleep 1; echo late"}, timeout=0.3)
    assert state["stdout"] == "late"


def test_custom_timeout_ends_the_attempts_to_connect(command: ResourceCalls, ssh: SshServer) -> None:
    with pytest.raises(PluginError, match="^context deadline exceeded$"):
        command.create({"connection": ssh.connection(port=1, dialErrorLimit=-1), "create": "true"}, timeout=0.5)


def test_output_that_is_no_utf8_fails_after_the_run(command: ResourceCalls, ssh: SshServer, engine: Engine) -> None:
    with pytest.raises(PluginError) as error:
        command.create({"connection": ssh.connection(), "create": "printf 'a\\377b'; touch ran"})
    assert str(error.value) == "grpc: error while marshaling: string field contains invalid UTF-8"
    assert (ssh.folder / "ran").exists()
    assert engine.passing == ["a\ufffdb"]


def test_logged_line_of_just_under_64_kib_passes(command: ResourceCalls, ssh: SshServer) -> None:
    create = "head -c 65535 /dev/zero | tr '\\0' x"
    assert len(command.create({"connection": ssh.connection(), "create": create})[1]["stdout"]) == 65535


def test_stdin_that_fits_the_window_need_not_be_read(
    command: ResourceCalls, serve: Callable[[SshServer], SshServer], tmp_path: Path
) -> None:
    server = serve(SshServer(tmp_path, reads=False))
    inputs = {"connection": server.connection(), "create": "sleep 0.5"}
    command.create({**inputs, "stdin": "x" * 10_000})
    with pytest.raises(PluginError) as error:
        command.create({**inputs, "stdin": "x" * 5_000_000})
    assert str(error.value) == 'EOF: running "sleep 0.5":\n'


def test_interrupted_run_waits_for_its_command_but_dials_no_more(ssh: SshServer, only_engine: Engine) -> None:
    plugin = Plugin("command", only_engine, {})
    command = plugin.resource(COMMAND)
    with futures.ThreadPoolExecutor(2) as pool:
        inputs = {"connection": ssh.connection(), "create": "sleep 0.7; echo finished", "logging": "none"}
        running = pool.submit(command.create, inputs)
        dialling = pool.submit(
            command.create, {"connection": ssh.connection(port=1, dialErrorLimit=-1), "create": "true"}
        )
        time.sleep(0.4)
        plugin.call("Cancel", empty_pb2.Empty(), empty_pb2.Empty)
        assert running.result()[1]["stdout"] == "finished"
        with pytest.raises(PluginError, match="^context canceled$"):
            dialling.result()
    assert plugin.close() == ""


# Who is let in


def test_password_works(command: ResourceCalls, ssh: SshServer) -> None:
    connection = ssh.connection(privateKey=None, password=PASSWORD)
    assert command.create({"connection": connection, "create": "echo in"})[1]["stdout"] == "in"


def test_wrong_password_names_both_methods_that_send_it(command: ResourceCalls, ssh: SshServer) -> None:
    with pytest.raises(PluginError) as error:
        command.create({"connection": ssh.connection(privateKey=None, password="no"), "create": "true"})
    assert str(error.value) == refused("none password keyboard-interactive")


RSA = asyncssh.generate_private_key("ssh-rsa")


@pytest.mark.parametrize(
    ("pem", "password", "said"),
    [
        ("pkcs1-pem", "shut", "x509: decryption password incorrect"),
        ("pkcs1-pem", None, "ssh: this private key is passphrase protected"),
        ("pkcs8-pem", PASSWORD, "ssh: not an encrypted key"),  # a format it reads without encryption only
        (None, None, "ssh: no key found"),
    ],
)
def test_private_key_that_cannot_be_read_says_why(
    command: ResourceCalls, ssh: SshServer, pem: str | None, password: str | None, said: str
) -> None:
    key = RSA.export_private_key(pem, passphrase=PASSWORD).decode() if pem else "rubbish"
    with pytest.raises(PluginError) as error:
        command.create({"connection": ssh.connection(privateKey=key, privateKeyPassword=password), "create": "echo in"})
    assert (str(error.value), ssh.connections) == (said, 0)


def test_encrypted_private_key_works_with_its_password(
    command: ResourceCalls, serve: Callable[[SshServer], SshServer], tmp_path: Path
) -> None:
    server = serve(SshServer(tmp_path, user_key=RSA))
    key = RSA.export_private_key("pkcs1-pem", passphrase=PASSWORD).decode()
    connection = server.connection(privateKey=key, privateKeyPassword=PASSWORD)
    assert command.create({"connection": connection, "create": "echo in"})[1]["stdout"] == "in"


@pytest.fixture
def agent(ssh: SshServer, tmp_path: Path) -> Iterator[Path]:
    """Socket of an agent that holds the user's key."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 5
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)

    async def add() -> None:
        async with await asyncssh.connect_agent(str(path)) as connected:
            await connected.add_keys([ssh.user_key])

    asyncio.run(add())
    yield path
    process.terminate()
    process.wait(5)


def test_agent_of_the_connection_is_asked(command: ResourceCalls, ssh: SshServer, agent: Path) -> None:
    connection = ssh.connection(privateKey=None, agentSocketPath=str(agent))
    assert command.create({"connection": connection, "create": "echo in"})[1]["stdout"] == "in"


def test_agent_is_not_asked_beside_a_private_key(command: ResourceCalls, ssh: SshServer, agent: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    connection = ssh.connection(privateKey=other, agentSocketPath=str(agent))
    with pytest.raises(PluginError) as error:
        command.create({"connection": connection, "create": "true"})
    assert str(error.value) == refused("none publickey")


def test_agent_of_the_environment_is_asked(start: Callable[..., Plugin], ssh: SshServer, agent: Path) -> None:
    command = start("command", SSH_AUTH_SOCK=str(agent)).resource(COMMAND)
    assert command.create({"connection": ssh.connection(privateKey=None), "create": "echo in"})[1]["stdout"] == "in"


def test_dead_agent_is_an_error_that_names_its_socket(
    start: Callable[..., Plugin], ssh: SshServer, tmp_path: Path
) -> None:
    command = start("command", SSH_AUTH_SOCK=str(tmp_path / "none")).resource(COMMAND)
    with pytest.raises(PluginError, match=f"^dial unix {tmp_path}/none: connect: no such file or directory$"):
        command.create({"connection": ssh.connection(), "create": "true"})
    assert ssh.connections == 0


def test_own_configuration_and_keys_of_the_operator_are_not_read(
    start: Callable[..., Plugin], ssh: SshServer, tmp_path: Path
) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text("Host *\n  HostName 192.0.2.1\n")
    ssh.user_key.write_private_key(folder / "id_ed25519")
    command = start("command", HOME=str(tmp_path)).resource(COMMAND)
    with pytest.raises(PluginError) as error:
        command.create({"connection": ssh.connection(privateKey=None), "create": "true"})
    assert str(error.value) == refused("none")


def test_proxy_is_one_hop_with_its_own_key(
    command: ResourceCalls, ssh: SshServer, serve: Callable[[SshServer], SshServer], tmp_path: Path
) -> None:
    bastion = serve(SshServer(tmp_path))
    connection = ssh.connection(proxy=bastion.connection())
    assert command.create({"connection": connection, "create": "echo through"})[1]["stdout"] == "through"
    assert (bastion.connections, ssh.connections) == (1, 1)
    with pytest.raises(
        PluginError, match="^proxy: after 0 failed attempts: ssh: handshake failed: ssh: host key mismatch$"
    ):
        command.create({"connection": ssh.connection(proxy=bastion.connection(hostKey=stranger())), "create": "true"})
    with pytest.raises(PluginError, match=r"^proxy: after 0 failed attempts: ssh: rejected: connect failed \("):
        command.create({"connection": ssh.connection(port=1, proxy=bastion.connection()), "create": "true"})


# Environment


def test_environment_arrives_where_sshd_accepts_it(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(), "create": "echo $LANG", "environment": {"LANG": "xx"}}
    assert command.create(inputs)[1]["stdout"] == "xx"


@pytest.mark.parametrize(("asked", "seen"), [(True, "old"), (None, "old"), (False, "")])
def test_previous_output_is_in_the_environment_unless_refused(
    command: ResourceCalls, ssh: SshServer, asked: bool | None, seen: str
) -> None:
    inputs = {"connection": ssh.connection(), "create": "echo $PULUMI_COMMAND_STDOUT", "addPreviousOutputInEnv": asked}
    assert command.update({**inputs, "stdout": "old", "stderr": "older"}, inputs)["stdout"] == seen


@pytest.mark.parametrize(
    ("logging", "lines"), [("none", []), ("stdout", ["out"]), ("stderr", ["err"]), ("stdoutAndStderr", ["out", "err"])]
)
def test_logging_decides_what_is_shown(
    command: ResourceCalls, ssh: SshServer, engine: Engine, logging: str, lines: list[str]
) -> None:
    command.create({"connection": ssh.connection(), "create": "echo out; sleep 0.1; echo err >&2", "logging": logging})
    assert (sorted(engine.passing), engine.lines) == (sorted(lines), [])


# What is refused


@pytest.mark.parametrize(
    ("change", "path"),
    [({"stdinn": "x"}, "stdinn"), ({"create": 3}, "create"), ({"connection": None}, "connection")],
)
def test_inputs_outside_the_schema_are_refused(
    command: ResourceCalls, ssh: SshServer, change: dict[str, Any], path: str
) -> None:
    _, refused = command.check({"connection": ssh.connection(), "create": "true"} | change)
    assert list(refused) == [path]


def test_unknown_values_pass_the_check(command: ResourceCalls, ssh: SshServer) -> None:
    assert command.check({"connection": UNKNOWN, "create": UNKNOWN, "triggers": [UNKNOWN]})[1] == {}
    assert (
        command.check({"connection": ssh.connection(hostKey=UNKNOWN, host=UNKNOWN), "stdin": Secret(UNKNOWN)})[1] == {}
    )


def test_check_fills_the_defaults_and_makes_the_connection_secret(command: ResourceCalls, ssh: SshServer) -> None:
    connection = {"host": "h", "hostKey": ssh.host_key_line, "privateKey": "k"}
    checked, _ = command.check({"connection": connection, "stdin": Secret("s")})
    assert isinstance(checked["connection"], Secret)
    assert checked["connection"].value["privateKey"] == Secret("k")
    assert plain(checked["connection"]) == connection | {
        "port": 22,
        "user": "root",
        "dialErrorLimit": 10,
        "perDialTimeout": 15,
    }
    assert checked["stdin"] == Secret("s")


# What changes


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({}, {}),
        ({"stdin": "new"}, {"stdin": "UPDATE"}),
        ({"stdin": None}, {"stdin": "DELETE"}),
        ({"update": "x"}, {"update": "ADD"}),
        ({"create": UNKNOWN}, {"create": "UPDATE"}),
        ({"triggers": ["a", "c"]}, {"triggers[1]": "UPDATE"}),
        ({"triggers": ["a", "b", "c"]}, {"triggers[2]": "ADD"}),
        ({"triggers": ["a"]}, {"triggers[1]": "DELETE"}),
        ({"triggers": ["a", UNKNOWN]}, {"triggers[1]": "UPDATE"}),
    ],
)
def test_diff_names_each_changed_input(
    command: ResourceCalls, ssh: SshServer, change: dict[str, Any], paths: dict[str, str]
) -> None:
    inputs: dict[str, Any] = {"connection": ssh.connection(), "create": "c", "stdin": "s", "triggers": ["a", "b"]}
    state = {**inputs, "stdout": "out", "stderr": ""}
    diff = command.diff(state, inputs | change)
    assert (diff.paths, diff.changed) == (paths, bool(paths))
    # That triggers replace is the SDK's doing.
    assert diff.replaces == []


def test_a_value_that_becomes_secret_is_an_update(command: ResourceCalls, ssh: SshServer) -> None:
    secret = {"connection": Secret(ssh.connection()), "create": "c", "stdin": Secret("s")}
    clear = {**secret, "stdin": "s"}
    assert command.diff(clear, secret).paths == {"stdin": "UPDATE"}
    assert command.diff(secret, clear).paths == {"stdin": "UPDATE"}
    assert command.diff({**secret, "connection": ssh.connection()}, secret).paths == {"connection": "UPDATE"}
    assert command.diff(secret, {**secret, "stdin": Secret("t")}).paths == {"stdin": "UPDATE"}
    assert command.diff(secret, secret).paths == {}


def test_secret_inputs_stay_secret_in_state(command: ResourceCalls, ssh: SshServer) -> None:
    connection = Secret(ssh.connection(privateKey=Secret(ssh.user_pem)))
    _, state = command.create({"connection": connection, "create": "wc -c", "stdin": Secret("1234")})
    assert state["stdin"] == Secret("1234")
    assert isinstance(state["connection"], Secret)
    assert state["connection"].value["privateKey"] == Secret(ssh.user_pem)
    assert state["stdout"] == "4"


def test_refresh_keeps_what_is_known(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": Secret(ssh.connection(port=1)), "create": "c"}
    state = {**inputs, "stdout": "out", "stderr": ""}
    assert command.read("id", state, inputs) == ("id", state, inputs)
