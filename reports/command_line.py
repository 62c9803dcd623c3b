"""Command line: `python -m reports --stack NAME`.

Exit status: 0 the reports that are there were read, 3 they could not be fetched.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from doctor.stack import StackError, read
from model.settings import Settings
from reports import mail, parse, summary

_CLONE: Final = Path(__file__).parent.parent
_PULUMI_SECONDS: Final = 60
_SSH_SECONDS: Final = 30
_EXIT_UNABLE: Final = 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Show what other mail servers report: DMARC aggregate reports and SMTP TLS reports.",
    )
    parser.add_argument("--stack", required=True, metavar="NAME", help="whose mail host has the reports")
    parser.add_argument("--mailbox", metavar="ADDRESS", help="where they arrive; default: reports.addresses")
    parser.add_argument("--days", type=int, default=30, metavar="N", help="as old as this at most; default 30")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    parser.add_argument("--cwd", type=Path, default=_CLONE, metavar="FOLDER", help="the Pulumi project; default: here")
    return parser


def arriving(settings: Settings) -> str:
    """Return the mailbox that gets the first domain's reports; the postmaster's where none of the host's is named."""
    named = (address.rpartition("@") for address in settings.served[0].reports)
    boxes = (f"{local.partition('+')[0]}@{domain}" for local, _, domain in named)
    return next((box for box in boxes if box in settings.mailboxes), settings.postmaster)


def main(arguments: list[str] | None = None) -> int:
    """Fetch, add up, show, and return the exit status."""
    given = _parser().parse_args(arguments)
    try:
        stack = read(given.stack, given.cwd, timeout=_PULUMI_SECONDS)
        mailbox = given.mailbox or arriving(stack.settings)
        mails = mail.fetch(stack.settings, mailbox, given.days, timeout=_SSH_SECONDS)
    except (StackError, mail.FetchError) as error:
        print(f"reports: {error}", file=sys.stderr)
        return _EXIT_UNABLE
    settings = stack.settings
    found = summary.summarise(
        (item for one in mails for item in parse.read(one)), ours={settings.ipv4, settings.ipv6 or settings.ipv4}
    )
    if given.json:
        print(summary.as_json(stack.name, found))
    else:
        title = f"{found.reports} reports of the last {given.days} days in {mailbox}, stack {stack.name}"
        summary.show(title, found, sys.stdout)
    return 0
