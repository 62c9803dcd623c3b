"""What waits for what, transitively: the order of DESIGN as real dependencies."""

import re

import pytest

from components.remote import MAX_CONNECTIONS
from model.settings import load
from tests.graph.conftest import CONFIG
from tests.graph.harness import Graph, Seen, run

FACTS = "mail-host-facts"
HELPER = "mail-host-install-helper"
PREFLIGHT = "mail-host-preflight"
PACKAGES = "mail-packages-install"
HOST_A = "mail-address-a-host"
HOST_AAAA = "mail-address-aaaa-host"
WAIT_HOST = "mail-host-visible-wait"
FIREWALL = "mail-firewall-apply"
HOOK = "mail-certificate-hook-apply"
CERTIFICATE = "mail-certificate-issue"
ACCOUNT, CAA = "mail-certificate-account", "mail-certificate-caa"
KEY = "mail-example.org-rsa"
DKIM_RECORD = "mail-example.org-txt"
WAIT_DKIM = "mail-dkim-visible-wait"
OPENDKIM = "mail-opendkim-apply"
ACCOUNTS = "mail-accounts-apply"
DOVECOT = "mail-dovecot-apply"
RESOLVER, TLS_POLICY = "mail-resolver-apply", "mail-tls-policy-apply"
REDIS, RSPAMD = (f"mail-spam-{name}-apply" for name in ("redis", "rspamd"))
POSTFIX = "mail-postfix-apply"
MX = "mail-example.org-mx"
WEB_RECORD = "mail-example.org-autoconfig"
WAIT_WEB = "mail-web-visible-wait"
WEB_CERTIFICATES = "mail-web-certificates-issue"
SERVICE_RECORD = "mail-example.org-srv-imaps"
NGINX = "mail-nginx-apply"
POLICY_RECORD = "mail-example.org-mta-sts-id"
FAIL2BAN = "mail-fail2ban-apply"
METRICS, DIGEST = "mail-metrics-apply", "mail-digest-apply"
TLSA_KEYS, TLSA_USE, TLSA_ANNOUNCED = (f"mail-tlsa-{name}" for name in ("keys", "use", "announced"))
CHECK = "mail-check"


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        (HELPER, FACTS),  # a machine of the wrong kind gets no file of ours
        (PACKAGES, HELPER),
        (PREFLIGHT, HELPER),  # it looks
        (PACKAGES, PREFLIGHT),  # a machine that cannot become a mail host is left as it is
        (FIREWALL, PREFLIGHT),
        (WAIT_HOST, PREFLIGHT),
        (WAIT_HOST, HOST_A),
        (WAIT_HOST, HOST_AAAA),
        (CERTIFICATE, WAIT_HOST),  # an ACME server counts failed attempts
        (CERTIFICATE, FIREWALL),  # port 80
        (CERTIFICATE, HOOK),
        (CERTIFICATE, PACKAGES),
        (ACCOUNT, PACKAGES),  # certbot makes it
        (CAA, ACCOUNT),
        (CERTIFICATE, CAA),  # the authority looks at it
        (CERTIFICATE, "mail-certificate-caa-wildcard"),
        (DKIM_RECORD, KEY),
        (WAIT_DKIM, DKIM_RECORD),
        (OPENDKIM, WAIT_DKIM),  # signing only when the world can verify
        (OPENDKIM, KEY),
        (DOVECOT, CERTIFICATE),
        (DOVECOT, ACCOUNTS),
        (RSPAMD, RESOLVER),  # it asks both from its first second on
        (RSPAMD, REDIS),
        (POSTFIX, RESOLVER),  # without it mail cannot be sent, or would be sent unverified
        (POSTFIX, TLS_POLICY),  # likewise
        (POSTFIX, RSPAMD),  # it puts mail off while rspamd is away
        (POSTFIX, CERTIFICATE),
        (POSTFIX, DOVECOT),  # its sockets for SASL and LMTP
        (POSTFIX, OPENDKIM),  # mail never leaves unsigned
        (MX, POSTFIX),  # mail is invited only when the house is open
        (SERVICE_RECORD, POSTFIX),  # nobody is sent to a service that is not there
        (WAIT_WEB, WEB_RECORD),
        (WEB_CERTIFICATES, WAIT_WEB),  # an ACME server counts failed attempts
        (WEB_CERTIFICATES, CERTIFICATE),  # certbot runs once at a time
        (WEB_CERTIFICATES, POSTFIX),  # a domain whose web names lead elsewhere stops no mail
        (NGINX, WEB_CERTIFICATES),
        (POLICY_RECORD, NGINX),  # no policy is announced that is not served
        (CHECK, POLICY_RECORD),
        (METRICS, POSTFIX),  # what it looks at is there
        (METRICS, DOVECOT),
        (METRICS, RSPAMD),
        (DIGEST, POSTFIX),
        (CHECK, METRICS),
        (CHECK, DIGEST),
        (CHECK, NGINX),
        (TLSA_KEYS, POSTFIX),  # the key is served
        ("mail-tlsa-odd", TLSA_KEYS),
        (TLSA_USE, "mail-tlsa-odd"),  # a key is used once its record is out
        ("mail-tlsa-even", TLSA_USE),  # and the former key's record goes once it is not
        (TLSA_ANNOUNCED, "mail-tlsa-even"),
        (CHECK, TLSA_ANNOUNCED),
        (FAIL2BAN, PACKAGES),
        (CHECK, FAIL2BAN),
        (CHECK, MX),
        (CHECK, FIREWALL),
    ],
)
def test_the_effect_waits_for_its_cause(graph: Graph, later: str, earlier: str) -> None:
    assert graph.waits_for(later, earlier)
    assert not graph.waits_for(earlier, later)


