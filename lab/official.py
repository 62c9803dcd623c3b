"""The official resource plugins of a PULUMI_HOME that `MAILHOST_PLUGINS` names, used instead of the lab's stand-ins."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lab import plugins
from lab.errors import LabError

VARIABLE: Final = "MAILHOST_PLUGINS"


def home() -> Path | None:
    """The PULUMI_HOME that was named; None where the lab decides itself (plugin_cache.py)."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else None


def binary(home: Path, name: str) -> Path:
    """Where the engine looks for the plugin in the version that its Python package asks for."""
    return home / "plugins" / f"resource-{name}-v{plugins.version(name)}" / f"pulumi-resource-{name}"


def check(home: Path) -> None:
    """Refuse a PULUMI_HOME that has not all of them."""
    if problems := list(_problems(home)):
        raise LabError(
            f"{VARIABLE}={home} has not every official plugin: {'; '.join(problems)}. "
            f"Without {VARIABLE} the lab uses its stand-ins where no plugin can be downloaded."
        )


def _problems(home: Path) -> Iterator[str]:
    for name in plugins.NAMES:
        wanted = binary(home, name)
        if not os.access(wanted, os.X_OK):
            others = sorted(folder.name for folder in (home / "plugins").glob(f"resource-{name}-v*") if folder.is_dir())
            there = f", there is {', '.join(others)}" if others else ""
            install = f"PULUMI_HOME={home} pulumi plugin install resource {name} {plugins.version(name)} --exact"
            yield f"{wanted.relative_to(home)} is missing{there} (`{install}`)"
        elif plugins.is_stand_in(wanted):
            yield f"{wanted.relative_to(home)} is a stand-in of the lab"


def use(home: Path, target: Path) -> None:
    """Let the PULUMI_HOME `target` have the plugins of `home`, which stays as it is."""
    check(home)
    target.mkdir(parents=True, exist_ok=True)
    link = target / "plugins"
    if link.is_symlink() or not link.exists():
        link.unlink(missing_ok=True)
    else:
        shutil.rmtree(link)
    link.symlink_to(home / "plugins")
