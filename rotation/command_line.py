"""Command line: `python -m rotation`. Reads a stack's settings and outputs, writes the next stage into its settings.

It deploys nothing. A run that dies leaves the settings at one stage or at the next one.
"""

import argparse
import json
import sys
from datetime import UTC, datetime

from accounts.errors import AccountsError
from accounts.store import pulumi
from model import mailbox_file, rotation
from model.problems import SettingsError
from model.settings import load

_PREFIX = "mailhost:"
_SETTING = f"{_PREFIX}dkim.rotation"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 moved on, 1 refused with its reason, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m rotation",
        description="Move the rotation of a stack's DKIM keys on by one stage: published, signing, settled. "
        "The next `pulumi up` applies it.",
    )
    parser.add_argument("--stack", required=True)
    parser.add_argument("--start", action="store_true", help="begin a rotation before dkim.rotation.every says so")
    options = parser.parse_args(arguments)
    try:
        lines = _move_on(options.stack, start=options.start)
    except (AccountsError, SettingsError) as error:
        lines, code = [*error.problems], 1
    else:
        code = 0
    for line in lines:
        print(f"rotate: {line}", file=sys.stderr)
    return code


def _move_on(stack: str, *, start: bool) -> list[str]:
    def config(*words: str) -> str:
        return pulumi(mailbox_file.FOLDER, stack, "config", *words)

    values = json.loads(config("--json", "--show-secrets"))
    raw = {
        key.removeprefix(_PREFIX): str(entry.get("value", ""))
        for key, entry in values.items()
        if key.startswith(_PREFIX)
    }
    settings = load(raw, listed=mailbox_file.read(stack.rpartition("/")[2]))
    outputs = json.loads(pulumi(mailbox_file.FOLDER, stack, "stack", "output", "--json"))
    now = datetime.now(UTC)
    step = rotation.following(settings.dkim.rotation, rotation.applied(outputs), settings.dkim_grace, now, start=start)
    if step.refused:
        raise SettingsError([step.refused])
    if step.forget_since:
        # By itself first: the settings may be without it at the stage they are at.
        config("rm", "--path", f"{_SETTING}.since")
    pairs = [word for key, value in step.values.items() for word in ("--plaintext", f"{_SETTING}.{key}={value}")]
    # All at once: between two of them the settings would contradict themselves.
    config("set-all", "--path", *pairs)
    return [
        f"{', '.join(f'{key} {value}' for key, value in step.values.items())} in Pulumi.{stack}.yaml",
        f"pulumi up --stack {stack}   # {step.meaning}",
    ]
