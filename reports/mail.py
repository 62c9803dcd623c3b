"""Fetches the mails that hold reports from the mail host: over SSH with the pinned key, so no password is needed.

The host only searches and prints; whatever a stranger has sent is unpacked here, by a user who is not root.
"""

import asyncio
import itertools
import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import asyncssh

from doctor.observe.host import session
from model.settings import Settings

LARGEST_MAIL: Final = 5_000_000
"""Octets; Google's and Microsoft's have some thousands."""
_MOST_OCTETS: Final = 50_000_000
"""Of all mails together; the newest come first."""
_MOST_MAILS: Final = 2000
_PATIENCE_SECONDS: Final = 120


class FetchError(Exception):
    """The mails cannot be fetched: one sentence for the operator."""


def fetch(settings: Settings, mailbox: str, days: int, *, timeout: float) -> list[bytes]:
    """Return the mails of the last days that look like reports, in whatever folder they are, the newest first."""
    try:
        return asyncio.run(asyncio.wait_for(_fetch(settings, mailbox, days, timeout), _PATIENCE_SECONDS))
    except TimeoutError:
        raise FetchError(f"{settings.ssh.host} did not answer within {_PATIENCE_SECONDS} s") from None
    except (asyncssh.Error, OSError) as error:
        raise FetchError(f"{settings.ssh.user}@{settings.ssh.host}: {error}") from None


def query(days: int) -> list[str]:
    """Return doveadm-search-query(7)'s words: the subject of RFC 7489 §7.2.1.1, the header of RFC 8460 §5.3."""
    looks = ["(", "subject", "Report Domain:", "or", "header", "TLS-Report-Domain", "", ")"]
    return ["mailbox", "*", "savedsince", f"{days}d", "smaller", str(LARGEST_MAIL), *looks]


def chosen(listed: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
    """Return (folder's GUID, UID) of the newest mails, as many as may be fetched."""
    newest = sorted(listed, key=lambda mail: mail["date.saved"], reverse=True)[:_MOST_MAILS]
    octets = itertools.accumulate(int(mail["size.physical"]) for mail in newest)
    return [
        (mail["mailbox-guid"], mail["uid"]) for mail, total in zip(newest, octets, strict=True) if total <= _MOST_OCTETS
    ]


async def _fetch(settings: Settings, mailbox: str, days: int, timeout: float) -> list[bytes]:
    async with session(settings, timeout) as connection:

        async def doveadm(fields: str, words: Sequence[str]) -> list[dict[str, str]]:
            command = ["doveadm", "-f", "json", "fetch", "-u", mailbox, fields, *words]
            if settings.ssh.user != "root":
                command = ["sudo", "-n", *command]
            done = await connection.run(shlex.join(command), errors="replace", check=False)
            if done.exit_status != 0:
                said = str(done.stderr or "").strip().splitlines()[-1:] or [f"ended with {done.exit_status}"]
                raise FetchError(f"doveadm on {settings.ssh.host}: {said[0]}")
            found: list[dict[str, str]] = json.loads(str(done.stdout) or "[]")
            return found

        listed = await doveadm("mailbox-guid uid size.physical date.saved", query(days))
        mails: list[bytes] = []
        for guid, uids in _by_folder(chosen(listed)):
            fetched = await doveadm("text", ["mailbox-guid", guid, "uid", ",".join(uids)])
            mails += [mail["text"].encode(errors="replace") for mail in fetched]
        return mails


def _by_folder(mails: Sequence[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    for guid, group in itertools.groupby(sorted(mails), key=lambda mail: mail[0]):
        yield guid, [uid for _, uid in group]
