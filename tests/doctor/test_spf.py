"""SPF as receivers evaluate it (RFC 7208)."""

from collections.abc import Mapping, Sequence

import pytest

from doctor import spf

ZONE: Mapping[tuple[str, str], Sequence[str]] = {
    ("mail.example.com", "A"): ["203.0.113.13"],
    ("mail.example.com", "AAAA"): ["2001:db8::13"],
    ("example.com", "MX"): ["10 mail.example.com."],
    ("list.example", "TXT"): ["v=spf1 ip4:198.51.100.0/24 -all"],
    ("none.example", "TXT"): ["no policy"],
    ("loop.example", "TXT"): ["v=spf1 include:example.com -all"],
    ("one.example", "TXT"): ["v=spf1 include:Shared.example. -all"],
    ("two.example", "TXT"): ["v=spf1 include:shared.example -all"],
    ("shared.example", "TXT"): ["v=spf1 ip4:198.51.100.0/24 -all"],
    ("ring.example", "TXT"): ["v=spf1 redirect=example.com"],
    ("macro.example", "TXT"): ["v=spf1 redirect=%{d2}.example.com"],
    ("broken.example", "TXT"): ["v=spf1 ip4:203.0.113.13 ipv4:203.0.113.14 -all"],
    ("eleven.example", "MX"): [f"{n} mail.example.com." for n in range(11)],
    ("nomail.example", "MX"): ["0 ."],
    **{(f"deep{n}.example", "TXT"): [f"v=spf1 include:deep{n + 1}.example -all"] for n in range(12)},
}


def judge(*records: str, address: str = "203.0.113.13") -> spf.Verdict:
    zone = {**ZONE, ("example.com", "TXT"): list(records)}
    return spf.judge("example.com", address, lambda name, kind: zone.get((name, kind), []))


@pytest.mark.parametrize(
    ("record", "result", "lookups"),
    [
        ("v=spf1 ip4:203.0.113.13 -all", "pass", 0),
        ("v=spf1 ip4:203.0.113.0/28 -all", "pass", 0),
        ("v=spf1 ip4:198.51.100.1 ~all", "softfail", 0),
        ("v=spf1 -all", "fail", 0),
        ("v=spf1", "neutral", 0),  # §4.7
        ("V=SPF1 mx -all", "pass", 1),
        ("v=spf1 mx/24 -all", "pass", 1),
        ("v=spf1 a:mail.example.com -all", "pass", 1),
        ("v=spf1 a:mail.example.com/28 ?all", "pass", 1),
        ("v=spf1 include:list.example mx -all", "pass", 2),
        ("v=spf1 include:list.example -all", "fail", 1),  # the included fail is no match (§5.2)
        ("v=spf1 redirect=list.example", "fail", 1),
        ("v=spf1 exists:%{i}.example.com -all", "unknown", 1),
        ("v=spf1 exp=why.example.com -all", "fail", 0),
        ("v=spf1 include:one.example include:two.example -all", "fail", 4),  # two paths to one record are no loop
        ("v=spf1 include:shared.example include:shared.example ?all", "neutral", 2),
        ("v=spf1 include:ring.example -all", "permerror", 2),
        ("v=spf1 include:EXAMPLE.com -all", "permerror", 1),  # names have no case
        ("v=spf1 redirect=none.example", "permerror", 1),  # §6.1
        ("v=spf1 redirect=ring.example", "permerror", 2),
        ("v=spf1 redirect=macro.example", "unknown", 2),
        ("v=spf1 redirect=none.example -all", "fail", 0),  # never used beside all (§6.1)
        ("v=spf1 redirect=list.example redirect=list.example", "permerror", 0),  # once at most (§6)
        ("v=spf1 exp=a.example exp=b.example -all", "permerror", 0),
        ("v=spf1 moo.x-1=%{i} -all", "fail", 0),  # a modifier to come (§6)
        # An error anywhere counts before anything is evaluated (§4.6).
        ("v=spf1 ip4:203.0.113.13 ipv4:203.0.113.14 -all", "permerror", 0),
        ("v=spf1 ip4:203.0.113.13 include: -all", "permerror", 0),
        ("v=spf1 ip4:203.0.113.13 a/33 -all", "permerror", 0),
        ("v=spf1 ip4:203.0.113.13 mx//129 -all", "permerror", 0),
        ("v=spf1 ip4:203.0.113.13 ip4:2001:db8::13 -all", "permerror", 0),
        ("v=spf1 ip4:203.0.113.13 ip6:203.0.113.14 -all", "permerror", 0),
        ("v=spf1 ip4:203.0.113.13 all:example.com", "permerror", 0),
        ("v=spf1 ip4:203.0.113.13 exists/24 -all", "permerror", 0),
        ("v=spf1 ip4:203.0.113.13 redirect=", "permerror", 0),
        ("v=spf1 include:broken.example -all", "permerror", 1),  # §5.2
        ("v=spf1 mx:eleven.example -all", "permerror", 1),  # ten address look-ups for one mx (§4.6.4)
        ("v=spf1 mx:nomail.example -all", "fail", 1),  # a null MX (RFC 7505 §3) has no host to look up
        ("v=spf1 ptr:example.com -all", "fail", 1),
        ("v=spf1 a:%{d2}.example.com -all", "unknown", 1),
        ("v=spf1 ip4:203.0.113.13 include:deep0.example -all", "pass", 0),  # never gets there
        ("v=spf1 include:none.example -all", "permerror", 1),
        ("v=spf1 include:loop.example -all", "permerror", 2),
        ("v=spf1 include:deep0.example -all", "permerror", 11),  # §4.6.4
        ("v=spf1 a:no1.example a:no2.example -all", "fail", 2),  # two may find nothing (§4.6.4)
        ("v=spf1 a:no1.example exists:no2.example mx:no3.example -all", "permerror", 3),
        ("v=spf1 ipv4:203.0.113.13 -all", "permerror", 0),
        ("v=spf1 ip4:mail.example.com -all", "permerror", 0),
    ],
)
def test_a_record_means(record: str, result: str, lookups: int) -> None:
    verdict = judge(record)
    assert (verdict.result, verdict.lookups) == (result, lookups)


def test_ipv6_has_its_own_mechanism() -> None:
    assert judge("v=spf1 ip4:203.0.113.13 -all", address="2001:db8::13").result == "fail"
    assert judge("v=spf1 ip6:2001:db8::/64 -all", address="2001:db8::13").result == "pass"
    assert judge("v=spf1 mx//64 -all", address="2001:db8::99").result == "pass"


def test_two_records_are_an_error() -> None:
    assert judge("v=spf1 -all", "v=spf1 +all").result == "permerror"


def test_other_texts_are_no_records() -> None:
    assert spf.policies(["v=spf10 -all", "v=spf1 -all", "x=v=spf1 "]) == ["v=spf1 -all"]
