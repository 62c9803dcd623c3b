"""Command line of the lab: `python -m lab up | down | status | shell | reset | env`."""

import argparse
import os
import sys

from lab import control, environment, machines, ssh_agent
from lab.addresses import DEFAULT_MACHINES, MACHINES
from lab.errors import LabError
from lab.progress import say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="A small, closed internet on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    names = ", ".join(MACHINES)
    up = commands.add_parser("up", help="start the services and machines; what runs already is left alone")
    up.add_argument("machines", nargs="*", metavar="MACHINE", help=f"of {names}; default {' '.join(DEFAULT_MACHINES)}")
    commands.add_parser("down", help="stop and remove everything but the caches")
    commands.add_parser("status", help="what runs; exit status 1 when nothing does")
    shell = commands.add_parser("shell", help="SSH into a machine, or run a command there")
    shell.add_argument("machine", nargs="?", default=DEFAULT_MACHINES[0], metavar="MACHINE")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    reset = commands.add_parser("reset", help="fresh disk, no records: the machine as on its first day")
    reset.add_argument("machine", metavar="MACHINE")
    commands.add_parser("env", help="print the file to source")
    return parser


def _status() -> int:
    parts = control.status()
    width = max(len(part.name) for part in parts)
    for part in parts:
        print(f"{'up  ' if part.running else 'down'}  {part.name:{width}}  {part.state}")
    return 0 if any(part.running for part in parts) else 1


def _shell(name: str, words: list[str]) -> int:
    machine = machines.get(name)
    machines.leader(name)  # a clear message when it does not run
    argv = ["ssh", "-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", f"IdentityAgent={ssh_agent.socket()}"]
    argv += ["-o", f"UserKnownHostsFile={ssh_agent.known_hosts()}", f"root@{machine.ipv4}", *words]
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606  no shell is wanted: ssh takes our place


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed with one message, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "up":
                control.up(options.machines or DEFAULT_MACHINES)
            case "down":
                control.down()
            case "status":
                return _status()
            case "shell":
                return _shell(options.machine, options.words)
            case "reset":
                control.reset(options.machine)
            case "env":
                print(environment.write())
    except LabError as error:
        say(str(error))
        return 1
    return 0
