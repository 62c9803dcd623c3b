"""cloudflare.DnsRecord and its functions against the lab's API, called like the engine calls them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from lab.cloudflare_api.service import zone_id
from lab.plugins.values import UNKNOWN, Secret
from tests.cloudflare_api.fakes import TOKEN, ZONE, Background, Lab
from tests.plugins.conftest import Plugin, PluginError, ResourceCalls

RECORD = "cloudflare:index/dnsRecord:DnsRecord"
GET_ZONE = "cloudflare:index/getZone:getZone"
HOST = f"mail.{ZONE}"
ID = zone_id(ZONE)


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.close()


@pytest.fixture
def lab(background: Background, tmp_path: Path) -> Lab:
    return Lab.started(background, tmp_path)


@pytest.fixture
def plugin(start: Callable[..., Plugin], lab: Lab) -> Plugin:
    plugin = start("cloudflare")
    assert plugin.configure(apiToken=Secret(TOKEN), baseUrl=lab.url, version="6.17.0") == {}
    return plugin


@pytest.fixture
def record(plugin: Plugin) -> ResourceCalls:
    return plugin.resource(RECORD)


def inputs(**changed: Any) -> dict[str, Any]:
    values = {"zoneId": ID, "name": HOST, "type": "A", "ttl": 3600.0, "content": "203.0.113.13"}
    return {key: value for key, value in (values | changed).items() if value is not None}


# Records


def test_record_is_created_and_state_keeps_the_plan(record: ResourceCalls, lab: Lab) -> None:
    resource_id, state = record.create(inputs(comment="hello"))
    assert len(resource_id) == 32
    assert inputs(comment="hello").items() <= state.items()
    assert state.keys() >= {"createdOn", "modifiedOn", "commentModifiedOn", "proxiable", "meta"}
    assert state["meta"] == "{}"
    assert lab.powerdns.contents(HOST, "A") == ["203.0.113.13"]


def test_request_body_holds_what_is_set_and_proxied(plugin: Plugin, background: Background) -> None:
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, await request.text()))
        return web.json_response({"success": True, "result": {"id": "0" * 32}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    plugin.configure(apiToken=TOKEN, baseUrl=background.serve(app))
    record = plugin.resource(RECORD)
    record.create(inputs(type="MX", content=HOST, priority=10.0))
    assert seen.pop() == (
        "POST",
        f'{{"content": "{HOST}", "name": "{HOST}", "priority": 10, "proxied": false, "ttl": 3600, "type": "MX"}}',
    )
    data = {"usage": 3.0, "selector": 1.0, "matchingType": 1.0, "certificate": "AB"}
    record.create(inputs(type="TLSA", content=None, data=data))
    assert '"data": {"certificate": "AB", "matching_type": 1, "selector": 1, "usage": 3}' in seen.pop()[1]
    # What is no longer wanted is said to be null.
    record.update(inputs(comment="old", tags=[], createdOn="x"), inputs(ttl=60.0))
    assert seen.pop() == (
        "PUT",
        f'{{"comment": null, "content": "203.0.113.13", "name": "{HOST}", "proxied": false, "ttl": 60, "type": "A"}}',
    )


def test_update_and_delete_reach_the_name_server(record: ResourceCalls, lab: Lab) -> None:
    resource_id, state = record.create(inputs())
    updated = record.update(state, inputs(content="203.0.113.14"), resource_id=resource_id)
    assert updated["createdOn"] == state["createdOn"]
    assert lab.powerdns.contents(HOST, "A") == ["203.0.113.14"]
    record.delete(updated, resource_id=resource_id)
    assert lab.powerdns.sets == {}


def test_deleting_what_is_gone_is_an_error(record: ResourceCalls) -> None:
    with pytest.raises(PluginError, match=r'DELETE "http://.*": 404 Not Found .*81044'):
        record.delete(inputs(), resource_id="0" * 32)


def test_refresh_takes_over_what_the_zone_says(record: ResourceCalls, lab: Lab) -> None:
    resource_id, state = record.create(inputs(comment="mine"))
    url = f"{lab.url}/zones/{ID}/dns_records/{resource_id}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    httpx.patch(url, json={"content": "203.0.113.99", "comment": None}, headers=headers).raise_for_status()
    found, current, current_inputs = record.read(resource_id, state, inputs(comment="mine"))
    assert (found, current["content"], "comment" in current) == (resource_id, "203.0.113.99", False)
    assert current_inputs["content"] == "203.0.113.99"
    assert record.diff(current, inputs(comment="mine")).paths == {"content": "UPDATE", "comment": "ADD"}
    httpx.delete(url, headers=headers).raise_for_status()
    assert record.read(resource_id, state, inputs())[0] == ""


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "TXT", "content": '"v=DKIM1; p=AA" "BB"'},
        {"type": "MX", "content": HOST, "priority": 10.0},
        {"type": "SRV", "content": None, "data": {"priority": 0.0, "weight": 1.0, "port": 993.0, "target": HOST}},
        {"type": "CAA", "content": None, "data": {"flags": 0.0, "tag": "issue", "value": "ca.example"}},
        {"type": "CNAME", "content": "Target.Example"},
        {"proxied": False, "tags": [], "settings": {"ipv4Only": False}},
        {"name": "mail"},  # relative
    ],
)
def test_refresh_of_an_unchanged_record_is_no_drift(record: ResourceCalls, given: Any) -> None:
    resource_id, state = record.create(inputs(**given))
    assert not record.diff(state, inputs(**given)).changed
    _, current, _ = record.read(resource_id, state, inputs(**given))
    assert record.diff(current, inputs(**given)).paths == {}


def test_import_needs_the_zone_in_the_id(record: ResourceCalls) -> None:
    resource_id, _ = record.create(inputs())
    found, state, imported = record.read(f"{ID}/{resource_id}", {}, {})
    assert found == resource_id
    assert state["zoneId"] == ID
    assert not record.diff(state, inputs()).changed
    assert imported.items() >= inputs().items()
    with pytest.raises(PluginError, match="<zone_id>/<dns_record_id>"):
        record.read(resource_id, {}, {})


@pytest.mark.parametrize(
    ("change", "paths", "replaces"),
    [
        ({"content": "203.0.113.14"}, {"content": "UPDATE"}, []),
        ({"ttl": 60.0}, {"ttl": "UPDATE"}, []),
        ({"comment": "new"}, {"comment": "ADD"}, []),
        ({"proxied": True}, {"proxied": "UPDATE"}, []),
        ({"content": UNKNOWN}, {"content": "UPDATE"}, []),
        ({"type": "AAAA"}, {"type": "UPDATE_REPLACE"}, ["type"]),
        ({"zoneId": "1" * 32}, {"zoneId": "UPDATE_REPLACE"}, ["zoneId"]),
        ({"name": "www.trixie.example"}, {"name": "UPDATE"}, []),
    ],
)
def test_diff_names_each_changed_input(
    record: ResourceCalls, change: dict[str, Any], paths: dict[str, str], replaces: list[str]
) -> None:
    _, state = record.create(inputs())
    diff = record.diff(state, inputs(**change))
    assert (diff.paths, diff.replaces) == (paths, replaces)


def test_preview_asks_nobody(record: ResourceCalls, lab: Lab) -> None:
    _, planned = record.create(inputs(content=UNKNOWN), preview=True)
    assert planned["createdOn"] is UNKNOWN
    assert record.check(inputs(content=UNKNOWN, zoneId=UNKNOWN))[1] == {}
    assert lab.powerdns.patches == 0


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"value": "x"}, "value"),  # the name of version 5
        ({"ttl": None}, "ttl"),
        ({"ttl": "3600"}, "ttl"),
        ({"content": None}, "content"),
        ({"data": {"port": 1.0}}, "content"),  # both
        ({"type": "SRV", "content": None, "data": {"prt": 1.0}}, "data.prt"),
        ({"zoneId": None}, "zoneId"),
    ],
)
def test_inputs_outside_the_schema_are_refused(record: ResourceCalls, given: Any, path: str) -> None:
    assert list(record.check(inputs(**given))[1]) == [path]


def test_proxied_record_needs_the_automatic_ttl(record: ResourceCalls) -> None:
    with pytest.raises(PluginError, match="ttl must be set to 1"):
        record.create(inputs(proxied=True))


def test_refusal_of_the_api_is_shown_whole(record: ResourceCalls) -> None:
    record.create(inputs())
    with pytest.raises(PluginError) as error:
        record.create(inputs())
    text = str(error.value)
    assert text.startswith('POST "http://127.0.0.1:')
    assert '400 Bad Request {"result": null, "success": false' in text
    assert "An identical record already exists." in text
    assert TOKEN not in text


# Zones


def test_zone_is_found_by_name_or_id(plugin: Plugin) -> None:
    by_name = plugin.invoke(GET_ZONE, filter={"name": ZONE, "match": "all"})
    assert (by_name["zoneId"], by_name["id"], by_name["name"], by_name["status"]) == (ID, ID, ZONE, "active")
    assert by_name["nameServers"] == ["ns1.example", "ns2.example"]
    assert by_name["filter"]["name"] == ZONE
    assert plugin.invoke(GET_ZONE, zoneId=ID)["name"] == ZONE


def test_absent_zone_is_named(plugin: Plugin) -> None:
    with pytest.raises(PluginError, match=r"expected exactly one zone with match all, name no\.example, found 0"):
        plugin.invoke(GET_ZONE, filter={"name": "no.example", "match": "all"})


def test_lists_read_every_page(plugin: Plugin, record: ResourceCalls) -> None:
    for number in range(3):
        record.create(inputs(name=f"h{number}.{ZONE}"))
    zones = plugin.invoke("cloudflare:index/getZones:getZones", maxItems=1)
    assert [zone["name"] for zone in zones["results"]] == [ZONE]
    function = "cloudflare:index/getDnsRecords:getDnsRecords"
    assert len(plugin.invoke(function, zoneId=ID)["results"]) == 3
    (found,) = plugin.invoke(function, zoneId=ID, name={"startswith": "h1"})["results"]
    assert found["name"] == f"h1.{ZONE}"
    assert len(plugin.invoke(function, zoneId=ID, maxItems=2)["results"]) == 2


# Settings


def test_token_that_cannot_be_one_is_refused(plugin: Plugin, lab: Lab) -> None:
    assert "40 to 80 characters" in plugin.configure(apiToken="short", baseUrl=lab.url)["apiToken"]
    assert list(plugin.configure(apiTokn=TOKEN)) == ["apiTokn"]


def test_wrong_token_is_refused_by_the_api(plugin: Plugin, lab: Lab) -> None:
    plugin.configure(apiToken="x" * 40, baseUrl=lab.url)
    with pytest.raises(PluginError, match=r"403 Forbidden .*10000.*Authentication error"):
        plugin.invoke(GET_ZONE, filter={"name": ZONE, "match": "all"})


def test_missing_token_is_named(plugin: Plugin, lab: Lab) -> None:
    plugin.configure(baseUrl=lab.url)
    with pytest.raises(PluginError, match="no API token: set the secret cloudflare:apiToken"):
        plugin.invoke(GET_ZONE, zoneId=ID)


def test_settings_may_come_from_the_environment(start: Callable[..., Plugin], lab: Lab) -> None:
    plugin = start("cloudflare", CLOUDFLARE_BASE_URL=lab.url, CLOUDFLARE_API_TOKEN=TOKEN)
    assert plugin.invoke(GET_ZONE, zoneId=ID)["name"] == ZONE


def test_real_cloudflare_is_never_asked(plugin: Plugin) -> None:
    plugin.configure(apiToken=TOKEN)
    with pytest.raises(PluginError, match="cloudflare:baseUrl is not set"):
        plugin.invoke(GET_ZONE, zoneId=ID)


def test_lab_that_is_down_is_said_at_once(plugin: Plugin) -> None:
    plugin.configure(apiToken=TOKEN, baseUrl="http://127.0.0.1:9/client/v4/")
    with pytest.raises(
        PluginError, match=r'GET "http://127.0.0.1:9/client/v4/zones/.*connection refused; is the lab up\?'
    ):
        plugin.invoke(GET_ZONE, zoneId=ID)


@pytest.mark.parametrize(
    ("status", "headers", "requests"),
    [
        (500, {"Retry-After-Ms": "1"}, 3),
        (429, {"Retry-After-Ms": "1"}, 3),
        (500, {"x-should-retry": "false"}, 1),
        (400, {}, 1),
    ],
)
def test_requests_are_repeated_like_the_official_client_does(
    plugin: Plugin, background: Background, status: int, headers: dict[str, str], requests: int
) -> None:
    seen = 0

    async def answer(request: web.Request) -> web.Response:
        del request
        nonlocal seen
        seen += 1
        if seen == 3:
            return web.json_response({"result": {"id": ID, "name": ZONE}})
        return web.json_response({"success": False}, status=status, headers=headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    plugin.configure(apiToken=TOKEN, baseUrl=background.serve(app))
    if requests == 3:
        assert plugin.invoke(GET_ZONE, zoneId=ID)["name"] == ZONE
    else:
        with pytest.raises(PluginError, match=f": {status} "):
            plugin.invoke(GET_ZONE, zoneId=ID)
    assert seen == requests
