"""Plugins from the nursery are what started ones are: they serve, and live exactly as long as their launcher."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2

from lab.plugins.values import encode_map
from tests.plugins.conftest import ROOT

PLUGINS = ROOT / "lab" / "plugins"


@contextmanager
def serving(plugins: Path, address: Path) -> Iterator[int]:
    """A nursery; its process id."""
    process = subprocess.Popen([sys.executable, "-I", str(plugins), "nursery", str(address)])
    try:
        eventually(address.is_socket)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "nursery"


@pytest.fixture
def nursery(address: Path) -> Iterator[int]:
    with serving(PLUGINS, address) as number:
        yield number


def launcher(address: Path, name: str, plugins: Path = PLUGINS) -> list[str]:
    return [sys.executable, "-I", "-S", str(plugins / "launch.py"), str(address), name, "127.0.0.1:1"]


@contextmanager
def launched(
    address: Path,
    name: str = "command",
    *,
    plugins: Path = PLUGINS,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A launcher as the engine starts it, and the port of its plugin."""
    with subprocess.Popen(
        launcher(address, name, plugins),
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


def gone(number: int) -> bool:
    return not Path(f"/proc/{number}").exists()


def eventually(true: Callable[[], object], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def version(port: int) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(
            "/pulumirpc.ResourceProvider/GetPluginInfo",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=plugin_pb2.PluginInfo.FromString,
        )
        return str(ask(empty_pb2.Empty(), timeout=10).version)


def test_several_plugins_serve_at_once(address: Path, nursery: int) -> None:
    with launched(address, "command") as (_, command), launched(address, "tls") as (_, tls):
        assert len(children(nursery)) == 2
        assert version(command) == "1.2.1"
        assert version(tls) == "5.5.1"


def test_it_has_the_launcher_s_environment(address: Path, nursery: int) -> None:
    here = {"CLOUDFLARE_BASE_URL": "http://127.0.0.1:9/here", "CLOUDFLARE_API_TOKEN": "x" * 40}
    with (
        launched(address, "cloudflare", environment=here) as (_, port),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        assert children(nursery)
        invoke = channel.unary_unary(
            "/pulumirpc.ResourceProvider/Invoke",
            request_serializer=provider_pb2.InvokeRequest.SerializeToString,
            response_deserializer=provider_pb2.InvokeResponse.FromString,
        )
        args = encode_map({"zoneId": "0" * 32})
        with pytest.raises(grpc.RpcError, match=r"127\.0\.0\.1:9/here.*connection refused"):
            invoke(provider_pb2.InvokeRequest(tok="cloudflare:index/getZone:getZone", args=args), timeout=10)


def test_it_works_in_the_launcher_s_folder(address: Path, nursery: int, tmp_path: Path) -> None:
    with launched(address, folder=tmp_path):
        (plugin,) = children(nursery)
        assert Path(f"/proc/{plugin}/cwd").readlink() == tmp_path


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_its_launcher(address: Path, nursery: int, sent: signal.Signals) -> None:
    with launched(address) as (process, _):
        (plugin,) = children(nursery)
        process.send_signal(sent)
        eventually(lambda: gone(plugin))


def test_the_launcher_ends_with_it_and_says_so(address: Path, nursery: int) -> None:
    with launched(address) as (process, _):
        (plugin,) = children(nursery)
        os.kill(plugin, signal.SIGKILL)
        _, errors = process.communicate(timeout=10)
        assert errors == "the offline plugin command has ended\n"
        assert process.returncode == 1


def test_both_end_when_the_engine_is_killed(address: Path, nursery: int) -> None:
    shell = ["sh", "-c", '"$@"; exit', "engine", *launcher(address, "tls")]
    with subprocess.Popen(shell, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline()
        (between,) = children(engine.pid)
        (plugin,) = children(nursery)
        engine.kill()
        eventually(lambda: gone(between) and gone(plugin))


def test_without_a_nursery_it_starts_from_nothing(address: Path) -> None:
    with launched(address, "tls") as (_, port):
        assert version(port) == "5.5.1"


def test_a_nursery_that_gives_nothing_is_done_without(address: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as deaf:
        deaf.bind(str(address))
        deaf.listen()
        with subprocess.Popen(launcher(address, "tls"), stdout=subprocess.PIPE) as process:
            deaf.accept()[0].close()
            assert process.stdout is not None
            assert version(int(process.stdout.readline())) == "5.5.1"
            process.kill()


def test_changed_sources_start_it_anew(address: Path, tmp_path: Path) -> None:
    shutil.copytree(PLUGINS, tmp_path / "lab" / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "lab" / "__init__.py").touch()
    plugins = tmp_path / "lab" / "plugins"
    with serving(plugins, address) as number:
        source = plugins / "tls.py"
        source.write_text(source.read_text().replace('version = "5.5.1"', 'version = "5.5.2"'))
        with launched(address, "tls", plugins=plugins) as (_, port):
            assert version(port) == "5.5.2"
            assert not children(number)

        def born() -> bool:
            with launched(address, "tls", plugins=plugins) as (_, port):
                return version(port) == "5.5.2" and len(children(number)) == 1

        eventually(born)


def test_only_its_owner_may_ask(address: Path, nursery: int) -> None:
    assert nursery
    assert address.stat().st_mode & 0o077 == 0
