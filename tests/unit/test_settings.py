"""What an operator may write, what is refused, and how it is said."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.settings import SettingsError, load
from model.values import LETS_ENCRYPT, LETS_ENCRYPT_STAGING
from tests.unit.samples import ARGON2ID, BCRYPT, HOST_KEY, RAW, raw, settings

RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7"
TWO = {"alice@example.com": ARGON2ID, "bob@example.com": BCRYPT}
SILENT = {"mail": "none"}
LOGO = "https://example.com/logo.svg"
# The shape of a key, no key.
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUA\n-----END OPENSSH PRIVATE KEY-----"


def problems(**changes: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(raw(**changes))
    return caught.value.problems


def test_the_least_configuration_gets_the_documented_defaults() -> None:
    made = settings()
    assert made.hostname == "mail.example.com"
    assert made.os == "debian13"
    assert made.platform.dovecot == "2.4"
    assert made.ipv6 is None
    assert (made.ssh.host, made.ssh.port, made.ssh.user) == ("203.0.113.13", 22, "root")
    assert made.ssh_private_key is None
    assert made.postmaster == "alice@example.com"
    assert (made.dns.ttl, made.dns.zone_id, made.dns.apex) == (3600, None, True)
    assert (made.dkim.selector, made.dkim.bits) == ("mail", 2048)
    assert made.dmarc.policy == "quarantine"
    assert (made.acme.server, made.acme.contact) == (LETS_ENCRYPT, "postmaster@example.com")
    assert all(made.services.model_dump().values())
    assert (made.firewall.https, made.firewall.allow) == (False, ())
    assert made.message_size_limit == 52_428_800


@pytest.mark.parametrize(
    ("changes", "path", "expected"),
    [
        ({"domain": "Example.COM"}, "domain", "example.com"),  # DNS ignores case, files do not
        ({"hostname": "MX1.example.com"}, "hostname", "mx1.example.com"),
        ({"hostname": "example.com"}, "hostname", "example.com"),  # the domain itself may be the host
        ({"os": "ubuntu24.04"}, "os", "ubuntu24.04"),
        ({"ipv6": "2001:DB8:113:0::13"}, "ipv6", "2001:db8:113::13"),  # as DNS gives it back (RFC 5952)
        ({"hostKey": f"{HOST_KEY} root@host\n"}, "host_key", HOST_KEY),  # the comment is not part of the key
        ({"ssh": {"host": "10.0.0.5", "port": 2222}}, "ssh.host", "10.0.0.5"),  # reached through a private network
        ({"ssh": {"host": "fd00::5"}}, "ssh.host", "fd00::5"),
        ({"ssh": {"port": 2222}}, "ssh.host", "203.0.113.13"),  # the default survives a given port
        ({"mailboxes": {"Alice@Example.com": BCRYPT}}, "postmaster", "alice@example.com"),
        ({"mailboxes": {**TWO, "postmaster@example.com": BCRYPT}}, "postmaster", "postmaster@example.com"),
        ({"mailboxes": TWO, "postmaster": "BOB@example.com"}, "postmaster", "bob@example.com"),
        ({"dns": {"ttl": 1}}, "dns.ttl", 1),  # Cloudflare's automatic
        ({"dns": {"ttl": 60}}, "dns.ttl", 60),
        ({"dns": {"ttl": "86400"}}, "dns.ttl", 86400),  # text, as `pulumi config set --path` may store it
        ({"dkim": {"selector": "2026a.Mail"}}, "dkim.selector", "2026a.mail"),
        ({"acme": {"staging": True}}, "acme.server", LETS_ENCRYPT_STAGING),
        ({"acme": {"server": "https://203.0.113.1:14000/dir"}}, "acme.server", "https://203.0.113.1:14000/dir"),
        ({"acme": {"contact": "Ops@Example.org"}}, "acme.contact", "ops@example.org"),
        ({"services": {"pop3s": False}}, "services.pop3s", False),
        ({"firewall": {"allow": [8443, "9090"]}}, "firewall.allow", (8443, 9090)),
        ({"messageSizeLimit": "1048576"}, "message_size_limit", 1_048_576),
        ({"outbound": {"queueDays": "7"}}, "outbound.queue_days", 7),
    ],
)
def test_accepted(changes: dict[str, object], path: str, expected: object) -> None:
    value: object = settings(**changes)
    for part in path.split("."):
        value = getattr(value, part)
    assert value == expected


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        # required
        ({"domain": None}, "domain: is missing; pulumi config set domain"),
        ({"ipv4": None}, "ipv4: is missing; pulumi config set ipv4"),
        ({"hostKey": None}, "hostKey: is missing; pulumi config set hostKey"),
        ({"mailboxes": None}, "mailboxes: is missing; make mailbox ADDRESS="),
        # domain and hostname
        ({"domain": "example"}, "domain: 'example' is not a full domain name"),
        ({"domain": "exam ple.com"}, "domain: 'exam ple.com' is not a domain name"),
        ({"domain": "example.com."}, "domain: 'example.com.' ends with a dot"),
        ({"domain": "-a.com"}, "domain: '-a.com' is not a domain name"),
        ({"domain": "a_b.com"}, "domain: 'a_b.com' is not a domain name"),
        ({"domain": "example.com\nroot: x"}, r"domain: 'example.com\nroot: x' is not a domain name"),  # no new lines
        ({"domain": "192.0.2.1"}, "domain: '192.0.2.1' is not a full domain name"),
        ({"domain": "co.uk"}, "domain: 'co.uk' is a public suffix"),
        ({"hostname": "mail.example.org"}, "hostname: 'mail.example.org' lies outside example.com"),
        ({"hostname": "mailexample.com"}, "hostname: 'mailexample.com' lies outside example.com"),  # no dot between
        ({"hostname": "mail"}, "hostname: 'mail' is not a full domain name"),
        # os
        ({"os": "debian11"}, "os: 'debian11' is not supported; choose 'debian12', 'debian13' or 'ubuntu24.04'"),
        # addresses
        ({"ipv4": "2001:db8::1"}, "ipv4: '2001:db8::1' is an IPv6 address; it belongs in ipv6"),
        ({"ipv4": "203.0.113"}, "ipv4: '203.0.113' is not an IPv4 address"),
        ({"ipv4": "203.0.113.13/24"}, "ipv4: '203.0.113.13/24' is not an IPv4 address"),
        ({"ipv4": "127.0.0.1"}, "ipv4: '127.0.0.1' is loopback, so no other"),
        ({"ipv4": "0.0.0.0"}, "ipv4: '0.0.0.0' is unspecified, so no other"),  # noqa: S104
        ({"ipv4": "169.254.1.1"}, "ipv4: '169.254.1.1' is link-local, so no other"),
        ({"ipv4": "224.0.0.1"}, "ipv4: '224.0.0.1' is multicast, so no other"),
        ({"ipv4": "10.1.2.3"}, "ipv4: '10.1.2.3' is private, so no other"),
        ({"ipv4": "100.64.0.1"}, "ipv4: '100.64.0.1' is private, so no other"),  # RFC 6598, behind a provider's NAT
        ({"ipv4": "255.255.255.255"}, "ipv4: '255.255.255.255' is reserved, so no other"),
        ({"ipv6": "203.0.113.13"}, "ipv6: '203.0.113.13' is an IPv4 address; it belongs in ipv4"),
        ({"ipv6": "::1"}, "ipv6: '::1' is loopback, so no other"),
        ({"ipv6": "::"}, "ipv6: '::' is unspecified, so no other"),
        ({"ipv6": "fe80::1"}, "ipv6: 'fe80::1' is link-local, so no other"),
        ({"ipv6": "2001:db8::1%eth0"}, "ipv6: '2001:db8::1%eth0' has a zone"),
        ({"ipv6": "fd00::1"}, "ipv6: 'fd00::1' is private, so no other"),
        ({"ipv6": "::ffff:203.0.113.13"}, "it belongs in ipv4, as 203.0.113.13"),
        ({"ipv6": ""}, "ipv6: is not an IPv6 address"),
        # host key
        ({"hostKey": RSA}, f"hostKey: '{RSA}' is of type ssh-rsa, needed is the host's ssh-ed25519 key"),
        ({"hostKey": f"host {HOST_KEY}"}, "leave the host name out"),  # a line of ssh-keyscan
        ({"hostKey": f"{HOST_KEY}\n{HOST_KEY}"}, "has something before ssh-ed25519"),
        ({"hostKey": HOST_KEY[:-4]}, "is damaged: not a whole ssh-ed25519 key"),
        ({"hostKey": "ssh-ed25519"}, "is damaged"),
        ({"hostKey": "SHA256:abc"}, "is not a public key"),  # a fingerprint
        # ssh
        ({"ssh": {"host": "a b"}}, "ssh.host: 'a b' is neither an IP address nor a host name"),
        ({"ssh": {"host": "fe80::1%$(id)"}}, "ssh.host: (value not shown) is neither an IP address nor a host name"),
        ({"ssh": {"port": 0}}, "ssh.port: '0' is too small; the least is 1"),
        ({"ssh": {"port": 65536}}, "ssh.port: '65536' is too large; the most is 65535"),
        ({"ssh": {"user": "root; id"}}, "ssh.user: 'root; id' has the wrong form"),
        ({"ssh": "203.0.113.13"}, "ssh: must hold keys of its own; set them with: pulumi config set --path 'ssh.KEY'"),
        ({"sshPrivateKey": "/root/.ssh/id_ed25519"}, "sshPrivateKey: is not a private key file"),
        ({"sshPrivateKey": PRIVATE_KEY.replace("BG5vbmU", "CmFlczI")}, "sshPrivateKey: has a passphrase"),
        # mailboxes
        ({"mailboxes": {}}, "mailboxes: is empty"),
        ({"mailboxes": "alice@example.com"}, "mailboxes: must hold keys of its own"),
        ({"mailboxes": {"alice@example.com": "s3cret"}}, "the password of alice@example.com is not an ARGON2ID or BLF"),
        ({"mailboxes": {"alice@example.com": f"{ARGON2ID}\n"}}, "the password of alice@example.com is not"),  # anchored
        ({"mailboxes": {"alice@example.com": "{PLAIN}s3cret"}}, "the password of alice@example.com is not"),
        ({"mailboxes": {"alice@example.com": BCRYPT.removeprefix("{BLF-CRYPT}")}}, "is not an ARGON2ID or BLF-CRYPT"),
        (
            {"mailboxes": {"alice@example.com": ARGON2ID.replace("65536", "262144")}},
            "needs more memory than Dovecot has",
        ),
        ({"mailboxes": {"alice@example.com": 5}}, "alice@example.com: password: is not text"),
        ({"mailboxes": {"alice": ARGON2ID}}, "mailboxes: entry 1 is not a mail address"),
        ({"mailboxes": {"al ice@example.com": ARGON2ID}}, "'al ice@example.com' is not a usable mail address"),
        ({"mailboxes": {"a:b@example.com": ARGON2ID}}, "'a:b@example.com' is not a usable mail address"),
        ({"mailboxes": {"../x@example.com": ARGON2ID}}, "'../x@example.com' is not a usable mail address"),
        ({"mailboxes": {"a+b@example.com": ARGON2ID}}, "'a+b@example.com' has a '+'"),
        ({"mailboxes": {"alice@": ARGON2ID}}, "'alice@' has a domain that is not a domain name"),
        ({"mailboxes": {"alice@example.org": ARGON2ID}}, "alice@example.org is in no domain"),
        ({"mailboxes": {"A@example.com": ARGON2ID, "a@example.com": BCRYPT}}, "a@example.com is listed twice"),
        ({"mailboxes": '{"a@example.com":"x","a@example.com":"y"}'}, "'a@example.com' is listed twice; keep one"),
        ({"mailboxes": TWO}, "postmaster: is missing, and there are several mailboxes"),
        ({"mailboxes": TWO, "postmaster": "carol@example.com"}, "choose one of alice@example.com, bob@example.com"),
        # dns, dkim, dmarc
        ({"dns": {"ttl": 59}}, "dns.ttl: '59' is no TTL Cloudflare accepts"),
        ({"dns": {"ttl": 86401}}, "dns.ttl: '86401' is no TTL Cloudflare accepts"),
        ({"dns": {"ttl": "1h"}}, "dns.ttl: '1h' is not a whole number"),
        ({"dns": {"ttl": 60.5}}, "dns.ttl: '60.5' is not a whole number"),
        ({"dns": {"zoneId": "example.com"}}, "dns.zoneId: 'example.com' has the wrong form"),
        ({"dns": {"apex": "maybe"}}, "dns.apex: 'maybe' is neither true nor false"),
        ({"dkim": {"selector": "mail_1"}}, "dkim.selector: 'mail_1' is not a DKIM selector"),
        ({"dkim": {"selector": ""}}, "dkim.selector: is not a DKIM selector"),
        ({"dkim": {"bits": 1024}}, "dkim.bits: '1024' is not supported; choose 2048, 3072 or 4096"),
        ({"dmarc": {"policy": "drop"}}, "dmarc.policy: 'drop' is not supported"),
        # spf
        ({"spf": {"include": ["news.example", "NEWS.example"]}}, "names news.example twice; keep one"),
        ({"spf": {"include": ["include:news.example"]}}, "spf.include.0: 'include:news.example' is not a name in DNS"),
        ({"spf": {"include": ["news"]}}, "spf.include.0: 'news' is not a full name in DNS"),
        ({"spf": {"include": ["%{i}.news.example"]}}, "has a macro"),
        ({"spf": {"include": ["example.com"]}}, "spf.include: names example.com, whose own record would include"),
        ({"domains": {"example.org": {"spf": {"include": ["example.org"]}}}}, "domains.example.org.spf.include: names"),
        ({"spf": {"include": [f"{n}.example" for n in range(11)]}}, "has 11 names, and receivers look up 10 at most"),
        ({"spf": {"addresses": [f"203.0.113.{n}" for n in range(150)]}}, "spf: makes a record of 2"),
        ({"spf": {"addresses": ["news.example"]}}, "is neither an IP address nor a network"),
        ({"spf": {"all": "+all"}}, "spf.all: '+all' is not supported"),
        ({"domains": {"example.org": {"spf": {"includes": []}}}}, "spf.includes: unknown key; did you mean include?"),
        # reports
        ({"reports": {"addresses": ["dmarc@example.com"]}}, "reports.addresses: goes to dmarc@example.com, which does"),
        ({"reports": {"addresses": ["x+1@example.com"]}}, "reports.addresses: goes to x@example.com, which does not"),
        (
            {"domains": {"example.com": {"reports": ["x@example.com"]}}},
            "domains.example.com.reports: goes to x@example",
        ),
        ({"reports": {"addresses": ["a+b c@example.org"]}}, "has no usable extension after the '+'"),
        ({"reports": {"addresses": ["mailto:a@example.org"]}}, "is not a usable mail address"),
        ({"reports": {"addresses": ["A@example.org", "a@example.org"]}}, "names a@example.org twice"),
        (
            {"reports": {"addresses": [f"{n}@example.org" for n in range(3)]}},
            "has 3 addresses, and reporters need to heed 2",
        ),
        ({"reports": {"addresses": [f"d@{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 50}.net"]}}, "too long for DNS"),
        # bimi
        (
            {"domains": {"example.org": {"bimi": {"logo": LOGO}, "dmarc": "none"}}},
            "domains.example.org.bimi: needs another DMARC policy; set domains.example.org.dmarc to quarantine or "
            "reject",
        ),
        (
            {"domains": {"example.com": {"bimi": {"logo": LOGO}}}, "dmarc": {"policy": "none"}},
            "domains.example.com.bimi: needs another DMARC policy; set dmarc.policy to quarantine or reject",
        ),
        ({"domains": {"example.com": {"bimi": {"logo": LOGO.replace("s:", ":")}}}}, "bimi.logo: 'http://example"),
        ({"domains": {"example.com": {"bimi": {"logo": LOGO.replace("svg", "png")}}}}, "https://example.com/logo.svg"),
        ({"domains": {"example.com": {"bimi": {"logo": LOGO.replace("/l", ";/l")}}}}, "is not such an address"),
        (
            {"domains": {"example.com": {"bimi": {"certificate": "https://example.com/a.pem"}}}},
            "bimi.certificate: 'https://example.com/a.pem' is the certificate of no logo",
        ),
        # domains without mail
        ({"domains": {"example.com": SILENT}}, "domains.example.com.mail: is none, but mail is what this host is for"),
        (
            {"domains": {"example.org": SILENT | {"selector": "a", "catchAll": "alice@example.com"}}},
            "domains.example.org: has mail none, which leaves nothing for catchAll, selector",
        ),
        (
            {
                "domains": {"example.org": SILENT},
                "mailboxes": TWO | {"a@example.org": BCRYPT},
                "postmaster": "bob@example.com",
            },
            "a@example.org is in example.org, which has mail none",
        ),
        (
            {"domains": {"example.org": SILENT}, "aliases": {"a@example.org": "alice@example.com"}},
            "aliases.a@example.org: is in example.org, which has mail none",
        ),
        (
            {"domains": {"example.org": SILENT}, "aliases": {"a@example.com": "postmaster@example.org"}},
            "aliases.a@example.com: goes to postmaster@example.org, and example.org has mail none",
        ),
        (
            {"domains": {"example.org": SILENT}, "reports": {"addresses": ["d@example.org"]}},
            "reports.addresses: goes to d@example.org, and example.org has mail none",
        ),
        (
            {"domains": {"autoconfig.example.com": SILENT}},
            "clientSetup: needs autoconfig.example.com for mail programs",
        ),
        ({"domains": {"example.org": {"mail": "no"}}}, "domains.example.org.mail: 'no' is not supported"),
        # acme
        (
            {"acme": {"server": "http://ca.example"}},
            "acme.server: 'http://ca.example' is not an https:// directory URL",
        ),
        ({"acme": {"server": "https://ca.example/`id`"}}, "is not an https:// directory URL"),
        ({"acme": {"contact": "ops"}}, "acme.contact: 'ops' is not a mail address"),
        ({"acme": {"staging": True, "server": "https://ca.example/"}}, "acme: has both server and staging"),
        # services, firewall, size
        ({"services": {"imap": "on-ish"}}, "services.imap: 'on-ish' is neither true nor false"),
        ({"firewall": {"allow": [0]}}, "firewall.allow.0: '0' is too small"),
        ({"firewall": {"allow": 8080}}, "firewall.allow: '8080' is not a list"),
        ({"messageSizeLimit": "50M"}, "messageSizeLimit: '50M' is not a whole number"),
        ({"messageSizeLimit": "0"}, "messageSizeLimit: '0' is too small"),  # Postfix's "no limit"
        # outbound, tlsa
        (
            {
                "tlsa": {"enabled": True},
                "outbound": {"dane": False},
                "spam": {"enabled": False},
                "limits": {"enabled": False},
            },
            "outbound: has dane off, and spam.enabled is off too, but tlsa.enabled needs the resolver",
        ),
        ({"tlsa": {"enabled": True, "key": 0}}, "tlsa.key: "),
        ({"outbound": {"policies": {"a_b": "secure"}}}, "a_b"),
        ({"outbound": {"policies": {"[mx.example.org]": "secure"}}}, "a leading dot means all domains below"),
        ({"outbound": {"policies": {"a.example": "sometimes"}}}, "sometimes"),
        ({"outbound": {"policies": {"a.example": {"level": "encrypt", "match": ["b.example"]}}}}, "is not looked at"),
        ({"outbound": {"policies": {"a.example": {"level": "secure", "match": ["*.b.example"]}}}}, "not a domain name"),
        ({"outbound": {"dane": False, "policies": {"a.example": "dane-only"}}}, "wants dane-only for a.example"),
        ({"outbound": {"queueDays": 0}}, "outbound.queueDays: "),
        # unknown keys
        ({"hostkey": HOST_KEY}, "hostkey: unknown key; did you mean hostKey?"),
        ({"mailbox": "s3cret"}, "mailbox: unknown key; did you mean mailboxes?"),
        ({"colour": "red"}, "colour: unknown key; known are domain, hostname, os"),
        ({"dns": {"tll": 60}}, "dns.tll: unknown key; did you mean ttl?"),
        ({"dns.ttl": "60"}, "dns.ttl: unknown key; dns holds keys of its own, set them with: pulumi config set --path"),
        ({"message_size_limit": "1048576"}, "message_size_limit: unknown key; did you mean messageSizeLimit?"),
    ],
)
def test_refused(changes: dict[str, object], problem: str) -> None:
    found = problems(**changes)
    assert any(problem in line for line in found), found
    assert len(found) == 1, "one mistake, one line"
    assert not any("\n" in line or "s3cret" in line for line in found)


def test_every_problem_is_named_at_once() -> None:
    found = problems(domain="co.uk", ipv4="::1", os="plan9", dns={"ttl": 5, "tll": 5}, mailboxes={"x": "y"})
    assert [line.partition(":")[0] for line in found] == ["domain", "os", "ipv4", "mailboxes", "dns.ttl", "dns.tll"]


def test_a_consequence_of_another_problem_is_not_a_problem() -> None:
    assert [line.partition(":")[0] for line in problems(domain="co.uk")] == ["domain"]


def test_settings_cannot_be_changed() -> None:
    made = settings()
    with pytest.raises(ValidationError, match="frozen"):
        made.domain = "example.org"  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.mailboxes["eve@example.com"] = made.mailboxes["alice@example.com"]  # type: ignore[index]


def test_a_deploy_key_is_kept_whole_and_hidden() -> None:
    made = settings(sshPrivateKey=PRIVATE_KEY.replace("\n", "\r\n"))
    assert made.ssh_private_key is not None
    assert made.ssh_private_key.get_secret_value() == PRIVATE_KEY + "\n"
    assert "b3Blbn" not in repr(made)


def test_hashes_do_not_show_in_settings() -> None:
    made = settings()
    assert made.mailboxes["alice@example.com"].password.get_secret_value() == ARGON2ID
    assert "argon2id" not in repr(made)


MARK = "S3cr3t"
secrets = st.builds(lambda before, after: before + MARK + after, st.text(max_size=20), st.text(max_size=90))
scalars = st.one_of(st.text(max_size=20), st.integers(), st.none(), st.booleans())
others = st.dictionaries(st.sampled_from(["domain", "ipv4", "os", "dns", "acme", "postmaster", "typo"]), scalars)


@given(secret=secrets, key=secrets, changes=others)
def test_a_secret_never_shows_in_an_error(secret: str, key: str, changes: dict[str, object]) -> None:
    for mailboxes in (
        {"alice@example.com": secret},
        {"alice@example.com": ARGON2ID + secret, "bob@example.org": secret},
        {"alice@example.com": {"hash": secret}},
        {"alice@example.com": [secret]},
        {key.replace("@", ""): ARGON2ID},  # swapped: the password stands where the address belongs
        [secret],
        f"{{{secret}",  # not JSON
        secret,
    ):
        with pytest.raises(SettingsError) as caught:
            load(raw(mailboxes=mailboxes, sshPrivateKey=f"-----BEGIN {secret}", **changes))
        assert MARK not in str(caught.value)
        assert caught.value.__cause__ is None
        assert MARK not in repr(caught.value)


ACCEPTED = {
    "domain": "example.com",
    "hostname": "mail.example.com",
    "ipv4": "203.0.113.13",
    "ipv6": "2001:db8::13",
    "hostKey": HOST_KEY,
    "os": "debian13",
    "postmaster": "alice@example.com",
}


@pytest.mark.parametrize("name", ACCEPTED)
@given(data=st.data())
def test_what_is_accepted_holds_no_character_that_could_end_a_line_or_a_word(name: str, data: st.DataObject) -> None:
    text = ACCEPTED[name]
    at = data.draw(st.integers(0, len(text)))
    # Something that is accepted, with something else in it: text alone would be refused always.
    more = data.draw(st.text(max_size=2))
    try:
        made = load({**RAW, name: text[:at] + more + text[at:]})
    except SettingsError:
        assert more
        return
    field = re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)
    assert re.fullmatch(r"[a-zA-Z0-9.:@+/=_ -]+", str(getattr(made, field)))


@example({"[key]": ""})
@given(st.dictionaries(st.text(max_size=12), st.text(max_size=30), max_size=4))
def test_any_text_is_either_settings_or_a_settings_error(values: dict[str, str]) -> None:
    found: tuple[str, ...] = ("never an empty list",)
    try:
        load({**RAW, **values})
    except SettingsError as error:
        found = error.problems
    assert all(found)
