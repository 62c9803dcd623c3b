"""Every check, broken once: exactly that finding, with a cause and a fix; and nothing where all is well."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

import pytest

from doctor import checks
from doctor.expected import Wanted
from doctor.finding import Finding, State
from doctor.judge import doors, host, mailbox, names
from doctor.observe.doors import Floor, Tls
from doctor.observe.host import Facts
from doctor.observe.mailbox import Login
from doctor.observe.names import Answer, Reverse, Server
from doctor.spf import Verdict
from doctor.stack import Deployed
from model.options import Rotation
from model.preflight import Check, needed_memory
from tests.doctor import seen
from tests.unit.samples import settings

Found = Callable[[], Iterable[Finding] | Finding]

KEY: Final = (
    "v=DKIM1; h=sha256; k=rsa; p="
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu2dXxdpcDiJ7iXk2yhJFZq0eA0YzKrZy3M4xkqPOAJ1DBdZ8pGHO0s4YzV0V"
)


ISSUE: Final = "ca.example;accounturi=https://ca.example/acct/1;validationmethods=http-01"


def record(*answers: Answer, wanted: Wanted = seen.MX) -> Found:
    return lambda: names.record(wanted, seen.servers(*answers, wanted=wanted))


def look(*sessions: object, here25: str = "") -> Found:
    return lambda: doors.doors(list(sessions), seen.HOSTNAME, here25=here25)  # type: ignore[arg-type] # because a test gives doors only


def served(*certificates: bytes) -> Found:
    sessions = [
        seen.door(port, tls=Tls(version="TLSv1.3", certificate=der))
        for port, der in zip((seen.SMTP, seen.IMAPS), certificates, strict=True)
    ]
    return lambda: doors.certificates(sessions, seen.NOW)


def sts(record: Answer, policy: str, error: str = "", *, ours: bool = True) -> Found:
    wanted = POLICY if ours else ""
    return lambda: doors.mta_sts(seen.ZONE, seen.HOSTNAME, record, policy, error, wanted=wanted)


def caa(*values: str) -> Found:
    return lambda: names.authorities("autoconfig.example.com", seen.answer(*values), ISSUE)


def dane(*values: str, validated: bool = True) -> Found:
    answer = seen.answer(*values, validated=validated)
    return lambda: doors.dane(seen.HOSTNAME, answer, [seen.door()], expected=True)


def machine(facts: Facts, **changes: str) -> Found:
    wanted = settings(**changes)
    return lambda: host.machine(facts, os=wanted.os, needed_memory=needed_memory(wanted))


def services(*finding: str) -> Found:
    """The services as the stack says, but for one finding."""
    drift = seen.drifted(*([finding] if finding else []))
    return lambda: host.services(seen.facts(drift=drift), Deployed())


def owners(managed: bool, address: str, port: int, program: str) -> Found:
    entry = {"address": address, "port": port, "program": program}
    facts = seen.facts(managed=managed, listeners=[entry])
    return lambda: host.owners(facts, {22, 25, 53, 80, 443}, ssh_port=22)


def greeted(*greetings: str) -> Found:
    tried = [
        {"host": "mx.example.net", "family": "IPv4", "greeting": text, "error": "" if text else "timeout"}
        for text in greetings
    ]
    return lambda: host.port25(seen.facts(port25=tried), ["example.net"])


def reverse(*found: str, leads: tuple[str, ...] = (seen.ADDRESS,), published: bool = True) -> Found:
    observed = Reverse(address=seen.ADDRESS, names=found, forward=dict.fromkeys(found, leads))
    return lambda: names.reverse(observed, seen.HOSTNAME, published=published)


def spf(*records: str, result: str = "pass", others: str = "fail", reason: str = "") -> Found:
    own = {seen.ADDRESS: Verdict(result=result, lookups=0)}
    return lambda: names.sender_policy(seen.ZONE, records, own, Verdict(result=others, lookups=0, reason=reason))


def silence(*exchangers: str, result: str = "fail") -> Found:
    verdicts = [Verdict(result=each, lookups=0) for each in ("fail", result)]
    return lambda: names.silence(seen.ZONE, seen.answer(*exchangers), ["v=spf1 -all"], verdicts)


def trip(**changes: object) -> Found:
    policies = {seen.ADDRESS: Verdict(result="pass", lookups=0)}
    return lambda: mailbox.round_trip("alice@example.com", seen.trip(**changes), policies)


def rotation(stage: str, due: str, *, generation: int = 1) -> Found:
    said = {"generation": 1, "stage": stage, "next": "the next key", "due": due}
    return lambda: names.dkim_rotation("prod", Rotation(generation=generation), said, seen.NOW)


PERMISSION = "example.com._report._dmarc.reports.example"
GOOD = seen.answer(f"10 {seen.HOSTNAME}.")
POLICY = f"version: STSv1\nmode: enforce\nmx: {seen.HOSTNAME}\nmax_age: 604800\n"
STS = seen.answer("v=STSv1; id=20261122")

# What is broken, which check sees it, and words of its finding.
BROKEN: Final[dict[str, tuple[Found, Check, str]]] = {
    "the zone is not delegated": (lambda: names.delegation("example.com", []), checks.DELEGATION, "no NS records"),
    "a name server is silent": (
        lambda: names.delegation(
            "example.com", [Server(zone="example.com", name="ns2", address="203.0.113.54", error="does not answer")]
        ),
        checks.DELEGATION,
        "ns2 (203.0.113.54)",
    ),
    "a name server is lame": (
        lambda: names.delegation("example.com", seen.servers(replace(GOOD, authoritative=False))),
        checks.DELEGATION,
        "authority",
    ),
    "a record is gone": (record(replace(GOOD, values=(), ttl=0)), checks.RECORD, "no such record"),
    "a name is gone": (record(replace(GOOD, values=(), ttl=0, rcode="NXDOMAIN")), checks.RECORD, "no such name"),
    "a record is another": (record(replace(GOOD, values=("10 other.example.",))), checks.RECORD, "10 other.example."),
    "a server lags behind": (record(GOOD, replace(GOOD, values=(), ttl=0)), checks.RECORD, "ns2.example"),
    "a TTL is another": (record(replace(GOOD, ttl=3600)), checks.TTL, "3600 s"),
    "a second MX": (record(replace(GOOD, values=(*GOOD.values, "5 old.example."))), checks.FOREIGN, "5 old.example."),
    "two SPF records": (spf("v=spf1 -all", "v=spf1 mx -all"), checks.SPF, "2 records"),
    "no SPF record": (spf(), checks.SPF, "no record"),
    "SPF without the host": (spf("v=spf1 -all", result="fail"), checks.SPF, "gets fail"),
    "SPF that costs too much": (
        spf("v=spf1 include:a.example -all", others="permerror", reason="more than 10 look-ups"),
        checks.SPF,
        "everybody else gets permerror: more than 10 look-ups",
    ),
    "no DKIM key": (lambda: names.dkim("mail._domainkey.example.com", [], {KEY}), checks.DKIM, "no key"),
    "two DKIM keys": (lambda: names.dkim("mail._domainkey.example.com", [KEY, KEY], {KEY}), checks.DKIM, "2 keys"),
    "a DKIM key cut off": (lambda: names.dkim("mail._domainkey.example.com", [KEY], {KEY}), checks.DKIM, "cut off"),
    "a DKIM key withdrawn": (
        lambda: names.dkim("mail._domainkey.example.com", ["v=DKIM1; p="], {KEY}),
        checks.DKIM,
        "withdrawn",
    ),
    "a withdrawn DKIM key that is still there": (
        lambda: names.dkim("mail._domainkey.example.com", [KEY], {"v=DKIM1; p="}),
        checks.DKIM,
        "still take its signatures",
    ),
    "a rotation that was cut off": (
        rotation("settled", "2027-05-22T00:00:00Z", generation=2),
        checks.ROTATION,
        "the settings say generation 2 settled",
    ),
    "a DKIM key that is due": (
        rotation("settled", "2026-11-21T00:00:00Z"),
        checks.ROTATION,
        "the next key is due since 2026-11-21T00:00:00Z",
    ),
    "no DMARC record": (lambda: names.dmarc("example.com", ["v=spf1 -all"]), checks.DMARC, "no DMARC record"),
    "two DMARC records": (
        lambda: names.dmarc("example.com", ["v=DMARC1; p=none", "v=DMARC1; p=reject"]),
        checks.DMARC,
        "2 records",
    ),
    "DMARC without a policy": (lambda: names.dmarc("example.com", ["v=DMARC1; rua=x"]), checks.DMARC, "p="),
    "no TLS-RPT record": (lambda: names.tls_reports("example.com", []), checks.TLS_REPORTS, "no record"),
    "two TLS-RPT records": (
        lambda: names.tls_reports("example.com", ["v=TLSRPTv1; rua=mailto:a@b.example"] * 2),
        checks.TLS_REPORTS,
        "2 records",
    ),
    "TLS-RPT without an address": (
        lambda: names.tls_reports("example.com", ["v=TLSRPTv1; rua=a@b.example"]),
        checks.TLS_REPORTS,
        "rua=",
    ),
    "reports that are not accepted": (
        lambda: names.permission(PERMISSION, seen.answer("v=spf1 -all")),
        checks.PERMISSION,
        PERMISSION,
    ),
    "a domain without mail that has an MX": (silence("0 .", "10 old.example."), checks.SILENCE, "10 old.example."),
    "a domain without mail that lacks the null MX": (silence(), checks.SILENCE, "no MX record"),
    "a domain without mail in whose name the host may send": (
        silence("0 .", result="pass"),
        checks.SILENCE,
        "v=spf1 -all",
    ),
    "an unsigned zone": (
        lambda: [
            finding
            for finding in names.dnssec(seen.signed(checked=seen.answer("soa", validated=False)))
            if finding.check is checks.DNSSEC
        ],
        checks.DNSSEC,
        "not signed",
    ),
    "a wrong DS record": (
        lambda: names.dnssec(seen.signed(checked=Answer(rcode="SERVFAIL"))),
        checks.BOGUS,
        "SERVFAIL",
    ),
    "no PTR": (reverse(), checks.PTR, "no name"),
    "a generic PTR": (reverse("vps13.hoster.example"), checks.PTR, "should be mail.example.com"),
    "two PTRs": (reverse(seen.HOSTNAME, "old.example.com"), checks.PTR, "several"),
    "a PTR that leads elsewhere": (reverse(seen.HOSTNAME, leads=("192.0.2.1",)), checks.PTR, "lead back"),
    "listed": (lambda: names.listing(seen.listing("127.0.0.2")), checks.BLOCKLIST, "127.0.0.2"),
    "in a policy list": (lambda: names.listing(seen.listing("127.0.0.10")), checks.POLICY_LIST, "127.0.0.10"),
    "a daemon is stopped": (look(seen.closed(seen.IMAPS, "refused")), checks.DOOR, "nothing listens"),
    "a firewall in the way": (look(seen.closed(seen.IMAPS, "timeout")), checks.DOOR, "firewall"),
    "a service that is off answers": (look(seen.door(replace(seen.POP3, on=False))), checks.CLOSED, "off"),
    "another name in the greeting": (look(seen.door(greeting="220 localhost ESMTP")), checks.BANNER, "greeting"),
    "another name in EHLO": (look(seen.door(name="localhost")), checks.BANNER, "EHLO"),
    "AUTH in the clear on 587": (
        look(seen.door(seen.SUBMISSION, before=("STARTTLS", "AUTH PLAIN"))),
        checks.CLEARTEXT,
        "AUTH PLAIN",
    ),
    "AUTH on 25": (look(seen.door(after=("AUTH PLAIN",))), checks.CLEARTEXT, "465 and 587"),
    "LOGIN in the clear": (look(seen.door(seen.IMAP, before=("STARTTLS",))), checks.CLEARTEXT, "LOGIN"),
    "AUTH=PLAIN in the clear": (
        look(seen.door(seen.IMAP, before=("STARTTLS", "LOGINDISABLED", "AUTH=PLAIN"))),
        checks.CLEARTEXT,
        "AUTH=PLAIN",
    ),
    "USER in the clear": (look(seen.door(seen.POP3, before=("STLS", "USER"))), checks.CLEARTEXT, "USER"),
    "SASL in the clear": (
        look(seen.door(seen.SIEVE, before=('"SASL" "PLAIN"', '"STARTTLS"'))),
        checks.CLEARTEXT,
        "4190 sieve",
    ),
    "no STARTTLS": (look(seen.door(before=("PIPELINING",), tls=None)), checks.TLS, "not offered"),
    "TLS breaks off": (look(seen.door(seen.IMAPS, tls=None, error="timeout")), checks.TLS, "timeout"),
    "a certificate of nobody's": (
        look(seen.door(tls=Tls(version="TLSv1.3", certificate=seen.certificate(), distrust="self-signed certificate"))),
        checks.CHAIN,
        "self-signed",
    ),
    "an old certificate on one port": (
        served(seen.certificate(serial=1), seen.certificate(serial=2)),
        checks.SAME,
        "25 smtp",
    ),
    "a certificate near its end": (served(*[seen.certificate(days=20)] * 2), checks.DAYS, "20 days"),
    "TLS 1.1 spoken": (lambda: doors.floors([Floor(port=seen.SMTP, accepted="TLSv1.1")]), checks.FLOOR, "TLSv1.1"),
    "an open relay": (
        lambda: doors.relays(seen.relays(stranger_to_stranger="250 Ok"), catch_all=True),
        checks.RELAY,
        "postmaster@example.org",
    ),
    "a relay by percent sign": (
        lambda: doors.relays(seen.relays(percent_sign="250 Ok"), catch_all=False),
        checks.RELAY,
        "percent",
    ),
    "TLSA of another key": (dane(seen.tlsa(seen.certificate(serial=9))), checks.DANE, "no record is of the key"),
    "TLSA of a wrong kind": (dane(seen.tlsa(seen.certificate()).replace("3", "2", 1)), checks.DANE, "no record is"),
    "TLSA in an unsigned zone": (dane(seen.tlsa(seen.certificate()), validated=False), checks.DANE, "not validated"),
    "TLSA gone": (dane(), checks.DANE, "no TLSA record"),
    "CAA for another authority": (caa('0 issue "other.example"'), checks.CAA, f"none of them permits {ISSUE}"),
    "CAA for nobody": (caa('0 issue ";"', '0 issuewild ";"'), checks.CAA, 'issue ";"'),
    "CAA for another account": (caa(f'0 issue "{ISSUE.replace("acct/1", "acct/2")}"'), checks.CAA, "acct/2"),
    "CAA for another method": (caa(f'0 issue "{ISSUE.replace("http-01", "dns-01")}"'), checks.CAA, "dns-01"),
    "CAA that is critical and unknown": (caa(f'0 issue "{ISSUE}"', '128 tbs "x"'), checks.CAA, "critical tbs"),
    "MTA-STS record gone": (sts(seen.answer(), POLICY), checks.MTA_STS, "no MTA-STS record"),
    "MTA-STS record twice": (sts(seen.answer("v=STSv1; id=1", "v=STSv1; id=2"), POLICY), checks.MTA_STS, "one record"),
    "MTA-STS record without id": (sts(seen.answer("v=STSv1;"), POLICY), checks.MTA_STS, "an id"),
    "MTA-STS policy gone": (sts(STS, "", "HTTP 404"), checks.MTA_STS, "HTTP 404"),
    "MTA-STS policy for another host": (
        sts(STS, POLICY.replace(seen.HOSTNAME, "*.other.example")),
        checks.MTA_STS,
        "does not allow",
    ),
    "MTA-STS policy with another mode": (
        sts(STS, POLICY.replace("enforce", "testing")),
        checks.MTA_STS,
        "the settings say mode enforce",
    ),
    "MTA-STS policy without a mode": (sts(STS, POLICY.replace("mode", "mood")), checks.MTA_STS, "mode"),
    "a wrong password": (
        lambda: mailbox.logins([Login(port=seen.IMAPS, error="Authentication failed", refused=True)]),
        checks.LOGIN,
        "refuses",
    ),
    "no session for a login": (lambda: mailbox.logins([Login(port=seen.IMAPS, error="timeout")]), checks.LOGIN, "993"),
    "a mail that is filed as spam": (trip(folder="Junk"), checks.ROUND_TRIP, "Junk"),
    "a mail without signature": (
        lambda: [finding for finding in trip(signed_by=(), verified=())() if finding.check is checks.SIGNED],  # type: ignore[union-attr] # because it yields
        checks.SIGNED,
        "no signature",
    ),
    "a signature of another domain": (
        trip(signed_by=("other.example",), verified=("other.example",)),
        checks.ALIGNED,
        "no valid signature is of example.com",
    ),
    "another host key": (
        lambda: host.ssh(Facts(error="the host shows another key", cause="host-key"), "root@203.0.113.13"),
        checks.SSH,
        "reinstalled",
    ),
    "no way in": (lambda: host.ssh(Facts(error="Permission denied", cause="agent"), "root"), checks.SSH, "no key"),
    "a deploy key that the host does not know": (
        lambda: host.ssh(Facts(error="Permission denied", cause="deploy-key"), "root"),
        checks.SSH,
        "sshPrivateKey",
    ),
    "a sudo that asks": (lambda: host.ssh(Facts(error="sudo", cause="sudo"), "deploy"), checks.SSH, "ssh.user"),
    "nobody at the address": (
        lambda: host.ssh(Facts(error="Connection refused", cause="unreachable"), "root"),
        checks.SSH,
        "ssh.port",
    ),
    "a file changed by hand": (
        services("postfix", "/etc/postfix/main.cf", "mode 0644", "mode 0666", "reapply"),
        checks.SERVICES,
        "changed by hand",
    ),
    "a daemon that died": (
        services("opendkim", "opendkim.service", "active", "failed", "reapply"),
        checks.SERVICES,
        "journalctl -u 'opendkim*'",
    ),
    "a firewall that is off": (
        services("firewall", "ufw.service", "active", "inactive", "reapply"),
        checks.SERVICES,
        "journalctl -u 'ufw*'",
    ),
    "a change that was interrupted": (
        services("postfix", "change", "finished", "interrupted", "reapply"),
        checks.SERVICES,
        "OPTIONS=--repair",
    ),
    "a generation that is not the stack's": (
        services("postfix", "generation", "manifest a", "generation 4, manifest b", "apply"),
        checks.SERVICES,
        "the stack has applied something else",
    ),
    "a service that is not the stack's": (
        services("redis", "generation", "not applied", "generation 1, manifest b", "remove"),
        checks.SERVICES,
        "the stack does not know it",
    ),
    "a mailbox over its quota": (
        lambda: host.quota(seen.facts(full=["bob@example.com"])),
        checks.QUOTA,
        "over its quota",
    ),
    "mail that waits": (
        lambda: host.queue(seen.facts(queue=[{"arrived": 900_000, "reason": "connect to mx: timed out"}])),
        checks.QUEUE,
        "timed out",
    ),
    "a certificate that was not loaded": (
        lambda: doors.on_disk([seen.door()], "0" * 64),
        checks.ON_DISK,
        "newer",
    ),
    "no python3": (
        lambda: [
            finding
            for finding in host.machine(Facts(error="no python3", cause="python"), os="debian13", needed_memory=0)
            if finding.state is not State.SKIPPED
        ],
        checks.PYTHON,
        "no python3",
    ),
    "another release": (machine(seen.facts(), os="debian12"), checks.RELEASE, "settings say debian12"),
    "port 25 blocked": (greeted("", ""), checks.PORT25, "blocks it"),
    "port 25 intercepted": (greeted("554 no SMTP here"), checks.PORT25, "nobody greets"),
    "a clock that is late": (machine(replace(seen.facts(), skew=-90)), checks.CLOCK, "behind"),
    "too little memory": (
        machine(seen.facts(memory={"MemTotal": 500_000_000, "SwapTotal": 100_000_000})),
        checks.MEMORY,
        "0.6 GB",
    ),
    "a full disk": (machine(seen.facts(disk=2_000_000_000)), checks.DISK, "2.0 GB free"),
    "exim on a fresh machine": (owners(False, "127.0.0.1", 25, "exim4"), checks.OWNERS, "disable --now exim4"),
    "a web server on a managed host": (owners(True, "::", 80, "apache2"), checks.OWNERS, "apache2"),
    "postfix on a fresh machine": (owners(False, "127.0.0.1", 25, "master"), checks.OWNERS, "disable --now postfix"),
    "bind on every address": (owners(True, "127.0.0.1", 53, "named"), checks.OWNERS, "named"),
    "no such zone": (lambda: host.zone(seen.zone(found=False)), checks.ZONE, "no such zone"),
    "a zone that waits": (lambda: host.zone(seen.zone(status="pending")), checks.ZONE, "pending"),
    "a token refused": (lambda: host.zone(seen.zone(error="it answers 403: 9109")), checks.ZONE, "403"),
    "other name servers": (
        lambda: host.zone_delegation(seen.zone(), ["ns1.hoster.example"]),
        checks.ZONE_DELEGATION,
        "ns1.hoster.example",
    ),
}


def told(found: Found) -> list[Finding]:
    """What is not well."""
    findings = found()
    every = [findings] if isinstance(findings, Finding) else list(findings)
    assert every
    return [finding for finding in every if finding.state is not State.OK]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_thing_is_found_alone_and_by_its_name(name: str) -> None:
    found, check, words = BROKEN[name]
    (finding,) = told(found)
    assert finding.check is check
    assert finding.state is (State.FAILED if check.level == "stops" else State.WARNING)
    assert words in f"{finding.subject} {finding.found} {finding.cause} {finding.fix}"
    assert finding.cause
    assert finding.fix


def test_every_check_is_broken_once() -> None:
    broken = {check.id for _, check, _ in BROKEN.values()}
    # The state of a stack is judged in test_expected.py.
    assert broken == {check.id for check in (*checks.DOCTOR, *checks.PREFLIGHT)} - {checks.DEPLOYED.id}


WELL: Final[dict[str, Found]] = {
    "records": record(GOOD, GOOD),
    "delegation": lambda: names.delegation("example.com", seen.servers(GOOD)),
    "a stranger's TXT beside ours": record(
        seen.answer("v=spf1 -all", "google-site-verification=x"),
        wanted=Wanted(zone="example.com", name="example.com", type="TXT", values=frozenset({"v=spf1 -all"}), ttl=300),
    ),
    "a signed zone": lambda: names.dnssec(seen.signed()),
    "SPF": spf("v=spf1 ip4:203.0.113.13 -all"),
    "SPF that a macro decides": spf("v=spf1 exists:%{i}.example.com -all", result="unknown"),
    "DMARC": lambda: names.dmarc("example.com", ["v=DMARC1; p=reject"]),
    "TLS-RPT": lambda: names.tls_reports("example.com", ["v=TLSRPTv1; rua=mailto:a@b.example,https://c.example/r"]),
    "reports that are accepted": lambda: names.permission(PERMISSION, seen.answer("v=DMARC1;")),
    "a domain without mail": silence("0 ."),
    "PTR": reverse("mail.example.com"),
    "PTR before the first record": reverse("mail.example.com", leads=(), published=False),
    "not listed": lambda: names.listing(seen.listing()),
    "every port": look(*map(seen.door, (seen.SMTP, seen.SUBMISSION, seen.IMAP, seen.IMAPS, seen.POP3, seen.SIEVE))),
    "a service that is off": look(seen.closed(replace(seen.POP3, on=False), "refused")),
    "certificates": served(*[seen.certificate(days=21)] * 2),
    "an outdated TLS refused": lambda: doors.floors([Floor(port=seen.SMTP)]),
    "no relay": lambda: doors.relays(seen.relays(), catch_all=False),
    "an address of ours, by catch-all": lambda: doors.relays(seen.relays(percent_sign="250 Ok"), catch_all=True),
    "TLSA, the key in use and the next": dane(seen.tlsa(seen.certificate()), seen.tlsa(seen.certificate(serial=9))),
    "CAA": caa(f'0 issue "{ISSUE}"', '0 issuewild ";"'),
    "CAA of the authority, or another": caa('0 issue "other.example"', '0 issue "ca.example; policy=ev"'),
    "CAA of several methods": caa('0 issue "ca.example; validationmethods=dns-01,http-01"'),
    "CAA for wildcards and reports alone": caa('0 issuewild ";"', '128 iodef "mailto:a@example.com"'),
    "no CAA": caa(),
    "MTA-STS": sts(STS, POLICY),
    "MTA-STS with CRLF": sts(STS, POLICY.replace("\n", "\r\n")),
    "MTA-STS of somebody else's, by wildcard": sts(STS, POLICY.replace("mx: mail.", "mx: *."), ours=False),
    "MTA-STS with no condition": sts(STS, "version: STSv1\nmode: none\nmax_age: 86400\n", ours=False),
    "logins": lambda: mailbox.logins([Login(port=seen.IMAPS)]),
    "a mail": trip(),
    "a mail with a list's signature too": trip(verified=("list.example", "example.com")),
    "SSH": lambda: host.ssh(seen.facts(), "root@203.0.113.13"),
    "services": services(),
    "mail that waits for minutes": lambda: host.queue(seen.facts(queue=[{"arrived": 999_000, "reason": "greylisted"}])),
    "a machine": machine(seen.facts()),
    "port 25 once is enough": greeted("", "220 mx.example.net ESMTP"),
    "own daemons": owners(True, "::", 25, "master"),
    "systemd-resolved keeps to itself": owners(False, "127.0.0.53", 53, "systemd-resolve"),
    "SSH's own port": owners(False, "::", 22, "sshd"),
    "a zone": lambda: host.zone(seen.zone()),
    "delegation to Cloudflare": lambda: host.zone_delegation(
        seen.zone(), ["BOB.ns.cloudflare.com", "ana.ns.cloudflare.com"]
    ),
}


@pytest.mark.parametrize("name", WELL)
def test_what_is_well_gives_no_alarm(name: str) -> None:
    assert told(WELL[name]) == []


# What could not be looked at is said, and is no failure.
UNKNOWN: Final[dict[str, tuple[Found, str]]] = {
    "a blocklist that refuses": (lambda: names.listing(seen.listing("127.255.255.254")), "refuses this resolver"),
    "a resolver that invents answers": (lambda: names.listing(seen.listing("192.0.2.80")), "invents"),
    "a blocklist that is dead": (lambda: names.listing(seen.listing(works=False)), "test address"),
    "a blocklist that lists everybody": (lambda: names.listing(seen.listing("127.0.0.2", works=False)), "test address"),
    "no resolver": (lambda: names.listing(seen.listing(error="does not answer")), "does not answer"),
    "no IPv6 here": (look(seen.closed(seen.IMAPS, "unreachable", "2001:db8::13")), "no IPv6"),
    "port 25 closed where we are": (look(seen.closed(seen.SMTP, "timeout"), here25="timeout"), "this machine"),
    "no OpenSSL to try with": (lambda: doors.floors([Floor(port=seen.SMTP, error="has no TLS 1.1")]), "no TLS 1.1"),
    "relay attempts put off": (
        lambda: doors.relays(
            [replace(relay, reply="450 4.3.2 Service currently unavailable") for relay in seen.relays()],
            catch_all=False,
        ),
        "put off",
    ),
    "no TLSA wanted": (lambda: doors.dane("mail.example.com", seen.answer(), [seen.door()], expected=False), "no TLSA"),
    "no MTA-STS wanted": (
        lambda: doors.mta_sts("example.com", "mail.example.com", seen.answer(), "", "", wanted=""),
        "no MTA-STS",
    ),
    "another helper on the host": (
        lambda: host.services(seen.facts(drift={"services": {}, "findings": [{"mend": "?"}]}), Deployed()),
        "another version",
    ),
    "no helper on the host": (lambda: host.services(seen.facts(drift=None), Deployed()), "mailhostctl is not there"),
    "no certificate file": (lambda: doors.on_disk([seen.door()], ""), "no certificate file"),
    "silent name servers": (
        lambda: names.record(seen.MX, [Server(zone="example.com", name="ns1", address="x", error="does not answer")]),
        "no name server",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_known_is_skipped_with_its_reason(name: str) -> None:
    found, words = UNKNOWN[name]
    (finding,) = told(found)
    assert finding.state is State.SKIPPED
    assert words in finding.cause


def test_a_mail_that_does_not_arrive_leaves_its_signature_unjudged() -> None:
    failed, *others = told(trip(seconds=None, error="it did not arrive within 30 s"))
    assert (failed.check, failed.state) == (checks.ROUND_TRIP, State.FAILED)
    assert [finding.state for finding in others] == [State.SKIPPED, State.SKIPPED]


def test_a_bad_signature_fails_twice() -> None:
    assert {finding.check for finding in told(trip(verified=()))} == {checks.SIGNED, checks.ALIGNED}


def test_without_ssh_what_only_the_host_knows_is_skipped() -> None:
    silent = Facts(error="timeout", cause="unreachable")
    findings = [
        *host.services(silent, Deployed()),
        host.queue(silent),
        *host.machine(silent, os="debian13", needed_memory=0),
        *host.port25(silent, ["example.net"]),
        *host.owners(silent, {25}, ssh_port=22),
    ]
    assert {finding.state for finding in findings} == {State.SKIPPED}
    assert all("SSH: timeout" in finding.cause for finding in findings)
