"""The environment in which the pulumi command, typed by hand or run by a test, finds the lab."""

import os
import shlex
import sys
from pathlib import Path

from lab import acme, paths, ssh_agent
from lab.addresses import BLOCKLIST, OUTSIDE, PASSPHRASE, RESOLVER4, STACK


def variables() -> dict[str, str]:
    """Variables that turn a shell into one for stack dev; PATH is the complete one."""
    # The virtual environment first: the language host runs whatever `python` it finds.
    first = (str(Path(sys.prefix) / "bin"), str(paths.toolchain()))
    rest = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry not in first]
    return {
        "PATH": os.pathsep.join((*first, *rest)),
        "VIRTUAL_ENV": sys.prefix,
        "PULUMI_HOME": str(paths.pulumi_home()),
        "PULUMI_BACKEND_URL": backend(paths.state()),
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        # A plugin on the operator's PATH would win over the lab's.
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "SSH_AUTH_SOCK": str(ssh_agent.socket()),
        "MAILHOST_DOCTOR": shlex.join(_doctor()),
    }


def backend(folder: Path) -> str:
    """URL of Pulumi's state in this folder, which survives that an engine is killed while it writes it.

    Beside each file the engine would write a second one with its attributes, and not in one step: where that one is
    empty, "failed to load checkpoint: EOF" is all it says.
    """
    return f"{folder.as_uri()}?metadata=skip"


def _doctor() -> list[str]:
    """Options with which `python -m doctor` sees the lab's names, roots and outside world instead of the real ones."""
    return [
        *("--resolver", RESOLVER4),
        *("--ca", str(acme.roots_file())),
        *("--port25-target", OUTSIDE.domain),
        *("--stranger", OUTSIDE.domain),
        *("--blocklist", BLOCKLIST),
    ]


def complete() -> dict[str, str]:
    """The present environment with the lab's variables over it, for a subprocess."""
    return os.environ | variables()


def forget_stack() -> None:
    """Remove the state of stack dev: the machine it describes is gone."""
    for file in paths.state().glob(f".pulumi/stacks/*/{STACK}.json*"):
        file.unlink()


def write() -> Path:
    """Write the file to source, and make the folders it names."""
    paths.state().mkdir(parents=True, exist_ok=True)
    paths.pulumi_home().mkdir(parents=True, exist_ok=True)
    lines = ["# Written by the lab. Source it: the pulumi command then works on stack dev.\n"]
    for name, value in variables().items():
        if name == "PATH":
            first = os.pathsep.join(value.split(os.pathsep)[:2])
            lines.append(f'export PATH={shlex.quote(first)}:"$PATH"\n')
        else:
            lines.append(f"export {name}={shlex.quote(value)}\n")
    target = paths.environment()
    target.parent.mkdir(exist_ok=True)
    target.write_text("".join(lines))
    return target
