"""Offline stand-in for the resource plugin `command` 1.2.1: remote.Command and remote.CopyToRemote.

Semantics: pulumi-command v1.2.1, provider/pkg/provider/remote. `connection`s are closed after each operation.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lab.plugins.schema import Field, Problem
from lab.plugins.serve import Call, Failure, Provider, Resource, unique_id
from lab.plugins.ssh import CONNECTION, connected, connection_problems
from lab.plugins.values import Unknown

if TYPE_CHECKING:
    import asyncssh

_TRIGGERS: Final = Field(type="list", items=Field(type="any"), replaces=True)


class Command(Resource):
    """Runs `create`, `update` and `delete` on a host over SSH."""

    token = "command:remote:Command"  # noqa: S105
    inputs: ClassVar[Mapping[str, Field]] = {
        "connection": CONNECTION,
        "create": Field(),
        "update": Field(),
        "delete": Field(),
        "stdin": Field(),
        "environment": Field(type="map", items=Field()),
        "triggers": _TRIGGERS,
        "logging": Field(choices=("none", "stdout", "stderr", "stdoutAndStderr")),
        "addPreviousOutputInEnv": Field(type="boolean"),
    }
    outputs = ("stdout", "stderr")

    def check(self, inputs: Mapping[str, Any]) -> list[Problem]:
        """Refuse what cannot work on any host."""
        return connection_problems(inputs["connection"])

    async def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Run or copy on the new resource's host."""
        outputs = {"stdout": "", "stderr": ""}
        if "create" in inputs:
            outputs = await _run(call, inputs["create"], inputs, {})
        return unique_id(call.name), outputs

    async def update(
        self, call: Call, resource_id: str, state: dict[str, Any], inputs: dict[str, Any]
    ) -> dict[str, Any]:
        """Run or copy again where the inputs ask for it."""
        del resource_id
        command = inputs.get("update", inputs.get("create"))
        if command is None:
            return {key: state.get(key, "") for key in self.outputs}
        return await _run(call, command, inputs, state)

    async def delete(self, call: Call, resource_id: str, state: dict[str, Any]) -> None:
        """Run `delete` with the connection that is in state."""
        del resource_id
        if "delete" in state:
            await _run(call, state["delete"], state, state)


class CopyToRemote(Resource):
    """Copies a file, text or folder to a host over SFTP; never removes anything there."""

    token = "command:remote:CopyToRemote"  # noqa: S105
    inputs: ClassVar[Mapping[str, Field]] = {
        "connection": CONNECTION,
        "source": Field(type="asset", required=True),
        "remotePath": Field(required=True),
        "triggers": _TRIGGERS,
    }

    def check(self, inputs: Mapping[str, Any]) -> list[Problem]:
        """Refuse what cannot work on any host."""
        found = connection_problems(inputs["connection"])
        source = inputs["source"]
        if isinstance(source, Unknown):
            found.append(Problem(path="asset", reason="either asset or archive must be set"))
        elif source.archive and source.path is None:
            found.append(Problem(path="archive", reason="archive must be a path to a file or directory"))
        elif source.path is None and source.text is None:
            found.append(Problem(path="asset", reason="asset must be a path-based file asset or a text asset"))
        return found

    async def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Run or copy on the new resource's host."""
        await _copy(call, inputs)
        return unique_id(""), {}

    async def update(
        self, call: Call, resource_id: str, state: dict[str, Any], inputs: dict[str, Any]
    ) -> dict[str, Any]:
        """Run or copy again where the inputs ask for it."""
        del resource_id
        if (inputs["source"], inputs["remotePath"]) != (state.get("source"), state.get("remotePath")):
            await _copy(call, inputs)
        return {}


class CommandProvider(Provider):
    """The package `command`."""

    version = "1.2.1"

    def __init__(self) -> None:
        super().__init__()
        self.resources = {resource.token: resource for resource in (Command(), CopyToRemote())}


