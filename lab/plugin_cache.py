"""Fills the lab's PULUMI_HOME with the resource plugins that the program needs.

Those of `MAILHOST_PLUGINS` where it is set (official.py). Otherwise the official ones where they can be downloaded, the
lab's offline ones elsewhere. The answer is remembered per version, so that no later run waits for a network that is not
there; the file `lab-plugins.json` in PULUMI_HOME holds it: remove it to ask again.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from lab import environment, locks, nursery, official, paths, plugins
from lab.errors import LabError
from lab.progress import say, step

_DOWNLOAD_LIMIT: Final = 120
"""Seconds for one plugin; the largest is about 30 MB."""


def _answers() -> Path:
    return paths.pulumi_home() / "lab-plugins.json"


def _pulumi() -> Path:
    found = shutil.which("pulumi", path=environment.variables()["PATH"])
    if found is None:
        raise LabError("the pulumi command is missing; `make tools` gets it")
    return Path(found)


def _download(pulumi: Path, name: str, version: str) -> bool:
    """Whether the official plugin could be installed. Without a network this fails within a second or two."""
    try:
        done = subprocess.run(
            [str(pulumi), "plugin", "install", "resource", name, version, "--exact"],
            env=environment.complete() | {"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "false"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DOWNLOAD_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _keep_no_logs(home: Path) -> None:
    """Leave no room for the debug log that the engine writes of every run: it costs a third of the engine's work.

    There is no switch; where the folder cannot be made, the engine goes on without (pulumi 3.259, pkg/logging).
    """
    logs = home / "logs"
    if logs.is_dir():
        shutil.rmtree(logs)
    logs.touch()


def fill() -> None:
    """Make sure every plugin is in the lab's PULUMI_HOME; the offline ones are brought up to date each time."""
    with locks.held("plugins"):
        _fill()


def _fill() -> None:
    home = paths.pulumi_home()
    home.mkdir(parents=True, exist_ok=True)
    _keep_no_logs(home)
    if named := official.home():
        official.use(named, home)
        say(f"using the plugins in {named}")
        return
    answers: dict[str, str] = json.loads(_answers().read_text()) if _answers().exists() else {}
    wanted = {name: f"{name} {plugins.version(name)}" for name in plugins.NAMES}
    unknown = [name for name in plugins.NAMES if wanted[name] not in answers]
    pulumi = _pulumi()
    if unknown:
        with step(f"looking for the official plugins {', '.join(unknown)}"):
            reachable = True
            for name in unknown:
                # One refusal answers for all: they come from the same place.
                reachable = reachable and _download(pulumi, name, plugins.version(name))
                answers[wanted[name]] = "official" if reachable else "offline"
        _answers().write_text(json.dumps(answers, indent=2) + "\n")
    offline = [name for name in plugins.NAMES if answers[wanted[name]] == "offline"]
    if offline:
        if unknown:
            say(f"the official plugins cannot be downloaded here: using the lab's own for {', '.join(offline)}")
        plugins.install(pulumi, home, Path(sys.executable), nursery=nursery.folder())
