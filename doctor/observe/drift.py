"""In what a host, or a zone, differs from its stack."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from doctor.observe import host
from doctor.stack import Deployed
from model.settings import Settings

Mend = Literal["reapply", "apply", "remove", "record", "orphan", "stranded", "nothing"]
_OF_THE_HOST: Final[Mapping[str, Mend]] = {"reapply": "reapply", "apply": "apply", "remove": "remove"}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not as the stack says."""

    where: str
    """A service, `packages`, a zone."""
    what: str
    """A file, a unit, a record."""
    wanted: str
    found: str
    mend: Mend
    """How: reapply is for the host, apply and record for the stack, the others are said to the operator."""
    urn: str = ""
    """The resource that mends it."""
    id: str = ""
    """Of a record: zone and record, as the API's path has them."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What the host says of itself."""

    services: Mapping[str, int] = field(default_factory=dict)
    """The generation of each service that is applied."""
    differences: tuple[Difference, ...] = ()


def ask(settings: Settings, deployed: Deployed, *, timeout: float, patience: float) -> Compared:
    """Let the host compare itself, over one SSH connection.

    Raises:
        host.SessionError: It cannot be asked, or has no helper, or an older one.
    """
    command = ["mailhostctl", "drift"]
    done = host.run(settings, command, stdin=deployed.described, timeout=timeout, patience=patience)
    if done.status == host.NOT_FOUND or "mailhostctl: command not found" in done.said:
        absent = Difference(
            where="mailhostctl",
            what="the helper",
            wanted="installed",
            found="missing",
            mend="apply",
            urn=deployed.urns.get("mailhostctl", ""),
        )
        return Compared(differences=(absent,))
    if "invalid choice: 'drift'" in done.said:
        raise host.SessionError("its mailhostctl is older than this command; run `pulumi up`", "other")
    try:
        return parse(json.loads(done.out), deployed)
    except ValueError:
        raise host.SessionError(done.last_words, "other") from None


def parse(document: Any, deployed: Deployed) -> Compared:
    """Read what `mailhostctl drift` printed; raises a ValueError where it is something else."""
    try:
        return Compared(
            services={str(name): int(number) for name, number in document["services"].items()},
            differences=tuple(
                Difference(
                    where=entry["service"],
                    what=entry["what"],
                    wanted=entry["wanted"],
                    found=entry["found"],
                    mend=_OF_THE_HOST[entry["mend"]],
                    urn=deployed.urns.get(entry["service"], ""),
                )
                for entry in document["findings"]
            ),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not what `mailhostctl drift` prints") from error
