"""Quotas, filters, search and the like: what is switched off leaves no file, no package, no line."""

import re

import pytest

from model import constants, dovecot, packages
from model.settings import Settings
from tests.unit.samples import ARGON2ID, settings

OSES = ("debian12", "debian13", "ubuntu24.04")
LIBRARY = "/usr/local/lib/mailhost"


def conf(made: Settings) -> str:
    """dovecot.conf without comments."""
    main = next(file for file in dovecot.files(made) if file.path == "/etc/dovecot/dovecot.conf")
    return re.sub(r"^\s*#.*\n", "", main.content, flags=re.M)


def paths(made: Settings) -> set[str]:
    return {file.path for file in dovecot.files(made)}


def plugins(made: Settings) -> set[str]:
    """Every plugin that some process loads."""
    text = conf(made)
    old = re.findall(r"^\s*mail_plugins = (.*)$", text, re.M)
    new = re.findall(r"^\s*mail_plugins {\n((?:\s+\w+ = yes\n)*)", text, re.M)
    return {word for line in (*old, *new) for word in re.findall(r"\w+", line)} - {"mail_plugins", "yes"}


@pytest.mark.parametrize("os", OSES)
def test_a_host_without_extras_has_only_what_mail_needs(os: str) -> None:
    made = settings(
        os=os,
        storage={"quota": 0, "compression": False, "search": False, "trashDays": 0, "junkDays": 0},
        sieve={"enabled": False},
        metrics={"enabled": False},
    )
    assert paths(made) == {
        "/etc/dovecot/dovecot.conf",
        "/etc/sysusers.d/mailhost-dovecot.conf",
        "/etc/tmpfiles.d/mailhost-dovecot.conf",
    }
    assert plugins(made) == {"last_login"} | ({"imap_zlib"} if os != "debian13" else set())
    for word in ("quota", "sieve", "fts_", "compress", "zlib_save", "autoexpunge", "stats", "metric", LIBRARY):
        assert word not in conf(made)
    assert not {name for name in packages.packages(made) if re.search(r"sieve|fts|flatcurve", name)}
    assert not [probe for probe in dovecot.health(made) if "quota" in probe or "sieve" in probe]


@pytest.mark.parametrize("os", OSES)
def test_every_program_dovecot_or_systemd_runs_is_there_and_executable(os: str) -> None:
    made = settings(os=os)
    executable = {file.path for file in dovecot.files(made) if int(file.mode, 8) & 0o111}
    everything = "\n".join(file.content for file in dovecot.files(made))
    named = set(re.findall(rf"(?:script |ExecStart=)({LIBRARY}/\S+)", everything))
    assert named == {f"{LIBRARY}/quota-warning", f"{LIBRARY}/filter-errors"}
    assert re.search(rf"sieve_pipe_bin_dir = {LIBRARY}/sieve\n", conf(made))
    assert executable == named | {f"{LIBRARY}/sieve/learn"}


@pytest.mark.parametrize("os", OSES)
def test_every_filter_of_the_host_is_there(os: str) -> None:
    made = settings(os=os)
    assert set(re.findall(r"(/etc/\S+\.sieve)\b", conf(made))) == {
        path for path in paths(made) if path.endswith(".sieve")
    }


@pytest.mark.parametrize(
    ("sieve", "spam", "learning"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_spam_is_filed_and_learned_where_there_are_filters_and_rspamd(sieve: bool, spam: bool, learning: bool) -> None:
    made = settings(sieve={"enabled": sieve}, spam={"enabled": spam}, limits={"enabled": spam})
    assert ("imap_sieve" in plugins(made)) is learning
    assert ("/etc/dovecot/sieve/junk.sieve" in paths(made)) is learning
    assert (f"{LIBRARY}/filter-errors" in paths(made)) is sieve
    assert ("sieve" in plugins(made)) is sieve


@pytest.mark.parametrize("os", OSES)
def test_the_quota_of_the_host_is_in_bytes(os: str) -> None:
    rule = {"2.3": "quota_rule = *:bytes=536870912\n", "2.4": "quota_storage_size = 536870912B\n"}
    made = settings(os=os, storage={"quota": "512M"})
    assert rule[made.platform.dovecot] in conf(made)
    assert f"unix_listener {constants.POSTFIX_QUEUE}/{constants.QUOTA_SOCKET} {{" in conf(made)
    assert f"unix {constants.POSTFIX_QUEUE}/{constants.QUOTA_SOCKET}" in dovecot.health(made)


@pytest.mark.parametrize("os", OSES)
def test_one_mailbox_with_a_limit_is_enough_for_quotas(os: str) -> None:
    boxes = {"alice@example.com": {"password": ARGON2ID, "quota": "1G"}}
    made = settings(os=os, storage={"quota": 0}, mailboxes=boxes)
    assert made.quotas
    assert "quota" in plugins(made)
    assert not re.search(r"quota_rule|quota_storage_size", conf(made))


@pytest.mark.parametrize("os", OSES)
def test_the_largest_mail_may_go_over_the_quota_once(os: str) -> None:
    made = settings(os=os)
    assert re.search(rf"quota_(storage_)?grace = {made.message_size_limit}B\n", conf(made))


@pytest.mark.parametrize(
    ("os", "package", "plugin"),
    [("debian12", "dovecot-fts-xapian", "fts_xapian"), ("debian13", "dovecot-flatcurve", "fts_flatcurve")],
)
def test_text_is_searched_with_what_the_release_ships(os: str, package: str, plugin: str) -> None:
    assert package in packages.packages(settings(os=os))
    assert plugin in plugins(settings(os=os))


def test_ubuntu_has_no_index_and_searches_by_reading() -> None:
    made = settings(os="ubuntu24.04")
    assert not {"dovecot-fts-xapian", "dovecot-flatcurve"} & set(packages.packages(made))
    assert "fts" not in plugins(made)
    assert "fts_" not in conf(made)


@pytest.mark.parametrize("os", OSES)
def test_each_folder_forgets_after_its_own_days(os: str) -> None:
    text = conf(settings(os=os, storage={"trashDays": 14, "junkDays": 0}))
    assert re.findall(r"autoexpunge = (\S+)", text) == ["14d"]
    assert text.index("special_use = \\Trash") < text.index("autoexpunge")


@pytest.mark.parametrize("os", OSES)
def test_the_connection_limit_is_the_same_for_every_protocol(os: str) -> None:
    text = conf(settings(os=os, limits={"connections": 7}))
    assert re.findall(r"mail_max_userip_connections = (\d+)", text) == ["7"] * 3


@pytest.mark.parametrize("os", OSES)
def test_figures_are_on_the_chosen_address_only(os: str) -> None:
    text = conf(settings(os=os, metrics={"listen": "10.0.0.5"}))
    assert re.search(r"inet_listener http {\n\s+(?:listen|address) = 10\.0\.0\.5\n\s+port = 9900\n", text)


def test_the_twins_have_the_same_sections_in_the_same_order() -> None:
    """Comments between rules name the sections; URLs differ by generation."""
    sections = [
        re.findall(r"^# ---- (.*?)(?: <.*)?$", file.content, re.M)
        for made in (settings(os="debian12"), settings(os="debian13"))
        for file in dovecot.files(made)
        if file.path.endswith("dovecot.conf") and file.path.startswith("/etc/dovecot")
    ]
    assert len(sections) == 2
    assert sections[0] == sections[1]
    assert len(sections[0]) > 8
