"""Starts one offline plugin: `python -I lab/plugins NAME ENGINE-ADDRESS`, or their nursery: `… nursery FOLDER`.

Only the generated protocol stubs of the `pulumi` package are needed. Its `__init__` imports the whole SDK, twice the
start-up time of everything else together, so its package objects are put in place without running it.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.plugins.nursery import Adoption


def _package(name: str, path: Path) -> None:
    module = ModuleType(name)
    module.__path__ = [str(path)]
    sys.modules[name] = module


def _prepare() -> None:
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    spec = importlib.util.find_spec("pulumi")
    if spec is None or spec.origin is None:
        sys.exit(f"the offline plugins need the pulumi package in {sys.prefix}")
    root = Path(spec.origin).parent
    for name in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
        _package(name, root.joinpath(*name.split(".")[1:]))


def _be(name: str, adopted: "Adoption | None" = None) -> None:
    plugin = importlib.import_module(f"lab.plugins.{name}")
    importlib.import_module("lab.plugins.serve").main(getattr(plugin, f"{name.capitalize()}Provider")(), adopted)


def _main() -> None:
    _prepare()
    name = sys.argv[1]
    if name != "nursery":
        _be(name)
        return
    names = importlib.import_module("lab.plugins").NAMES
    for plugin in names:
        importlib.import_module(f"lab.plugins.{plugin}")
    importlib.import_module("lab.plugins.nursery").serve(Path(sys.argv[2]), names, _be)


_main()
