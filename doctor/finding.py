"""A finding: one thing that was looked at, how it is, and what to do."""

from dataclasses import dataclass
from enum import StrEnum

from model.preflight import Check


class State(StrEnum):
    """How a thing is; the order is that of the summary."""

    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"
    OK = "ok"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check on one subject. Nothing secret is in it."""

    check: Check
    subject: str
    """What was looked at: a record, an address, a port."""
    state: State
    found: str = ""
    cause: str = ""
    """Why it is not right, or was skipped."""
    fix: str = ""


def ok(check: Check, subject: str, found: str = "") -> Finding:
    """Return that all is well."""
    return Finding(check=check, subject=subject, state=State.OK, found=_printable(found))


def wrong(check: Check, subject: str, found: str, cause: str, fix: str = "") -> Finding:
    """Return a failure or a warning, as the check is classified."""
    state = State.FAILED if check.level == "stops" else State.WARNING
    return Finding(
        check=check,
        subject=subject,
        state=state,
        found=_printable(found),
        cause=_printable(cause),
        fix=fix or check.fix,
    )


def skipped(check: Check, subject: str, reason: str) -> Finding:
    """Return that it could not be looked at, or that there is nothing to look at."""
    return Finding(check=check, subject=subject, state=State.SKIPPED, cause=_printable(reason))


def _printable(text: str) -> str:
    """What servers say may end on a terminal: no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
