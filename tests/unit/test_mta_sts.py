"""The MTA-STS policy, its record, and what comes and goes with it."""

import re

import pytest

from model import certbot, firewall, mta_sts, packages, records, web
from model.settings import Settings, SettingsError
from tests.unit.samples import settings


def announced(made: Settings) -> list[tuple[str, str, str]]:
    return [(r.name, r.type, r.content) for domain in made.served for r in records.promise(made, domain)]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["mode: testing", "mx: mail.example.com", "max_age: 1209600"]),
        ({"mode": "enforce", "maxAgeDays": 60}, ["mode: enforce", "mx: mail.example.com", "max_age: 5184000"]),
        ({"mode": "none", "maxAgeDays": 60}, ["mode: none", "max_age: 86400"]),  # RFC 8461 §8.3
    ],
)
def test_the_policy_says_what_the_settings_say(changes: dict[str, object], lines: list[str]) -> None:
    made = settings(mtaSts=changes)
    assert mta_sts.policy(made).split("\r\n") == ["version: STSv1", *lines, ""]


def test_the_id_changes_exactly_with_the_policy() -> None:
    others: tuple[dict[str, object], ...] = ({"mode": "enforce"}, {"mode": "none"}, {"maxAgeDays": 15})
    made = [settings(), settings(hostname="mx.example.com"), *(settings(mtaSts=other) for other in others)]
    texts = {mta_sts.announcement(each) for each in made}
    assert len(texts) == len(made)
    assert all(re.fullmatch(r"v=STSv1; id=[a-z0-9]{1,32}", text) for text in texts)  # RFC 8461 §3.1
    assert mta_sts.announcement(settings(domains={"b.example": {}}, ipv6="2001:db8::1")) in texts


def test_every_domain_announces_the_policy_and_has_a_name_for_it() -> None:
    made = settings(domains={"b.example": {}})
    text = f'"{mta_sts.announcement(made)}"'
    assert announced(made) == [("_mta-sts.example.com", "TXT", text), ("_mta-sts.b.example", "TXT", text)]
    aliases = [r for d in made.served for r in records.web_names(made, d) if r.name.startswith("mta-sts.")]
    assert [(r.name, r.type, r.content) for r in aliases] == [
        ("mta-sts.example.com", "CNAME", "mail.example.com"),
        ("mta-sts.b.example", "CNAME", "mail.example.com"),
    ]


def test_another_mode_changes_one_file() -> None:
    before, after = settings(domains={"b.example": {}}), settings(domains={"b.example": {}}, mtaSts={"mode": "enforce"})
    known = {file.path: file.sha256 for file in web.files(before)}
    assert [file.path for file in web.files(after) if known[file.path] != file.sha256] == [
        "/var/www/mailhost/mta-sts.txt"
    ]


def test_the_policy_alone_needs_the_web_server_and_nothing_of_the_client_setup() -> None:
    made = settings(clientSetup={"enabled": False}, mtaSts={"enabled": True})
    assert "nginx" in packages.packages(made)
    assert 443 in {port.number for port in firewall.ports(made)}
    assert "*/mta-sts.*)" in certbot.files(made)[0].content
    assert web.lineages(made) == "mta-sts.example.com\n"
    files = {file.path: file.content for file in web.files(made)}
    assert [path for path in files if path.startswith("/var/www")] == ["/var/www/mailhost/mta-sts.txt"]
    assert not re.search(r"autoconfig|autodiscover|/index\.html|mobileconfig", "".join(files.values()))
    assert "https mta-sts.example.com/.well-known/mta-sts.txt" in web.health(made)


def test_off_means_no_name_no_file_and_no_record() -> None:
    off = settings(mtaSts={"enabled": False})
    assert announced(off) == []
    assert "mta-sts" not in "".join(file.path + file.content for file in (*web.files(off), *certbot.files(off)))
    assert "mta-sts" not in web.lineages(off) + " ".join(web.health(off))


def test_where_another_web_server_may_be_ours_must_be_asked_for() -> None:
    assert not settings(clientSetup={"enabled": False}).web
    with pytest.raises(SettingsError, match="^mtaSts: is off because clientSetup is, unless mtaSts.enabled is set"):
        settings(clientSetup={"enabled": False}, mtaSts={"mode": "enforce"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hostname": "mta-sts.example.com"}, "^mtaSts: needs mta-sts.example.com for the policy"),
        ({"domains": {"mta-sts.example.com": {}}}, "^mtaSts: needs mta-sts.example.com for the policy"),
        ({"mtaSts": {"mode": "enforce"}, "acme": {"staging": True}}, "^mtaSts: has mode enforce, but nobody trusts"),
        ({"mtaSts": {"maxAgeDays": 366}}, "^mtaSts.maxAgeDays"),  # RFC 8461 §3.2: at most a year
        ({"mtaSts": {"mode": "strict"}}, "^mtaSts.mode"),
    ],
)
def test_a_policy_nobody_could_use_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings(**changes)
