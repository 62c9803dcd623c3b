"""rspamd, and what it asks: what the files say for given settings."""

import base64
import re

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from model import antivirus, dkim, packages, postfix, redis, resolver, rspamd
from model.files import ConfigFile
from model.settings import Settings, SettingsError
from tests.unit.samples import settings

HASH = "$2$pcfhxxgjqt39d9xijnxcxow8kzw1wkj7$zf4ndtxr3io65bozuojzkngfmrm34p4rsntwq7depmcysqtnmj3y"
# RFC 8463 appendix A: the key of the example, private and public.
SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
PUBLIC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def text(made: Settings, path: str) -> str:
    """A file of rspamd without its comments."""
    (file,) = (file for file in rspamd.files(made) if file.path.endswith(path))
    return re.sub(r"^\s*#.*\n", "", file.content, flags=re.M)


def key_pems() -> tuple[str, str]:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(SEED))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def test_both_limits_have_keys_of_their_own() -> None:
    """With one selector for both, rspamd would count them in one bucket."""
    override = text(settings(limits={"messages": 7, "recipients": 9}), ".override")
    assert len(set(re.findall(r"selector = (.*);", override))) == 2
    assert re.findall(r'rate = "(.*)";', override) == ["7 / 1h", "9 / 1h"]
    assert re.findall(r"^ +burst = (.*);", override, re.M) == ["7", "9"]
    assert "7 messages an hour" in override
    assert "9 recipients an hour" in override


def test_what_is_submitted_is_checked_with_postfixs_own_table() -> None:
    made = settings()
    rule = text(made, "rspamd.local.lua")
    (table,) = re.findall(r'^local SENDER_LOGINS = "(.*)"$', rule, re.M)
    assert table in {file.path for file in postfix.files(made)}
    # Where people have logged in nothing runs that is not named here.
    (symbol,) = re.findall(r'^  name = "(.*)",$', rule, re.M)
    assert f'"{symbol}"' in text(made, "settings.conf")


def test_one_message_has_no_more_recipients_than_an_hour() -> None:
    """The rule takes its limit out of the section that ratelimit reads, so that one file holds it."""
    assert '(rspamd_config:get_all_opt("ratelimit") or {}).rates' in text(settings(), "rspamd.local.lua")
    section = text(settings(limits={"recipients": 9}), ".override")
    assert re.search(
        r"^ratelimit {.*^    rates {.*^        recipients {.*^            bucket {\s+burst = 9;", section, re.M | re.S
    )
    assert "rates" not in text(settings(limits={"enabled": False}), ".override")


def test_a_postmaster_among_the_recipients_lets_nothing_pass() -> None:
    # An empty list would break the module (3.4 and 3.12), and with it every limit.
    assert re.findall(r"whitelisted_rcpts = (.*);", text(settings(), ".override")) == ['["nobody@mailhost.invalid"]']


def test_without_limits_nobody_is_counted() -> None:
    made = settings(limits={"enabled": False})
    assert "ratelimit { enabled = false; }" in text(made, ".override")
    assert "RATELIMIT" not in text(made, "settings.conf")


def test_the_page_listens_only_with_a_password() -> None:
    closed, opened = settings(), settings(spam={"controllerPassword": HASH})
    assert "11334" not in text(closed, "worker-controller.inc")
    assert rspamd.password_file(closed) is None
    assert '"127.0.0.1:11334"' in text(opened, "worker-controller.inc")
    assert "tcp 11334" in rspamd.health(opened)
    secret = rspamd.password_file(opened)
    assert secret is not None
    assert (HASH in secret.content, secret.mode, secret.owner) == (True, "0640", "root:_rspamd")
    assert not [file.path for file in rspamd.files(opened) if HASH in file.content]


