"""Plugins as processes, an engine that only listens to log lines, and SSH servers on loopback."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import engine_pb2, provider_pb2

from lab import official
from lab.plugins.values import SECRET_SIGNATURE, SIGNATURE, UNKNOWN_STRING, decode_map, encode_map

ROOT = Path(__file__).parents[2]
PASSWORD = "sesame"  # noqa: S105 - of the SSH servers below


_OUTPUT_SIGNATURE = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
"""Of a value as official plugins may answer it: perhaps unknown, perhaps secret (the SDK's resource/properties.go)."""


def decoded(struct: struct_pb2.Struct) -> dict[str, Any]:
    """The property map, with outputs as the values they stand for."""
    plain = struct_pb2.Struct(fields={key: _without_outputs(value) for key, value in struct.fields.items()})
    return decode_map(plain)


def _without_outputs(value: struct_pb2.Value) -> struct_pb2.Value:
    fields = value.struct_value.fields
    if SIGNATURE in fields and fields[SIGNATURE].string_value == _OUTPUT_SIGNATURE:
        known = fields["value"] if "value" in fields else struct_pb2.Value(string_value=UNKNOWN_STRING)
        if "secret" not in fields or not fields["secret"].bool_value:
            return known
        secret = {SIGNATURE: struct_pb2.Value(string_value=SECRET_SIGNATURE), "value": known}
        return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=secret))
    return value


class PluginError(Exception):
    """What the user would read."""