@pytest.mark.parametrize("key", ["mail-example.org-spf", "mail-example.org-dmarc"])
def test_policy_records_wait_for_no_change_of_the_host(graph: Graph, key: str) -> None:
    before = graph.before(graph.named(key))
    assert [seen.name for seen in graph.commands() if seen.urn in before] == ["mail-host-facts"]


def test_the_dkim_record_carries_the_generated_key_as_a_value(graph: Graph) -> None:
    record = graph.named(DKIM_RECORD)
    assert graph.named(KEY).urn in record.property_dependencies["content"]
    assert "v=DKIM1" in record.text("content")


@pytest.mark.parametrize(
    ("wait", "record"), [(WAIT_HOST, HOST_A), (WAIT_HOST, HOST_AAAA), (WAIT_DKIM, DKIM_RECORD), (WAIT_WEB, WEB_RECORD)]
)
def test_the_wait_looks_for_what_was_published(graph: Graph, wait: str, record: str) -> None:
    assert graph.named(record).urn in graph.named(wait).property_dependencies["stdin"]
    published = graph.named(record)
    line = " ".join(["example.org", *(published.text(key) for key in ("name", "type", "content"))])
    assert line in graph.named(wait).text("stdin").splitlines()


def test_staging_does_not_wait_for_packages_or_the_world(graph: Graph) -> None:
    # The files travel while apt works: that is what makes a fresh run quick.
    staged = [seen for seen in graph.commands() if re.search(" stage .* (files|secrets)$", seen.text("create"))]
    assert len(staged) > 10
    for seen in staged:
        before = graph.before(seen)
        assert graph.named(HELPER).urn in before
        assert graph.named(PACKAGES).urn not in before


def test_at_most_eight_commands_can_run_at_once(graph: Graph) -> None:
    assert _width(graph, list(graph.commands())) <= MAX_CONNECTIONS == 8


def test_a_file_that_is_gone_is_no_link(graph: Graph) -> None:
    without_ipv6 = run({key: value for key, value in CONFIG.items() if key != "ipv6"}, secret_keys=("mailboxes",))
    assert without_ipv6.waits_for(CERTIFICATE, WAIT_HOST)
    assert len(without_ipv6.resources) < len(graph.resources)