@pytest.mark.parametrize(
    ("spam", "complaint"),
    [
        ({"controllerPassword": "open sesame"}, "rspamadm pw"),
        ({"junk": 16}, "spam.reject"),  # nothing would ever go to Junk
    ],
)
def test_what_makes_no_sense_is_refused(spam: dict[str, object], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as refused:
        settings(spam=spam)
    assert "sesame" not in str(refused.value)


def test_without_blocklists_nobody_is_asked_about_mail() -> None:
    made = settings(spam={"blocklists": False})
    assert text(made, "rbl.conf").strip() == "enabled = false;"
    assert "phishing { enabled = false; }" in text(made, ".override")  # its lists are in DNS too
    assert "enabled = false;\n" not in text(settings(), "rbl.conf").replace("{ enabled", "")


@pytest.mark.parametrize("module", ["fuzzy_check", "asn", "url_redirector"])
def test_nothing_about_mail_is_told_to_others(module: str) -> None:
    assert f"{module} {{ enabled = false; }}" in text(settings(), ".override")


def test_packages_follow_the_settings() -> None:
    filters = {"rspamd", "redis-server", "unbound", "dns-root-data"}
    scanner = {"clamav-daemon", "clamav-freshclam"}
    off = settings(spam={"enabled": False}, limits={"enabled": False}, outbound={"dane": False, "mtaSts": False})
    assert not (filters | scanner) & set(packages.packages(off))
    assert filters <= set(packages.packages(settings()))
    assert not scanner & set(packages.packages(settings()))
    assert scanner <= set(packages.packages(settings(spam={"antivirus": True})))


def test_the_virus_scanner_is_asked_only_when_it_is_there() -> None:
    on = settings(spam={"antivirus": True})
    (clamd,) = antivirus.files(on)
    socket = re.findall(r"^LocalSocket (.*)$", clamd.content, re.M)
    assert re.findall(r'servers = "(.*)";', text(on, "antivirus.conf")) == socket
    assert not [file.path for file in rspamd.files(settings()) if file.path.endswith("antivirus.conf")]
    assert "CLAM_VIRUS" in text(on, "settings.conf")


def test_redis_and_rspamd_name_one_socket_and_no_port() -> None:
    (config,) = redis.files(settings())
    assert re.findall(r"^unixsocket (.*)$", config.content, re.M) == re.findall(
        r'servers = "(.*)";', text(settings(), "redis.conf")
    )
    assert re.search(r"^port 0$", config.content, re.M)


def test_the_resolver_is_for_this_host_alone() -> None:
    config: ConfigFile
    (config,) = resolver.files(settings())
    assert re.findall(r"^ +interface: (.*)$", config.content, re.M) == ["127.0.0.1"]
    assert '"127.0.0.1:53:1"' in text(settings(), "options.inc")


def test_rspamd_signs_only_when_it_is_the_signer() -> None:
    made = settings(dkim={"signer": "rspamd"}, domains={"example.net": {"selector": "s2"}})
    signing = text(made, "dkim_signing.conf")
    assert re.findall(r'selector = "(.*?)"', signing) == ["mail", "mail-ed25519", "s2", "s2-ed25519"]
    paths = re.findall(r'path = "(.*?)"', signing)
    assert len(set(paths)) == 4
    assert paths == [
        path
        for keys in (rspamd.signing_keys(domain, domain.selector) for domain in made.served)
        for path in (keys.rsa, keys.ed25519)
    ]
    assert "DKIM_SIGNED" in text(made, "settings.conf")
    assert not [file.path for file in rspamd.files(settings()) if file.path.endswith("dkim_signing.conf")]


def test_an_ed25519_key_is_published_and_stored_bare() -> None:
    private, public = key_pems()
    assert dkim.ed25519_record(public) == f"v=DKIM1; h=sha256; k=ed25519; p={PUBLIC}"
    assert dkim.ed25519_seed(private) == f"{SEED}\n"


@pytest.mark.parametrize("function", [dkim.ed25519_record, dkim.ed25519_seed])
def test_any_other_key_is_refused_without_being_shown(function: object) -> None:
    assert callable(function)
    wrong = key_pems()[0 if function is dkim.ed25519_record else 1]
    with pytest.raises(ValueError, match="not an Ed25519 key") as refused:
        function(wrong)
    assert wrong.splitlines()[1] not in str(refused.value)
