"""Ports, paths and users that more than one part of the mail host must agree on: one value, every file."""

from typing import Final

SMTP: Final = 25  # RFC 5321 §4.5.4.2
SUBMISSION: Final = 587  # RFC 6409 §3.1
SUBMISSIONS: Final = 465  # RFC 8314 §7.3
IMAP: Final = 143  # RFC 9051
IMAPS: Final = 993  # RFC 8314 §7.1
POP3: Final = 110  # RFC 1939
POP3S: Final = 995  # RFC 8314 §7.2
MANAGESIEVE: Final = 4190  # RFC 5804 §1.8
HTTP: Final = 80  # where ACME's http-01 challenge connects (RFC 8555 §8.3)
HTTPS: Final = 443  # RFC 9110 §4.2.2

LOCALHOST: Final = "localhost"
"""The domain of mail that programs on the host write to root@localhost."""

VMAIL: Final = "vmail"
"""System user and group that own all mail."""
MAIL_DIR: Final = "/var/vmail"
USERS_FILE: Final = "/etc/dovecot/users"
LIBRARY: Final = "/usr/local/lib/mailhost"
"""Programs of ours that daemons run."""
DOVECOT_METRICS: Final = 9900
"""Port of Dovecot's OpenMetrics page."""
POSTFIX_METRICS: Final = 9154
"""Port of the Postfix exporter's page."""
HOST_METRICS: Final = 9910
"""Port of the page of `mailhostctl metrics`: queue, certificates, services, disk, rspamd."""

POSTFIX_QUEUE: Final = "/var/spool/postfix"
"""Postfix's queue directory and chroot. The sockets below are relative to it, as the daemons inside see them."""
SASL_SOCKET: Final = "private/auth"
LMTP_SOCKET: Final = "private/dovecot-lmtp"
MILTER_SOCKET: Final = "opendkim/opendkim.sock"
QUOTA_SOCKET: Final = "private/quota-status"
"""Where Dovecot tells Postfix, in its policy protocol, whether a mailbox is full."""
RSPAMD_SOCKET: Final = "rspamd/milter.sock"

RSPAMD_LEARN_SOCKET: Final = "/run/rspamd/learn.sock"
"""rspamd's controller for programs of the host: who may open the socket (group vmail) needs no password."""
RSPAMD_CONTROLLER: Final = 11334
"""TCP port of the controller on 127.0.0.1, open when there is a password for it."""
REDIS_SOCKET: Final = "/run/redis/redis-server.sock"
RESOLVER: Final = "127.0.0.1"
"""Address of the host's own validating resolver, port 53."""
TLS_POLICY_SOCKET: Final = "private/tls-policy"
"""Where Postfix asks what a destination must prove, in its chroot."""
MTA_STS: Final = 8461
"""TCP port of mta-sts-daemon on 127.0.0.1."""
CLAMAV_SOCKET: Final = "/run/clamav/clamd.ctl"

LINEAGES: Final = "/etc/letsencrypt/live"
"""Where certbot keeps the current certificates, a folder per host name."""

CLIENT_LABELS: Final = ("autoconfig", "autodiscover")
"""Labels below each domain that mail programs ask: Mozilla's and Microsoft's."""
POLICY_LABEL: Final = "mta-sts"
"""Label below each domain that senders ask for its policy (RFC 8461 §3.3)."""
WEB_DOCUMENTS: Final = "/var/www/mailhost"
"""What nginx serves."""
ACME_CHALLENGES: Final = "/var/www/mailhost-acme"
"""Where certbot puts its answers to HTTP-01 challenges (RFC 8555 §8.3) while nginx holds port 80."""


def certificate(hostname: str) -> str:
    """Return the path of the certificate with its chain."""
    return f"{LINEAGES}/{hostname}/fullchain.pem"


def certificate_key(hostname: str) -> str:
    """Return the path of the certificate's private key."""
    return f"{LINEAGES}/{hostname}/privkey.pem"
