"""A resource plugin of the Pulumi engine, as small as one can be: gRPC server, checks, diffs, plain error messages.

It speaks the engine's published protocol (provider.proto) with the stubs of the `pulumi` package. The SDK's own
`pulumi.provider.experimental` does the same in twice the start-up time, and prints a traceback for each failure; every
preview pays a plugin's start.
"""

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2, plugin_pb2, provider_pb2

from lab.plugins.schema import Change, Field, Problem, changes, normalise, problems, secrecy_changes
from lab.plugins.values import UNKNOWN, Secret, decode_map, encode_map, has_secret, has_unknown, plain

if TYPE_CHECKING:
    from lab.plugins.nursery import Adoption

_MESSAGE_LIMIT: Final = 400 << 20  # bytes; the engine's own
_KINDS: Final[Mapping[tuple[Change, bool], int]] = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


Severity = Literal["info", "warning", "error"]
_SEVERITIES: Final[Mapping[Severity, Any]] = {
    "info": engine_pb2.INFO,
    "warning": engine_pb2.WARNING,
    "error": engine_pb2.ERROR,
}
_ORPHAN_SECONDS: Final = 420
"""How long an operation may go on without its engine; the official plugins know no end."""


class Failure(Exception):
    """An operation failed; its text is the message the user reads."""


class Diagnostic(Failure):
    """A failure as bridged Terraform providers report it: the engine also logs it, with its halves in reverse order."""

    def __init__(self, summary: str, detail: str) -> None:
        super().__init__(f"{summary}: {detail}")
        self.logged = f"[ERROR] {detail}: {summary}"


@dataclass(frozen=True, kw_only=True)
class Call:
    """The resource an operation is for, and the ways to tell the user about it."""

    urn: str
    status: Callable[[str], Awaitable[None]]
    """Shown while it is true, and gone afterwards."""
    log: Callable[[Severity, str], Awaitable[None]]
    """Kept among the diagnostics of the run."""
    pause: Callable[[float], Awaitable[None]]
    """Waits for some seconds; a Failure when the run was interrupted or the resource's custom timeout is over."""

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.rsplit("::", 1)[-1]


