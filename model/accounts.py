"""Mailboxes and aliases: who exists, who may send as whom, and Dovecot's users file.

Postfix's recipient maps, its sender login map and Dovecot's users all derive from here, so they cannot disagree.
"""

from collections.abc import Iterable, Mapping
from typing import TypedDict

from model.constants import LOCALHOST, USERS_FILE
from model.files import ConfigFile, render
from model.frozen import frozen
from model.routes import ROLES
from model.settings import Settings

# For a disabled mailbox. An empty field could let any password in; crypt(5) never makes a hash with "!".
_NO_PASSWORD = "{CRYPT}!"  # noqa: S105 - it opens nothing


@frozen
class User:
    """One line of Dovecot's users file."""

    address: str
    password: str
    """Hash with its scheme; that of a disabled mailbox is one that no password has."""
    fields: str
    """Extra fields, as Dovecot's generation writes them: the mailbox's own quota, if it has one."""


class UsersContext(TypedDict):
    """What templates/dovecot/users.j2 needs. Secret: it holds the password hashes."""

    users: tuple[User, ...]


def mailboxes(settings: Settings) -> tuple[str, ...]:
    """Return the addresses with a mailbox, sorted."""
    return tuple(sorted(settings.mailboxes))


def disabled(settings: Settings) -> tuple[str, ...]:
    """Return the addresses of disabled mailboxes, sorted."""
    return tuple(address for address in mailboxes(settings) if not settings.mailboxes[address].enabled)


def aliases(settings: Settings) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (address, where its mail goes), sorted: all of Postfix's virtual aliases, see virtual(5).

    Besides the aliases of the settings: the role addresses that are neither mailbox nor alias, forwards, and catch-alls
    as @domain. Postfix asks for @domain before it asks whether there is a mailbox, so in a domain with a catch-all each
    mailbox is listed as going to itself.
    """
    routes = _role_addresses(settings, [domain.name for domain in settings.served] + [LOCALHOST])
    routes |= settings.aliases
    caught = {domain.name: domain.catch_all for domain in settings.served if domain.catch_all}
    routes |= {f"@{name}": (target,) for name, target in caught.items()}
    for address, box in settings.mailboxes.items():
        if box.forward:
            routes[address] = (*([address] if box.keep_copy else []), *box.forward)
        elif address.rpartition("@")[2] in caught:
            routes[address] = (address,)
    return tuple(sorted(routes.items()))


def sender_logins(settings: Settings) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (address, logins that may send as it), sorted.

    A mailbox sends as itself, its owner also as each alias that reaches it, over other aliases too; the postmaster as
    the role addresses; who gets a catch-all as the rest of its domain, @domain. A forward gives no rights: whoever
    reads a copy is not the sender.
    """
    routes = _role_addresses(settings, [domain.name for domain in settings.served])
    routes |= settings.aliases
    routes |= {f"@{domain.name}": (domain.catch_all,) for domain in settings.served if domain.catch_all}
    known: dict[str, tuple[str, ...]] = {address: (address,) for address in settings.mailboxes}
    for address in routes:
        _resolve(address, routes, known)
    return tuple(sorted((address, logins) for address, logins in known.items() if logins))


def _role_addresses(settings: Settings, domains: Iterable[str]) -> dict[str, tuple[str, ...]]:
    addresses = (f"{role}@{domain}" for domain in domains for role in ROLES)
    return {address: (settings.postmaster,) for address in addresses if address not in settings.mailboxes}


def _resolve(address: str, routes: Mapping[str, tuple[str, ...]], known: dict[str, tuple[str, ...]]) -> None:
    """Add to `known` the mailboxes that mail to `address` reaches; the settings have no loops."""
    open_ends = [address]
    while open_ends:
        current = open_ends[-1]
        missing = [target for target in routes.get(current, ()) if target not in known]
        if current in known or not missing:
            reached = (login for target in routes.get(current, ()) for login in known[target])
            known.setdefault(current, tuple(dict.fromkeys(reached)))
            open_ends.pop()
        else:
            open_ends += missing


def users_file(settings: Settings) -> ConfigFile:
    """Return Dovecot's users file (passwd-file). Its content is secret."""
    users = tuple(_user(settings, address) for address in mailboxes(settings))
    content = render("dovecot/users.j2", UsersContext(users=users))
    # Dovecot's auth process runs as user dovecot and only reads.
    return ConfigFile(path=USERS_FILE, content=content, mode="0640", owner="root:dovecot")


def _user(settings: Settings, address: str) -> User:
    box = settings.mailboxes[address]
    password = box.password.get_secret_value() if box.enabled else _NO_PASSWORD
    return User(address=address, password=password, fields=_quota_field(settings, box.quota))


def _quota_field(settings: Settings, quota: int | None) -> str:
    """Return a quota of its own as userdb field; 0 is unlimited in both generations.

    <https://doc.dovecot.org/2.3/configuration_manual/quota/#per-user-quota>,
    <https://doc.dovecot.org/2.4.1/core/plugins/quota.html#per-user-quota>
    """
    if quota is None:
        return ""
    by_generation = {"2.3": f"userdb_quota_rule=*:bytes={quota}", "2.4": f"userdb_quota_storage_size={quota}B"}
    return by_generation[settings.platform.dovecot]
