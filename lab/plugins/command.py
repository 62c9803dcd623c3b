"""Offline stand-in for the resource plugin `command` 1.2.1: remote.Command.

Semantics: pulumi-command v1.2.1, provider/pkg/provider/remote. Where that hangs (`_LONGEST_LINE`), this one fails.
"""

import asyncio
import json
import signal
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lab.plugins.schema import Field, Problem
from lab.plugins.serve import Call, Failure, Provider, Resource, unique_id
from lab.plugins.ssh import CONNECTION, connect, connection_problems

if TYPE_CHECKING:
    import asyncssh

# That a change replaces is the SDK's doing (`replace_on_changes`), not the provider's.
_TRIGGERS: Final = Field(type="list", items=Field(type="any"))
_LONGEST_LINE: Final = 64 * 1024
"""Octets in a logged line; from there on the official provider hangs (Go's bufio.Scanner)."""
_KEPT: Final[list["asyncssh.SSHClientConnection"]] = []
"""The official provider leaves the connection of every command open until it ends itself."""


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
    compares_secrecy = True

    def check(self, inputs: Mapping[str, Any]) -> list[Problem]:
        """Refuse what cannot work on any host."""
        return connection_problems(inputs["connection"])

    async def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Run `create` on the new resource's host."""
        outputs = {"stdout": "", "stderr": ""}
        if "create" in inputs:
            outputs = await _run(call, inputs["create"], inputs, {})
        return unique_id(call.name), outputs

    async def update(
        self, call: Call, resource_id: str, state: dict[str, Any], inputs: dict[str, Any]
    ) -> dict[str, Any]:
        """Run `update`, or `create` where there is none."""
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


class CommandProvider(Provider):
    """The package `command`."""

    version = "1.2.1"
    # A custom timeout ends the attempts to reach a host, never a command that runs.
    bounded = False

    def __init__(self) -> None:
        super().__init__()
        self.resources = {resource.token: resource for resource in (Command(),)}


