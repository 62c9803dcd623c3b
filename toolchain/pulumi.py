"""Finds, downloads or builds the `pulumi` command with its Python language host.

The first that works: a `pulumi` on PATH that is new enough; the official release, where the machine reaches it; the two
programs built from their tagged Go modules. The last two end in the cache's `bin/`, side by side, as pulumi wants them.
"""

import hashlib
import http.client
import os
import platform
import re
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from toolchain import cache, golang
from toolchain.console import Progress, ToolchainError, say

CLI_VERSION: Final = "3.259.0"
"""The version that is downloaded or built, and the least that is accepted on PATH."""

HOST_VERSION: Final = "3.79.0"
"""The last tagged module that still contains the Python language host; later ones come only with official releases."""

RELEASES: Final = "https://get.pulumi.com/releases/sdk"

_VERSION_VARIABLE: Final = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
# Without the version set by the linker it is empty, and pulumi then skips requiredPulumiVersion without a word.
CLI: Final = golang.GoTool(
    module="pulumi",
    gigabytes=5,
    tags="osusergo,grpcnotrace",
    ldflags=f"-s -w -X {_VERSION_VARIABLE}=v{CLI_VERSION}",
)
LANGUAGE_HOST: Final = golang.GoTool(module="language-host", ldflags=f"-s -w -X {_VERSION_VARIABLE}=v{HOST_VERSION}")

_ARCHITECTURES: Final = {"x86_64": "x64", "aarch64": "arm64"}
_ANSWER_WITHIN_S: Final = 4.0
_CHUNK: Final = 1 << 20


class _UnreachableError(Exception):
    """The official release cannot be had from here; the text says why."""


def provide() -> Path:
    """Returns the `pulumi` to use, installing one into the cache when there is none.

    Raises:
        ToolchainError: it could neither be found, downloaded nor built.
    """
    if (found := on_path()) is not None:
        return found
    if cache.is_current("pulumi", _stamp()):
        return cache.binaries() / "pulumi"
    with cache.lock():
        if cache.is_current("pulumi", _stamp()):  # built by the one we waited for
            return cache.binaries() / "pulumi"
        with cache.workspace() as new:
            try:
                _download(new)
            except _UnreachableError as reason:
                say(f"pulumi: {reason}; building {CLI_VERSION} from its Go modules (once, some minutes)")
                _build(new)
            if version(new / "pulumi") != _numbers(CLI_VERSION):
                raise ToolchainError(f"the new pulumi does not run as version {CLI_VERSION}; nothing was installed")
            return cache.install("pulumi", _stamp(), new)


def on_path() -> Path | None:
    """Returns a `pulumi` on PATH that is new enough and has its Python language host, the cache's own left aside."""
    own = cache.binaries().resolve()
    folders = [folder for folder in os.get_exec_path() if Path(folder).resolve() != own]
    found = shutil.which("pulumi", path=os.pathsep.join(folders))
    if found is None:
        return None
    command = Path(found)
    if version(command) < _numbers(CLI_VERSION):
        say(f"pulumi: {command} is older than {CLI_VERSION} and not used")
        return None
    beside = [str(command.parent), str(command.resolve().parent), *folders]
    if shutil.which("pulumi-language-python", path=os.pathsep.join(beside)) is None:
        say(f"pulumi: {command} comes without pulumi-language-python and is not used")
        return None
    return command


def version(command: Path) -> tuple[int, ...]:
    """Returns the version a pulumi command says it has; () when it says none."""
    environment = dict(os.environ) | {"PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        done = subprocess.run(
            [command, "version"], capture_output=True, text=True, check=False, timeout=30, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return _numbers(done.stdout)


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return tuple(int(part) for part in found.groups()) if found else ()


def _stamp() -> str:
    return cache.digest(CLI.stamp, LANGUAGE_HOST.stamp, CLI_VERSION, HOST_VERSION)


def _build(target: Path) -> None:
    with golang.go(CLI, LANGUAGE_HOST) as go:
        go.build(CLI, target)
        go.build(LANGUAGE_HOST, target)
        # The host starts this script from its own folder; the old module's one is too old for today's SDK.
        sdk = go.module_folder(CLI, "github.com/pulumi/pulumi/sdk/v3")
        shutil.copyfile(sdk / "python/cmd/pulumi-language-python-exec", target / "pulumi-language-python-exec")


def _download(target: Path) -> None:
    """Unpacks what Python programs need of the official release into `target`, its SHA-256 checked.

    Raises:
        _UnreachableError: no release for this machine, no way to the server, or a checksum that differs.
    """
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise _UnreachableError(f"no official release for {platform.machine()}")
    name = f"pulumi-v{CLI_VERSION}-linux-{architecture}.tar.gz"
    with cache.workspace() as folder:
        archive = folder / name
        try:
            _fetch(f"{RELEASES}/{name}", archive, _checksum(name))
        except urllib.error.HTTPError as error:
            raise _UnreachableError(f"{error.url} answers {error.code}") from error
        except (http.client.HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise _UnreachableError(f"the official release cannot be fetched ({reason})") from error
        with tarfile.open(archive) as content:
            for member in content:
                file = Path(member.name).name
                source = content.extractfile(member)
                if source is not None and (file == "pulumi" or "python" in file):
                    with source, (target / file).open("wb") as output:
                        shutil.copyfileobj(source, output)
                    (target / file).chmod(0o755)


def _checksum(name: str) -> str:
    url = f"{RELEASES}/pulumi-{CLI_VERSION}-checksums.txt"
    with urllib.request.urlopen(url, timeout=_ANSWER_WITHIN_S) as response:  # noqa: S310 - RELEASES is https
        for line in response.read(_CHUNK).decode().splitlines():
            match line.split():
                case [digest, file] if file.lstrip("*") == name:
                    return str(digest)
    raise _UnreachableError(f"{RELEASES} has no checksum for {name}")


def _fetch(url: str, file: Path, expected: str) -> None:
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=_ANSWER_WITHIN_S) as response,  # noqa: S310 - RELEASES is https
        file.open("wb") as output,
        Progress("pulumi: downloading", total=int(response.headers.get("Content-Length", "0")) >> 20) as progress,
    ):
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
            output.write(chunk)
            progress.advance(output.tell() >> 20, "MB")
    if digest.hexdigest() != expected:
        raise _UnreachableError(f"{url} has SHA-256 {digest.hexdigest()}, its checksum file says {expected}")
