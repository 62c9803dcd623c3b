"""Puts right what differs: by the pulumi command, by `mailhostctl reapply`, and by deleting records of ours."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from doctor.observe import host, web
from doctor.observe.drift import Difference
from doctor.stack import Stack

_REAPPLY_SECONDS: Final = 400
"""A service may wait for another change for five minutes, and its health for 20 seconds."""
_STDERR: Final = 2


def repair(stack: Stack, folder: Path, differences: Sequence[Difference], *, timeout: float) -> list[str]:
    """Mend what can be mended, and return what went wrong; what is to be decided by somebody stays."""
    problems: list[str] = []
    applied = _urns(differences, "apply")
    if applied:
        # Unlike an update of an unchanged stack, it runs the command again. Packages come before what needs them.
        targets = _options("--target-replace", applied)
        problems += _pulumi(stack, folder, "up", "--yes", "--skip-preview", *targets)
    again = dict.fromkeys(each.where for each in differences if each.mend == "reapply" and each.urn not in applied)
    for service in again:
        problems += _reapply(stack, service, timeout)
    published = _urns(differences, "record")
    if published:
        targets = _options("--target", published)
        problems += _pulumi(stack, folder, "refresh", "--yes", "--skip-preview", *targets) or _pulumi(
            stack, folder, "up", "--yes", "--skip-preview", *targets
        )
    for record in (each for each in differences if each.mend == "orphan"):
        try:
            web.ask(stack.cloudflare, record.id, timeout=timeout, method="DELETE")
        except web.CloudflareError as error:
            problems.append(f"{record.what}: {error}")
    return problems


def _urns(differences: Sequence[Difference], mend: str) -> list[str]:
    return list(dict.fromkeys(each.urn for each in differences if each.mend == mend and each.urn))


def _options(name: str, urns: Sequence[str]) -> list[str]:
    return [word for urn in urns for word in (name, urn)]


def _pulumi(stack: Stack, folder: Path, *words: str) -> list[str]:
    """Run the pulumi command; what it says goes to the operator as it comes."""
    done = subprocess.run(
        ["pulumi", *words, "--stack", stack.name], cwd=folder, stdin=subprocess.DEVNULL, stdout=_STDERR, check=False
    )
    return [f"pulumi {words[0]} ended with {done.returncode}; its own words are above"] if done.returncode else []


def _reapply(stack: Stack, service: str, timeout: float) -> list[str]:
    command = ["mailhostctl", "reapply", service]
    try:
        done = host.run(stack.settings, command, stdin="", timeout=timeout, patience=_REAPPLY_SECONDS)
    except host.SessionError as error:
        return [f"{service}: {error}"]
    return [f"{service}: {done.said.strip()}"] if done.status else []
