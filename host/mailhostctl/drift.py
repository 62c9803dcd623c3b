"""Compares this host with its stack: generations, live files, units, the kernel's rules, packages. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from mailhostctl import durable, generations, packages
from mailhostctl.difference import Difference
from mailhostctl.paths import Root
from mailhostctl.services import SERVICES
from mailhostctl.system import MailhostError

_LONGEST = 300
"""Characters of a text that other programs wrote."""
_SHOWN = 12
"""Digits of a digest."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One difference, and what mends it."""

    service: str
    """Or `packages`."""
    what: str
    wanted: str
    found: str
    mend: str
    """reapply: this host can do it by itself. apply: the stack has to. remove: the operator decides."""


def report(root: Root, text: str) -> str:
    """Returns JSON: the generation of each applied service, and the findings.

    `text` is JSON too: `services`, the digest of the manifest that the stack applied by service, and `packages`, the
    names of those it installed. Raises `MailhostError` for anything else.
    """
    services, names = _expected(text)
    known = [*SERVICES, *sorted(services.keys() - SERVICES.keys())]
    # Most of the time goes into waiting for other programs.
    with ThreadPoolExecutor() as pool:
        installed = pool.submit(lambda: list(_packages(root, names)))
        compared = pool.map(lambda name: list(_service(root, name, services.get(name, ""))), known)
        findings = [*(finding for found in compared for finding in found), *installed.result()]
    applied = {name: generations.current(root.service(name)) for name in SERVICES}
    return json.dumps(
        {
            "services": {name: number for name, number in applied.items() if number},
            "findings": [asdict(finding) for finding in findings],
        },
        indent=1,  # a line that is too long would be cut
    )


def _expected(text: str) -> tuple[Mapping[str, str], Sequence[str]]:
    try:
        raw: Any = json.loads(text)
        services, names = raw["services"], raw["packages"]
    except (ValueError, TypeError, KeyError):
        services = names = None
    if not _texts(services.values() if isinstance(services, dict) else None) or not _texts(names):
        raise MailhostError('drift: stdin must be {"services": {NAME: SHA256, …}, "packages": [NAME, …]}')
    return services, names


def _texts(values: Any) -> bool:
    return values is not None and not isinstance(values, str) and all(isinstance(value, str) for value in values)


def _service(root: Root, name: str, expected: str) -> Iterator[Finding]:
    state = root.service(name)
    number = generations.current(state)
    wanted = f"manifest {expected[:_SHOWN]}" if expected else "not applied"
    interrupted = durable.read(state.journal) is not None
    if interrupted:
        yield Finding(service=name, what="change", wanted="finished", found="interrupted", mend="reapply")
    if not number:
        if expected:
            yield Finding(service=name, what="generation", wanted=wanted, found="not applied", mend="apply")
        return
    digest = generations.load(state, number).sha256
    if digest != expected:
        found = f"generation {number}, manifest {digest[:_SHOWN]}"
        mend = "apply" if expected else "remove"
        yield Finding(service=name, what="generation", wanted=wanted, found=found, mend=mend)
    if not interrupted:
        yield from _generation(root, name, number)


def _generation(root: Root, name: str, number: int) -> Iterator[Finding]:
    """Compares with the generation that is applied."""
    state = root.service(name)
    for path in generations.load(state, number).files:
        try:
            for found in generations.differences(root, path, generations.wanted(state, number, path)):
                yield _finding(name, found)
        except MailhostError as error:  # the copy to compare with is damaged
            yield Finding(service=name, what=path, wanted="as applied", found=str(error)[:_LONGEST], mend="apply")
    try:
        for found in replace(SERVICES[name], root=root).differences():
            yield _finding(name, found)
    except MailhostError as error:
        yield Finding(service=name, what="service", wanted="as applied", found=str(error)[:_LONGEST], mend="reapply")


def _finding(name: str, found: Difference) -> Finding:
    return Finding(
        service=name, what=found.what, wanted=found.wanted[:_LONGEST], found=found.found[:_LONGEST], mend="reapply"
    )


def _packages(root: Root, names: Sequence[str]) -> Iterator[Finding]:
    for what, found in packages.faults(root, list(names)):
        yield Finding(service="packages", what=what, wanted="installed", found=found, mend="apply")
