"""What follows from a new users file: a mailbox that was disabled or removed loses its sessions and its queued mail.

Nothing here fails an apply: with the former users file back in place a stolen account would be open again. What could
not be done is said, with the command that does it, and noted: `mailhostctl drift` names it, `reapply` tries again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mailhostctl.system import is_active, run, say

# crypt(5) makes no hash with a "!": the program writes it for a disabled mailbox.
_DISABLED = "{CRYPT}!"
# Envelopes that one postcat(1) reads.
_BATCH = 500
# Rounds through the queue: a mail that moves from one queue to another may be missed once.
_ROUNDS = 3
_QUEUE_SECONDS = 120
_MOST_QUOTAS = 100
# Addresses a line names.
_NAMED = 10
_SUBMISSION_PORTS = "( sport = :465 or sport = :587 )"


@dataclass(frozen=True, repr=False)
class User:
    """A line of the users file."""

    password: str
    fields: str
    """Extra fields: its own quota."""

    @property
    def enabled(self) -> bool:
        """Whether it may log in."""
        return self.password != _DISABLED


def users(text: str) -> dict[str, User]:
    """The lines of a users file by address; none of a file that the program did not write."""
    if not text.startswith("# Managed by Pulumi "):
        return {}
    found: dict[str, User] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            address, password, *rest = line.split(":", 7)
            found[address] = User(password=password, fields="".join(rest[-1:]))
    return found


def follow(before: str, after: str, unfinished: Collection[str] = ()) -> list[str]:
    """Does what the change from one users file to the next asks for, on daemons that run.

    `unfinished`: mailboxes of which an earlier change may have left something. Returns those of this one.
    """
    old, new = users(before), users(after)
    changed = bool(old) and old != new
    enabled = {address for address, user in new.items() if user.enabled}
    closed = {address for address, user in old.items() if user.enabled} if changed else set()
    shut = sorted((closed | set(unfinished)) - enabled)
    if not changed and not shut:
        return []
    failures: list[str] = []
    dovecot = is_active("dovecot.service")
    if dovecot:
        failures += _forget_passwords()
    if shut:
        failures += _contain(shut, dovecot=dovecot)
    for failure in failures:
        say(f"accounts: {failure}")
    if dovecot and changed:
        limited = (address for address, user in new.items() if user.fields and user.fields != _fields(old, address))
        _warn_of_full(list(islice(limited, _MOST_QUOTAS)))
    return shut if failures else []


def _fields(known: Mapping[str, User], address: str) -> str:
    return known[address].fields if address in known else ""


def _forget_passwords() -> Iterator[str]:
    """Dovecot may still know that the former password was right (auth_cache_size); yields what fails."""
    done = run(["doveadm", "auth", "cache", "flush"], timeout=20)
    if done.code != 0:
        yield f"doveadm auth cache flush: {done.said}"


def _contain(shut: Sequence[str], *, dovecot: bool) -> list[str]:
    """Ends the sessions, deletes the queued mail, and says so; returns what failed."""
    failures: list[str] = []
    sessions = _kick(shut, failures) if dovecot else 0
    _drop_submissions(failures)
    deleted = _delete_queued(frozenset(shut), failures)
    text = (
        f"accounts: no more logins for {_listed(shut)}; "
        f"mailboxes whose sessions were ended: {sessions}; queued mails deleted: {deleted}"
    )
    say(text)
    run(["logger", "-t", "mailhostctl", "-p", "auth.notice", text], timeout=10)
    return failures


def _kick(shut: Sequence[str], failures: list[str]) -> int:
    """Ends the mail clients' sessions; returns how many of the mailboxes had some."""
    # One look at all sessions, so that a removed domain with thousands of mailboxes takes no longer than one mailbox.
    who = run(["doveadm", "-f", "tab", "who"], timeout=30)
    if who.code != 0:
        failures.append(f"doveadm who: {who.said}; end the sessions with: doveadm kick ADDRESS")
        return 0
    present = {line.split("\t")[0].lower() for line in who.out.splitlines()[1:]}
    kicked = [address for address in shut if address in present]
    for address in kicked:
        done = run(["doveadm", "kick", address], timeout=30)
        if done.code != 0:
            failures.append(f"doveadm kick {address}: {done.said}; repeat it")
    return len(kicked)


