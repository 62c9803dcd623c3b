"""fail2ban: whom it counts, and how failed logins are recognised in what the daemons say."""

import configparser
import re

import pytest

from model import fail2ban, packages
from tests.unit.samples import settings

JAILS, FILTER = "/etc/fail2ban/jail.local", "/etc/fail2ban/filter.d/mailhost-dovecot.conf"
REST = "rip=192.0.2.7, lip=203.0.113.30, TLS, session=<FmAP6OZgiswgAQ24ARMAAAAAAAAAAACZ>"
"""As the two releases word it, from the journal of the lab's machines."""


def jails(**ban: object) -> configparser.ConfigParser:
    """The jails of a host with these settings of `ban`."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string({file.path: file.content for file in fail2ban.files(settings(ban=ban))}[JAILS])
    return parser


def failure() -> re.Pattern[str]:
    """What counts as a failed login, with fail2ban's own parts filled in (filter.d/common.conf is not ours)."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string({file.path: file.content for file in fail2ban.files(settings())}[FILTER])
    text = parser["Definition"]["failregex"].replace("%(__prefix_line)s", r"mail dovecot\[\d+\]: ")
    text = text.replace("<F-USER>", "(?P<user>").replace("</F-USER>", ")")
    return re.compile(text.replace("<ADDR>", r"(?P<address>[0-9a-f.:]+)"))


def test_the_settings_are_in_the_jails() -> None:
    parser = jails(attempts=7, window=1200, duration=7200, allow=["192.0.2.0/24", "2001:db8::1"])
    assert parser["DEFAULT"]["maxretry"] == "7"
    assert parser["DEFAULT"]["findtime"] == "1200"
    assert parser["DEFAULT"]["bantime"] == "7200"
    assert parser["DEFAULT"]["ignoreip"].split() == ["127.0.0.0/8", "::1", "192.0.2.0/24", "2001:db8::1"]
    assert parser.sections() == list(fail2ban.JAILS)
    assert all(parser[name]["enabled"] == "true" for name in fail2ban.JAILS)


@pytest.mark.parametrize(("duration", "window", "long"), [(3600, 86_400, 604_800), (604_801, 2_419_204, 604_801)])
def test_repeated_offenders_are_seen_however_long_a_ban_lasts(duration: int, window: int, long: int) -> None:
    recidive = jails(duration=duration)["recidive"]
    assert int(recidive["findtime"]) == window
    assert int(recidive["bantime"]) == long


def test_switched_off_it_is_not_installed() -> None:
    ours = {"fail2ban", "python3-systemd", "nftables"}
    assert ours <= {*packages.packages(settings())}
    assert not ours & {*packages.packages(settings(ban={"enabled": False}))}


@pytest.mark.parametrize("protocol", ["imap", "pop3", "managesieve"])
@pytest.mark.parametrize(
    "said",
    [
        "Login aborted: Logged out (auth failed, 1 attempts in 6 secs) (auth_failed): user=<a@b.test>, method=PLAIN, ",
        "Login aborted: Connection closed (auth failed, 2 attempts in 4 secs) (auth_failed): user=<a@b.example>, ",
        "Disconnected: Aborted login by logging out (auth failed, 1 attempts in 6 secs): user=<>, method=PLAIN, ",
        "Disconnected: Connection closed: read(size=1024) failed: Connection reset by peer (auth failed, 1 attempts in "
        "2 secs): user=<a@b.example>, method=LOGIN, ",
    ],
)
def test_a_failed_login_is_recognised(protocol: str, said: str) -> None:
    for rest in (REST, REST.replace("TLS,", "TLS: Connection closed,"), REST.replace(" TLS,", "")):
        found = failure().fullmatch(f"mail dovecot[14216]: {protocol}-login: {said}{rest}")
        assert found
        assert found["address"] == "192.0.2.7"


@pytest.mark.parametrize(
    "said",
    [
        f"imap-login: Login aborted: Logged out (no auth attempts in 0 secs) (no_auth_attempts): user=<>, {REST}",
        f"imap-login: Login: user=<a@b.example>, method=PLAIN, {REST}",
        # A user's name may not name another address.
        "imap-login: Login aborted: Logged out (auth failed, 1 attempts in 6 secs) (auth_failed): "
        f"user=<x>, rip=198.51.100.1, lip=y>, method=PLAIN, {REST}",
        "imap(a@b.example)<14216><x>: Error: imap-login: Disconnected: x (auth failed, 1 attempts in 6 secs): user=<>, "
        f"{REST}",
    ],
)
def test_nothing_else_is(said: str) -> None:
    assert not failure().fullmatch(f"mail dovecot[14216]: {said}")
