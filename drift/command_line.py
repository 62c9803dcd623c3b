"""Command line: `python -m drift --stack NAME`, and `--repair` to put right what differs.

Exit status: 0 no drift, 1 something differs, or could not be compared or mended, 2 wrong usage.
"""

import argparse
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final

from doctor.observe import drift, web
from doctor.observe.drift import Compared, Difference
from doctor.observe.host import SessionError
from doctor.observe.web import CloudflareError
from doctor.patience import Work, reason
from doctor.stack import Stack, StackError, read
from drift import report, zone
from drift.repair import repair

_CLONE: Final = Path(__file__).parent.parent
_PULUMI_SECONDS: Final = 60
_ANSWER_SECONDS: Final = 30
_DEADLINE_SECONDS: Final = 90


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m drift",
        description="Compare a mail host and its zones at Cloudflare with what the stack has deployed: generations, "
        "files, units, firewall rules, packages and records. Changes nothing without --repair.",
        epilog="Exit status: 0 no drift, 1 something differs, or could not be compared or mended, 2 wrong usage.",
    )
    parser.add_argument("--stack", required=True, metavar="NAME", help="whose state to compare with")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="put right what differs, then compare again; what somebody has to decide stays in the table",
    )
    parser.add_argument("--cwd", type=Path, default=_CLONE, metavar="FOLDER", help="the Pulumi project; default: here")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Compare, repair if asked to, show what differs, and return the exit status."""
    given = _parser().parse_args(arguments)
    try:
        stack, differences = _compare(given.stack, given.cwd)
        before, problems = len(differences), []
        if given.repair and any(each.mend in report.REPAIRABLE for each in differences):
            problems = repair(stack, given.cwd, differences, timeout=_ANSWER_SECONDS)
            stack, differences = _compare(given.stack, given.cwd)
    except StackError as error:
        print(f"drift: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndrift: interrupted", file=sys.stderr)
        return 1
    for problem in problems:
        print(f"drift: {problem}", file=sys.stderr)
    return _told(stack, differences, before=before, repaired=given.repair)


def _told(stack: Stack, differences: list[Difference], *, before: int, repaired: bool) -> int:
    if not differences:
        mended = f"{before} differences mended. " if before else ""
        print(
            f"{mended}No drift: {len(stack.deployed.digests)} services and {len(stack.published)} records are as stack "
            f"{stack.name} says."
        )
        return 0
    title = f"{'Left after the repair' if repaired else 'Drift'}: {stack.settings.hostname}, stack {stack.name}"
    report.show(title, differences, sys.stdout)
    counted = Counter(each.mend in report.REPAIRABLE for each in differences)
    if counted[True] and not repaired:
        print(f"{counted[True]} of {len(differences)} are put right by: make drift STACK={stack.name} OPTIONS=--repair")
    return 1


def _compare(name: str, folder: Path) -> tuple[Stack, list[Difference]]:
    """Read the stack, and ask the host and Cloudflare at once.

    Raises:
        StackError: It cannot be read, or has deployed nothing.
    """
    stack = read(name, folder, timeout=_PULUMI_SECONDS)
    if not stack.deployed.digests and not stack.published:
        raise StackError(f"stack {name} has deployed nothing yet: `pulumi up` comes first")
    work = Work(deadline=time.monotonic() + _DEADLINE_SECONDS, command="drift")
    zones = zone.ids(stack, work, timeout=_ANSWER_SECONDS)
    host = partial(drift.ask, stack.settings, stack.deployed, timeout=_ANSWER_SECONDS, patience=_DEADLINE_SECONDS)
    answers = work.all(
        {"host": host}
        | {key: partial(web.records, key, api=stack.cloudflare, timeout=_ANSWER_SECONDS) for key in zones}
    )
    compared = answers["host"]
    differences = [*compared.differences] if isinstance(compared, Compared) else [_silent("host", compared)]
    own = name.rpartition("/")[2]  # An organisation before the stack's name is in no comment.
    for zone_id, zone_name in zones.items():
        found = answers[zone_id]
        if isinstance(found, list):
            wanted = [record for record in stack.published if record.zone_id == zone_id]
            differences += zone.compare(zone_name, wanted, found, own)
        else:
            differences.append(_silent(zone_name, found))
    return stack, differences


def _silent(where: str, answer: Any) -> Difference:
    """Return what stands for an answer that did not come: nobody knows whether there is drift."""
    why = str(answer) if isinstance(answer, SessionError | CloudflareError) else reason(answer)
    return Difference(where=where, what="everything", wanted="an answer", found=why, mend="nothing")
