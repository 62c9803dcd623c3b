"""remote.Command and remote.CopyToRemote, called like the engine calls them."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from google.protobuf import empty_pb2

from lab.plugins.values import ASSET_SIGNATURE, SIGNATURE, UNKNOWN, Secret, plain
from tests.plugins.conftest import PASSWORD, ROOT, Engine, Plugin, PluginError, ResourceCalls, SshServer

COMMAND = "command:remote:Command"
COPY = "command:remote:CopyToRemote"


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
    assert engine.lines == ["one\ntwo\n\nseen"]


def test_no_create_command_means_no_connection(command: ResourceCalls, ssh: SshServer) -> None:
    _, state = command.create({"connection": ssh.connection()})
    assert (state["stdout"], state["stderr"]) == ("", "")
    assert ssh.connections == 0


def test_preview_never_connects(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(), "create": "true"}
    checked, refused = command.check(inputs)
    assert refused == {}
    resource_id, planned = command.create(checked, preview=True)
    assert (resource_id, planned["stdout"], planned["stderr"]) == ("", UNKNOWN, UNKNOWN)
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
    command.delete({"connection": ssh.connection(port=1)})


def test_connections_are_closed_after_each_operation(command: ResourceCalls, ssh: SshServer) -> None:
    for _ in range(3):
        command.create({"connection": ssh.connection(), "create": "true"})
    end = time.monotonic() + 5
    while ssh.open and time.monotonic() < end:
        time.sleep(0.01)
    assert (ssh.connections, ssh.open) == (3, 0)


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
    assert "hidden" not in text + "".join(engine.lines)


def test_command_killed_by_a_signal_says_so(command: ResourceCalls, ssh: SshServer) -> None:
    with pytest.raises(PluginError, match="from signal TERM: running"):
        command.create({"connection": ssh.connection(), "create": "kill -TERM $$"})


def test_wrong_host_key_fails_at_once_with_both_fingerprints(command: ResourceCalls, ssh: SshServer) -> None:
    pinned = asyncssh.generate_private_key("ssh-ed25519")
    connection = ssh.connection(hostKey=pinned.export_public_key().decode(), dialErrorLimit=10)
    with pytest.raises(PluginError) as error:
        command.create({"connection": connection, "create": "touch ran"})
    assert str(error.value) == (
        f"the host key of 127.0.0.1:{ssh.port} is not the pinned one: expected ssh-ed25519 {pinned.get_fingerprint()}, "
        f"served ssh-ed25519 {ssh.host_key.get_fingerprint()}; nothing was run"
    )
    assert (ssh.connections, ssh.commands) == (1, [])


def test_host_without_a_key_of_the_pinned_type_fails_at_once(
    command: ResourceCalls, serve: Callable[[SshServer], SshServer], tmp_path: Path
) -> None:
    server = serve(SshServer(tmp_path, host_key=asyncssh.generate_private_key("ecdsa-sha2-nistp256")))
    pinned = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    with pytest.raises(PluginError, match=f"host key of 127.0.0.1:{server.port} .* served no ssh-ed25519 key at all"):
        command.create({"connection": server.connection(hostKey=pinned, dialErrorLimit=10), "create": "true"})


def test_refused_connection_is_dialled_again_as_often_as_asked(
    command: ResourceCalls, ssh: SshServer, engine: Engine
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        begin = time.monotonic()
        with pytest.raises(PluginError) as error:
            command.create({"connection": ssh.connection(port=port, dialErrorLimit=3), "create": "true"})
    assert str(error.value) == (
        f"cannot connect to 127.0.0.1:{port}: after 3 failed attempts: connection refused; nothing was run"
    )
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


def test_silent_host_is_given_up_after_the_dial_timeout(command: ResourceCalls, ssh: SshServer) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(PluginError, match=f"cannot connect to 127.0.0.1:{port}: .* no answer within 1 s"):
            command.create({"connection": ssh.connection(port=port, perDialTimeout=1), "create": "true"})


def test_unknown_user_key_is_refused_with_the_user_s_name(command: ResourceCalls, ssh: SshServer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(PluginError, match="does not let user root in"):
        command.create({"connection": ssh.connection(privateKey=other), "create": "true"})
    assert ssh.commands == []


def test_custom_timeout_ends_a_command_that_hangs(command: ResourceCalls, ssh: SshServer) -> None:
    with pytest.raises(PluginError, match=r"custom timeout of 0\.5 s"):
        command.create({"connection": ssh.connection(), "create": "sleep 3"}, timeout=0.5)


def test_interrupted_run_waits_for_its_command_but_dials_no_more(ssh: SshServer, only_engine: Engine) -> None:
    plugin = Plugin("command", only_engine, {})
    command = plugin.resource(COMMAND)
    with futures.ThreadPoolExecutor(2) as pool:
        running = pool.submit(command.create, {"connection": ssh.connection(), "create": "sleep 0.7; echo finished"})
        dialling = pool.submit(
            command.create, {"connection": ssh.connection(port=1, dialErrorLimit=-1), "create": "true"}
        )
        time.sleep(0.4)
        plugin.call("Cancel", empty_pb2.Empty(), empty_pb2.Empty)
        assert running.result()[1]["stdout"] == "finished"
        with pytest.raises(PluginError, match="interrupted while waiting to try again"):
            dialling.result()
    assert plugin.close() == ""


# Who is let in


def test_password_works(command: ResourceCalls, ssh: SshServer) -> None:
    connection = ssh.connection(privateKey=None, password=PASSWORD)
    assert command.create({"connection": connection, "create": "echo in"})[1]["stdout"] == "in"


def test_encrypted_private_key_needs_its_password(command: ResourceCalls, ssh: SshServer) -> None:
    pem = ssh.user_key.export_private_key("pkcs8-pem", passphrase=PASSWORD).decode()
    inputs = {"connection": ssh.connection(privateKey=pem, privateKeyPassword=PASSWORD), "create": "echo in"}
    assert command.create(inputs)[1]["stdout"] == "in"
    with pytest.raises(PluginError, match=f"privateKey for 127.0.0.1:{ssh.port} cannot be used"):
        command.create({**inputs, "connection": ssh.connection(privateKey=pem, privateKeyPassword="shut")})


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


def test_agent_of_the_environment_is_asked(start: Callable[..., Plugin], ssh: SshServer, agent: Path) -> None:
    command = start("command", SSH_AUTH_SOCK=str(agent)).resource(COMMAND)
    assert command.create({"connection": ssh.connection(privateKey=None), "create": "echo in"})[1]["stdout"] == "in"


def test_dead_agent_is_an_error_that_names_its_socket(
    start: Callable[..., Plugin], ssh: SshServer, tmp_path: Path
) -> None:
    command = start("command", SSH_AUTH_SOCK=str(tmp_path / "none")).resource(COMMAND)
    with pytest.raises(PluginError, match=f"the SSH agent at {tmp_path}/none cannot be reached: no such file"):
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
    with pytest.raises(PluginError, match=r"does not let user root in \(0 key"):
        command.create({"connection": ssh.connection(privateKey=None), "create": "true"})


def test_proxy_is_one_hop_with_its_own_key(
    command: ResourceCalls, ssh: SshServer, serve: Callable[[SshServer], SshServer], tmp_path: Path
) -> None:
    bastion = serve(SshServer(tmp_path))
    connection = ssh.connection(proxy=bastion.connection())
    assert command.create({"connection": connection, "create": "echo through"})[1]["stdout"] == "through"
    assert (bastion.connections, ssh.connections) == (1, 1)


# Environment


def test_environment_arrives_where_sshd_accepts_it(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(), "create": "echo $LANG", "environment": {"LANG": "xx"}}
    assert command.create(inputs)[1]["stdout"] == "xx"


def test_environment_that_sshd_drops_is_an_error(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(), "create": "touch ran", "environment": {"SECRET_THING": "x"}}
    with pytest.raises(PluginError, match="must allow SECRET_THING by AcceptEnv"):
        command.create(inputs)
    assert not (ssh.folder / "ran").exists()


@pytest.mark.parametrize(("asked", "seen"), [(True, "old"), (None, "old"), (False, "")])
def test_previous_output_is_in_the_environment_unless_refused(
    command: ResourceCalls, ssh: SshServer, asked: bool | None, seen: str
) -> None:
    inputs = {"connection": ssh.connection(), "create": "echo $PULUMI_COMMAND_STDOUT", "addPreviousOutputInEnv": asked}
    assert command.update({**inputs, "stdout": "old", "stderr": "older"}, inputs)["stdout"] == seen


@pytest.mark.parametrize(
    ("logging", "lines"), [("none", []), ("stdout", ["out"]), ("stderr", ["err"]), ("stdoutAndStderr", ["out\nerr"])]
)
def test_logging_decides_what_is_shown(
    command: ResourceCalls, ssh: SshServer, engine: Engine, logging: str, lines: list[str]
) -> None:
    command.create({"connection": ssh.connection(), "create": "echo out; sleep 0.1; echo err >&2", "logging": logging})
    assert engine.lines == lines


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


def test_unknown_values_pass_the_check(command: ResourceCalls, ssh: SshServer) -> None:
    assert command.check({"connection": UNKNOWN, "create": UNKNOWN, "triggers": [UNKNOWN]})[1] == {}
    assert (
        command.check({"connection": ssh.connection(hostKey=UNKNOWN, host=UNKNOWN), "stdin": Secret(UNKNOWN)})[1] == {}
    )


def test_check_fills_the_defaults_and_makes_the_connection_secret(command: ResourceCalls, ssh: SshServer) -> None:
    connection = {"host": "h", "hostKey": ssh.host_key_line}
    checked, _ = command.check({"connection": connection, "stdin": Secret("s")})
    assert isinstance(checked["connection"], Secret)
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
        ({"triggers": ["a", "c"]}, {"triggers[1]": "UPDATE_REPLACE"}),
        ({"triggers": ["a", "b", "c"]}, {"triggers[2]": "ADD_REPLACE"}),
        ({"triggers": ["a"]}, {"triggers[1]": "DELETE_REPLACE"}),
        ({"triggers": ["a", UNKNOWN]}, {"triggers[1]": "UPDATE_REPLACE"}),
    ],
)
def test_diff_names_each_changed_input(
    command: ResourceCalls, ssh: SshServer, change: dict[str, Any], paths: dict[str, str]
) -> None:
    inputs: dict[str, Any] = {"connection": ssh.connection(), "create": "c", "stdin": "s", "triggers": ["a", "b"]}
    state = {**inputs, "stdout": "out", "stderr": ""}
    diff = command.diff(state, inputs | change)
    assert (diff.paths, diff.changed) == (paths, bool(paths))
    assert diff.replaces == [path for path in paths if path.startswith("triggers")]


def test_secrets_compare_by_value(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": Secret(ssh.connection()), "create": "c", "stdin": Secret("s")}
    assert not command.diff({**inputs, "connection": ssh.connection()}, inputs).changed
    assert command.diff(inputs, {**inputs, "stdin": Secret("t")}).paths == {"stdin": "UPDATE"}


def test_secret_inputs_stay_secret_in_state(command: ResourceCalls, ssh: SshServer) -> None:
    _, state = command.create({"connection": Secret(ssh.connection()), "create": "wc -c", "stdin": Secret("1234")})
    assert state["stdin"] == Secret("1234")
    assert isinstance(state["connection"], Secret)
    assert state["stdout"] == "4"


def test_refresh_keeps_what_is_known(command: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": Secret(ssh.connection(port=1)), "create": "c"}
    state = {**inputs, "stdout": "out", "stderr": ""}
    assert command.read("id", state, inputs) == ("id", state, inputs)


# CopyToRemote


@pytest.fixture
def copy(start: Callable[..., Plugin]) -> ResourceCalls:
    return start("command").resource(COPY)


def text(content: str) -> dict[str, Any]:
    return {SIGNATURE: ASSET_SIGNATURE, "hash": f"hash of {content}", "text": content}


def file(path: Path, content: str | None = None) -> dict[str, Any]:
    return {SIGNATURE: ASSET_SIGNATURE, "hash": f"hash of {content}", "path": str(path)}


def test_text_is_copied_with_its_parent_folders(copy: ResourceCalls, ssh: SshServer) -> None:
    copy.create({"connection": ssh.connection(), "source": text("hello"), "remotePath": "/a/b/c"})
    assert (ssh.folder / "a/b/c").read_text() == "hello"


def test_file_is_copied_over_a_file_or_into_a_folder(
    copy: ResourceCalls, ssh: SshServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = tmp_path_factory.mktemp("local") / "name"
    source.write_text("content")
    (ssh.folder / "into").mkdir()
    (ssh.folder / "over").write_text("something longer than that")
    for target in ("/into", "/over", "/new"):
        copy.create({"connection": ssh.connection(), "source": file(source), "remotePath": target})
    copied = [ssh.folder / path for path in ("into/name", "over", "new")]
    assert [path.read_text() for path in copied] == ["content"] * 3


@pytest.mark.parametrize(("slash", "where"), [("", "target/tree"), ("/", "target")])
def test_folder_is_copied_like_cp(
    copy: ResourceCalls, ssh: SshServer, tmp_path_factory: pytest.TempPathFactory, slash: str, where: str
) -> None:
    source = tmp_path_factory.mktemp("local") / "tree"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "leaf").write_text("leaf")
    archive = {SIGNATURE: "0def7320c3a5731c473e5ecbe6d01bc7", "hash": "h", "path": f"{source}{slash}"}
    copy.create({"connection": ssh.connection(), "source": archive, "remotePath": "/target"})
    assert (ssh.folder / where / "sub" / "leaf").read_text() == "leaf"


def test_text_onto_a_folder_is_an_error(copy: ResourceCalls, ssh: SshServer) -> None:
    (ssh.folder / "folder").mkdir()
    with pytest.raises(PluginError, match="/folder is a directory"):
        copy.create({"connection": ssh.connection(), "source": text("x"), "remotePath": "/folder"})


def test_unknown_source_is_refused_like_the_official_one_does(copy: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(), "source": UNKNOWN, "remotePath": "/x"}
    assert copy.check(inputs)[1] == {"asset": "either asset or archive must be set"}


def test_same_content_from_elsewhere_is_no_change(copy: ResourceCalls, ssh: SshServer) -> None:
    inputs = {"connection": ssh.connection(), "source": file(Path("/old"), "same"), "remotePath": "/x"}
    assert not copy.diff(inputs, {**inputs, "source": file(Path("/new"), "same")}).changed
    assert copy.diff(inputs, {**inputs, "source": file(Path("/old"), "other")}).paths == {"source": "UPDATE"}


def test_a_new_connection_alone_copies_nothing_again(copy: ResourceCalls, ssh: SshServer) -> None:
    state = {"connection": ssh.connection(user="a"), "source": text("x"), "remotePath": "/x"}
    assert copy.diff(state, {**state, "connection": ssh.connection(user="b")}).changed
    copy.update(state, {**state, "connection": ssh.connection(user="b")})
    assert ssh.connections == 0
    copy.update(state, {**state, "source": text("y")})
    assert (ssh.folder / "x").read_text() == "y"


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