def test_fail2ban_that_is_switched_off_is_not_there() -> None:
    off = run(CONFIG | {"ban": {"enabled": False}}, secret_keys=("mailboxes",))
    assert not [seen.name for seen in off.resources.values() if "fail2ban" in seen.name]
    assert "fail2ban" not in off.named(PACKAGES).text("stdin")


def test_a_given_zone_id_needs_no_lookup(graph: Graph) -> None:
    zone_id = "f" * 32
    given = run(CONFIG | {"dns": {"zoneId": zone_id}}, secret_keys=("mailboxes",))
    assert [token for token, _ in graph.calls] == ["cloudflare:index/getZone:getZone"]
    assert given.calls == ()
    assert given.named(MX).text("zoneId") == zone_id


def test_a_second_domain_has_resources_of_its_own_and_one_wait_for_all_keys(graph: Graph) -> None:
    two = run(CONFIG | {"domains": {"example.net": {"zoneId": "e" * 32}}}, secret_keys=("mailboxes",))
    added = {seen.name for seen in two.resources.values()} - {seen.name for seen in graph.resources.values()}
    assert graph.resources.keys() < two.resources.keys()
    assert all(name.startswith("mail-example.net") for name in added)
    assert two.waits_for(WAIT_DKIM, "mail-example.net-txt")
    assert two.waits_for(OPENDKIM, "mail-example.net-rsa")
    assert two.waits_for("mail-example.net-mx", POSTFIX)
    assert two.waits_for(CHECK, "mail-example.net-mx")
    assert {seen.text("zoneId") for seen in two.resources.values() if seen.name.startswith("mail-example.net-")} == {
        "e" * 32,
        "",  # the key
    }
    assert two.named(CHECK).text("stdin") == "example.org mail\nexample.net mail\n"
    changed = {
        seen.name
        for urn, seen in two.resources.items()
        if urn in graph.resources and seen.inputs != graph.resources[urn].inputs
    }
    assert changed >= {
        "mail-postfix-files",
        "mail-opendkim-files",
        "mail-opendkim-secrets",
        WAIT_DKIM,
        CHECK,
    }
    assert not {name for name in changed if name.startswith(("mail-example.org", "mail-address", "mail-dovecot"))}


def test_the_next_key_takes_the_place_of_the_former_one(graph: Graph) -> None:
    later = run(CONFIG | {"tlsa": {"enabled": True, "key": 2}}, secret_keys=("mailboxes",))
    for made, places in ((graph, {"odd": "A1", "even": "B2"}), (later, {"even": "A1", "odd": "B2"})):
        digests = {place: made.named(f"mail-tlsa-{place}").inputs["data"]["certificate"] for place in places}
        assert digests == places
    assert later.waits_for(TLSA_USE, "mail-tlsa-even")
    assert later.waits_for("mail-tlsa-odd", TLSA_USE)


def test_the_configuration_of_these_tests_is_valid() -> None:
    raw = {key: value for key, value in CONFIG.items() if isinstance(value, str)}
    with pytest.raises(Exception, match="mailboxes"):
        load(raw)


def _width(graph: Graph, seen: list[Seen]) -> int:
    """Return the size of the largest set in which nothing waits for another (Dilworth: n minus a maximum matching)."""
    before = {one.urn: graph.before(one) for one in seen}
    successors = {one.urn: [other.urn for other in seen if one.urn in before[other.urn]] for one in seen}
    matched: dict[str, str] = {}

    def augment(urn: str, tried: set[str]) -> bool:
        for successor in successors[urn]:
            if successor in tried:
                continue
            tried.add(successor)
            if successor not in matched or augment(matched[successor], tried):
                matched[successor] = urn
                return True
        return False

    return len(seen) - sum(augment(urn, set()) for urn in successors)
