"""The daemons refuse what is known to be bad, in their own words, and nothing of it becomes live.

Not everything can be here: Postfix's parser lets wrong words pass (`smtpd_tls_security_level = maybe`), Dovecot's does
not open the certificate, OpenDKIM's not the keys. What does not work is taken back after the reload (tests/e2e).
"""

from typing import NamedTuple

import pytest

from tests.parsers.judge import Judge
from tests.parsers.samples import SERVICES, edited, settings

CASE = "debian13-minimal"
MAIN_CF = "/etc/postfix/main.cf"
MASTER_CF = "/etc/postfix/master.cf"
ALIASES = "/etc/postfix/virtual_aliases"
DOVECOT = "/etc/dovecot/dovecot.conf"
USERS = "/etc/dovecot/users"
RSPAMD_RULE = "/etc/rspamd/rspamd.local.lua"
RSPAMD_OVERRIDE = "/etc/rspamd/rspamd.conf.local.override"
NGINX, NGINX_DOMAINS = "/etc/nginx/nginx.conf", "/etc/nginx/mailhost-domains.conf"
OPENDKIM = "/etc/opendkim.conf"
UNITS = "/etc/systemd/system"
JUNK = "/etc/dovecot/sieve/junk.sieve"
SYSUSERS = "/etc/sysusers.d/mailhost-dovecot.conf"
TMPFILES = "/etc/tmpfiles.d/mailhost-opendkim.conf"
RULES, RULES6 = "/etc/ufw/user.rules", "/etc/ufw/user6.rules"
JAILS, DOVECOT_FAILURES = "/etc/fail2ban/jail.local", "/etc/fail2ban/filter.d/mailhost-dovecot.conf"
MTA_STS = "/etc/mta-sts-daemon.yml"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/mailhost"


class Bad(NamedTuple):
    """One wrong place in the files of a service."""

    service: str
    path: str
    old: str
    """Occurs once; empty appends."""
    new: str
    complaint: str
    """Part of what the daemon says."""


