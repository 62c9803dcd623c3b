"""Templates and the contexts they are filled from belong together."""

import re
from typing import Any

import pytest
from jinja2 import meta

from model import (
    accounts,
    antivirus,
    certbot,
    client_setup,
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
from model.files import TEMPLATES, Nothing, environment

CONTEXTS: dict[str, type[Any]] = {
    "client_setup/autoconfig.xml.j2": client_setup.ProgramContext,
    "client_setup/autodiscover.xml.j2": client_setup.ProgramContext,
    "client_setup/index.html.j2": client_setup.PageContext,
    "client_setup/profile.mobileconfig.j2": client_setup.ProgramContext,
    "clamav/clamd.conf.j2": antivirus.ClamdContext,
    "digest/mailhost-digest.service.j2": digest.DigestContext,
    "digest/mailhost-digest.timer.j2": digest.DigestContext,
    "dovecot/2.3/dovecot.conf.j2": dovecot.DovecotContext,
    "dovecot/2.4/dovecot.conf.j2": dovecot.DovecotContext,
    "dovecot/dovecot.service.j2": Nothing,
    "dovecot/filter-errors.j2": dovecot.ToolsContext,
    "dovecot/filter-errors.path.j2": dovecot.ToolsContext,
    "dovecot/filter-errors.service.j2": dovecot.ToolsContext,
    "dovecot/quota-warning.j2": dovecot.ToolsContext,
    "dovecot/sieve/junk.sieve.j2": Nothing,
    "dovecot/sieve/learn-ham.sieve.j2": Nothing,
    "dovecot/sieve/learn-spam.sieve.j2": Nothing,
    "dovecot/sieve/learn.j2": dovecot.ToolsContext,
    "dovecot/sysusers.conf.j2": dovecot.PlacesContext,
    "dovecot/tmpfiles.conf.j2": dovecot.PlacesContext,
    "dovecot/users.j2": accounts.UsersContext,
    "fail2ban/dovecot.conf.j2": Nothing,
    "fail2ban/jail.local.j2": fail2ban.JailContext,
    "letsencrypt/deploy-hook.j2": certbot.HookContext,
    "metrics/exporter.j2": metrics.ExporterContext,
    "metrics/exporter.service.j2": Nothing,
    "metrics/logrotate.j2": metrics.LogContext,
    "metrics/mailhost-metrics.socket.j2": metrics.PageContext,
    "metrics/mailhost-metrics.service.j2": metrics.ReaderContext,
    "metrics/rsyslog.conf.j2": metrics.RuleContext,
    "metrics/tmpfiles.conf.j2": metrics.LogContext,
    "nginx/domains.conf.j2": web.DomainsContext,
    "nginx/locations.conf.j2": web.LocationsContext,
    "nginx/nginx.conf.j2": web.NginxContext,
    "opendkim/KeyTable.j2": opendkim.OpenDkimContext,
    "opendkim/SigningTable.j2": opendkim.OpenDkimContext,
    "opendkim/TrustedHosts.j2": opendkim.OpenDkimContext,
    "opendkim/opendkim.conf.j2": opendkim.OpenDkimContext,
    "opendkim/tmpfiles.conf.j2": opendkim.OpenDkimContext,
    "postfix/disabled_recipients.j2": postfix.MapsContext,
    "postfix/main.cf.j2": postfix.MainContext,
    "postfix/master.cf.j2": postfix.MasterContext,
    "postfix/postfix.service.j2": postfix.UnitContext,
    "postfix/resolv.conf.j2": postfix.ResolvConfContext,
    "postfix/sender_logins.j2": postfix.MapsContext,
    "postfix/submission_header_checks.j2": Nothing,
    "postfix/tls_policies.j2": postfix.MapsContext,
    "postfix/virtual_aliases.j2": postfix.MapsContext,
    "postfix/virtual_domains.j2": postfix.MapsContext,
    "postfix/virtual_mailboxes.j2": postfix.MapsContext,
    "redis/redis.conf.j2": redis.RedisContext,
    "rspamd/actions.conf.j2": rspamd.ActionsContext,
    "rspamd/antivirus.conf.j2": rspamd.SocketContext,
    "rspamd/classifier-bayes.conf.j2": rspamd.BayesContext,
    "rspamd/controller-password.inc.j2": rspamd.PasswordContext,
    "rspamd/dkim_signing.conf.j2": rspamd.SigningContext,
    "rspamd/dmarc.conf.j2": Nothing,
    "rspamd/logging.inc.j2": Nothing,
    "rspamd/milter_headers.conf.j2": rspamd.HeadersContext,
    "rspamd/options.inc.j2": rspamd.OptionsContext,
    "rspamd/rbl.conf.j2": rspamd.BlocklistsContext,
    "rspamd/redis.conf.j2": rspamd.RedisContext,
    "rspamd/rspamd.conf.local.override.j2": rspamd.OverrideContext,
    "rspamd/rspamd.local.lua.j2": rspamd.SubmittedContext,
    "rspamd/rspamd.service.conf.j2": Nothing,
    "rspamd/settings.conf.j2": rspamd.SettingsContext,
    "rspamd/sysusers.conf.j2": rspamd.VmailContext,
    "rspamd/tmpfiles.conf.j2": rspamd.FoldersContext,
    "rspamd/worker-controller.inc.j2": rspamd.ControllerContext,
    "rspamd/worker-normal.inc.j2": Nothing,
    "rspamd/worker-proxy.inc.j2": rspamd.SocketContext,
    "tls_policy/mailhost-tls-policy.service.j2": tls_policy.ServiceContext,
    "tls_policy/mailhost-tls-policy.socket.j2": tls_policy.SocketContext,
    "tls_policy/mta-sts-daemon.yml.j2": tls_policy.DaemonContext,
    "ufw/ufw.conf.j2": Nothing,
    "ufw/user.rules.j2": firewall.RulesContext,
    "unbound/mailhost.conf.j2": resolver.UnboundContext,
}
OLD_DOVECOT_SETTINGS = (
    "mail_location", "ssl_cert", "ssl_key", "ssl_dh", "disable_plaintext_auth", "ssl_prefer_server_ciphers", "plugin",
)  # fmt: skip


def source(template: str) -> str:
    return (TEMPLATES / template).read_text(encoding="utf-8")


def variables(template: str) -> set[str]:
    return meta.find_undeclared_variables(environment().parse(source(template)))


def settings_of(template: str) -> str:
    """The template without comments: they may speak of anything."""
    return re.sub(r"^\s*#.*$", "", source(template), flags=re.M)


def test_every_template_has_a_context() -> None:
    assert {str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.j2")} == CONTEXTS.keys()


@pytest.mark.parametrize("template", CONTEXTS)
def test_every_variable_is_in_the_context(template: str) -> None:
    fields = CONTEXTS[template].__annotations__.keys()
    assert variables(template) <= fields | {"managed"}


@pytest.mark.parametrize("context", sorted(set(CONTEXTS.values()), key=str))
def test_every_field_is_used(context: type[Any]) -> None:
    used = set().union(*(variables(template) for template, kind in CONTEXTS.items() if kind is context))
    assert context.__annotations__.keys() <= used


@pytest.mark.parametrize(
    "template",
    # What nginx sends to the world is nobody's to change by hand.
    sorted(name for name in CONTEXTS.keys() - {"ufw/user.rules.j2"} if not name.startswith("client_setup/")),
)
def test_every_file_says_whose_it_is(template: str) -> None:
    assert re.search(r"^(#|--) {{ managed }}$", source(template), re.M)


@pytest.mark.parametrize("template", CONTEXTS)
def test_templates_only_branch_and_loop(template: str) -> None:
    """Logic belongs in Python, where it is typed and tested."""
    assert set(re.findall(r"{%-?\s*(\w+)", source(template))) <= {"if", "else", "endif", "for", "endfor"}


def test_dovecot_2_4_has_no_variable_of_2_3() -> None:
    """2.4 accepts %d and %n as plain text (`doveconf -n` exits 0), and every user then shares one mailbox."""
    text = settings_of("dovecot/2.4/dovecot.conf.j2")
    assert not re.search(r"%(?!{)", re.sub(r"{%.*?%}", "", text))
    assert not [name for name in OLD_DOVECOT_SETTINGS if re.search(rf"^\s*{name}\b", text, re.M)]
    assert "$" not in text


def test_dovecot_2_3_has_no_variable_of_2_4() -> None:
    assert "%{" not in settings_of("dovecot/2.3/dovecot.conf.j2").replace("{%", "")


def test_dovecot_2_4_begins_with_its_version() -> None:
    """Any other first setting is fatal."""
    lines = [line for line in settings_of("dovecot/2.4/dovecot.conf.j2").splitlines() if line]
    assert [line.split(" = ")[0] for line in lines[:2]] == ["dovecot_config_version", "dovecot_storage_version"]
