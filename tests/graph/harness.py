"""Runs the whole program against a recording mock of the engine.

Each run is fresh: its own event loop, its own root stack, `__main__.py` from the start.
"""

import asyncio
import base64
import gc
import json
import runpy
import signal
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pulumi
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks, set_mocks
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from mailhostctl import staging

ROOT = Path(__file__).parents[2]
_SECRET_KEY = "4dabf18193072939515e22adb298388d"  # noqa: S105 because it is the SDK's marker of a secret, not one
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 because it is the SDK's marker of a secret, not one

_SAID = {
    "date --utc": "2026-11-23T04:00:00Z\n",
    "tlsa-keys": "A1\nB2\nC3\n",
    "mailhostctl stage": "5e71a1\n",
    "sh -s": "debian 13\n5e71a1\n",
    "acme-account": "ca.example\nhttps://ca.example/acct/1\n",
}
"""What the host answers, by a word of the command."""
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nnot a key, but as secret as one\n-----END RSA PRIVATE KEY-----\n"
ED25519_SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
ZONE_ID = "0123456789abcdef0123456789abcdef"
STALE = "computed before the change"
"""The content of a record with data, as the provider leaves it after an update."""
STACK_OUTPUTS = "pulumi:pulumi:readStackOutputs"
LIST_RECORDS = "cloudflare:index/getDnsRecords:getDnsRecords"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One resource as the program registered it."""

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    version: str
    delete_before_replace: bool
    before_create: tuple[str, ...]
    """Names of hooks."""
    import_id: str
    ignored: frozenset[str]
    """Properties whose changes are ignored."""
    frames: int
    """Of the stack trace noted with it."""
    dependencies: frozenset[str]
    property_dependencies: Mapping[str, frozenset[str]]
    inputs: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Return an input as text, whether it is secret or not."""
        value = self.inputs.get(name, "")
        return str(value["value"] if is_secret(value) else value)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What one run registered."""

    resources: Mapping[str, Seen]
    outputs: Mapping[str, Mapping[str, Any]]
    """By URN, of those that registered outputs."""
    exports: Mapping[str, Any]
    calls: tuple[tuple[str, Mapping[str, Any]], ...]
    """Token and arguments of each call of a provider's function."""
    on_interrupt: object
    """What SIGINT does to the program (signal.getsignal)."""

    def named(self, name: str) -> Seen:
        """Return the one resource of this name."""
        found = [seen for seen in self.resources.values() if seen.name == name and seen.custom]
        assert len(found) == 1, f"{name}: {len(found)} of {sorted(seen.name for seen in self.resources.values())}"
        return found[0]

    def of_type(self, token: str) -> list[Seen]:
        """Return the resources of one type in order of registration; there must be some."""
        found = [seen for seen in self.resources.values() if seen.type == token]
        assert found, token
        return found

    def before(self, seen: Seen) -> frozenset[str]:
        """Return the URNs of everything that must be done before `seen`, transitively, parents' conditions included."""
        done: set[str] = set()
        open_ends = [seen.urn]
        while open_ends:
            current = self.resources.get(open_ends.pop())
            if current is None:
                continue
            for urn in (*current.dependencies, current.parent):
                if urn and urn not in done:
                    done.add(urn)
                    open_ends.append(urn)
        return frozenset(done)

    def waits_for(self, later: str, earlier: str) -> bool:
        """Say whether the resource `later` runs only once `earlier` is done."""
        return self.named(earlier).urn in self.before(self.named(later))

    def staged(self, service: str) -> Mapping[str, tuple[str, str]]:
        """Return "MODE OWNER" and content of a service's files by path, as the host reads what is staged."""
        return self._files(*(f"mailhostctl stage {service} {part}" for part in staging.FILE_PARTS))

    def applied(self, service: str) -> Mapping[str, tuple[str, str]]:
        """Return the same of what is applied."""
        return self._files(f"mailhostctl apply {service} --serial ")

    def _files(self, *commands: str) -> Mapping[str, tuple[str, str]]:
        files: dict[str, tuple[str, str]] = {}
        for seen in self.commands():
            if seen.text("create").startswith(commands):
                manifest, contents = staging.read(seen.text("stdin").encode())
                files |= {
                    path: (f"{file.mode:04o} {file.owner}", contents[path].decode())
                    for path, file in manifest.files.items()
                }
        return files

    def commands(self) -> list[Seen]:
        """Return everything that opens an SSH connection; there must be something."""
        found = [seen for seen in self.resources.values() if seen.type.startswith("command:remote:")]
        assert found
        return found


@dataclass
class _Provider(Mocks):
    """Answers like the providers: computed values only when something is really created."""

    preview: bool
    public_key: str
    zone: Sequence[Mapping[str, object]]
    exist: Container[str]
    outputs: Mapping[str, object]
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        state = dict(args.inputs)
        if not self.preview:
            if args.typ == "tls:index/privateKey:PrivateKey":
                # Mocks know nothing of the provider's own secret outputs.
                state |= _ed25519() if args.inputs["algorithm"] == "ED25519" else self._rsa()
            if "data" in args.inputs:
                state |= {"content": STALE}
            if args.typ == "command:remote:Command":
                said = [text for word, text in _SAID.items() if word in str(state["create"])]
                state |= {"stdout": "".join(said), "stderr": ""}
        # The engine knows the id of what is there already.
        return "" if self.preview and args.name not in self.exist else f"{args.name}-id", state

    def _rsa(self) -> dict[str, object]:
        return {"privateKeyPem": pulumi.Output.secret(PRIVATE_KEY), "publicKeyPem": self.public_key}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]]]:
        if args.token == STACK_OUTPUTS:
            return {"name": args.args["name"], "outputs": dict(self.outputs)}, []
        self.calls.append((args.token, args.args))
        if args.token == LIST_RECORDS:
            return {"results": list(self.zone)}, []
        return {"zoneId": ZONE_ID, "id": ZONE_ID}, []


