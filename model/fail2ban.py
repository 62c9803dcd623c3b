"""fail2ban's files: after how many failures, counted where, an address is shut out, and who never is."""

from typing import Final, TypedDict

from model.files import ConfigFile, Nothing, render
from model.settings import Settings

DEPLOYERS: Final = "/var/lib/mailhost/deployers"
"""Where mailhostctl notes the addresses it is called from, one a line; fail2ban looks when it is about to count."""
JAILS: Final = ("sshd", "postfix-sasl", "dovecot", "recidive")
LOOPBACK: Final = ("127.0.0.0/8", "::1")
REPEATS: Final = 3
"""Bans after which an address is banned for long."""
_DAY: Final = 86_400


class JailContext(TypedDict):
    """What templates/fail2ban/jail.local.j2 needs. Times are seconds."""

    attempts: int
    window: int
    duration: int
    allow: tuple[str, ...]
    """Addresses and networks."""
    deployers: str
    repeats: int
    repeat_window: int
    repeat_duration: int


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return the jails and the filter for Dovecot's words. No secrets."""
    ban = settings.ban
    jails = JailContext(
        attempts=ban.attempts,
        window=ban.window,
        duration=ban.duration,
        allow=(*LOOPBACK, *ban.allow),
        deployers=DEPLOYERS,
        repeats=REPEATS,
        # Between one ban and the next lies the first one's duration.
        repeat_window=max(_DAY, (REPEATS + 1) * ban.duration),
        repeat_duration=max(7 * _DAY, ban.duration),
    )
    return (
        ConfigFile(path="/etc/fail2ban/jail.local", content=render("fail2ban/jail.local.j2", jails)),
        ConfigFile(
            path="/etc/fail2ban/filter.d/mailhost-dovecot.conf",
            content=render("fail2ban/dovecot.conf.j2", Nothing()),
        ),
    )


def health(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001 - the same signature for every daemon
    """Return the probes a healthy fail2ban passes: it runs also when one of its jails could not start."""
    return "unit fail2ban", *(f"jail {name}" for name in JAILS)