class Resource:
    """One resource type. Values are plain Python, secrets unwrapped; `serve` keeps what was secret, secret."""

    token: ClassVar[str]
    inputs: ClassVar[Mapping[str, Field]]
    outputs: ClassVar[tuple[str, ...]] = ()
    """Properties only the provider sets."""
    compares_secrecy: ClassVar[bool] = False
    """Whether a value that becomes secret, or is no longer, is a change."""

    def check(self, inputs: Mapping[str, Any]) -> list[Problem]:
        """Problems beyond the schema's."""
        del inputs
        return []

    def changes(self, state: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Change]:
        """What an update or replacement would change; empty means nothing to do."""
        return changes(self.inputs, state, inputs)

    def planned(self, state: Mapping[str, Any] | None, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs a preview knows; `state` is None for a resource that does not exist yet."""
        del state, inputs
        return dict.fromkeys(self.outputs, UNKNOWN)

    def imported(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of an imported resource: everything that could have been one."""
        return {key: value for key, value in state.items() if key in self.inputs}

    async def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Make it; return its id and the outputs."""
        raise NotImplementedError

    async def read(self, call: Call, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Id, inputs and outputs as they are now; None when it is gone. The default keeps what is known."""
        del call
        return resource_id, state

    async def update(
        self, call: Call, resource_id: str, state: dict[str, Any], inputs: dict[str, Any]
    ) -> dict[str, Any]:
        """Bring it to the new inputs; return the outputs."""
        raise NotImplementedError

    async def delete(self, call: Call, resource_id: str, state: dict[str, Any]) -> None:
        """Take it away."""
        del call, resource_id, state


class Provider:
    """A package: its version, settings, resource types and functions."""

    version: ClassVar[str]
    config: ClassVar[Mapping[str, Field]] = {}
    bounded: ClassVar[bool] = True
    """Whether a custom timeout ends an operation, and not only its pauses."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.functions: dict[
            str, tuple[Mapping[str, Field], Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]
        ] = {}
        self.settings: dict[str, Any] = {}

    def check_config(self, settings: Mapping[str, Any]) -> list[Problem]:
        """Problems of the provider's settings beyond the schema's."""
        del settings
        return []


def unique_id(prefix: str) -> str:
    """The prefix and eight random hex digits, as the official providers build ids."""
    return f"{prefix}{secrets.token_hex(4)}"


def _watched(engine: int) -> asyncio.Event:
    """An event that is set when the process of this number has ended."""
    gone = asyncio.Event()
    try:
        handle = os.pidfd_open(engine)
    except ProcessLookupError:
        gone.set()
        return gone
    loop = asyncio.get_running_loop()

    def ended() -> None:
        # It stays readable, and would keep the loop busy.
        loop.remove_reader(handle)
        os.close(handle)
        gone.set()

    loop.add_reader(handle, ended)
    return gone


def main(provider: Provider, adopted: "Adoption | None" = None) -> None:
    """Serve the provider until the engine is gone and nothing runs; `adopted`: no arguments before (nursery.py)."""
    asyncio.run(_Server(provider).serve(adopted))


class _Server:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._engine = ""
        self._channel: grpc.aio.Channel | None = None
        self._interrupted = asyncio.Event()
        self._running: set[asyncio.Future[Any]] = set()

    async def serve(self, adopted: "Adoption | None") -> None:
        options = [
            ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
            ("grpc.max_send_message_length", _MESSAGE_LIMIT),
        ]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("pulumirpc.ResourceProvider", self._methods()),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        arguments, engine = (sys.argv[2:], os.getppid()) if adopted is None else await adopted()
        self._engine = next(argument for argument in arguments if not argument.startswith("-"))
        # Once the engine knows the port it may end at any moment.
        gone = _watched(engine)
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await gone.wait()
        # The engine was killed, or it would have ended us. Like the official providers': no attempt is repeated, and
        # what runs on a host goes on.
        self._interrupted.set()
        if self._running:
            await asyncio.wait(self._running, timeout=_ORPHAN_SECONDS)

    def _methods(self) -> dict[str, grpc.RpcMethodHandler]:
        pb = provider_pb2
        table: dict[str, tuple[Any, Callable[[Any], Awaitable[Any]]]] = {
            "GetPluginInfo": (empty_pb2.Empty, self._plugin_info),
            "Cancel": (empty_pb2.Empty, self._cancel),
            "CheckConfig": (pb.CheckRequest, self._check_config),
            "DiffConfig": (pb.DiffRequest, self._diff_config),
            "Configure": (pb.ConfigureRequest, self._configure),
            "Check": (pb.CheckRequest, self._check),
            "Diff": (pb.DiffRequest, self._diff),
            "Create": (pb.CreateRequest, self._create),
            "Read": (pb.ReadRequest, self._read),
            "Update": (pb.UpdateRequest, self._update),
            "Delete": (pb.DeleteRequest, self._delete),
            "Invoke": (pb.InvokeRequest, self._invoke),
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(method),
                request_deserializer=request.FromString,
                response_serializer=lambda response: response.SerializeToString(),
            )
            for name, (request, method) in table.items()
        }

    def _guarded(
        self, method: Callable[[Any], Awaitable[Any]]
    ) -> Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            limit = getattr(request, "timeout", 0) if self._provider.bounded else None
            # An engine that dies cancels its calls, and would end the command that runs for it.
            task = asyncio.ensure_future(asyncio.wait_for(method(request), limit or None))
            self._running.add(task)
            task.add_done_callback(self._ended)
            try:
                return await asyncio.shield(task)
            except Failure as failure:
                if isinstance(failure, Diagnostic):
                    await self._log(getattr(request, "urn", ""), failure.logged, "error")
                await context.abort(grpc.StatusCode.UNKNOWN, str(failure))
            except TimeoutError:
                await context.abort(
                    grpc.StatusCode.DEADLINE_EXCEEDED, f"gave up after the resource's custom timeout of {limit:g} s"
                )
            except Exception as error:
                # Its text may hold a secret value: name only the place.
                trace = error.__traceback__
                while trace is not None and trace.tb_next is not None:
                    trace = trace.tb_next
                place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
                await context.abort(
                    grpc.StatusCode.INTERNAL, f"the offline plugin failed: {type(error).__name__} at {place}"
                )

        return call

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Nobody else may have waited for it.
            task.exception()

    async def _plugin_info(self, _: empty_pb2.Empty) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._provider.version)

    async def _cancel(self, _: empty_pb2.Empty) -> empty_pb2.Empty:
        # Like the official providers: a command that runs is waited for, an attempt to reach a host is not repeated.
        self._interrupted.set()
        return empty_pb2.Empty()

    async def _pause(self, seconds: float, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        over = left is not None and left < seconds
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._interrupted.wait(), left if over else seconds)
            raise Failure("context canceled")
        if over:
            raise Failure("context deadline exceeded")

    async def _log(self, urn: str, message: str, severity: Severity, *, passing: bool = False) -> None:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._engine)
        send = self._channel.unary_unary(
            "/pulumirpc.Engine/Log",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=empty_pb2.Empty.FromString,
        )
        request = engine_pb2.LogRequest(severity=_SEVERITIES[severity], message=message, urn=urn, ephemeral=passing)
        # An engine that was killed is no reason to end what it began.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await send(request)

    def _resource(self, request: Any) -> tuple[Resource, Call]:
        urn = request.urn
        token = urn.split("::")[2].rsplit("$", 1)[-1]
        resource = self._provider.resources.get(token)
        if resource is None:
            known = ", ".join(sorted(self._provider.resources))
            raise Failure(f"the offline plugin has no resource type {token}; it has: {known}")
        limit = getattr(request, "timeout", 0)
        deadline = time.monotonic() + limit if limit else None

        async def status(message: str) -> None:
            await self._log(urn, message, "info", passing=True)

        async def log(severity: Severity, message: str) -> None:
            await self._log(urn, message, severity)

        async def pause(seconds: float) -> None:
            await self._pause(seconds, deadline)

        return resource, Call(urn=urn, status=status, log=log, pause=pause)

    async def _check_config(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        news = decode_map(request.news)
        settings = {key: value for key, value in news.items() if key not in _ENGINE_SETTINGS}
        found = list(problems(self._provider.config, settings))
        if not found and not has_unknown(settings):
            found = self._provider.check_config(plain(settings))
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(found))

    async def _diff_config(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        changed = changes(self._provider.config, decode_map(request.olds), decode_map(request.news))
        return _diff_response(changed, replaces=frozenset())

    async def _configure(self, request: provider_pb2.ConfigureRequest) -> provider_pb2.ConfigureResponse:
        self._provider.settings = {
            key: value for key, value in plain(decode_map(request.args)).items() if key not in _ENGINE_SETTINGS
        }
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    async def _check(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        resource, _ = self._resource(request)
        inputs = normalise(resource.inputs, decode_map(request.news))
        found = list(problems(resource.inputs, inputs)) or resource.check(plain(inputs))
        return provider_pb2.CheckResponse(inputs=encode_map(inputs), failures=_failures(found))

    async def _diff(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        resource, _ = self._resource(request)
        state = decode_map(request.olds)
        inputs = _without_changes(decode_map(request.news), state, request.ignoreChanges)
        changed = resource.changes(plain(state), plain(inputs))
        if resource.compares_secrecy:
            changed |= secrecy_changes(resource.inputs, state, inputs)
        return _diff_response(
            changed, replaces=frozenset(key for key, field in resource.inputs.items() if field.replaces)
        )

    async def _create(self, request: provider_pb2.CreateRequest) -> provider_pb2.CreateResponse:
        resource, call = self._resource(request)
        inputs = decode_map(request.properties)
        if request.preview:
            state = {**inputs, **resource.planned(None, plain(inputs))}
            return provider_pb2.CreateResponse(properties=encode_map(state))
        resource_id, outputs = await resource.create(call, plain(inputs))
        state = {**inputs, **outputs}
        return provider_pb2.CreateResponse(id=resource_id, properties=encode_map(state))

    async def _read(self, request: provider_pb2.ReadRequest) -> provider_pb2.ReadResponse:
        resource, call = self._resource(request)
        known, inputs = decode_map(request.properties), decode_map(request.inputs)
        found = await resource.read(call, request.id, plain(known))
        if found is None:
            return provider_pb2.ReadResponse()
        resource_id, state = found
        current = _sealed(state, known)
        # Without inputs it is an import.
        inputs = {key: current.get(key, value) for key, value in inputs.items()} or resource.imported(current)
        return provider_pb2.ReadResponse(id=resource_id, properties=encode_map(current), inputs=encode_map(inputs))

    async def _update(self, request: provider_pb2.UpdateRequest) -> provider_pb2.UpdateResponse:
        resource, call = self._resource(request)
        state = decode_map(request.olds)
        inputs = _without_changes(decode_map(request.news), state, request.ignoreChanges)
        if request.preview:
            outputs = resource.planned(plain(state), plain(inputs))
        else:
            outputs = await resource.update(call, request.id, plain(state), plain(inputs))
        return provider_pb2.UpdateResponse(properties=encode_map({**inputs, **_sealed(outputs, state)}))

    async def _delete(self, request: provider_pb2.DeleteRequest) -> empty_pb2.Empty:
        resource, call = self._resource(request)
        await resource.delete(call, request.id, plain(decode_map(request.properties)))
        return empty_pb2.Empty()

    async def _invoke(self, request: provider_pb2.InvokeRequest) -> provider_pb2.InvokeResponse:
        if request.tok not in self._provider.functions:
            known = ", ".join(sorted(self._provider.functions)) or "none"
            raise Failure(f"the offline plugin has no function {request.tok}; it has: {known}")
        fields, function = self._provider.functions[request.tok]
        args = plain(decode_map(request.args))
        if found := list(problems(fields, args)):
            return provider_pb2.InvokeResponse(failures=_failures(found))
        response = provider_pb2.InvokeResponse()
        # The field's name is a Python keyword.
        getattr(response, "return").CopyFrom(encode_map(await function(args)))
        return response


# The engine's own, not the provider's.
_ENGINE_SETTINGS: Final = frozenset({"version", "pluginDownloadURL", "__internal"})


def _without_changes(inputs: Mapping[str, Any], state: Mapping[str, Any], ignored: Iterable[str]) -> dict[str, Any]:
    """Return the inputs with ignored properties as in the state; the engine takes them from the former inputs."""
    return {**inputs, **{key: state[key] for key in ignored if key in state}}


def _failures(found: list[Problem]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(property=problem.path, reason=problem.reason) for problem in found]


def _diff_response(changed: Mapping[str, Change], *, replaces: frozenset[str]) -> provider_pb2.DiffResponse:
    top = {path: path.partition("[")[0] for path in changed}
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=sorted(set(top.values())),
        replaces=sorted(path for path, key in top.items() if key in replaces),
        # Without these `preview --diff` shows no lines.
        detailedDiff={
            path: provider_pb2.PropertyDiff(kind=_KINDS[change, top[path] in replaces], inputDiff=True)  # type: ignore[arg-type]
            for path, change in changed.items()
        },
        hasDetailedDiff=True,
    )


def _sealed(values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The values, secret again where they were secret before."""
    sealed: dict[str, Any] = {}
    for key, value in values.items():
        before = known.get(key)
        if before is not None and plain(before) == value:
            sealed[key] = before
        elif has_secret(before):
            sealed[key] = Secret(value)
        else:
            sealed[key] = value
    return sealed
