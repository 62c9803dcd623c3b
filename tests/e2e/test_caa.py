"""CAA: only the host's own ACME account may have certificates of its name, and of every name that leads to it."""

import json

import dns.resolver
import pytest

from lab import cloudflare
from lab.addresses import CAA_ISSUER, RESOLVER4
from lab.clients import wait_for
from tests.e2e.conftest import Host


def seen(name: str) -> set[str]:
    """Return the CAA records of a name as an authority finds them: following an alias (RFC 8659 §3)."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [RESOLVER4]
    try:
        return {record.to_text() for record in resolver.resolve(name, "CAA")}
    except dns.resolver.NoAnswer:
        return set()


def test_the_account_that_renews_is_the_one_that_may(host: Host) -> None:
    machine = host.machine
    # Of all certificates, the web names' too.
    (used,) = set(host.run("sh", "-c", "sed -n 's/^account = //p' /etc/letsencrypt/renewal/*.conf").split())
    account = json.loads(host.run("sh", "-c", f"cat /etc/letsencrypt/accounts/*/*/{used}/regr.json"))["uri"]
    permitted = {f'0 issue "{CAA_ISSUER};accounturi={account};validationmethods=http-01"', '0 issuewild ";"'}
    for name in (machine.hostname, *(f"{label}.{machine.domain}" for label in ("autoconfig", "mta-sts"))):
        assert seen(name) == permitted, name
    assert seen(machine.domain) == set()


def test_a_foreign_record_is_named_before_ours_comes(host: Host) -> None:
    name = host.machine.hostname
    with host.stack.kept():
        host.stack.configure({"caa": {"enabled": False}})
        assert set(host.stack.planned()) == {
            *(("update", f"mail-certificate-{what}") for what in ("request", "issue")),
            *(("delete", f"mail-certificate-{what}") for what in ("account", "caa", "caa-wildcard")),
        }
        host.stack.up().must_pass()
    assert seen(name) == set()
    (zone,) = cloudflare.request("GET", f"zones?name={host.machine.domain}")
    place = f"zones/{zone['id']}/dns_records"
    data = {"flags": 0, "tag": "issue", "value": "other.example"}
    made = cloudflare.request("POST", place, {"type": "CAA", "name": name, "data": data, "ttl": 60})
    try:
        refused = host.stack.preview()
        assert refused.code != 0
        assert f'{name} CAA 0 issue "other.example": whom it names could have certificates' in refused.output
        assert "caa.enabled false, or delete it at Cloudflare" in refused.output
    finally:
        cloudflare.request("DELETE", f"{place}/{made['id']}")
    host.stack.up().must_pass()
    wait_for(lambda: len(seen(name)) == 2, "both records")
    assert host.stack.planned() == []


@pytest.mark.parametrize("server", ["https://{}/none", "https://{}/dir"])
def test_an_authority_that_does_not_name_itself_is_named(host: Host, server: str) -> None:
    # Pebble's directory says nothing of CAA (RFC 8555 §7.1.1), and there is no second one.
    url = server.format(_server(host).split("/")[2])
    command = ("mailhostctl", "acme-account", "--server", url, "--contact", "postmaster@example.org")
    said = host.run_fails(*command)
    assert ("cannot be read: HTTP Error 404" if "none" in url else "set caa.issuer to that") in said


def _server(host: Host) -> str:
    (server,) = set(host.run("sh", "-c", "sed -n 's/^server = //p' /etc/letsencrypt/renewal/*.conf").split())
    return server
