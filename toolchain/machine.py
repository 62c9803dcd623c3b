"""What must be there before anything else: system, rights, Python. Names every missing thing with its remedy."""

import importlib.util
import os
import platform
import shutil
import sys
from typing import Final

from toolchain.console import ToolchainError

MINIMUM_PYTHON: Final = (3, 11)
MINIMUM_DEBIAN: Final = 12


def missing_for_tools() -> list[str]:
    """Returns what the tools need and this machine lacks, one line each, with the command that installs it."""
    missing = []
    if importlib.util.find_spec("ensurepip") is None:
        missing.append("Python's venv module is missing: apt-get install python3-venv")
    if sys.platform != "linux":
        missing.append(f"this system is {sys.platform}: use Linux (for the lab: Debian {MINIMUM_DEBIAN} or newer)")
    return missing


def missing_for_lab() -> list[str]:
    """Returns what the lab needs and this machine lacks: Debian 12 or newer, root or sudo."""
    missing = missing_for_tools()
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {"ID": "unknown", "PRETTY_NAME": "not known (no /etc/os-release)"}
    # Debian testing and unstable have no VERSION_ID; they are newer than any release.
    version = system.get("VERSION_ID", str(MINIMUM_DEBIAN))
    if system["ID"] != "debian" or float(version) < MINIMUM_DEBIAN:
        name = system.get("PRETTY_NAME", system["ID"])
        missing.append(f"the lab needs Debian {MINIMUM_DEBIAN} or newer, this is {name}: use a Debian machine or VM")
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        missing.append("the lab needs root: run this as root, or have root install sudo: apt-get install sudo")
    return missing


def require(missing: list[str]) -> None:
    """Raises all that is missing as one error.

    Raises:
        ToolchainError: the list is not empty.
    """
    if missing:
        raise ToolchainError("\n".join(missing))
