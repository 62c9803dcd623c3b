"""What monitoring reads follows the settings."""

import re

import pytest

from model import digest, dovecot, metrics, packages
from model.settings import Settings, SettingsError
from tests.unit.samples import settings

TOOLS = {"prometheus-postfix-exporter", "rsyslog", "logrotate"}


def text(made: Settings, path: str) -> str:
    (file,) = (file for file in metrics.files(made) if file.path.endswith(path))
    return re.sub(r"^\s*#.*\n", "", file.content, flags=re.M)


def test_packages_follow_the_settings() -> None:
    assert set(packages.packages(settings())) >= TOOLS
    assert "pflogsumm" not in packages.packages(settings())
    assert "pflogsumm" in packages.packages(settings(metrics={"digest": True}))
    off = set(packages.packages(settings(metrics={"enabled": False, "digest": True})))
    assert not TOOLS & off
    assert "pflogsumm" in off


@pytest.mark.parametrize(
    ("listen", "exporter", "page"),
    [
        ("127.0.0.1", "127.0.0.1:9154", "127.0.0.1:9910"),
        ("10.1.2.3", "10.1.2.3:9154", "10.1.2.3:9910"),
        ("2001:DB8::25", "[2001:db8::25]:9154", "[2001:db8::25]:9910"),
    ],
)
def test_all_pages_are_on_the_address(listen: str, exporter: str, page: str) -> None:
    made = settings(metrics={"listen": listen})
    assert f"--web.listen-address={exporter} " in text(made, "/etc/default/prometheus-postfix-exporter")
    assert f"ListenStream={page}\n" in text(made, ".socket")
    (main,) = (file.content for file in dovecot.files(made) if file.path.endswith("/dovecot.conf"))
    assert f" = {listen.lower()}\n    port = 9900\n" in main


def test_only_localhost_is_probed() -> None:
    assert [probe for probe in metrics.health(settings()) if probe.startswith("tcp")] == ["tcp 9154", "tcp 9910"]
    assert not [probe for probe in metrics.health(settings(metrics={"listen": "10.1.2.3"})) if "tcp" in probe]


@pytest.mark.parametrize("listen", ["mail.example.com", "localhost", "10.1.2", "*", "fe80::1%eth0"])
def test_a_name_is_refused(listen: str) -> None:
    with pytest.raises(SettingsError, match=r"metrics\.listen: "):
        settings(metrics={"listen": listen})


def test_the_page_asks_rspamd_where_there_is_one() -> None:
    assert "SupplementaryGroups=postdrop vmail\n" in text(settings(), "@.service")
    without = settings(spam={"enabled": False}, limits={"enabled": False})
    assert "SupplementaryGroups=postdrop\n" in text(without, "@.service")


def test_ubuntus_rsyslog_keeps_its_own_rules() -> None:
    ubuntu = settings(os="ubuntu24.04")
    assert "stop" not in text(ubuntu, "rsyslog.d/00-mailhost.conf")
    assert "*.* stop\n" in text(settings(), "rsyslog.d/00-mailhost.conf")
    assert "f /var/log/mailhost.log 0640 syslog adm" in text(ubuntu, "tmpfiles.d/mailhost-metrics.conf")
    assert "f /var/log/mailhost.log 0640 root adm" in text(settings(), "tmpfiles.d/mailhost-metrics.conf")


def test_the_digest_goes_to_the_postmaster_of_the_first_domain() -> None:
    service, _ = digest.files(settings(metrics={"digest": True}))
    assert "mailhostctl digest --to postmaster@example.com\n" in service.content
