"""Shows findings: a table for people, JSON for machines, a number for cron."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from doctor.finding import Finding, State

STYLES: Final = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "bold red", State.SKIPPED: "dim"}
_FONTS: Final = re.compile(r"@font-face \{.*?\}", re.DOTALL)
"""What rich would let a picture fetch from elsewhere."""
EXIT_OK: Final = 0
EXIT_WARNING: Final = 1
EXIT_FAILED: Final = 2
EXIT_UNABLE: Final = 3


def exit_status(findings: Sequence[Finding]) -> int:
    """Return 0 when nothing is wrong, 1 when something warns, 2 when something failed; skipped ones do not count."""
    states = {finding.state for finding in findings}
    if State.FAILED in states:
        return EXIT_FAILED
    return EXIT_WARNING if State.WARNING in states else EXIT_OK


def as_json(stack: str, findings: Sequence[Finding]) -> str:
    """Return the findings as one JSON document."""
    document = {
        "stack": stack,
        "status": exit_status(findings),
        "summary": _counts(findings),
        "findings": [
            {
                "id": finding.check.id,
                "what": finding.check.what,
                "subject": finding.subject,
                "state": finding.state.value,
                "found": finding.found,
                "cause": finding.cause,
                "fix": finding.fix,
            }
            for finding in findings
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    counted = Counter(finding.state for finding in findings)
    return {state.value: counted[state] for state in State}


def show(
    title: str, findings: Sequence[Finding], out: TextIO, *, everything: bool, picture: Path | None = None
) -> None:
    """Print a table, and below it what to do. Without `everything`, what is well has one line per check.

    A `picture` gets the same as SVG.
    """
    console = Console(file=out, highlight=False, record=picture is not None)
    table = Table(title=title, title_justify="left")
    for column in ("check", "looked at", "state", "found"):
        table.add_column(column, overflow="fold")
    for check, subject, state, found in rows(findings, everything=everything):
        # Text, not markup: what servers say may hold brackets.
        table.add_row(Text(check), Text(subject), Text(state.value, style=STYLES[state]), Text(found))
    console.print(table)
    for finding in findings:
        if finding.state in {State.FAILED, State.WARNING}:
            console.print(Text(f"{finding.state.value}: ", style=STYLES[finding.state]), end="")
            console.print(Text(f"{finding.check.id}, {finding.subject}: {_sentence(finding.cause)} {finding.fix}"))
    counts = _counts(findings)
    console.print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    if picture:
        drawn = _FONTS.sub("", console.export_svg(title="make doctor"))
        picture.write_text("".join(f"{line.rstrip()}\n" for line in drawn.splitlines()), encoding="utf-8")


def rows(findings: Sequence[Finding], *, everything: bool) -> list[tuple[str, str, State, str]]:
    """Return check, subject, state, and what was found or why not; several good findings of one check are one row."""
    table: list[tuple[str, str, State, str]] = []
    good = Counter(finding.check.id for finding in findings if finding.state is State.OK)
    told = set()
    for finding in findings:
        name = finding.check.id
        if finding.state is State.OK and good[name] > 1 and not everything:
            if name not in told:
                told.add(name)
                table.append((name, finding.check.what, State.OK, f"{good[name]} looked at"))
            continue
        found = finding.cause if finding.state is State.SKIPPED else finding.found
        table.append((name, finding.subject, finding.state, found))
    return table


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
