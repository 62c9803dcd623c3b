"""Command line: `python -m accounts`. Everything is for people, so it goes to standard error."""

import argparse
import sys
from pathlib import Path
from typing import Final

from accounts import changes, passwords, store
from accounts.changes import Change
from accounts.errors import AccountsError
from model.mailbox_file import FOLDER

_INTERRUPTED: Final = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 done, 1 refused with every reason, 2 wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.address) == bool(options.csv):
        parser.error("give either ADDRESS=alice@example.com or CSV=people.csv")
    fields = changes.field_values(name=options.name, quota=options.quota, enabled=options.enabled)
    if options.csv and (fields or options.remove):
        parser.error("with CSV, the fields are columns of the file")
    if options.remove and fields:
        parser.error("a mailbox is either removed or changed")
    try:
        known = store.load(FOLDER, options.stack)
        lines = _many(known, options.csv) if options.csv else _one(known, options.address, fields, options.remove)
    except AccountsError as error:
        for problem in error.problems:
            _say(problem)
        return 1
    except KeyboardInterrupt:
        _say("stopped; nothing was changed")
        return _INTERRUPTED
    for line in lines:
        _say(line)
    return 0


def _one(known: store.Store, text: str, fields: dict[str, object], remove: bool) -> list[str]:
    try:
        address = changes.checked_address(text, known.served)
    except ValueError as error:
        raise AccountsError([str(error)]) from None
    new = address not in known.existing
    if remove:
        if new:
            raise AccountsError([f"{address} has no mailbox on stack {known.stack}"])
        written = known.apply([], remove=[address], as_list=False)
        return [f"{address}: removed from {written.file}; its mail stays on the host", *_next(known, written)]
    try:
        changes.check(Change(address=address, fields=fields))
    except ValueError as error:
        raise AccountsError(str(error).split("\n")) from None
    # Whoever changes a quota does not know the password.
    hash_ = passwords.hashed_one(passwords.ask(address)) if new or not fields else None
    written = known.apply([Change(address=address, hash=hash_, fields=fields)], as_list=False)
    what = "new mailbox" if new else "new " + ", ".join([*(["password"] if hash_ else []), *fields])
    return [f"{address}: {what}, in {written.file}", *_next(known, written)]


def _many(known: store.Store, file: Path) -> list[str]:
    wanted = changes.read_csv(file, known.existing, known.served)
    written = known.apply(wanted, as_list=True)
    new = sum(change.address not in known.existing for change in wanted)
    lines = [f"{new} new mailboxes and {len(wanted) - new} changed ones, in {written.file}; keep it in the repository"]
    if known.own:
        lines.append(f"those of Pulumi.{known.stack}.yaml moved there too")
    return [*lines, *_next(known, written)]


def _next(known: store.Store, written: store.Written) -> list[str]:
    return [*(f"still to do: {end}" for end in written.open_ends), f"then: pulumi up --stack {known.stack}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m accounts",
        description="Make or change a mailbox of a stack, or a list of them. A password is asked for on the terminal, "
        "or read from standard input; it is asked for when the mailbox is new or nothing else shall change.",
        epilog="A single mailbox goes into Pulumi.STACK.yaml; a list, and every mailbox after it, into the encrypted "
        "file mailboxes.STACK.json beside it.",
    )
    parser.add_argument("--stack", required=True)
    parser.add_argument("--address", metavar="MAIL")
    parser.add_argument("--name", help="display name")
    parser.add_argument("--quota", metavar="SIZE", help="most it may hold: bytes, or such as 512M or 5G; 0: no limit")
    parser.add_argument("--enabled", metavar="BOOL", help="false shuts it: no login, its sessions and queued mail go")
    parser.add_argument("--remove", action="store_true", help="take it out of the settings; its mail stays on the host")
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="rows of a list; its first row names the columns: address, password or hash, name, quota, enabled",
    )
    return parser


def _say(text: str) -> None:
    print(f"mailbox: {text}", file=sys.stderr)
