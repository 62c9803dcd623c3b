"""Mailboxes and aliases: who exists, who may send as whom, and Dovecot's users file.

Postfix's recipient maps, its sender login map and Dovecot's users all derive from here, so they cannot disagree.
"""

from dataclasses import dataclass

from model.constants import LOCALHOST, USERS_FILE
from model.files import ConfigFile, render
from model.settings import Settings

# RFC 5321 §4.5.1 requires postmaster, RFC 2142 §2 and §4 abuse. Cron and other programs write to root, and people
# answer bounces, which come from MAILER-DAEMON.
_ROLES = ("abuse", "mailer-daemon", "postmaster", "root")


@dataclass(frozen=True, kw_only=True)
class UsersContext:
    """What templates/dovecot/users.j2 needs. Secret: it holds the password hashes."""

    users: tuple[tuple[str, str], ...]
    """Address and hash of each mailbox."""


def mailboxes(settings: Settings) -> tuple[str, ...]:
    """Return the addresses with a mailbox, sorted."""
    return tuple(sorted(settings.mailboxes))


def aliases(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return (alias, mailbox) pairs, sorted: the role addresses that are not mailboxes themselves."""
    addresses = sorted(f"{role}@{domain}" for role in _ROLES for domain in (settings.domain, LOCALHOST))
    return tuple((address, settings.postmaster) for address in addresses if address not in settings.mailboxes)


def users_file(settings: Settings) -> ConfigFile:
    """Return Dovecot's users file (passwd-file). Its content is secret."""
    users = tuple((address, settings.mailboxes[address].get_secret_value()) for address in mailboxes(settings))
    content = render("dovecot/users.j2", UsersContext(users=users))
    # Dovecot's auth process runs as user dovecot and only reads.
    return ConfigFile(path=USERS_FILE, content=content, mode="0640", owner="root:dovecot")