# The comments say what would happen otherwise.
BAD = [
    # Postfix would ignore a misspelt setting and go on with its default.
    Bad(
        "postfix",
        MAIN_CF,
        "virtual_mailbox_domains =",
        "virtual_mailbox_domain =",
        "unused parameter: virtual_mailbox_",
    ),
    Bad("postfix", MAIN_CF, "", "relayhost = $no_such_name\n", "undefined parameter: no_such_name"),
    # Of two lines for one setting the last would win, wherever it came from.
    Bad("postfix", MAIN_CF, "", "smtpd_banner = twice\n", "overriding earlier entry: smtpd_banner"),
    # Postfix would warn, and lose the line.
    Bad("postfix", ALIASES, "", "sales@example.com\n", "expected format: key whitespace value"),
    Bad("postfix", ALIASES, "", "abuse@example.com bob@example.com\n", "duplicate entry"),
    # Every daemon of Postfix would end as soon as it starts, and mail would wait outside.
    Bad("postfix", MAIN_CF, "message_size_limit = 52428800", "message_size_limit = 50M", "bad numerical configuration"),
    Bad("postfix", MAIN_CF, "inet_protocols = ipv4", "inet_protocols = carrier-pigeon", "unknown inet_protocols value"),
    Bad("postfix", MAIN_CF, "myhostname = mail.example.com", "myhostname = mail,com", "bad parameter value: mail,com"),
    Bad("postfix", MAIN_CF, "mydomain = example.com", "mydomain example.com", "missing '=' after attribute name"),
    Bad("postfix", MAIN_CF, "{1}:{5}}", "{1}:{5}", "truncated macro reference"),
    Bad("postfix", MAIN_CF, "compatibility_level = 3.6", "compatibility_level = high", "malformed compatibility level"),
    # master(8) would not start, or not start this service.
    Bad("postfix", MASTER_CF, "", "extra inet n\n", "bad field count"),
    Bad("postfix", MASTER_CF, "", "extra pigeon n - y - - smtpd\n", 'invalid type field "pigeon"'),
    Bad("postfix", MASTER_CF, "", "extra inet maybe - y - - smtpd\n", 'invalid private field "maybe"'),
    Bad("postfix", MASTER_CF, "", "extra inet n - y - -1 smtpd\n", 'invalid process_limit field "-1"'),
    # Dovecot would not start.
    Bad("dovecot", DOVECOT, "", "no_such_setting = yes\n", "nknown setting: no_such_setting"),
    Bad("dovecot", DOVECOT, "", "}\n", "Unexpected '}'"),
    Bad("dovecot", DOVECOT, "", "protocol imap {\n", "Missing '}'"),
    Bad("dovecot", DOVECOT, "", "!include /etc/dovecot/no-such-file.conf\n", "No matches"),
    Bad("dovecot", DOVECOT, "ssl = required", "ssl = mandatory", "mandatory"),
    Bad("dovecot", DOVECOT, "port = 143", "port = 99999", "Invalid port number 99999"),
    Bad("dovecot", DOVECOT, "first_valid_uid = 100", "first_valid_uid = hundred", "Invalid number hundred"),
    Bad("dovecot", DOVECOT, "mode = 0660", "mode = rw", "Invalid number rw"),
    # Every delivery would fail to run it, and spam would stay in the INBOX.
    Bad("dovecot", JUNK, 'fileinto "Junk"', 'fileinfo "Junk"', "junk.sieve refuses the new files"),
    # What users move would teach nothing.
    Bad("dovecot", DOVECOT, "sieve_extprograms", "sieve_extpograms", "sieve_extpograms"),
    # Mail would have no owner.
    Bad("dovecot", SYSUSERS, "u vmail", "w vmail", "Unknown command type 'w'"),
    # Nobody could log in, and the message must not show the line.
    Bad(
        "accounts",
        USERS,
        "",
        "carol@example.com:secret\n",
        "/etc/dovecot/users line 6: must be user@domain:{SCHEME}hash",
    ),
    Bad("accounts", USERS, "alice@example.com", "alice", "/etc/dovecot/users line 5: must be"),
    # OpenDKIM would not start, and mail would wait for its signature.
    Bad("opendkim", OPENDKIM, "", "TrustedHosts nobody\n", "unrecognized parameter"),
    Bad("opendkim", OPENDKIM, "Mode s\n", "Mode x\n", 'unknown mode "x"'),
    Bad("opendkim", OPENDKIM, "Syslog yes", "Syslog maybe", "illegal value"),
    Bad("opendkim", OPENDKIM, "UMask 007", "UMask rw", "illegal value"),
    Bad("opendkim", OPENDKIM, "relaxed/relaxed", "loose/loose", 'unknown canonicalization algorithm "loose"'),
    Bad("opendkim", OPENDKIM, "rsa-sha256", "rot13", 'unknown signing algorithm "rot13"'),
    Bad("opendkim", OPENDKIM, "refile:/etc/opendkim/SigningTable", "refile:/etc/opendkim/Other", "No such file"),
    Bad("opendkim", OPENDKIM, "KeyTable /etc/opendkim/KeyTable\n", "", "use of SigningTable requires KeyTable"),
    # The signer's socket would have no folder.
    Bad("opendkim", TMPFILES, "", "d relative/path 0700\n", "Path 'relative/path' not absolute"),
    # ufw would load no rule at all.
    Bad("firewall", RULES, "-p tcp --dport 25 ", "-p tcp --dport 99999 ", "invalid port/service `99999'"),
    Bad("firewall", RULES, "-p tcp --dport 25 ", "-p tpc --dport 25 ", 'unknown protocol "tpc"'),
    Bad("firewall", RULES, "COMMIT\n", "", "COMMIT expected"),
    Bad("firewall", RULES6, "*filter\n", "*filtre\n", "table name 'filtre' invalid"),
    # It would run without the jail, or not at all.
    Bad("fail2ban", JAILS, "filter = mailhost-dovecot", "filter = mailhost-dovekot", "Unable to read the filter"),
    Bad("fail2ban", JAILS, "banaction = nftables", "banaction = nftable", "Unable to read action"),
    Bad("fail2ban", JAILS, "maxretry = 5", "maxretry 5", "parsing errors"),
    Bad("fail2ban", DOVECOT_FAILURES, "rip=<ADDR>", "rip=<ADRESS>", "No failure-id group"),
    Bad("fail2ban", DOVECOT_FAILURES, r"\(auth failed", "(auth failed", "Unable to compile regular expression"),
    # It would take its own number.
    Bad("fail2ban", JAILS, "maxretry = 5", "maxretry = five", "Wrong value for 'maxretry'"),
    # The exporter would read nothing, or nothing would be turned over.
    Bad("metrics", "/etc/rsyslog.d/00-mailhost.conf", "mail.* -", "mial.* -", 'unknown facility name "mial'),
    Bad("metrics", "/etc/logrotate.d/mailhost", "\tweekly", "\tweakly", "unknown option 'weakly'"),
    # No page would be there, and no digest come.
    Bad("metrics", f"{UNITS}/mailhost-metrics.socket", "Accept=yes", "Accept=maybe", "socket:9: Failed to parse"),
    Bad("metrics", f"{UNITS}/mailhost-metrics@.service", "NoNewPrivileges=", "NoNewPrivilege=", "NoNewPrivilege"),
    Bad("digest", f"{UNITS}/mailhost-digest.timer", "OnCalendar=06:00", "OnCalendar=often", "calendar"),
    # Redis would not start, and so nothing be counted.
    Bad("redis", "/etc/redis/redis.conf", "volatile-ttl", "volatile-tll", "argument(s) must be one of the following"),
    Bad("redis", "/etc/redis/redis.conf", "maxmemory 96mb", "maxmemory much", "argument must be a memory value"),
    # Unbound would not start, and every name look-up of rspamd fail.
    Bad(
        "resolver",
        "/etc/unbound/unbound.conf.d/mailhost.conf",
        "prefetch: yes",
        "prefetch: perhaps",
        "expected yes or no",
    ),
    # rspamd would go on without the limits, and say nothing.
    Bad("rspamd", RSPAMD_OVERRIDE, 'rate = "200 / 1h"', 'rate = "200 an hour"', "bad rate string"),
    Bad("rspamd", RSPAMD_OVERRIDE, "id('messages')", "idd('messages')", "selector idd is unknown"),
    # Or without the rule for submitted mail.
    Bad("rspamd", RSPAMD_RULE, "if not login then", "if not login", "'then' expected"),
    Bad("rspamd", RSPAMD_RULE, "priorities.high", "priority.high", "attempt to index global 'priority'"),
    Bad("rspamd", "/etc/rspamd/local.d/rbl.conf", "sem { enabled", "sem { enable", "RBL is DISABLED"),
    # It would not start.
    Bad("rspamd", "/etc/rspamd/local.d/settings.conf", "symbols_enabled = [", "symbols_enabled = ", "ucl parser error"),
    # mta-sts-daemon would not start, and mail would wait.
    Bad("tls-policy", MTA_STS, "cache:\n  type: sqlite", "cache: [", "ParserError"),
    Bad("tls-policy", f"{UNITS}/mailhost-tls-policy.socket", "ListenStream=", "ListenStreams=", "ListenStreams"),
    # Postfix would warn of the line, and send without asking for anything.
    Bad("postfix", "/etc/postfix/tls_policies", "", "bank.example\n", "tls_policies"),
    # nginx would go on with what it has, and not start after a reboot.
    Bad("nginx", NGINX, "server_tokens off;", "server_token off;", 'unknown directive "server_token"'),
    Bad("nginx", NGINX, "ssl_protocols TLSv1.2", "ssl_protocols TLSv9", 'invalid value "TLSv9"'),
    Bad("nginx", NGINX, "$posted;", "$nobody;", 'unknown "nobody" variable'),
    Bad("nginx", NGINX_DOMAINS, "mailhost-locations.conf", "no-such.conf", "No such file or directory"),
    Bad(
        "nginx", NGINX_DOMAINS, "ssl_certificate_key /etc/nginx/parsers.pem;", "", 'no "ssl_certificate_key" is defined'
    ),
    # A renewed certificate would never be served.
    Bad("certificate", HOOK, "esac", "case", "Syntax error"),
]