def _drop_submissions(failures: list[str]) -> None:
    """Cuts every connection to the submission ports (ss(8), -K): smtpd does not ask again who a session is.

    Whose session it is, only smtpd knows. The other clients connect again by themselves.
    """
    done = run(["ss", "-HKnt", "state", "established", _SUBMISSION_PORTS], timeout=20)
    if done.code != 0:
        failures.append(f"ss -K: {done.said}; end open submissions with: systemctl restart postfix")


def _delete_queued(shut: frozenset[str], failures: list[str]) -> int:
    """Deletes from Postfix's queue what the mailboxes have sent; returns how many mails."""
    deadline = time.monotonic() + _QUEUE_SECONDS
    deleted: set[str] = set()
    for _round in range(_ROUNDS):
        listed = run(["postqueue", "-j"], timeout=60)
        if listed.code == 127:  # noqa: PLR2004 -- not found: Postfix is not installed yet
            return 0
        if listed.code != 0:
            failures.append(f"postqueue -j: {listed.said}; see: postqueue -p, postsuper -d ID")
            break
        senders = _senders(listed.out)
        doomed = {number for number, sender in _logins(senders, deadline) if sender in shut} - deleted
        if not doomed:
            return len(deleted)
        done = run(["postsuper", "-d", "-"], stdin="".join(f"{number}\n" for number in sorted(doomed)).encode())
        if done.code != 0:
            failures.append(f"postsuper -d: {done.said}; see: postqueue -p, postsuper -d ID")
            break
        deleted |= doomed
        if time.monotonic() > deadline:
            failures.append("the queue is too long to look at all of it; see: postqueue -p, postsuper -d ID")
            break
    return len(deleted)


def _senders(listing: str) -> dict[str, str]:
    """Envelope sender of each queued mail by its queue id (postqueue(1), -j: an object a line)."""
    mails = (json.loads(line) for line in listing.splitlines() if line.startswith("{"))
    return {str(mail["queue_id"]): str(mail["sender"]).lower() for mail in mails}


def _logins(senders: Mapping[str, str], deadline: float) -> Iterator[tuple[str, str]]:
    """Queue id and who sent it: the login of the submission, whatever sender it gave; else the envelope sender."""
    numbers = iter(senders)
    while (batch := list(islice(numbers, _BATCH))) and time.monotonic() < deadline:
        # Exit code 1 means that some of them are gone by now.
        envelopes = run(["postcat", "-qe", *batch], timeout=60).out
        logins: dict[str, str] = {}
        number = ""
        for line in envelopes.splitlines():
            heading = re.fullmatch(r"\*\*\* ENVELOPE RECORDS (?:\S*/)?(\w+) \*\*\*", line)
            if heading:
                number = heading[1]
            elif match := re.fullmatch(r"named_attribute: sasl_username=(\S+)", line):
                logins[number] = match[1].lower()
        for number in batch:
            yield number, logins.get(number, senders[number])


def _warn_of_full(addresses: Sequence[str]) -> None:
    """Says which mailboxes hold more than their new quota. Not of all, when a list changed: each is a look-up."""
    for address in addresses:
        done = run(["doveadm", "-f", "tab", "quota", "get", "-u", address], timeout=10)
        if done.code != 0:
            continue
        for line in done.out.splitlines()[1:]:
            _name, kind, value, limit, *_percent = line.split("\t")
            if kind == "STORAGE" and limit.isdigit() and int(value) > int(limit):
                say(
                    f"accounts: warning: {address} holds {_size(int(value))}, more than its quota of "
                    f"{_size(int(limit))}: its mail is refused until some is deleted"
                )


def _size(kib: int) -> str:
    return f"{kib // 1024} MiB" if kib >= 10 * 1024 else f"{kib} KiB"


def _listed(addresses: Sequence[str]) -> str:
    shown = ", ".join(addresses[:_NAMED])
    return shown if len(addresses) <= _NAMED else f"{shown} and {len(addresses) - _NAMED} more"
