"""Which records of a zone stand in the way of ours, and what the operator is told."""

import pytest

from model.foreign import Conflict, Existing, Host, Wanted, comment, conflict, report

DOMAIN = "example.com"
HOST = Host(
    comment="mailhost prod",
    addresses={"203.0.113.13", "2001:db8:113::13"},
    domains={DOMAIN},
    adopted={"zone/adopted"},
)
SPF = '"v=spf1 ip4:203.0.113.13 -all"'


def found(wanted: tuple[str, str, str | None], existing: tuple[str, str, str], **more: str) -> Conflict | None:
    name, kind, content = existing
    return conflict(
        Wanted(
            resource="mail-it",
            name=wanted[0],
            type=wanted[1],
            content=wanted[2],
            data={"tag": more["tag"]} if "tag" in more else {},
        ),
        Existing(id=more.get("id", "zone/other"), name=name, type=kind, content=content, comment=more.get("mark", "")),
        HOST,
    )


@pytest.mark.parametrize(
    ("wanted", "existing", "why"),
    [
        ((DOMAIN, "MX", "mail.example.com"), (DOMAIN, "MX", "mx.old.example"), "RFC 5321"),
        ((DOMAIN, "MX", "mail.example.com"), (DOMAIN, "MX", "Mail.example.com."), "this very record"),
        ((DOMAIN, "TXT", SPF), (DOMAIN, "TXT", "v=spf1 include:old.example ~all"), "RFC 7208"),
        ((DOMAIN, "TXT", SPF), (DOMAIN, "TXT", '"V=SPF1 " "-all"'), "RFC 7208"),  # two strings are one text
        (
            ("_dmarc.example.com", "TXT", '"v=DMARC1; p=none"'),
            ("_dmarc.example.com", "TXT", "v=DMARC1;p=x"),
            "RFC 7489",
        ),
        (
            ("_mta-sts.example.com", "TXT", '"v=STSv1; id=1"'),
            ("_mta-sts.example.com", "TXT", "v=STSv1; id=2"),
            "RFC 8461",
        ),
        (("_dmarc.example.com", "TXT", '"v=DMARC1; p=none"'), ("_dmarc.example.com", "CNAME", "d.example"), "alone"),
        # A preview does not know the content of a key that is not made yet.
        (("m._domainkey.example.com", "TXT", None), ("m._domainkey.example.com", "TXT", "k=rsa; p=A"), "RFC 6376"),
        (("mail.example.com", "A", "203.0.113.13"), ("mail.example.com", "CNAME", "x.example"), "alone"),
        (("mail.example.com", "A", "203.0.113.13"), ("mail.example.com", "A", "198.51.100.1"), "go there"),
        (("mail.example.com", "A", "203.0.113.13"), ("mail.example.com", "AAAA", "2001:db8::1"), "go there"),
        (
            ("autoconfig.example.com", "CNAME", "mail.example.com"),
            ("autoconfig.example.com", "CNAME", "x.y"),
            "go there",
        ),
        (("autoconfig.example.com", "CNAME", "mail.example.com"), ("autoconfig.example.com", "TXT", "x"), "alone"),
        ((DOMAIN, "A", "203.0.113.13"), (DOMAIN, "CNAME", "pages.example"), "alone"),
        (("_imaps._tcp.example.com", "SRV", None), ("_imaps._tcp.example.com", "SRV", "0 1 993 x.example"), "RFC 2782"),
    ],
)
def test_a_record_in_the_way_is_found(wanted: tuple[str, str, str], existing: tuple[str, str, str], why: str) -> None:
    conflict = found(wanted, existing)
    assert conflict
    assert why in conflict.why


def test_our_own_record_that_no_state_knows_is_called_that() -> None:
    mx = (DOMAIN, "MX", "mail.example.com")
    ours, theirs = found(mx, mx, mark="mailhost prod"), found(mx, mx)
    assert ours
    assert theirs
    assert (ours.left, theirs.left) == (True, False)
    assert "left by an update of this stack" in ours.why
    assert "left by" not in theirs.why


@pytest.mark.parametrize(
    ("existing", "left"),
    [
        ({"priority": 0, "weight": 1, "port": 993, "target": "Mail.example.com."}, True),
        ({"priority": 0, "weight": 1, "port": 994, "target": "mail.example.com"}, False),
        ({"priority": 0, "weight": 1, "port": 993}, False),
        ({}, False),
    ],
)
def test_a_record_in_parts_is_ours_when_each_part_is(existing: dict[str, object], left: bool) -> None:
    name = "_imaps._tcp.example.com"
    data = {"priority": 0.0, "weight": 1.0, "port": 993.0, "target": "mail.example.com"}
    met = conflict(
        Wanted(resource="mail-imaps", name=name, type="SRV", content=None, data=data),
        Existing(id="zone/it", name=name, type="SRV", content="any", data=existing, comment="mailhost prod"),
        HOST,
    )
    assert (met is not None and met.left) is left
    assert left or met is None