def _ed25519() -> dict[str, object]:
    """The key of RFC 8463 appendix A, in the forms the provider gives."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(ED25519_SEED))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"privateKeyPemPkcs8": pulumi.Output.secret(private.decode()), "publicKeyPem": public.decode()}


class _Recorder(MockMonitor):
    def __init__(self, mocks: Mocks, failing: Container[str], state: Mapping[str, Mapping[str, str | float]]) -> None:
        super().__init__(mocks)
        self.failing = failing
        self.state = state
        self.seen: list[Seen] = []
        self.registered: dict[str, Mapping[str, Any]] = {}

    def RegisterResource(self, request: Any) -> Any:
        # The engine takes such an input from the state, before anybody sees the program's.
        for name in set(request.ignoreChanges) & self.state.get(request.name, {}).keys():
            request.object[name] = self.state[request.name][name]
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call] # because the SDK has no types here
        if request.name in self.failing:
            response.result = resource_pb2.Result.FAIL
        self.seen.append(
            Seen(
                urn=response.urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                custom=request.custom,
                version=request.version,
                delete_before_replace=request.deleteBeforeReplace,
                before_create=tuple(request.hooks.before_create),
                import_id=request.importId,
                ignored=frozenset(request.ignoreChanges),
                frames=len(request.stackTrace.frames),
                dependencies=frozenset(request.dependencies),
                property_dependencies={
                    name: frozenset(value.urns) for name, value in request.propertyDependencies.items()
                },
                inputs=MessageToDict(request.object),
            )
        )
        return response

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        """Take a hook, as the engine would; no test of the graph runs one."""

    def RegisterResourceOutputs(self, request: Any) -> Any:
        self.registered[request.urn] = MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call] # likewise


def run(
    config: Mapping[str, object],
    *,
    secret_keys: tuple[str, ...] = (),
    preview: bool = False,
    zone: Sequence[Mapping[str, object]] = (),
    exist: Container[str] = (),
    failing: Container[str] = (),
    state: Mapping[str, Mapping[str, str | float]] = MappingProxyType({}),
    outputs: Mapping[str, object] = MappingProxyType({}),
) -> Graph:
    """Run the program with `config` (keys without namespace) and return what it registered.

    `zone` has the records that Cloudflare tells of, `exist` the names of resources that a preview finds in the state,
    `failing` those that the engine goes on without, as with --continue-on-error, `state` inputs of former updates by
    resource, which count where the program ignores changes, `outputs` those of the last update.
    """
    flat = {
        key if ":" in key else f"mailhost:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in config.items()
    }
    with _event_loop() as loop:
        pulumi.runtime.set_all_config(flat, [f"mailhost:{key}" for key in secret_keys])
        # Any root keeps set_mocks from making one: the program gets its own, as from the language host.
        pulumi.runtime.settings.set_root_resource(object())  # type: ignore[arg-type] # because nobody looks at it
        provider = _Provider(preview=preview, public_key=PUBLIC_KEY, zone=zone, exist=exist, outputs=outputs)
        recorder = _Recorder(provider, failing, state)
        set_mocks(provider, project="mailhost", stack="test", preview=preview, monitor=recorder)
        # Mocks have no engine that could call back.
        pulumi.runtime.settings.SETTINGS.callbacks = recorder
        pulumi.runtime.settings.set_root_resource(None)  # type: ignore[arg-type] # because the SDK means it so

        def program() -> None:
            runpy.run_path(str(ROOT / "__main__.py"))

        interrupted = signal.getsignal(signal.SIGINT)
        try:
            loop.run_until_complete(run_in_stack(program))
        finally:
            # The program does without a collector and without a last word; the tests live longer.
            gc.enable()
            on_interrupt = signal.signal(signal.SIGINT, interrupted)
    urns = [seen.urn for seen in recorder.seen]
    assert len(urns) == len(set(urns)), "two resources share a URN"
    return Graph(
        resources={seen.urn: seen for seen in recorder.seen},
        outputs=recorder.registered,
        exports=next(recorder.registered[seen.urn] for seen in recorder.seen if seen.type == "pulumi:pulumi:Stack"),
        calls=tuple(provider.calls),
        on_interrupt=on_interrupt,
    )


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop for the run and one for the SDK's worker thread, which makes but never closes its own."""
    loop, workers = asyncio.new_event_loop(), asyncio.new_event_loop()
    # One worker: resources register in the program's order.
    executor = ThreadPoolExecutor(max_workers=1, initializer=asyncio.set_event_loop, initargs=(workers,))
    loop.set_default_executor(executor)
    asyncio.set_event_loop(loop)
    # Everything that waited in a program that is refused fails with the same reason; the first one is raised.
    loop.set_exception_handler(lambda *_: None)
    try:
        yield loop
    finally:
        # A program that was refused leaves what waited for it, and the SDK would go on with that in the next run.
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        pulumi.runtime.settings.SETTINGS.outputs.clear()
        executor.shutdown()
        workers.close()
        loop.close()
        asyncio.set_event_loop(None)


def is_secret(value: object) -> bool:
    """Say whether a registered input is marked secret."""
    return isinstance(value, Mapping) and value.get(_SECRET_KEY) == _SECRET


PUBLIC_KEY = (Path(__file__).parent / "public_key.pem").read_text(encoding="ascii")
