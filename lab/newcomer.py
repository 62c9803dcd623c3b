"""`make up` after the toolchain: the lab, a real `pulumi up` of stack dev, proof, and how to play on."""

import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from lab import control, environment, paths, plugin_cache, processes
from lab.addresses import DEFAULT_MACHINES, MACHINES, STACK
from lab.demo import PASSWORDS, Finding, checks
from lab.errors import LabError
from lab.progress import step

_WARNINGS = 1
"""The doctor's exit status when something is worth a look but nothing is broken."""


def main() -> int:
    """Bring everything up and return the exit status: 1 when a check of the table failed."""
    started = time.monotonic()
    processes.heed_interrupts()
    try:
        control.up(DEFAULT_MACHINES)
        plugin_cache.fill()
        # A lab that was up already may have had other plugins.
        environment.write()
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
    examined = _doctor(f"alice@{machine.domain}", PASSWORDS["alice"])
    print(_farewell(machine.hostname, machine.domain))
    print(f"{time.monotonic() - started:.0f} s in all.")
    return 0 if examined and all(finding.passed for finding in findings) else 1


def _doctor(address: str, password: str) -> bool:
    """Run `make doctor` as an operator would; false when it found something broken (docs/doctor.md)."""
    command = [sys.executable, "-m", "doctor", "--stack", STACK, "--account", address]
    done = subprocess.run(
        command, cwd=paths.CLONE, env=environment.complete(), input=f"{password}\n", text=True, check=False
    )
    return done.returncode <= _WARNINGS


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
  make doctor            the doctor's table once more; make mailbox ADDRESS=carla@{domain} adds a mailbox
  make lab-status        what runs, and where
  make test              every test, on Debian 12 and 13
  make down              stop it all and leave nothing
Mailboxes: {logins}; help page for them: https://{hostname}/
Edit Pulumi.{STACK}.yaml or a template, then `pulumi preview --diff` shows what would change."""


if __name__ == "__main__":
    sys.exit(main())