@pytest.mark.parametrize(
    ("wanted", "existing", "more"),
    [
        ((DOMAIN, "MX", "mail.example.com"), ("other.example.com", "MX", "mx.old.example"), {}),  # another name
        ((DOMAIN, "TXT", SPF), (DOMAIN, "TXT", "google-site-verification=x"), {}),  # texts stand beside each other
        ((DOMAIN, "TXT", SPF), (DOMAIN, "MX", "mx.old.example"), {}),
        # A web site's alias at the zone's own name is flattened.
        ((DOMAIN, "MX", "mail.example.com"), (DOMAIN, "CNAME", "pages.example"), {}),
        # The same host, published before records carried a mark.
        (("mail.example.com", "AAAA", "2001:db8:113::13"), ("mail.example.com", "A", "203.0.113.13"), {}),
        ((DOMAIN, "MX", "mail.example.com"), (DOMAIN, "MX", "mx.old.example"), {"id": "zone/adopted"}),
        # What this stack published and now withdraws.
        ((DOMAIN, "MX", "mail.example.com"), (DOMAIN, "MX", "mx.old.example"), {"mark": "mailhost prod"}),
        (("_25._tcp.example.com", "TLSA", "3 1 1 AA"), ("_25._tcp.example.com", "TLSA", "3 1 1 BB"), {}),
    ],
)
def test_a_record_that_can_stay_beside_ours_is_none_of_our_business(
    wanted: tuple[str, str, str], existing: tuple[str, str, str], more: dict[str, str]
) -> None:
    assert found(wanted, existing, **more) is None


@pytest.mark.parametrize(
    ("wanted", "existing", "advice", "not_offered"),
    [
        (
            (DOMAIN, "MX", "mail.example.com"),
            (DOMAIN, "MX", "mx.old.example"),
            "adopt it: pulumi config set --path 'dns.adopt[\"mail-it\"]' zone/other, or delete it at Cloudflare",
            "dns.apex",
        ),
        ((DOMAIN, "A", "203.0.113.13"), (DOMAIN, "A", "198.51.100.1"), "dns.apex false", "another hostname"),
        # No certificate would be issued for a host whose name leads elsewhere.
        (
            ("mail.example.com", "A", "203.0.113.13"),
            ("mail.example.com", "A", "198.51.100.1"),
            "another hostname",
            "adopt",
        ),
        # What the stack signs would be checked with a foreign key.
        (
            ("m._domainkey.example.com", "TXT", None),
            ("m._domainkey.example.com", "TXT", "p=A"),
            "dkim.selector",
            "adopt",
        ),
        (("mail.example.com", "A", "203.0.113.13"), ("mail.example.com", "CNAME", "x.example"), "delete it", "adopt"),
    ],
)
def test_the_operator_reads_what_can_be_done(
    wanted: tuple[str, str, str], existing: tuple[str, str, str], advice: str, not_offered: str
) -> None:
    conflict = found(wanted, existing)
    assert conflict
    (line,) = report([conflict], HOST).splitlines()[1:]
    assert line.startswith(f"  {existing[0]} {existing[1]} {existing[2]}: ")
    assert advice in line
    assert not_offered not in line


def test_of_two_foreign_records_one_can_be_adopted() -> None:
    wanted = (DOMAIN, "MX", "mail.example.com")
    conflicts = [found(wanted, (DOMAIN, "MX", f"mx{n}.old.example"), id=f"zone/{n}") for n in (1, 2)]
    text = report([conflict for conflict in conflicts if conflict], HOST)
    assert (text.count("mx1"), text.count("mx2"), text.count("adopt it")) == (1, 1, 1)


def test_a_mark_is_no_longer_than_cloudflare_takes() -> None:
    assert len(comment("s" * 100)) == 100


@pytest.mark.parametrize(
    ("tag", "content", "why"),
    [
        ("issue", '0 issue "other.example"', "whom it names"),
        ("issue", '0 ISSUE "ca.example;accounturi=https://ca.example/acct/2"', "whom it names"),
        ("issuewild", '0 issuewild "other.example"', "whom it names"),
        ("issuewild", '0 issue "other.example"', ""),  # named beside the other one
        ("issue", '0 iodef "mailto:security@example.com"', ""),
        ("issue", '0 contactemail "security@example.com"', ""),
        ("issue", '128 tbs "unknown"', "must not issue anything"),
        ("issuewild", '128 tbs "unknown"', ""),
        ("issue", '128 iodef "mailto:security@example.com"', ""),
        ("issue", "", ""),
    ],
)
def test_a_caa_record_is_in_the_way_where_it_lets_others_issue_or_nobody(tag: str, content: str, why: str) -> None:
    conflict = found(("mail.example.com", "CAA", None), ("mail.example.com", "CAA", content), tag=tag)
    if not why:
        assert conflict is None
        return
    assert conflict
    assert why in conflict.why
    (line,) = report([conflict], HOST).splitlines()[1:]
    assert "caa.enabled false, or delete it at Cloudflare" in line
    assert "adopt" not in line
