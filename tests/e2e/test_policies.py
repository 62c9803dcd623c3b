"""What a domain tells the world of its mail: other senders, reports, a logo; and one that has no mail at all."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from doctor.observe.names import Names, resolver
from lab import cloudflare
from lab.addresses import OUTSIDE, RESOLVER4
from lab.dns import record, served
from tests.e2e.conftest import Host
from tests.e2e.doctor import look
from tests.e2e.stack import Run

pytestmark = pytest.mark.one_release("debian12")

LOGO = "https://outside.example/logo.svg"


def included(host: Host) -> str:
    """The SPF record of another sender."""
    return f"_spf.{host.machine.name}.{OUTSIDE.domain}"


@contextmanager
def sender(host: Host, *terms: str) -> Iterator[None]:
    with served(OUTSIDE.domain, record(included(host), "TXT", [f'"v=spf1 {" ".join(terms)} -all"'])):
        yield


@contextmanager
def permission(host: Host) -> Iterator[None]:
    """The owner of the outside domain takes the reports about both domains."""
    names = [f"{name}._report._dmarc.{OUTSIDE.domain}" for name in (host.machine.domain, host.machine.second_domain)]
    with served(OUTSIDE.domain, *(record(name, "TXT", ['"v=DMARC1;"']) for name in names)):
        yield


def values(name: str, kind: str = "TXT") -> tuple[str, ...]:
    return Names(resolver=resolver(RESOLVER4), timeout=4, ipv6=False).ask(name, kind).values


@pytest.fixture(scope="module")
def announced(host: Host) -> Iterator[Run]:
    """The preview of a host that says all there is to say; the second domain has no mail."""
    domain = host.machine.domain
    with host.stack.kept(), sender(host, "ip4:192.0.2.7"):
        host.stack.configure(
            {
                "spf": {"include": [included(host)], "addresses": ["198.51.100.0/24"], "all": "~all"},
                "reports": {"addresses": [f"alice@{domain}", f"dmarc@{OUTSIDE.domain}"]},
                "domains": {domain: {"bimi": {"logo": LOGO}}, host.machine.second_domain: {"mail": "none"}},
            }
        )
        yield host.stack.preview().must_pass()


@pytest.mark.usefixtures("announced")
def test_the_world_reads_what_the_settings_say(host: Host) -> None:
    domain, silent = host.machine.domain, host.machine.second_domain
    own = f"ip4:{host.machine.ipv4} ip6:{host.machine.ipv6}"
    rua = f"rua=mailto:alice@{domain},mailto:dmarc@{OUTSIDE.domain}"
    assert values(domain) == (f"v=spf1 {own} ip4:198.51.100.0/24 include:{included(host)} ~all",)
    assert values(f"_dmarc.{domain}") == (f"v=DMARC1; p=quarantine; {rua}",)
    assert values(f"_smtp._tls.{domain}") == (f"v=TLSRPTv1; {rua}",)
    assert values(f"default._bimi.{domain}") == (f"v=BIMI1; l={LOGO}",)
    assert values(f"{silent}._report._dmarc.{domain}") == ("v=DMARC1;",)
    assert values(silent, "MX") == ("0 .",)
    assert values(silent) == ("v=spf1 -all",)
    assert values(f"whatever._domainkey.{silent}") == ("v=DKIM1; p=",)
    assert values(f"_dmarc.{silent}") == (f"v=DMARC1; p=reject; {rua}",)
    assert not values(f"_smtp._tls.{silent}")
    assert not values(f"autoconfig.{silent}", "CNAME")
    host.run_fails("grep", "-rqF", silent, "/etc/postfix", "/etc/dovecot", "/etc/opendkim", "/etc/nginx")
    assert host.stack.planned() == []


def test_a_record_of_others_is_asked_for_and_looked_for(host: Host, announced: Run) -> None:
    for name in (host.machine.domain, host.machine.second_domain):
        assert f'{name}._report._dmarc.{OUTSIDE.domain} TXT "v=DMARC1;"' in announced.output
    assert set(look(host).not_well()) == {"dns.report-permission"}
    with permission(host):
        seen = look(host)
        assert seen.not_well() == {}
        for check in ("dns.report-permission", "dns.silence", "dns.spf", "dns.tls-rpt"):
            assert seen.states(check) == {"ok"}, check


@pytest.mark.usefixtures("announced")
def test_what_another_sender_makes_of_its_record_is_counted(host: Host) -> None:
    terms = (f"a:no{number}.{OUTSIDE.domain}" for number in range(3))
    with permission(host), sender(host, *terms):
        seen = look(host).not_well()
    assert set(seen) == {"dns.spf"}
    assert "look-ups that find nothing" in seen["dns.spf"]


@pytest.mark.usefixtures("announced")
def test_a_mail_exchanger_for_a_domain_without_mail(host: Host) -> None:
    silent = host.machine.second_domain
    (zone,) = cloudflare.request("GET", f"zones?name={silent}")
    body = {"type": "MX", "name": silent, "content": OUTSIDE.hostname, "priority": 10, "ttl": 60}
    made = cloudflare.request("POST", f"zones/{zone['id']}/dns_records", body)
    try:
        with permission(host):
            seen = look(host).not_well()
    finally:
        cloudflare.request("DELETE", f"zones/{zone['id']}/dns_records/{made['id']}")
    assert set(seen) == {"dns.foreign", "dns.silence"}
    assert OUTSIDE.hostname in seen["dns.silence"]


@pytest.mark.usefixtures("announced")
def test_a_domain_that_gets_mail_keeps_its_records(host: Host) -> None:
    silent = host.machine.second_domain
    with host.stack.kept():
        host.stack.configure({"domains": {silent: {}}})
        planned = {(step, name) for step, name in host.stack.planned() if name.startswith(f"mail-{silent}-")}
    changed = {name for step, name in planned if step == "update"}
    assert changed == {f"mail-{silent}-{what}" for what in ("mx", "spf", "dmarc")}
    assert ("delete", f"mail-{silent}-no-key") in planned


@pytest.mark.usefixtures("announced")
def test_what_is_taken_back_is_not_said_any_more(host: Host) -> None:
    domain, silent = host.machine.domain, host.machine.second_domain
    host.stack.configure({"spf": None, "domains": None, "reports": {"tls": False}})
    host.stack.up().must_pass()
    assert values(domain) == (f"v=spf1 ip4:{host.machine.ipv4} ip6:{host.machine.ipv6} -all",)
    assert values(f"_dmarc.{domain}") == (f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}",)
    for name in (f"_smtp._tls.{domain}", f"default._bimi.{domain}", f"{silent}._report._dmarc.{domain}", silent):
        assert not values(name), name
    assert not values(silent, "MX")
    assert not values(f"whatever._domainkey.{silent}")
