"""All services at once: what a cut has left is put right, and what is too old goes. Two systemd units run it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mailhostctl.paths import Root
from mailhostctl.services import SERVICES
from mailhostctl.system import MailhostError, described
from mailhostctl.transaction import Transaction


def recover(root: Root, *, boot: bool) -> Iterator[str]:
    """Finishes or undoes each change that was cut off; yields a line for each service that is right again.

    `boot`: the daemons have not been started yet. One service that cannot be put right keeps no other back;
    `MailhostError` names it at the end.
    """
    failed = []
    for transaction in _transactions(root):
        name = transaction.service.name
        try:
            if transaction.recover(boot=boot):
                yield f"{name}: recovered"
        except (MailhostError, OSError) as error:
            failed.append(f"{name}: {described(error) if isinstance(error, OSError) else error}")
    if failed:
        raise MailhostError("\n".join(["not all could be recovered:", *failed]))


def expire(root: Root) -> None:
    """Drops the generations of each service that are too old."""
    for transaction in _transactions(root):
        transaction.expire()


def _transactions(root: Root) -> Iterator[Transaction]:
    for service in SERVICES.values():
        yield Transaction(root=root, service=replace(service, root=root))