async def _run(call: Call, command: str, inputs: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """Run the command on the host; `previous` is the state its output is known from."""
    logging = inputs.get("logging", "stdoutAndStderr")
    logged = {name for name in ("stdout", "stderr") if logging in {name, "stdoutAndStderr"}}
    client = await connect(inputs["connection"], call)
    _KEPT.append(client)
    environment = await _environment(client, call, inputs, previous)
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    shown = asyncio.create_task(_show(call, lines))
    try:
        output = await _execute(client, command, inputs.get("stdin", ""), environment, _Output(logged, lines))
    finally:
        lines.put_nowait(None)
        await shown
    if output.error is not None:
        # Go's %q; never the standard input, which is where secrets travel.
        quoted = json.dumps(command, ensure_ascii=False)
        raise Failure(
            f"{output.error}: running {quoted}:\n{output.content('stdout', 'stderr').decode(errors='replace')}"
        )
    try:
        return {name: output.content(name).decode().removesuffix("\n") for name in Command.outputs}
    except UnicodeDecodeError:
        raise Failure("grpc: error while marshaling: string field contains invalid UTF-8") from None


async def _show(call: Call, lines: asyncio.Queue[str | None]) -> None:
    """Show each line as long as the command runs: nothing of them is left on a terminal afterwards."""
    while (line := await lines.get()) is not None:
        await call.status(line)


class _Output:
    """What a command wrote, in the order it arrived, and how it ended."""

    def __init__(self, logged: Collection[str], lines: asyncio.Queue[str | None]) -> None:
        self.error: str | None = "wait: remote command exited without exit status or exit signal"
        self._chunks: list[tuple[str, bytes]] = []
        self._logged = logged
        self._lines = lines
        self._begun = b""

    def add(self, stream: str, data: bytes) -> bool:
        """Take what arrived; false where the official provider would hang now."""
        self._chunks.append((stream, data))
        if stream in self._logged:
            *lines, self._begun = (self._begun + data).split(b"\n")
            for line in lines:
                self._log(line)
            return max(map(len, (*lines, self._begun))) < _LONGEST_LINE
        return True

    def end(self) -> None:
        """Log a last line that has no end."""
        if self._begun:
            self._log(self._begun)

    def _log(self, line: bytes) -> None:
        self._lines.put_nowait(line.removesuffix(b"\r").decode(errors="replace"))

    def content(self, *streams: str) -> bytes:
        return b"".join(chunk for stream, chunk in self._chunks if stream in streams)


async def _execute(
    client: "asyncssh.SSHClientConnection",
    command: str,
    stdin: str,
    environment: Mapping[str, str],
    output: _Output,
) -> _Output:
    """Run it and return what it wrote."""
    import asyncssh  # noqa: PLC0415 - only an operation needs it, never a preview

    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Session(asyncssh.SSHClientSession[bytes]):
        def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
            self.channel = chan

        def data_received(self, data: bytes, datatype: int | None) -> None:
            if not output.add("stderr" if datatype == asyncssh.EXTENDED_DATA_STDERR else "stdout", data):
                failure = Failure(
                    f"a logged line has {_LONGEST_LINE} octets or more: the official plugin would hang. "
                    "Log less (`logging`), or shorter lines"
                )
                if not ended.done():
                    ended.set_exception(failure)
                self.channel.abort()

        def exit_status_received(self, status: int) -> None:
            # Ended before it had read what fits into no window.
            unread = "EOF" if self.channel.get_write_buffer_size() else None
            output.error = f"Process exited with status {status}" if status else unread

        def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
            del core_dumped, lang
            reason = f". Reason was: {msg}" if msg else ""
            output.error = f"Process exited with status {_signal_status(signal)} from signal {signal}{reason}"

        def connection_lost(self, exc: Exception | None) -> None:
            del exc
            if not ended.done():
                ended.set_result(None)

    try:
        variables = [f"{name}={text}" for name, text in environment.items()]
        channel, _ = await client.create_session(Session, command, env=variables, encoding=None)
        channel.write(stdin.encode())
        channel.write_eof()
    except (asyncssh.Error, OSError) as error:
        # The command may already have ended without reading its input.
        if not ended.done() and isinstance(error, asyncssh.ChannelOpenError):
            raise Failure(f"ssh: rejected: {error.reason}") from None
    await ended
    output.end()
    return output


def _signal_status(name: str) -> int:
    """The exit status of a command that a signal ended, as x/crypto computes it."""
    try:
        return 128 + signal.Signals[f"SIG{name}"]
    except KeyError:
        return 128


async def _environment(
    client: "asyncssh.SSHClientConnection", call: Call, inputs: Mapping[str, Any], previous: Mapping[str, Any]
) -> dict[str, str]:
    """The variables that sshd on the host takes, the previous output among them.

    The official provider learns that from the server's answers, for which the SSH library here does not wait.
    """
    environment: dict[str, str] = dict(inputs.get("environment", {}))
    for name, text in environment.items():
        if not await _accepted(client, name, text):
            await call.log("error", _NOT_SET.format(name))
            raise Failure(f'could not set environment variable "{name}": ssh: setenv failed')
    if inputs.get("addPreviousOutputInEnv", True):
        known = {f"PULUMI_COMMAND_{name.upper()}": previous.get(name, "") for name in Command.outputs}
        for name, text in known.items():
            if not text:
                continue
            if await _accepted(client, name, text):
                environment[name] = text
            else:
                await call.log("warning", _NOT_SET.format(name))
    return environment


_NOT_SET: Final = (
    "Unable to set '{}'. This only works if your SSH server is configured to accept\n"
    "\tthese variables via AcceptEnv. Alternatively, if a Bash-like shell runs the command on the remote host, "
    "you could\n\tprefix the command itself with the variables in the form 'VAR=value command'"
)


async def _accepted(client: "asyncssh.SSHClientConnection", name: str, value: str) -> bool:
    found = await _execute(client, f"printenv {_quoted(name)}", "", {name: value}, _Output((), asyncio.Queue()))
    return found.error is None


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
