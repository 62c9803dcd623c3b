"""The records of a domain."""

import pytest

from model import policies, records
from model.settings import SettingsError
from tests.unit.samples import settings

V6 = "2001:db8:113::13"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["mail.example.com A", "example.com A"]),
        ({"ipv6": V6}, ["mail.example.com A", "mail.example.com AAAA", "example.com A", "example.com AAAA"]),
        ({"dns": {"apex": False}}, ["mail.example.com A"]),
        ({"hostname": "example.com"}, ["example.com A"]),  # host and apex are one name: one record
    ],
)
def test_addresses(changes: dict[str, object], expected: list[str]) -> None:
    assert [f"{record.name} {record.type}" for record in records.address(settings(**changes))] == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, '"v=spf1 ip4:203.0.113.13 -all"'),
        ({"ipv6": V6}, '"v=spf1 ip4:203.0.113.13 ip6:2001:db8:113::13 -all"'),
        (
            {"spf": {"include": ["_SPF.News.example", "_spf.bücher.example"], "addresses": ["2001:db8:7::/48"]}},
            '"v=spf1 ip4:203.0.113.13 ip6:2001:db8:7::/48 include:_spf.news.example '
            'include:_spf.xn--bcher-kva.example -all"',
        ),
        ({"spf": {"all": "~all", "addresses": ["203.0.113.13"]}}, '"v=spf1 ip4:203.0.113.13 ~all"'),  # said once
        # A domain's own word replaces the host's, key by key; two strings, as one holds 255 octets.
        (
            {
                "spf": {"include": ["a.example"], "all": "~all"},
                "domains": {"example.com": {"spf": {"include": [f"{'x' * 60}{n}.example" for n in range(4)]}}},
            },
            f'"v=spf1 ip4:203.0.113.13 include:{"x" * 60}0.example include:{"x" * 60}1.example '
            f'include:{"x" * 60}2.examp" "le include:{"x" * 60}3.example ~all"',
        ),
    ],
)
def test_spf_names_the_addresses_mail_leaves_from(changes: dict[str, object], expected: str) -> None:
    made = settings(**changes)
    record = records.spf(made, made.served[0])
    assert (record.name, record.type, record.content) == ("example.com", "TXT", expected)


@pytest.mark.parametrize("policy", ["none", "quarantine", "reject"])
def test_dmarc_reports_go_to_an_address_that_exists(policy: str) -> None:
    made = settings(dmarc={"policy": policy})
    record = records.dmarc(made, made.served[0])
    assert record.name == "_dmarc.example.com"
    assert record.content == f'"v=DMARC1; p={policy}; rua=mailto:postmaster@example.com"'


ELSEWHERE = {"addresses": ["dmarc+x@Reports.example", "alice@example.com"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "postmaster@example.com"),
        ({"reports": ELSEWHERE}, "dmarc+x@reports.example,mailto:alice@example.com"),
        (
            {"reports": ELSEWHERE, "domains": {"example.com": {"reports": ["alice+d@example.com"]}}},
            "alice+d@example.com",
        ),
    ],
)
def test_both_kinds_of_reports_go_to_the_same_addresses(changes: dict[str, object], expected: str) -> None:
    made = settings(**changes)
    (tls,) = records.tls_reports(made, made.served[0])
    assert (tls.name, tls.content) == ("_smtp._tls.example.com", f'"v=TLSRPTv1; rua=mailto:{expected}"')
    assert records.dmarc(made, made.served[0]).content == f'"v=DMARC1; p=quarantine; rua=mailto:{expected}"'


def test_reports_on_tls_can_be_switched_off() -> None:
    made = settings(reports={"tls": False})
    assert not any("TLSRPT" in record.content for record in records.early(made, made.served[0]))


@pytest.mark.parametrize(
    ("addresses", "published", "to_ask_for"),
    [
        ([], [], []),
        (["alice@example.com"], ["example.org._report._dmarc.example.com"], []),
        (
            ["alice@example.com", "d@lists.example.com"],
            ["example.org._report._dmarc.example.com", "example.org._report._dmarc.lists.example.com"],
            [],
        ),
        # Below a domain of ours, and below none: each domain needs a record, the owner's own does not.
        (["d@lists.example.com"], ["example.org._report._dmarc.lists.example.com"], []),
        (
            ["d@lists.example.net"],
            [],
            [f"{name}._report._dmarc.lists.example.net" for name in ("example.com", "example.org")],
        ),
        (
            ["d@x.co.uk", "alice@example.com"],
            ["example.org._report._dmarc.example.com"],
            [f"{name}._report._dmarc.x.co.uk" for name in ("example.com", "example.org")],
        ),
    ],
)
def test_reports_to_another_domain_need_its_permission(
    addresses: list[str], published: list[str], to_ask_for: list[str]
) -> None:
    made = settings(domains={"example.org": {}}, reports={"addresses": addresses})
    found = [record for domain in made.served for record in records.permissions(made, domain)]
    assert [record.name for record in found] == published
    assert len({record.key for record in found}) == len(found)
    assert {record.content for record in found} <= {'"v=DMARC1;"'}
    assert [*records.permissions_to_ask_for(made)] == to_ask_for


