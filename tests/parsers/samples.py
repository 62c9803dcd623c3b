"""The files of the golden tests' named hosts as each service applies them, for the release of a machine of the lab."""

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Final

from lab import keys
from model import (
    accounts,
    certbot,
    digest,
    dovecot,
    fail2ban,
    firewall,
    metrics,
    opendkim,
    postfix,
    redis,
    resolver,
    rspamd,
    tls_policy,
    web,
)
from model.files import ConfigFile
from model.settings import Settings, load
from tests.golden.cases import CASES

SERVICES: Final[dict[str, Callable[[Settings], tuple[ConfigFile, ...]]]] = {
    "accounts": lambda made: (accounts.users_file(made),),
    "certificate": certbot.files,
    "digest": digest.files,
    "dovecot": dovecot.files,
    "fail2ban": fail2ban.files,
    "firewall": firewall.files,
    "metrics": metrics.files,
    "nginx": lambda made: _with_a_certificate(web.files(made)),
    "opendkim": opendkim.files,
    "postfix": postfix.files,
    "redis": redis.files,
    "resolver": resolver.files,
    "rspamd": rspamd.files,
    "tls-policy": tls_policy.files,
}
"""What each service applies, but for the DKIM key: no parser opens it."""


def _with_a_certificate(files: tuple[ConfigFile, ...]) -> tuple[ConfigFile, ...]:
    """Return nginx's files with a certificate among them: its parser opens those it finds named."""
    place = "/etc/nginx/parsers.pem"
    named = re.compile(r"/etc/letsencrypt/live/[^;]+")
    changed = (dataclasses.replace(file, content=named.sub(place, file.content)) for file in files)
    return (*changed, ConfigFile(path=place, content="".join(keys.api_certificate())))


def settings(case: str, release: str) -> Settings:
    """Return the settings of a named host, moved to another release."""
    raw = CASES[case] | {"os": release}
    return load({key: value if isinstance(value, str) else json.dumps(value) for key, value in raw.items()})


def edited(files: tuple[ConfigFile, ...], path: str, old: str, new: str) -> tuple[ConfigFile, ...]:
    """Return the files with one place of one of them exchanged; an empty `old` appends.

    Raises:
        ValueError: the place is not there exactly once, so the case no longer tests what it says.
    """
    (file,) = (file for file in files if file.path == path)
    if old and file.content.count(old) != 1:
        raise ValueError(f"{path}: {old!r} occurs {file.content.count(old)} times, not once")
    content = file.content.replace(old, new) if old else file.content + new
    return tuple(dataclasses.replace(file, content=content) if file.path == path else file for file in files)
