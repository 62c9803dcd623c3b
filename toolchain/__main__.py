"""Command line of the toolchain. This file alone must run on any Python 3, to name the one that is needed."""

import argparse
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - a newcomer's python3 may be older
    sys.exit(
        "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": apt-get install python3 python3-venv"
    )

from toolchain import actionlint, machine, pulumi, venv
from toolchain.console import ToolchainError

COMMANDS = {
    "tools": "pulumi, uv and .venv: all that `pulumi preview` needs; prints the folder to put on PATH",
    "lab": "the same, and first checks what the lab needs of this machine",
    "pulumi": "only the pulumi command; prints its path",
    "venv": "only uv and .venv; prints its path",
    "actionlint": "the linter of GitHub workflows; prints its path",
}


def main(arguments: list[str]) -> int:
    """Runs one command. Results go to standard output, everything else to standard error; 1 means it failed."""
    parser = argparse.ArgumentParser(
        prog="python3 -m toolchain",
        description="Gets the commands this project needs, skipping what is there. "
        "Programs go to $MAILHOST_CACHE (default ~/.cache/mailhost), Python packages to .venv.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, description=text)
    command = parser.parse_args(arguments).command
    try:
        print(_run(command))
    except ToolchainError as error:
        for line in str(error).splitlines():
            print(f"toolchain: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("toolchain: stopped; run it again to go on", file=sys.stderr)
        return 130
    return 0


def _run(command: str) -> object:
    single = {"pulumi": pulumi.provide, "venv": venv.provide, "actionlint": actionlint.provide}
    if command in single:
        return single[command]()
    machine.require(machine.missing_for_lab() if command == "lab" else machine.missing_for_tools())
    venv.provide()
    return pulumi.provide().parent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