async def _run(call: Call, command: str, inputs: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """Run the command on the host; `previous` is the state its output is known from."""
    logging = inputs.get("logging", "stdoutAndStderr")
    logged = {name for name in ("stdout", "stderr") if logging in {name, "stdoutAndStderr"}}
    environment = dict(inputs.get("environment", {}))
    async with connected(inputs["connection"], call) as client:
        if environment:
            await _check_environment(client, environment)
        if inputs.get("addPreviousOutputInEnv", True):
            # A server that does not accept them ignores them.
            known = {f"PULUMI_COMMAND_{name.upper()}": previous.get(name, "") for name in ("stdout", "stderr")}
            environment = {**{name: text for name, text in known.items() if text}, **environment}
        output = await _execute(client, command, inputs.get("stdin", ""), environment)
    if lines := output.text(*logged).strip("\n"):
        await call.report(lines)
    if output.error is not None:
        # Go's %q; never the standard input, which is where secrets travel.
        quoted = json.dumps(command, ensure_ascii=False)
        raise Failure(f"{output.error}: running {quoted}:\n{output.text('stdout', 'stderr')}")
    return {name: output.text(name).removesuffix("\n") for name in ("stdout", "stderr")}


class _Output:
    """What a command wrote, in the order it arrived, and how it ended."""

    def __init__(self) -> None:
        self.chunks: list[tuple[str, bytes]] = []
        self.error: str | None = "wait: remote command exited without exit status or exit signal"

    def text(self, *streams: str) -> str:
        return b"".join(chunk for stream, chunk in self.chunks if stream in streams).decode(errors="replace")


async def _execute(
    client: "asyncssh.SSHClientConnection", command: str, stdin: str, environment: Mapping[bytes | str, bytes | str]
) -> _Output:
    import asyncssh  # noqa: PLC0415 - only an operation needs it, never a preview

    output = _Output()
    ended = asyncio.get_running_loop().create_future()

    class Session(asyncssh.SSHClientSession[bytes]):
        def data_received(self, data: bytes, datatype: int | None) -> None:
            output.chunks.append(("stderr" if datatype == asyncssh.EXTENDED_DATA_STDERR else "stdout", data))

        def exit_status_received(self, status: int) -> None:
            output.error = f"Process exited with status {status}" if status else None

        def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
            del core_dumped, msg, lang
            output.error = f"Process exited with status 128 from signal {signal}"

        def connection_lost(self, exc: Exception | None) -> None:
            del exc
            if not ended.done():
                ended.set_result(None)

    try:
        channel, _ = await client.create_session(Session, command, env=environment, encoding=None)
        channel.write(stdin.encode())
        channel.write_eof()
    except (asyncssh.Error, OSError) as error:
        # The command may already have ended without reading its input.
        if not ended.done() and isinstance(error, asyncssh.ChannelOpenError):
            raise Failure(f"ssh: the host refused to run a command: {error.reason}; nothing was run") from None
    await ended
    return output


async def _check_environment(
    client: "asyncssh.SSHClientConnection", environment: Mapping[bytes | str, bytes | str]
) -> None:
    # The official provider learns from the server's answer, which the SSH library here does not ask for.
    found = await _execute(client, "printenv " + " ".join(_quoted(str(name)) for name in environment), "", environment)
    if found.error is not None:
        names = ", ".join(sorted(map(str, environment)))
        raise Failure(f"ssh: setenv failed: sshd on the host must allow {names} by AcceptEnv; nothing was run")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


async def _copy(call: Call, inputs: Mapping[str, Any]) -> None:
    import asyncssh  # noqa: PLC0415

    source, target = inputs["source"], PurePosixPath(inputs["remotePath"])
    async with connected(inputs["connection"], call) as client:
        try:
            async with client.start_sftp_client() as sftp:
                await sftp.makedirs(target.parent, exist_ok=True)
                if source.path is None:
                    if await sftp.isdir(target):
                        raise Failure(
                            f"remote path {target} is a directory; for a text asset, remotePath must be a file path"
                        )
                    await _write(sftp, source.text.encode(), target)
                else:
                    await _copy_path(sftp, source.path, target)
        except (asyncssh.Error, OSError) as error:
            raise Failure(f"failed to copy to remote path {target}: {error}") from None


async def _copy_path(sftp: "asyncssh.SFTPClient", path: str, target: PurePosixPath) -> None:
    """Copy like `cp -r`: into a folder that exists; "dir/" means its contents, "dir" the folder itself."""
    source = Path(path)
    if not source.is_dir():
        await _write(sftp, source.read_bytes(), target / source.name if await sftp.isdir(target) else target)
        return
    root = target if path.endswith("/") else target / source.name
    for item in [source, *sorted(source.rglob("*"))]:
        remote = root / item.relative_to(source)
        if item.is_dir():
            if await sftp.exists(remote) and not await sftp.isdir(remote):
                raise Failure(f"remote path {remote} exists but is not a directory")
            await sftp.makedirs(remote, exist_ok=True)
        else:
            await _write(sftp, item.read_bytes(), remote)


async def _write(sftp: "asyncssh.SFTPClient", content: bytes, target: PurePosixPath) -> None:
    async with sftp.open(target, "wb") as file:
        await file.write(content)
