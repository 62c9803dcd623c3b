"""Which records of a zone stand in the way of ours, and what the operator is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.foreign import Conflict, Existing, Host, Wanted, comment, conflict, report, taken_back

DOMAIN = "example.com"
HOST = Host(
    stack="prod",
    addresses={"203.0.113.13", "2001:db8:113::13"},
    domains={DOMAIN},
    adopted={"zone/adopted"},
)
OURS, UNNAMED, OF_ANOTHER = "mailhost prod mail-it", "mailhost prod", "mailhost prod mail-other"
KEY = "m._domainkey.example.com"
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


@pytest.mark.parametrize("mark", [OURS, UNNAMED])
@pytest.mark.parametrize(
    ("wanted", "existing"),
    [
        ((DOMAIN, "MX", "mail.example.com"), (DOMAIN, "MX", "mail.example.com")),
        ((DOMAIN, "MX", "mail.example.com"), (DOMAIN, "MX", "mx.example.com")),  # under another host name
        ((DOMAIN, "TXT", SPF), (DOMAIN, "TXT", '"v=spf1 mx ~all"')),
        ((KEY, "TXT", None), (KEY, "TXT", '"v=DKIM1; p=A"')),
    ],
)
def test_what_this_stack_made_for_a_resource_that_is_created_now_is_stale(
    wanted: tuple[str, str, str | None], existing: tuple[str, str, str], mark: str
) -> None:
    stale = found(wanted, existing, mark=mark)
    assert stale
    assert stale.left
    assert taken_back(stale) == (
        f"{' '.join(existing)}: made by this stack for mail-it, which is created now; it is deleted and created again"
    )
    foreign = found(wanted, existing, mark="mailhost prod2 mail-it")
    assert foreign
    assert not foreign.left


@pytest.mark.parametrize(
    "existing",
    [
        ("mx.example.com", "A", "203.0.113.13"),  # another host name
        ("mail.example.com", "A", "198.51.100.1"),
        ("mail.example.com", "CNAME", "mx.example.com"),  # another type
    ],
)
def test_a_record_whose_comment_names_the_resource_is_stale_under_any_name(existing: tuple[str, str, str]) -> None:
    stale = found(("mail.example.com", "A", "203.0.113.13"), existing, mark=OURS)
    assert stale
    assert stale.left


@pytest.mark.parametrize("existing", [(DOMAIN, "TXT", SPF), (DOMAIN, "TXT", '"v=spf1 mx ~all"')])
def test_a_record_of_another_resource_of_this_stack_goes_or_stays_with_that(existing: tuple[str, str, str]) -> None:
    assert found((DOMAIN, "TXT", SPF), existing, mark=OF_ANOTHER) is None


@pytest.mark.parametrize(
    ("wanted", "existing", "same"),
    [
        (("MAIL.example.com", "A", "203.0.113.13"), ("mail.Example.com", "A", "203.0.113.13"), True),
        (("mail.example.com", "AAAA", "2001:db8::a"), ("mail.example.com", "AAAA", "2001:DB8::A"), True),
        ((KEY, "TXT", '"v=DKIM1; p=AbC" "dEf"'), (KEY, "TXT", "v=DKIM1; p=AbCdEf"), True),
        ((KEY, "TXT", '"v=DKIM1; p=AbCdEf"'), (KEY, "TXT", '"v=DKIM1; p=AbCdeF"'), False),
    ],
)
def test_names_have_no_case_and_keys_have(
    wanted: tuple[str, str, str], existing: tuple[str, str, str], same: bool
) -> None:
    met = found(wanted, existing)
    assert met
    assert (met.why == "this very record is there already") is same


@pytest.mark.parametrize(
    ("kind", "data", "other", "same"),
    [
        ("SRV", {"port": 993.0, "target": "mail.example.com"}, {"port": 993, "target": "Mail.example.com."}, True),
        ("SRV", {"port": 993.0, "target": "mail.example.com"}, {"port": 994, "target": "mail.example.com"}, False),
        ("SRV", {"port": 993.0, "target": "mail.example.com"}, {"port": 993}, False),
        ("SRV", {"port": 993.0, "target": "mail.example.com"}, {}, False),
        ("TLSA", {"certificate": "AB12"}, {"certificate": "ab12"}, True),
        ("CAA", {"tag": "issue", "value": "ca.example;accounturi=https://ca.example/A"}, {"tag": "Issue"}, False),
        (
            "CAA",
            {"tag": "issue", "value": "ca.example;accounturi=https://ca.example/A"},
            {"tag": "Issue", "value": "ca.example;accounturi=https://ca.example/A"},
            True,
        ),
        (
            "CAA",
            {"tag": "issue", "value": "ca.example;accounturi=https://ca.example/A"},
            {"tag": "issue", "value": "ca.example;accounturi=https://ca.example/a"},
            False,
        ),
    ],
)
def test_a_record_in_parts_is_the_same_when_each_part_is(
    kind: str, data: dict[str, object], other: dict[str, object], same: bool
) -> None:
    met = conflict(
        Wanted(resource="mail-it", name=DOMAIN, type=kind, content=None, data=data),
        Existing(id="zone/it", name=DOMAIN, type=kind, content="any", data=other),
        HOST,
    )
    assert (met is not None and met.why == "this very record is there already") is same


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
        (("a.example.com", "CNAME", "mail.example.com"), ("a.example.com", "A", "203.0.113.13"), {"mark": UNNAMED}),
        ((DOMAIN, "TXT", SPF), (DOMAIN, "TXT", "verification=x"), {"mark": UNNAMED}),
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


def test_a_comment_names_the_stack_and_the_resource() -> None:
    assert comment("prod", "mail-example.com-mx") == "mailhost prod mail-example.com-mx"


@given(st.text("abc-._9", min_size=1, max_size=100), st.text("abc-._9", min_size=1, max_size=300))
def test_a_comment_is_no_longer_than_cloudflare_takes_and_no_other_resource_has_it(stack: str, resource: str) -> None:
    text = comment(stack, resource)
    assert len(text) <= 100
    assert text == comment(stack, resource)
    assert text != comment(stack, f"{resource}-2")
    assert text != comment(f"{stack}2", resource)


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
