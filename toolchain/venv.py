"""The clone's `.venv`: every package of uv.lock, compiled, put there by uv."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from toolchain import cache, pypi
from toolchain.console import ToolchainError, say

UV_REQUIREMENTS: Final = cache.SOURCE / "requirements-uv.txt"
VENV: Final = cache.CLONE / ".venv"


def uv() -> Path:
    """Returns the uv on PATH when it is one that pyproject.toml accepts, else the cache's own (installed if missing).

    The cache's one is also linked into `bin/`, because pulumi's uv toolchain looks for it on PATH.
    """
    project = tomllib.loads((cache.CLONE / "pyproject.toml").read_text())
    minimum = _numbers(project["tool"]["uv"]["required-version"])
    own = cache.binaries() / "uv"
    found = shutil.which("uv")
    if found is not None and Path(found) != own and _version(found) >= minimum:
        return Path(found)
    with cache.lock():
        program = pypi.program("uv", UV_REQUIREMENTS)
        if not own.is_symlink() or own.readlink() != program:
            own.parent.mkdir(parents=True, exist_ok=True)
            own.unlink(missing_ok=True)
            own.symlink_to(program)
    return program


def provide() -> Path:
    """Brings `.venv` to the state of uv.lock, and returns it. Cheap when it is there already.

    The bytecode is compiled here, because where PYTHONDONTWRITEBYTECODE is set nothing else ever writes it, and each
    preview would pay: `import pulumi` takes 0.9 s without, 0.27 s with. Packages that a developer added stay.

    Raises:
        ToolchainError: uv failed; its own words went to standard error.
    """
    command = [str(uv()), "sync", "--locked", "--inexact", "--project", str(cache.CLONE)]
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    environment |= {"UV_PYTHON_DOWNLOADS": "never"}
    compiled = VENV / ".compiled"
    stamp = cache.digest(cache.CLONE / "uv.lock")
    if compiled.is_file() and compiled.read_text() == stamp:
        check = subprocess.run([*command, "--check"], capture_output=True, env=environment, check=False)
        if check.returncode == 0:
            return VENV
    if not (VENV / "bin" / "python").exists():
        command += ["--python", sys.executable]
    say("venv: installing the packages of uv.lock into .venv")
    done = subprocess.run([*command, "--compile-bytecode"], env=environment, check=False)
    if done.returncode != 0:
        raise ToolchainError(
            f"uv could not bring .venv to the state of uv.lock (exit {done.returncode}): see its words above"
        )
    compiled.write_text(stamp)
    return VENV


_FOREIGN: Final = frozenset({"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON"})
"""Variables that would make uv work on another environment than ours."""


def _version(command: str) -> tuple[int, ...]:
    try:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ()
    return _numbers(done.stdout)


def _numbers(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else ()
