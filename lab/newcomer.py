"""`make up` after the toolchain: the lab, a real `pulumi up` of stack dev, proof, and how to play on."""

import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from lab import control, environment, paths, plugin_cache
from lab.addresses import DEFAULT_MACHINES, MACHINES, STACK
from lab.demo import PASSWORDS, Finding, checks
from lab.errors import LabError
from lab.progress import step


def main() -> int:
    """Bring everything up and return the exit status: 1 when a check of the table failed."""
    started = time.monotonic()
    try:
        control.up(DEFAULT_MACHINES)
        plugin_cache.fill()
        _pulumi("stack", "select", "--create", STACK)
        with step("pulumi up"):
            _pulumi("up", "--yes", "--skip-preview", "--stack", STACK)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nlab: interrupted. `make up` continues where it stopped, `make down` removes everything.", file=sys.stderr
        )
        return 130
    machine = MACHINES[DEFAULT_MACHINES[0]]
    findings = list(checks(machine))
    console = Console()
    console.print(_table(findings))
    print(_farewell(machine.hostname, machine.domain))
    print(f"{time.monotonic() - started:.0f} s in all.")
    return 0 if all(finding.passed for finding in findings) else 1


def _pulumi(*arguments: str) -> None:
    command = ["pulumi", *arguments]
    result = subprocess.run(command, cwd=paths.CLONE, env=environment.complete(), check=False)
    if result.returncode != 0:
        raise LabError(
            f"`pulumi {' '.join(arguments)}` ended with {result.returncode}, see above. Mend what it names and run "
            "`make up` again: what is done stays done."
        )


def _table(findings: list[Finding]) -> Table:
    table = Table(title="What was checked, from outside the mail host")
    table.add_column("check")
    table.add_column("result")
    table.add_column("seen")
    for finding in findings:
        table.add_row(finding.check, "[green]ok[/]" if finding.passed else "[red]FAILED[/]", finding.seen)
    return table


def _farewell(hostname: str, domain: str) -> str:
    logins = ", ".join(f"{user}@{domain} / {password}" for user, password in PASSWORDS.items())
    return f"""
Play on:
  source .lab/env        then `pulumi preview`, `pulumi up`, `pulumi stack` on stack {STACK} just work
  make shell             SSH into {hostname}
  make lab-status        what runs, and where
  make test              every test, on Debian 12 and 13
  make down              stop it all and leave nothing
Mailboxes: {logins}
Edit Pulumi.{STACK}.yaml or a template, then `pulumi preview --diff` shows what would change."""


if __name__ == "__main__":
    sys.exit(main())
