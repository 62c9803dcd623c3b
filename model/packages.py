"""The Debian packages of a mail host."""

from model.settings import Settings


def packages(settings: Settings) -> tuple[str, ...]:
    """Return the names of the packages to install, sorted. They are the same on every supported release."""
    names = {
        "ca-certificates",  # the roots outgoing TLS and certbot trust
        "certbot",
        "dovecot-lmtpd",
        "opendkim",
        "opendkim-tools",  # opendkim-testkey
        "postfix",
        "procps",  # sysctl, which ufw runs; Debian 12's ufw does not depend on it
        "ufw",
    }
    if settings.services.imap or settings.services.imaps:
        names.add("dovecot-imapd")
    if settings.services.pop3 or settings.services.pop3s:
        names.add("dovecot-pop3d")
    return tuple(sorted(names))
