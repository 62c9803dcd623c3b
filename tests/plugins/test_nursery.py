"""Plugins from the nursery are what started ones are: they serve, and live exactly as long as their launcher."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2

from lab.plugins import NAMES
from lab.plugins.cloudflare_http import PACE
from lab.plugins.values import encode_map
from tests.plugins.conftest import ROOT, Engine, Served, SshServer, eventually

PLUGINS = ROOT / "lab" / "plugins"


@contextmanager
def serving(plugins: Path, sockets: Path) -> Iterator[int]:
    """A nursery that has a plugin of each kind; its process id."""
    process = subprocess.Popen([sys.executable, "-I", str(plugins), "nursery", str(sockets)])
    try:
        eventually(lambda: len(children(process.pid)) == len(NAMES))
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[int]:
    with serving(PLUGINS, tmp_path) as number:
        yield number


def launcher(sockets: Path, name: str, plugins: Path = PLUGINS) -> list[str]:
    return [sys.executable, "-I", "-S", str(plugins / "launch.py"), str(sockets), name, "127.0.0.1:1"]


@contextmanager
def launched(
    sockets: Path,
    name: str = "command",
    *,
    plugins: Path = PLUGINS,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A launcher as the engine starts it, and the port of its plugin."""
    with subprocess.Popen(
        launcher(sockets, name, plugins),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def children(number: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def plugin(nursery: int, launcher: int) -> int:
    """The nursery's child that has the launcher's standard output."""
    (found,) = (child for child in children(nursery) if output(child) == output(launcher))
    return found


def output(number: int) -> str:
    try:
        return str(Path(f"/proc/{number}/fd/1").readlink())
    except FileNotFoundError:
        return ""


def gone(number: int) -> bool:
    return not Path(f"/proc/{number}").exists()


def version(port: int) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(
            "/pulumirpc.ResourceProvider/GetPluginInfo",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=plugin_pb2.PluginInfo.FromString,
        )
        return str(ask(empty_pb2.Empty(), timeout=10).version)


def test_several_plugins_serve_at_once(tmp_path: Path, nursery: int) -> None:
    waiting = children(nursery)
    with launched(tmp_path, "command") as (one, command), launched(tmp_path, "tls") as (other, tls):
        assert {plugin(nursery, one.pid), plugin(nursery, other.pid)} < set(waiting)
        assert version(command) == "1.2.1"
        assert version(tls) == "5.5.1"


def test_several_of_a_kind_serve_at_once(tmp_path: Path, nursery: int) -> None:
    with launched(tmp_path) as (one, _), launched(tmp_path) as (other, port):
        assert plugin(nursery, one.pid) != plugin(nursery, other.pid)
        assert version(port) == "1.2.1"


def test_one_that_is_over_has_a_successor(tmp_path: Path, nursery: int) -> None:
    waiting = children(nursery)
    with launched(tmp_path) as (process, _):
        taken = plugin(nursery, process.pid)
    eventually(lambda: len(set(children(nursery)) - set(waiting)) == 1)
    assert set(waiting) - set(children(nursery)) == {taken}


def test_one_that_died_has_a_successor_when_asked(tmp_path: Path, nursery: int) -> None:
    waiting = children(nursery)
    for child in waiting:
        os.kill(child, signal.SIGKILL)
    eventually(lambda: not children(nursery))
    with launched(tmp_path) as (process, port):
        assert children(nursery) == [plugin(nursery, process.pid)]
        assert version(port) == "1.2.1"


def test_those_that_wait_end_with_the_nursery(tmp_path: Path) -> None:
    with serving(PLUGINS, tmp_path) as number:
        waiting = children(number)
        assert len(waiting) == len(NAMES)
    eventually(lambda: all(gone(child) for child in waiting))


def test_it_has_the_launcher_s_environment(tmp_path: Path, nursery: int) -> None:
    here = {"CLOUDFLARE_BASE_URL": "http://127.0.0.1:9/here", "CLOUDFLARE_API_TOKEN": "x" * 40, PACE: "0"}
    with (
        launched(tmp_path, "cloudflare", environment=here) as (process, port),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert plugin(nursery, process.pid)
        invoke = channel.unary_unary(
            "/pulumirpc.ResourceProvider/Invoke",
            request_serializer=provider_pb2.InvokeRequest.SerializeToString,
            response_deserializer=provider_pb2.InvokeResponse.FromString,
        )
        args = encode_map({"zoneId": "0" * 32})
        with pytest.raises(grpc.RpcError, match=r"127\.0\.0\.1:9/here.*connection refused"):
            invoke(provider_pb2.InvokeRequest(tok="cloudflare:index/getZone:getZone", args=args), timeout=10)


def test_it_works_in_the_launcher_s_folder(tmp_path: Path, nursery: int) -> None:
    with launched(tmp_path, folder=tmp_path) as (process, _):
        assert Path(f"/proc/{plugin(nursery, process.pid)}/cwd").readlink() == tmp_path


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_its_launcher(tmp_path: Path, nursery: int, sent: signal.Signals) -> None:
    with launched(tmp_path) as (process, _):
        taken = plugin(nursery, process.pid)
        process.send_signal(sent)
        eventually(lambda: gone(taken))
        assert process.communicate(timeout=10) == ("", "")


def test_the_launcher_ends_with_it_and_says_so(tmp_path: Path, nursery: int) -> None:
    with launched(tmp_path) as (process, _):
        os.kill(plugin(nursery, process.pid), signal.SIGKILL)
        _, errors = process.communicate(timeout=10)
        assert errors == "the offline plugin command has ended\n"
        assert process.returncode == 1


def test_both_end_when_the_engine_is_killed(tmp_path: Path, nursery: int) -> None:
    shell = ["sh", "-c", '"$@"; exit', "engine", *launcher(tmp_path, "tls")]
    with subprocess.Popen(shell, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline()
        (between,) = children(engine.pid)
        taken = plugin(nursery, between)
        engine.kill()
        eventually(lambda: gone(between) and gone(taken))


def test_a_command_goes_on_when_the_engine_is_killed(
    tmp_path: Path, nursery: int, ssh: SshServer, engine: Engine
) -> None:
    argv = launcher(tmp_path, "command")[:-1]
    with subprocess.Popen(
        ["sh", "-c", '"$@"; exit', "engine", *argv, engine.address], stdout=subprocess.PIPE
    ) as killed:
        assert killed.stdout is not None
        served = Served(int(killed.stdout.readline()))
        (between,) = children(killed.pid)
        taken = plugin(nursery, between)
        inputs = {"connection": ssh.connection(), "create": "touch begun; sleep 2; touch ended"}
        with futures.ThreadPoolExecutor(1) as pool:
            pool.submit(served.resource("command:remote:Command").create, inputs)
            eventually((ssh.folder / "begun").exists)
            killed.kill()
            served.hang_up()
        eventually((ssh.folder / "ended").exists)
        eventually(lambda: gone(between) and gone(taken))


def test_without_a_nursery_it_starts_from_nothing(tmp_path: Path) -> None:
    with launched(tmp_path, "tls") as (_, port):
        assert version(port) == "5.5.1"


def test_a_nursery_that_gives_nothing_is_done_without(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as deaf:
        deaf.bind(str(tmp_path / "tls"))
        deaf.listen()
        with subprocess.Popen(launcher(tmp_path, "tls"), stdout=subprocess.PIPE) as process:
            deaf.accept()[0].close()
            assert process.stdout is not None
            assert version(int(process.stdout.readline())) == "5.5.1"
            process.kill()


def test_changed_sources_start_it_anew(tmp_path: Path) -> None:
    shutil.copytree(PLUGINS, tmp_path / "lab" / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "lab" / "__init__.py").touch()
    plugins = tmp_path / "lab" / "plugins"
    with serving(plugins, tmp_path) as number:
        yesterday = children(number)
        source = plugins / "tls.py"
        source.write_text(source.read_text().replace('version = "5.5.1"', 'version = "5.5.2"'))
        with launched(tmp_path, "tls", plugins=plugins) as (_, port):
            assert version(port) == "5.5.2"
        eventually(lambda: len(children(number)) == len(NAMES) and not set(children(number)) & set(yesterday))
        with launched(tmp_path, "tls", plugins=plugins) as (process, port):
            assert version(port) == "5.5.2"
            assert plugin(number, process.pid)


def test_only_its_owner_may_ask(tmp_path: Path, nursery: int) -> None:
    assert nursery
    for name in NAMES:
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
