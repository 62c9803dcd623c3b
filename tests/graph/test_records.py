"""Records as they reach the Cloudflare provider."""

from importlib.metadata import version

import pulumi
import pytest

from tests.graph.conftest import CONFIG
from tests.graph.harness import STALE, ZONE_ID, Graph, run

DNS_RECORD = "cloudflare:index/dnsRecord:DnsRecord"


def test_all_records_of_the_guide_are_published(graph: Graph) -> None:
    published = {(seen.text("type"), seen.text("name")) for seen in graph.of_type(DNS_RECORD)}
    assert published == {
        ("A", "example.org"),
        ("AAAA", "example.org"),
        ("A", "mail.example.org"),
        ("AAAA", "mail.example.org"),
        ("TLSA", "_25._tcp.mail.example.org"),
        ("CAA", "mail.example.org"),
        ("MX", "example.org"),
        ("TXT", "example.org"),
        ("TXT", "_dmarc.example.org"),
        ("TXT", "_smtp._tls.example.org"),
        ("TXT", "mail._domainkey.example.org"),
        ("TXT", "_mta-sts.example.org"),
        *(("CNAME", f"{label}.example.org") for label in ("autoconfig", "autodiscover", "mta-sts")),
        *(("SRV", f"_{service}._tcp.example.org") for service in ("imaps", "pop3s", "sieve", "submissions")),
    }


def test_every_record_is_pinned_to_the_official_plugin(graph: Graph) -> None:
    for seen in graph.of_type(DNS_RECORD):
        assert seen.version == version("pulumi-cloudflare")
        assert seen.delete_before_replace


def test_nothing_reads_the_content_that_cloudflare_computes(graph: Graph) -> None:
    # After an update the provider keeps that of before, until a refresh.
    computed = {seen.text("type") for seen in graph.of_type(DNS_RECORD) if "data" in seen.inputs}
    assert computed == {"CAA", "SRV", "TLSA"}
    assert [seen.name for seen in graph.resources.values() if STALE in str(seen.inputs)] == []
    assert STALE not in str(graph.outputs)


def test_no_record_is_ever_proxied(graph: Graph) -> None:
    for seen in graph.of_type(DNS_RECORD):
        assert seen.inputs["proxied"] is False
        assert seen.inputs["zoneId"] == ZONE_ID
        assert seen.inputs["ttl"] == 3600


def test_the_time_to_live_is_configurable() -> None:
    graph = run(CONFIG | {"dns": {"ttl": 300}}, secret_keys=("mailboxes",))
    assert {seen.inputs["ttl"] for seen in graph.of_type(DNS_RECORD)} == {300}


def test_the_exchanger_has_a_priority_of_its_own(graph: Graph) -> None:
    exchanger = graph.named("mail-example.org-mx")
    assert exchanger.inputs["priority"] == 10
    assert exchanger.text("content") == "mail.example.org"


def test_without_the_apex_only_the_host_has_addresses() -> None:
    graph = run(CONFIG | {"dns": {"apex": False}}, secret_keys=("mailboxes",))
    assert [seen.text("name") for seen in graph.of_type(DNS_RECORD) if seen.text("type") == "A"] == ["mail.example.org"]


def test_every_record_carries_the_mark_of_its_stack_and_resource(graph: Graph) -> None:
    for seen in graph.of_type(DNS_RECORD):
        assert seen.text("comment") == f"mailhost test {seen.name}"


def test_a_record_that_others_must_publish_is_asked_for_in_the_preview(caplog: pytest.LogCaptureFixture) -> None:
    config = CONFIG | {
        "domains": {"example.net": {}},
        "reports": {"addresses": ["alice@example.org", "d@other.example"]},
    }
    graph = run(config, secret_keys=("mailboxes",), preview=True)
    assert graph.named("mail-example.org-reports-example.net").text("name") == "example.net._report._dmarc.example.org"
    (said,) = [record.message for record in caplog.records if "_report" in record.message]
    for domain in ("example.org", "example.net"):
        assert f'{domain}._report._dmarc.other.example TXT "v=DMARC1;"' in said
    caplog.clear()
    run(config, secret_keys=("mailboxes",))
    assert not any("_report" in record.message for record in caplog.records)


def test_a_domain_without_mail_has_four_records_and_touches_nothing_else(graph: Graph) -> None:
    silent = run(CONFIG | {"domains": {"parked.example": {"mail": "none"}}}, secret_keys=("mailboxes",))
    added = [seen for urn, seen in silent.resources.items() if urn not in graph.resources]
    assert sorted(seen.name for seen in added) == [
        "mail-parked.example",
        *(f"mail-parked.example-{what}" for what in ("dmarc", "mx", "no-key", "spf")),
    ]
    assert all(silent.resources[urn].inputs == seen.inputs for urn, seen in graph.resources.items())
    # The same URNs as with mail, so that its records change in place.
    served = run(CONFIG | {"domains": {"parked.example": {}}}, secret_keys=("mailboxes",))
    assert {seen.urn for seen in added} - served.resources.keys() == {silent.named("mail-parked.example-no-key").urn}


def test_adopting_for_a_record_that_is_not_ours_is_refused() -> None:
    config = CONFIG | {"dns": {"adopt": {"mail-example.com-mx": f"{ZONE_ID}/{'0' * 32}"}}}
    with pytest.raises(pulumi.RunError, match=r"dns.adopt: mail-example.com-mx is no record of this stack"):
        run(config, secret_keys=("mailboxes",))
