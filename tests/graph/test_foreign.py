"""What stands in a zone already is looked at: by a preview for all that is new, by an update before each record."""

from collections.abc import Mapping, Sequence

import pulumi
import pytest

from tests.graph.conftest import CONFIG
from tests.graph.harness import LIST_RECORDS, ZONE_ID, Graph, run

DNS_RECORD = "cloudflare:index/dnsRecord:DnsRecord"
MX = {"id": "1", "type": "MX", "name": "example.org", "content": "mx.old.example"}
SPF = {"id": "2", "type": "TXT", "name": "example.org", "content": '"v=spf1 -all"'}
CAA_DATA = {"flags": 0, "tag": "issue", "value": "ca.old.example"}
CAA = {"id": "3", "type": "CAA", "name": "mail.example.org", "content": '0 issue "ca.old.example"', "data": CAA_DATA}
OTHER = {"id": "4", "type": "A", "name": "www.example.org", "content": "203.0.113.200"}


def previewed(zone: Sequence[Mapping[str, object]], *, exist: Sequence[str] = (), failing: Sequence[str] = ()) -> Graph:
    return run(CONFIG, secret_keys=("mailboxes",), preview=True, zone=zone, exist=exist, failing=failing)


def test_a_preview_names_at_once_all_that_new_records_meet() -> None:
    with pytest.raises(pulumi.RunError) as refused:
        previewed([MX, SPF, CAA, OTHER])
    first, *lines = str(refused.value).splitlines()
    assert "nothing was changed" in first
    assert [line.split(":")[0].strip() for line in lines] == [
        "example.org MX mx.old.example",
        'example.org TXT "v=spf1 -all"',
        # Its own value is made on the host, and not known yet.
        'mail.example.org CAA 0 issue "ca.old.example"',
    ]
    assert f"{ZONE_ID}/1" in str(refused.value)


def test_a_preview_lists_each_zone_once(preview: Graph) -> None:
    assert [sent["zoneId"] for token, sent in preview.calls if token == LIST_RECORDS] == [ZONE_ID]
    assert not [seen.name for seen in preview.resources.values() if seen.before_create]


def test_records_that_are_there_ask_cloudflare_nothing(graph: Graph) -> None:
    records = [seen.name for seen in graph.of_type(DNS_RECORD)]
    unchanged = previewed([MX], exist=records)
    assert LIST_RECORDS not in [token for token, _ in unchanged.calls]


def test_only_a_new_record_meets_what_is_there() -> None:
    with pytest.raises(pulumi.RunError) as refused:
        previewed([MX, SPF], exist=["mail-example.org-mx"])
    assert SPF["content"] in str(refused.value)
    assert MX["content"] not in str(refused.value)


def test_a_record_that_fails_meets_nothing_and_hides_nothing() -> None:
    with pytest.raises(pulumi.RunError) as refused:
        previewed([MX, SPF], failing=["mail-example.org-spf"])
    assert MX["content"] in str(refused.value)
    assert SPF["content"] not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"content": "mail.example.org"},
        {"comment": "mailhost test", "content": "mx.example.org"},  # of a former version
        {"name": "old.example.org"},
    ],
)
def test_a_preview_tells_what_this_stack_made_and_the_state_does_not_know(
    caplog: pytest.LogCaptureFixture, changes: Mapping[str, str]
) -> None:
    mine = {**MX, "comment": "mailhost test mail-example.org-mx", **changes}
    with caplog.at_level("INFO"):
        previewed([mine])
    assert f"{mine['name']} MX {mine['content']}: made by this stack for mail-example.org-mx" in caplog.text


def test_a_record_of_this_stack_whose_resource_exists_is_left_to_it(caplog: pytest.LogCaptureFixture) -> None:
    mine = {**SPF, "comment": "mailhost test mail-example.org-spf"}
    with caplog.at_level("INFO"):
        previewed([mine], exist=["mail-example.org-spf"])
    assert "made by this stack" not in caplog.text


def test_the_engine_looks_into_the_zone_before_it_makes_any_record(graph: Graph) -> None:
    for seen in graph.resources.values():
        assert seen.before_create == (("foreign-records",) if seen.type == DNS_RECORD else ())


def test_an_adopted_record_is_imported_and_not_looked_for() -> None:
    where = f"{ZONE_ID}/{'0' * 32}"
    graph = run(CONFIG | {"dns": {"adopt": {"mail-example.org-mx": where}}}, secret_keys=("mailboxes",))
    adopted = graph.named("mail-example.org-mx")
    assert (adopted.import_id, adopted.before_create) == (where, ())
    assert [seen.name for seen in graph.of_type(DNS_RECORD) if seen.import_id] == ["mail-example.org-mx"]


@pytest.mark.parametrize("name", ["mail-example.org-mx", "mail-example.org-srv-imaps", "mail-certificate-caa"])
def test_an_adopted_record_keeps_its_content_or_its_data(name: str) -> None:
    # Kept content would come beside the data of ours, which the provider refuses.
    graph = run(CONFIG | {"dns": {"adopt": {name: f"{ZONE_ID}/{'0' * 32}"}}}, secret_keys=("mailboxes",))
    adopted = graph.named(name)
    assert {"ttl", "data"} <= adopted.ignored
    assert ("content" in adopted.ignored) == ("content" in adopted.inputs)


def test_a_record_that_looks_into_its_zone_finds_every_plugin_started(graph: Graph) -> None:
    # Otherwise the engine may wait for a plugin with every step taken by a record that waits for the engine.
    for record in graph.of_type(DNS_RECORD):
        before = {graph.resources[urn].type.partition(":")[0] for urn in graph.before(record) if urn in graph.resources}
        assert {"command", "tls"} <= before, record.name