@pytest.mark.parametrize(
    ("domain", "receiver", "needed"),
    [
        ("example.com", "example.com", False),
        ("example.com", "reports.example.com", False),
        ("a.example.co.uk", "b.example.co.uk", False),
        ("example.co.uk", "other.co.uk", True),
        ("example.com", "example.org", True),
    ],
)
def test_one_owner_needs_no_permission_of_his_own(domain: str, receiver: str, needed: bool) -> None:
    assert policies.needs_permission(domain, receiver) is needed


LOGO = "https://example.com/logo.svg"


@pytest.mark.parametrize(
    ("bimi", "expected"),
    [
        ({}, []),
        ({"logo": LOGO}, [f'"v=BIMI1; l={LOGO}"']),
        ({"logo": LOGO, "certificate": f"{LOGO}.pem"}, [f'"v=BIMI1; l={LOGO}; a={LOGO}.pem"']),
    ],
)
def test_a_logo_is_published_where_there_is_one(bimi: dict[str, str], expected: list[str]) -> None:
    made = settings(domains={"example.com": {"bimi": bimi}})
    found = records.bimi(made, made.served[0])
    assert [record.content for record in found] == expected
    assert {record.name for record in found} <= {"default._bimi.example.com"}


def test_a_domain_without_mail_says_so() -> None:
    made = settings(domains={"parked.example": {"mail": "none"}})
    assert [domain.name for domain in made.served] == ["example.com"]
    assert [(record.name, record.type, record.content) for record in records.silent(made, made.silent[0])] == [
        ("parked.example", "MX", "."),
        ("parked.example", "TXT", '"v=spf1 -all"'),
        ("*._domainkey.parked.example", "TXT", '"v=DKIM1; p="'),
        ("_dmarc.parked.example", "TXT", '"v=DMARC1; p=reject"'),
    ]
    assert records.silent(made, made.silent[0])[0].priority == 0


def test_a_domain_without_mail_may_be_named_as_a_sender() -> None:
    made = settings(domains={"parked.example": {"mail": "none"}}, spf={"include": ["parked.example"]})
    assert "include:parked.example" in records.spf(made, made.served[0]).content
    assert records.silent(made, made.silent[0])[1].content == '"v=spf1 -all"'


def test_a_permission_is_published_in_the_closest_zone() -> None:
    made = settings(
        domains={"example.org": {"reports": ["postmaster@lists.example.com"]}, "lists.example.com": {}},
    )
    found = {domain.name: len(records.permissions(made, domain)) for domain in made.served}
    assert found == {"example.com": 0, "example.org": 0, "lists.example.com": 1}


def test_others_hear_of_forged_mail_where_reports_go() -> None:
    made = settings(domains={"parked.example": {"mail": "none"}}, reports={"addresses": ["alice@example.com"]})
    assert records.silent(made, made.silent[0])[-1].content == '"v=DMARC1; p=reject; rua=mailto:alice@example.com"'
    (permission,) = records.permissions(made, made.served[0])
    assert permission.name == "parked.example._report._dmarc.example.com"


def test_mx_has_its_preference_apart() -> None:
    record = records.mx(settings(), settings().served[0])
    assert (record.name, record.content, record.priority) == ("example.com", "mail.example.com", 10)


def test_only_the_hosts_account_may_have_certificates() -> None:
    assert records.issue("ca.example", "https://ca.example/acct/1") == (
        "ca.example;accounturi=https://ca.example/acct/1;validationmethods=http-01"
    )


def test_caa_does_not_bind_the_names_of_others_unless_it_is_asked_to() -> None:
    assert settings().caa.enabled
    assert not settings(hostname="example.com").caa.enabled
    assert settings(hostname="example.com", caa={"enabled": True}).caa.enabled
    with pytest.raises(SettingsError, match="^caa: is off because the host's name is the domain itself"):
        settings(hostname="example.com", caa={"issuer": "ca.example"})
    with pytest.raises(SettingsError, match="^caa.issuer"):
        settings(caa={"issuer": "ca.example;accounturi=x"})


def test_every_record_has_the_ttl_and_a_key_of_its_own() -> None:
    made = settings(dns={"ttl": 300}, ipv6=V6)
    first = made.served[0]
    found = [*records.address(made), *records.early(made, first), *records.invitation(made, first)]
    assert {record.ttl for record in found} == {300}
    assert len({record.key for record in found}) == len(found)
    assert len({(record.name, record.type) for record in found}) == len(found)
