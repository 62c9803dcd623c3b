"""A domain whose zone is in use: what is in the way is named, nothing foreign is changed, and it can be taken over."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab import cloudflare, faults
from lab.clients import wait_for
from tests.e2e.conftest import Host

pytestmark = pytest.mark.one_release("debian12")

VERIFICATION = '"site-verification=0123456789"'


@pytest.fixture
def zone(host: Host) -> Iterator[str]:
    """The second domain, as if another provider had served it; its records are gone afterwards."""
    domain = host.machine.second_domain
    before = host.stack.settings()
    cloudflare.delete_records(domain)
    (found,) = cloudflare.request("GET", f"zones?name={domain}")
    for kind, name, content in (
        ("MX", domain, "mx.old.example"),
        ("TXT", domain, '"v=spf1 include:old.example ~all"'),
        ("TXT", domain, VERIFICATION),
        ("TXT", f"_dmarc.{domain}", '"v=DMARC1; p=none"'),
        ("CNAME", f"autoconfig.{domain}", "setup.old.example"),
        ("A", f"www.{domain}", "203.0.113.200"),
    ):
        body = {"type": kind, "name": name, "content": content, "ttl": 300}
        cloudflare.request("POST", f"zones/{found['id']}/dns_records", body | ({"priority": 5} if kind == "MX" else {}))
    yield domain
    host.stack.restore(before)
    host.stack.up().must_pass()
    cloudflare.delete_records(domain)


def records(domain: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(item["type"], item["name"], item["content"]): item for item in cloudflare.records(domain)}


def importable(domain: str, item: dict[str, Any]) -> str:
    (found,) = cloudflare.request("GET", f"zones?name={domain}")
    return f"{found['id']}/{item['id']}"


def address(domain: str, item: dict[str, Any]) -> str:
    """Where the API keeps the record."""
    zone_id, _, record_id = importable(domain, item).partition("/")
    return f"zones/{zone_id}/dns_records/{record_id}"


def test_a_zone_in_use_is_respected_and_taken_over_step_by_step(host: Host, zone: str) -> None:
    foreign = records(zone)
    (mx,) = [item for item in foreign.values() if item["type"] == "MX"]
    spf = foreign["TXT", zone, '"v=spf1 include:old.example ~all"']
    dmarc = foreign["TXT", f"_dmarc.{zone}", '"v=DMARC1; p=none"']
    alias = foreign["CNAME", f"autoconfig.{zone}", "setup.old.example"]
    host.stack.configure({"domains": {zone: {}}})

    refused = host.stack.preview()
    assert refused.code != 0
    for item in (mx, spf, dmarc, alias):
        assert f"{item['name']} {item['type']} {item['content']}: " in refused.output
    assert f"'dns.adopt[\"mail-{zone}-mx\"]' {importable(zone, mx)}" in refused.output
    assert VERIFICATION not in refused.output
    assert f"www.{zone}" not in refused.output
    # Without a preview the engine finds out when it is about to make a record, whichever comes first.
    stopped = host.stack.up()
    assert stopped.code != 0
    assert [item for item in foreign.values() if f"{item['name']} {item['type']} {item['content']}: " in stopped.output]
    assert foreign.items() <= records(zone).items()

    # Each of the three ways: a setting, Pulumi's own import, deletion by hand.
    dns = {"ttl": 60, "adopt": {f"mail-{zone}-mx": importable(zone, mx), f"mail-{zone}-spf": importable(zone, spf)}}
    host.stack.configure({"dns": dns})
    resources = [
        {"type": "mailhost:index:MailHost", "name": "mail", "component": True},
        {"type": "mailhost:index:MailDomain", "name": f"mail-{zone}", "component": True, "parent": "mail"},
        {
            "type": "cloudflare:index/dnsRecord:DnsRecord",
            "name": f"mail-{zone}-dmarc",
            "id": importable(zone, dmarc),
            "parent": f"mail-{zone}",
        },
    ]
    (host.stack.folder / "import.json").write_text(json.dumps({"resources": resources}))
    words = ("--file", "import.json", "--protect=false", "--generate-code=false", "--yes", "--skip-preview")
    host.stack.pulumi("import", *words, stack=True).must_pass()
    cloudflare.request("DELETE", address(zone, alias))

    host.stack.up().must_pass()
    now = records(zone)
    kept = [key for key, item in foreign.items() if item not in (dmarc, alias)]
    assert {key: now[key]["id"] for key in kept} == {key: foreign[key]["id"] for key in kept}
    assert host.stack.planned() == []
    ours = {item["id"]: item for item in now.values()}
    assert "rua=" in ours[dmarc["id"]]["content"]
    assert ours[spf["id"]]["comment"] is None

    # Off the list, they become the stack's own: changed in place, so the domain never is without.
    host.stack.configure({"dns": {"ttl": 60}})
    assert sorted(host.stack.planned()) == [("update", f"mail-{zone}-mx"), ("update", f"mail-{zone}-spf")]
    host.stack.up().must_pass()
    ours = {item["id"]: item for item in cloudflare.records(zone)}
    assert ours[mx["id"]]["content"] == host.machine.hostname
    assert ours[spf["id"]]["comment"] == f"mailhost {host.stack.name} mail-{zone}-spf"
    assert {("TXT", zone, VERIFICATION), ("A", f"www.{zone}", "203.0.113.200")} <= records(zone).keys()


def test_records_that_a_killed_update_could_not_note_are_made_anew(host: Host, zone: str) -> None:
    for item in cloudflare.records(zone):
        if item["content"] != VERIFICATION:
            cloudflare.request("DELETE", address(zone, item))
    host.stack.configure({"domains": {zone: {}}})
    with faults.publication_held(zone):
        running = host.stack.start_up()
        wait_for(lambda: "mailhostctl wait-dns" in host.run("ps", "-eo", "args"), "the wait for DNS")
    # The records so far were answered for; MX and SRV, which come after the wait, are not.
    with faults.answers_held(zone):
        host.stack.cut_off(running, lambda: {kind for kind, *_ in records(zone)} >= {"MX", "SRV"}, "the last records")
    left = records(zone)
    (mx,) = [item for (kind, *_), item in left.items() if kind == "MX"]
    path = address(zone, mx)

    # The same to the letter, but not marked as this stack's own.
    cloudflare.request("PATCH", path, {"comment": "made by hand"})
    refused = host.stack.up()
    assert refused.code != 0
    assert f"{zone} MX {mx['content']}: this very record is there already" in refused.output
    assert mx["id"] in {item["id"] for item in cloudflare.records(zone)}
    # As an update with other settings left it; and of the SPF record the state is lost.
    mark = f"mailhost {host.stack.name} mail-{zone}-mx"
    cloudflare.request("PATCH", path, {"comment": mark, "content": "mx.former.example"})
    host.stack.pulumi("state", "delete", host.stack.urn(f"mail-{zone}-spf"), "--yes", stack=True).must_pass()
    host.stack.configure({"domains": {zone: {"spf": {"all": "~all"}}}})
    (spf,) = [item for item in left.values() if item["content"].startswith('"v=spf1')]

    told = [
        f"{zone} MX mx.former.example: made by this stack for mail-{zone}-mx, which is created now; it is deleted and",
        f"{zone} TXT {spf['content']}: made by this stack for mail-{zone}-spf, which is created now; it is deleted and",
    ]
    planned = host.stack.preview().must_pass().output
    assert {mx["id"], spf["id"]} <= {item["id"] for item in cloudflare.records(zone)}
    done = host.stack.up().must_pass().output
    for line in told:
        assert line in planned
        assert line in done
    now = records(zone)
    assert len(now) == len(cloudflare.records(zone))
    policies = [content for _, name, content in now if name == zone and content.startswith('"v=spf1')]
    assert policies == [spf["content"].replace("-all", "~all")]
    assert left.keys() - {("TXT", zone, spf["content"])} <= now.keys()
    assert now["MX", zone, mx["content"]]["id"] != mx["id"]
    assert now["TXT", zone, VERIFICATION] == left["TXT", zone, VERIFICATION]
    assert host.stack.planned() == []
