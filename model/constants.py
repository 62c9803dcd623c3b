"""Ports, paths and users that more than one part of the mail host must agree on: one value, every file."""

from typing import Final

SMTP: Final = 25  # RFC 5321 §4.5.4.2
SUBMISSION: Final = 587  # RFC 6409 §3.1
SUBMISSIONS: Final = 465  # RFC 8314 §7.3
IMAP: Final = 143  # RFC 9051
IMAPS: Final = 993  # RFC 8314 §7.1
POP3: Final = 110  # RFC 1939
POP3S: Final = 995  # RFC 8314 §7.2
HTTP: Final = 80  # where ACME's http-01 challenge connects (RFC 8555 §8.3)
HTTPS: Final = 443  # RFC 9110 §4.2.2

LOCALHOST: Final = "localhost"
"""The domain of mail that programs on the host write to root@localhost."""

VMAIL: Final = "vmail"
"""System user and group that own all mail."""
MAIL_DIR: Final = "/var/vmail"
USERS_FILE: Final = "/etc/dovecot/users"

POSTFIX_QUEUE: Final = "/var/spool/postfix"
"""Postfix's queue directory and chroot. The sockets below are relative to it, as the daemons inside see them."""
SASL_SOCKET: Final = "private/auth"
LMTP_SOCKET: Final = "private/dovecot-lmtp"
MILTER_SOCKET: Final = "opendkim/opendkim.sock"

LINEAGES: Final = "/etc/letsencrypt/live"
"""Where certbot keeps the current certificates, a folder per host name."""


def certificate(hostname: str) -> str:
    """Return the path of the certificate with its chain."""
    return f"{LINEAGES}/{hostname}/fullchain.pem"


def certificate_key(hostname: str) -> str:
    """Return the path of the certificate's private key."""
    return f"{LINEAGES}/{hostname}/privkey.pem"
