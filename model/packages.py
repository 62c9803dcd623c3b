"""The Debian packages of a mail host."""

from model.settings import Settings


def packages(settings: Settings) -> tuple[str, ...]:
    """Return the names of the packages to install, sorted. Only the search engine differs between releases."""
    names = {
        "ca-certificates",  # the roots outgoing TLS and certbot trust
        "certbot",
        "dovecot-lmtpd",
        "postfix",
        "procps",  # sysctl, which ufw runs; Debian 12's ufw does not depend on it
        "ufw",
    }
    names |= _dovecot(settings)
    if settings.dkim.signer == "opendkim":
        names |= {"opendkim", "opendkim-tools"}  # the tools are for whoever looks for a fault
    if settings.spam.enabled:
        names |= {"rspamd", "redis-server"}
    if settings.resolver:
        names |= {"unbound", "dns-root-data"}  # the last: DNSSEC's trust anchor
    if settings.outbound.mta_sts:
        names.add("postfix-mta-sts-resolver")
    if settings.spam.enabled and settings.spam.antivirus:
        names |= {"clamav-daemon", "clamav-freshclam"}
    if settings.ban.enabled:
        # The last two are how it reads the journal and bans; Debian only recommends them.
        names |= {"fail2ban", "python3-systemd", "nftables"}
    if settings.web:
        names.add("nginx")  # without modules: none is needed
    if settings.metrics.enabled:
        # The exporter reads the log file that rsyslog writes; logrotate is what keeps it short.
        names |= {"prometheus-postfix-exporter", "rsyslog", "logrotate"}
    if settings.metrics.digest:
        names.add("pflogsumm")
    return tuple(sorted(names))


def _dovecot(settings: Settings) -> set[str]:
    names = set()
    if settings.services.imap or settings.services.imaps:
        names.add("dovecot-imapd")
    if settings.services.pop3 or settings.services.pop3s:
        names.add("dovecot-pop3d")
    if settings.sieve.enabled:
        names.add("dovecot-sieve")
    if settings.services.managesieve:
        names.add("dovecot-managesieved")
    if settings.storage.search and settings.platform.search:
        names.add(settings.platform.search)
    return names