# The language of one generation in a file of the other: machine with its file, old text, new text, what Dovecot says.
CERTIFICATE = "/etc/letsencrypt/live/mail.example.com/fullchain.pem"
_USERS = "username_format=%Lu /etc/dovecot/users"
OTHER_GENERATION = [
    ("p13", "dovecot_config_version = 2.4.1\n", "", "first setting must be dovecot_config_version"),
    ("p13", "dovecot_storage_version = 2.4.1\n", "", "dovecot_storage_version"),
    ("p13", "mail_driver = maildir\nmail_path = ~/Maildir", "mail_location = maildir:~/Maildir", "mail_location"),
    ("p13", "auth_allow_cleartext = no", "disable_plaintext_auth = yes", "disable_plaintext_auth"),
    ("p13", f"ssl_server_cert_file = {CERTIFICATE}", f"ssl_cert = <{CERTIFICATE}", "ssl_cert"),
    ("p13", "passdb passwd-file {\n", "passdb {\n  driver = passwd-file\n", "passdb"),
    # doveconf accepts these two: all users would have one mailbox, or no plugin would be loaded.
    ("p13", "%{user | domain | lower}/%{user | username | lower}", "%d/%n", "%d is a variable of Dovecot 2.3"),
    ("p13", "recipient\n", "recipient\nmail_plugins = $mail_plugins sieve\n", "$m is a variable of Dovecot 2.3"),
    ("p13", "quota_storage_size = 5368709120B", "quota_rule = *:storage=5G", "quota_rule"),
    ("p13", "mail_compress_write_method", "zlib_save", "zlib_save"),
    ("p12", "plugin {\n  zlib_save = zstd\n}", "mail_compress_write_method = zstd", "mail_compress_write_method"),
    ("p12", "protocols = imap pop3 lmtp", "protocols {\n  imap = yes\n}", "protocols"),
    ("p12", "mail_location = maildir:~/Maildir", "mail_driver = maildir\nmail_path = ~/Maildir", "mail_driver"),
    ("p12", "disable_plaintext_auth = yes", "auth_allow_cleartext = no", "auth_allow_cleartext"),
    ("p12", f"ssl_cert = <{CERTIFICATE}", f"ssl_server_cert_file = {CERTIFICATE}", "ssl_server_cert_file"),
    ("p12", f"passdb {{\n  driver = passwd-file\n  args = {_USERS}\n", "passdb passwd-file {\n", "passdb"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.service}: {bad.new.strip() or f'no {bad.old.strip()}'}")
def test_a_bad_file_is_refused(court: Judge, bad: Bad) -> None:
    rendered = SERVICES[bad.service](settings(CASE, court.machine.release))
    verdict = court.judge(bad.service, edited(rendered, bad.path, bad.old, bad.new))
    assert verdict.code == 1
    assert bad.complaint in verdict.said
    assert "secret" not in verdict.said
    assert not verdict.live


@pytest.mark.parametrize(
    ("machine", "old", "new", "complaint"),
    OTHER_GENERATION,
    indirect=["machine"],
    ids=[f"{machine}: {complaint}" for machine, _, _, complaint in OTHER_GENERATION],
)
def test_the_other_generations_language_is_refused(court: Judge, old: str, new: str, complaint: str) -> None:
    rendered = SERVICES["dovecot"](settings(CASE, court.machine.release))
    verdict = court.judge("dovecot", edited(rendered, DOVECOT, old, new))
    assert verdict.code == 1
    assert complaint in verdict.said
    assert not verdict.live


@pytest.mark.parametrize(("machine", "release"), [("p13", "debian12"), ("p12", "debian13")], indirect=["machine"])
def test_a_file_for_the_other_generation_is_refused(court: Judge, release: str) -> None:
    verdict = court.judge("dovecot", SERVICES["dovecot"](settings(CASE, release)))
    assert verdict.code == 1
    assert not verdict.live
    assert "doveconf refuses the new files" in verdict.said


def test_rules_that_would_shut_the_operator_out_are_refused(court: Judge) -> None:
    rules = SERVICES["firewall"](settings(CASE, court.machine.release))
    refused = court.judge("firewall", rules, SSH_CONNECTION=f"203.0.113.1 40000 {court.machine.ipv4} 2222")
    assert refused.code == 1
    assert not refused.live
    assert "does not allow tcp port 2222" in refused.said
    assert court.judge("firewall", rules, SSH_CONNECTION=f"203.0.113.1 40000 {court.machine.ipv4} 22").code == 0


def test_a_bad_file_does_not_replace_a_good_one(court: Judge) -> None:
    good = SERVICES["postfix"](settings(CASE, court.machine.release))
    assert court.judge("postfix", good).code == 0
    live = court.live(MAIN_CF)
    assert court.judge("postfix", edited(good, MAIN_CF, "", "no_such_setting = yes\n")).code == 1
    assert court.live(MAIN_CF) == live