class Engine:
    """Takes the log lines of plugins."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        """What stays, as `SEVERITY: text`."""
        self.passing: list[str] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        log = grpc.unary_unary_rpc_method_handler(
            self._log,
            request_deserializer=engine_pb2.LogRequest.FromString,
            response_serializer=empty_pb2.Empty.SerializeToString,
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("pulumirpc.Engine", {"Log": log}),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _log(self, request: engine_pb2.LogRequest, context: object) -> empty_pb2.Empty:
        del context
        if request.ephemeral:
            self.passing.append(request.message)
        else:
            self.lines.append(f"{engine_pb2.LogSeverity.Name(request.severity)}: {request.message}")
        return empty_pb2.Empty()

    def close(self) -> None:
        self._server.stop(None).wait()


class Served:
    """A plugin that listens, called like the engine calls it."""

    def __init__(self, port: int) -> None:
        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=unlimited)

    def hang_up(self) -> None:
        """Cancel what is called, as an engine does that dies."""
        self._channel.close()

    def call(self, method: str, request: Any, response: Any) -> Any:
        call = self._channel.unary_unary(
            f"/pulumirpc.ResourceProvider/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        try:
            return call(request, timeout=60)
        except grpc.RpcError as error:
            raise PluginError(error.details()) from None

    def configure(self, **settings: Any) -> dict[str, str]:
        """Check the settings, then use them; returns refusals by property."""
        urn = "urn:pulumi:s::p::pulumi:providers:x::default"
        check = self.call(
            "CheckConfig", provider_pb2.CheckRequest(urn=urn, news=encode_map(settings)), provider_pb2.CheckResponse
        )
        request = provider_pb2.ConfigureRequest(args=encode_map(settings), acceptSecrets=True)
        assert self.call("Configure", request, provider_pb2.ConfigureResponse).supportsPreview
        return {failure.property: failure.reason for failure in check.failures}

    def invoke(self, token: str, **args: Any) -> dict[str, Any]:
        request = provider_pb2.InvokeRequest(tok=token, args=encode_map(args))
        response = self.call("Invoke", request, provider_pb2.InvokeResponse)
        assert not response.failures, response.failures
        return decoded(getattr(response, "return"))

    def resource(self, token: str, name: str = "it") -> "ResourceCalls":
        return ResourceCalls(self, f"urn:pulumi:s::p::{token}::{name}")


class Plugin(Served):
    """A plugin that was started for this."""

    def __init__(self, name: str, engine: Engine, environment: dict[str, str]) -> None:
        command = [sys.executable, "-I", str(ROOT / "lab" / "plugins"), name]
        if home := official.home():
            command = [str(official.binary(home, name))]
        variables = {key: value for key, value in os.environ.items() if key != "SSH_AUTH_SOCK"} | environment
        self.process = subprocess.Popen(
            [*command, engine.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables, cwd="/"
        )
        assert self.process.stdout is not None
        super().__init__(int(self.process.stdout.readline()))

    def close(self) -> str:
        """End it; returns what it wrote to stderr."""
        self.hang_up()
        self.process.terminate()
        _, errors = self.process.communicate(timeout=10)
        return errors.decode()


@dataclass
class Diff:
    """What the engine is told."""

    paths: dict[str, str]
    replaces: list[str]
    changed: bool


@dataclass
class ResourceCalls:
    """The operations of one resource."""

    plugin: Served
    urn: str

    def check(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Checked inputs, and refusals by property."""
        request = provider_pb2.CheckRequest(urn=self.urn, news=encode_map(inputs))
        response = self.plugin.call("Check", request, provider_pb2.CheckResponse)
        return decoded(response.inputs), {failure.property: failure.reason for failure in response.failures}

    def diff(self, state: dict[str, Any], inputs: dict[str, Any], *, ignored: Sequence[str] = ()) -> Diff:
        request = provider_pb2.DiffRequest(
            urn=self.urn, id="id", olds=encode_map(state), news=encode_map(inputs), ignoreChanges=ignored
        )
        response = self.plugin.call("Diff", request, provider_pb2.DiffResponse)
        kinds = {path: provider_pb2.PropertyDiff.Kind.Name(item.kind) for path, item in response.detailedDiff.items()}
        return Diff(kinds, list(response.replaces), response.changes == provider_pb2.DiffResponse.DIFF_SOME)

    def create(
        self, inputs: dict[str, Any], *, preview: bool = False, timeout: float = 0
    ) -> tuple[str, dict[str, Any]]:
        request = provider_pb2.CreateRequest(
            urn=self.urn, properties=encode_map(inputs), preview=preview, timeout=timeout
        )
        response = self.plugin.call("Create", request, provider_pb2.CreateResponse)
        return response.id, decoded(response.properties)

    def update(
        self, state: dict[str, Any], inputs: dict[str, Any], *, resource_id: str = "id", preview: bool = False
    ) -> dict[str, Any]:
        request = provider_pb2.UpdateRequest(
            urn=self.urn, id=resource_id, olds=encode_map(state), news=encode_map(inputs), preview=preview
        )
        return decoded(self.plugin.call("Update", request, provider_pb2.UpdateResponse).properties)

    def read(
        self, resource_id: str, state: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        request = provider_pb2.ReadRequest(
            urn=self.urn, id=resource_id, properties=encode_map(state), inputs=encode_map(inputs)
        )
        response = self.plugin.call("Read", request, provider_pb2.ReadResponse)
        return response.id, decoded(response.properties), decoded(response.inputs)

    def delete(self, state: dict[str, Any], *, resource_id: str = "id") -> None:
        request = provider_pb2.DeleteRequest(urn=self.urn, id=resource_id, properties=encode_map(state))
        self.plugin.call("Delete", request, empty_pb2.Empty)


@pytest.fixture(scope="session")
def only_engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def engine(only_engine: Engine) -> Engine:
    """The engine, without the lines of earlier tests."""
    only_engine.lines.clear()
    only_engine.passing.clear()
    return only_engine


@pytest.fixture(scope="session")
def start(only_engine: Engine) -> Iterator[Callable[..., Plugin]]:
    """Starts plugins by name and environment, once each; ours must not write to stderr, where the engine shows it."""
    started: dict[tuple[Any, ...], Plugin] = {}

    def make(name: str, **environment: str) -> Plugin:
        key = (name, *environment.items())
        if key not in started:
            started[key] = Plugin(name, only_engine, environment)
        return started[key]

    yield make
    errors = "".join([plugin.close() for plugin in started.values()])
    assert errors == "" or official.home() is not None


def eventually(true: Callable[[], object], *, seconds: float = 10) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass
class SshServer:
    """Runs what it is told in a local shell, in a folder of its own; counts who comes."""

    folder: Path
    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    user_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    port: int = 0
    connections: int = 0
    live: set[asyncssh.SSHServerConnection] = field(default_factory=set)
    commands: list[str] = field(default_factory=list)
    refuse_first: int = 0
    accepts: Collection[str] = ("LANG", "PULUMI_COMMAND_STDOUT")
    """Variables that a command gets; sshd would say that it takes no other (AcceptEnv), this server does not."""
    reads: bool = True
    """Whether a command gets its standard input."""

    def __post_init__(self) -> None:
        # Two exports of one key differ.
        self.user_pem = self.user_key.export_private_key().decode()

    @property
    def host_key_line(self) -> str:
        return self.host_key.export_public_key().decode().strip()

    def connection(self, **changed: Any) -> dict[str, Any]:
        """A working `connection` input, with changes; None takes a property away."""
        values = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "hostKey": self.host_key_line,
            "privateKey": self.user_pem,
            "dialErrorLimit": 0,
            "perDialTimeout": 5,
        }
        return {key: value for key, value in (values | changed).items() if value is not None}

    def run(self, ready: threading.Event, ended: threading.Event) -> None:
        """Serve until the second event is set; for a thread."""
        asyncio.run(self._serve(ready, ended))

    async def _serve(self, ready: threading.Event, ended: threading.Event) -> None:
        seen = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                seen.connections += 1
                seen.live.add(conn)
                self._conn = conn
                if seen.connections <= seen.refuse_first:
                    conn.abort()

            def connection_lost(self, exc: Exception | None) -> None:
                del exc
                seen.live.discard(self._conn)

            def begin_auth(self, username: str) -> bool:
                del username
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                del username
                return key == seen.user_key.convert_to_public()

            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                return (username, password) == ("root", PASSWORD)

            def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
                del dest_port, orig_host, orig_port
                return dest_host == "127.0.0.1"

        async def execute(process: asyncssh.SSHServerProcess[bytes]) -> None:
            self.commands.append(process.command or "")
            sent = {key: value for key, value in process.env.items() if key in self.accepts}
            shell = await asyncio.create_subprocess_shell(
                process.command or "",
                cwd=self.folder,
                stdin=-1,
                stdout=-1,
                stderr=-1,
                env={**os.environ, **sent},
                start_new_session=True,
            )
            try:
                output, errors = await shell.communicate(await process.stdin.read() if self.reads else b"")
            finally:
                if shell.returncode is None:
                    os.killpg(shell.pid, signal.SIGKILL)
                    await shell.communicate()
            process.stdout.write(output)
            process.stderr.write(errors)
            if shell.returncode is not None and shell.returncode < 0:
                process.exit_with_signal("TERM")
            else:
                process.exit(shell.returncode or 0)

        server = await asyncssh.create_server(
            Server,
            "127.0.0.1",
            self.port,
            server_host_keys=[self.host_key],
            process_factory=execute,
            encoding=None,
            reuse_port=False,
        )
        self.port = server.get_port()
        ready.set()
        while not ended.is_set():
            await asyncio.sleep(0.01)
        server.close()
        for connection in tuple(self.live):
            connection.abort()
        await server.wait_closed()


@pytest.fixture
def serve() -> Iterator[Callable[[SshServer], SshServer]]:
    """Starts SSH servers; they end with the test."""
    ended = threading.Event()
    threads = []

    def run(server: SshServer) -> SshServer:
        ready = threading.Event()
        threads.append(threading.Thread(target=server.run, args=(ready, ended)))
        threads[-1].start()
        assert ready.wait(10)
        return server

    yield run
    ended.set()
    for thread in threads:
        thread.join(10)


@pytest.fixture
def ssh(serve: Callable[[SshServer], SshServer], tmp_path: Path) -> SshServer:
    """A host to run commands on."""
    return serve(SshServer(tmp_path))
