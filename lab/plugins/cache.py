"""Launchers of the offline plugins in the plugin cache of a PULUMI_HOME."""

import compileall
import json
import shlex
from importlib import metadata
from pathlib import Path
from typing import Final

from lab.plugins import NAMES

_MARK: Final = "# An offline stand-in of the lab, not the official plugin."


def install(home: Path, python: Path, nursery: Path) -> None:
    """See `lab.plugins.install`."""
    here = Path(__file__).resolve().parent
    # Also where PYTHONDONTWRITEBYTECODE is set: every preview starts these.
    compileall.compile_dir(here, quiet=2)
    for name in NAMES:
        binary = home / "plugins" / f"resource-{name}-v{version(name)}" / f"pulumi-resource-{name}"
        if binary.exists() and not is_stand_in(binary):
            continue
        binary.parent.mkdir(parents=True, exist_ok=True)
        partial = binary.with_suffix(".new")
        # -I: neither the user's PYTHON* variables nor the working folder change what is imported; -S: nothing is.
        launch = f"exec {shlex.join([str(python), '-I', '-S', str(here / 'launch.py'), str(nursery), name])}"
        partial.write_text(f'#!/bin/sh\n{_MARK}\n{launch} "$@"\n', encoding="utf-8")
        partial.chmod(0o755)
        partial.replace(binary)


def is_stand_in(binary: Path) -> bool:
    """See `lab.plugins.is_stand_in`."""
    with binary.open("rb") as file:
        return _MARK.encode() in file.read(200)


def version(name: str) -> str:
    """See `lab.plugins.version`."""
    files = metadata.files(f"pulumi-{name}") or []
    pin = next(file for file in files if file.name == "pulumi-plugin.json")
    return str(json.loads(Path(str(pin.locate())).read_text(encoding="utf-8"))["version"])
