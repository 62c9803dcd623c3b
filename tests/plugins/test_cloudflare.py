"""cloudflare.DnsRecord and its functions against the lab's API, called like the engine calls them."""

import asyncio
import http.client
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from lab.cloudflare_api.service import zone_id
from lab.plugins.cloudflare_http import PACE, RETRIES, Api, backoff, retry_after
from lab.plugins.values import UNKNOWN, Secret
from tests.cloudflare_api.fakes import TOKEN, ZONE, Background, Lab
from tests.plugins.conftest import Engine, Plugin, PluginError, ResourceCalls

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
    # The schedule of the pauses is a test of its own.
    plugin = start("cloudflare", **{PACE: "0.001"})
    assert plugin.configure(apiToken=Secret(TOKEN), baseUrl=lab.url, version="6.17.0") == {}
    return plugin


@pytest.fixture
def record(plugin: Plugin) -> ResourceCalls:
    return plugin.resource(RECORD)


@dataclass
class Recorder:
    """An API that answers everything with the same, and keeps what it was asked."""

    answer: dict[str, Any]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    """The body, where it is not the answer as JSON."""
    failing: tuple[float, float] = (1, math.inf)
    """The first and the last request that get the status; the others succeed."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path with query, body."""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path_qs, await request.text()))
        first, last = self.failing
        status = self.status if first <= len(self.requests) <= last else 200
        if self.text is not None:
            return web.Response(text=self.text, status=status, headers=self.headers)
        return web.json_response(self.answer, status=status, headers=self.headers)

    @property
    def body(self) -> dict[str, Any]:
        """The last body."""
        return dict(json.loads(self.requests[-1][2]))


@pytest.fixture
def recorded(plugin: Plugin, background: Background) -> Callable[..., Recorder]:
    """Has the plugin ask a recorder from now on."""

    def record(answer: dict[str, Any] | None = None, **changed: Any) -> Recorder:
        recorder = Recorder(answer or {"result": {"id": "0" * 32}}, **changed)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", recorder.handle)
        plugin.configure(apiToken=TOKEN, baseUrl=background.serve(app))
        return recorder

    return record


DATA: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    # Data before and after a change, and what Cloudflare computes of both.
    "SRV": (
        {"priority": 0.0, "weight": 1.0, "port": 993.0, "target": HOST},
        {"priority": 0.0, "weight": 1.0, "port": 995.0, "target": HOST},
        f"0 1 993 {HOST}",
        f"0 1 995 {HOST}",
    ),
    "CAA": (
        {"flags": 0.0, "tag": "issue", "value": "ca.example"},
        {"flags": 0.0, "tag": "issue", "value": "other.example"},
        '0 issue "ca.example"',
        '0 issue "other.example"',
    ),
    "TLSA": (
        {"usage": 3.0, "selector": 1.0, "matchingType": 1.0, "certificate": "AB"},
        {"usage": 3.0, "selector": 1.0, "matchingType": 1.0, "certificate": "CD"},
        "3 1 1 AB",
        "3 1 1 CD",
    ),
}


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


def test_state_has_what_the_provider_adds(record: ResourceCalls) -> None:
    resource_id, state = record.create(inputs())
    assert (state["id"], state["proxied"], state["tags"], state["settings"]) == (resource_id, False, [], {})
    _, alias = record.create(inputs(name=f"www.{ZONE}", type="CNAME", content=HOST))
    assert alias["settings"] == {"flattenCname": False, "ipv4Only": False, "ipv6Only": False}


def test_request_body_holds_what_is_set_and_proxied(plugin: Plugin, recorded: Callable[..., Recorder]) -> None:
    api = recorded()
    record = plugin.resource(RECORD)
    record.create(inputs(type="MX", content=HOST, priority=10.0))
    assert api.requests[-1] == (
        "POST",
        f"/zones/{ID}/dns_records",
        f'{{"content": "{HOST}", "name": "{HOST}", "priority": 10, "proxied": false, "ttl": 3600, "type": "MX"}}',
    )
    record.create(inputs(type="TLSA", content=None, data=DATA["TLSA"][0]))
    assert api.body["data"] == {"certificate": "AB", "matching_type": 1, "selector": 1, "usage": 3}
    assert "content" not in api.body
    # The record is put whole, and what is no longer wanted is said to be null.
    old = inputs(comment="old", priority=1.0, privateRouting=True, proxied=False, tags=[], settings={}, createdOn="x")
    record.update({**old, "id": "1" * 32}, inputs(ttl=60.0))
    assert api.requests[-1][:2] == ("PUT", f"/zones/{ID}/dns_records/{'1' * 32}")
    assert api.body == {
        **{"comment": None, "content": "203.0.113.13", "name": HOST, "priority": None, "private_routing": None},
        **{"proxied": False, "settings": {}, "tags": [], "ttl": 60, "type": "A"},
    }
    # Also of a value within another.
    old = inputs(type="CAA", content=None, data={**DATA["CAA"][0], "weight": 1.0}, id="1" * 32)
    record.update(old, inputs(type="CAA", content=None, data=DATA["CAA"][0]))
    assert api.body["data"] == {"flags": 0, "tag": "issue", "value": "ca.example", "weight": None}


@pytest.mark.parametrize("kind", DATA)
def test_changed_data_goes_with_the_content_of_before_which_stays_in_the_state(
    *, plugin: Plugin, lab: Lab, recorded: Callable[..., Recorder], kind: str
) -> None:
    before, after, old, new = DATA[kind]
    record = plugin.resource(RECORD)
    given, wanted = (inputs(type=kind, content=None, data=data) for data in (before, after))
    _, planned = record.create(given, preview=True)
    assert planned["content"] is UNKNOWN
    resource_id, state = record.create(given)
    assert state["content"] == old
    assert record.diff(state, wanted).paths == {"data": "UPDATE"}
    assert record.update(state, wanted, preview=True)["content"] == old

    updated = record.update(state, wanted, resource_id=resource_id)
    assert (updated["content"], updated["data"]) == (old, after)
    (published,) = lab.powerdns.contents(HOST, kind)
    assert published.rstrip(".") == new
    assert not record.diff(updated, wanted).changed
    _, current, current_inputs = record.read(resource_id, updated, wanted)
    assert (current["content"], "content" in current_inputs) == (new, False)

    api = recorded()
    record.update(state, wanted, resource_id=resource_id)
    assert api.body["content"] == old


def test_preview_of_an_update_knows_what_stays(record: ResourceCalls) -> None:
    resource_id, state = record.create(inputs(comment="mine"))
    planned = record.update(state, inputs(comment="mine", ttl=60.0), preview=True)
    kept = ("id", "createdOn", "proxiable", "meta", "commentModifiedOn", "tags", "settings")
    assert {key: planned[key] for key in kept} == {key: state[key] for key in kept}
    assert (planned["id"], planned["modifiedOn"]) == (resource_id, UNKNOWN)
    assert record.update(state, inputs(comment="yours"), preview=True)["commentModifiedOn"] is UNKNOWN
    assert "commentModifiedOn" not in record.update(state, inputs(), preview=True)


def test_record_without_the_output_id_fails_at_its_next_operation(record: ResourceCalls) -> None:
    resource_id, state = record.create(inputs())
    del state["id"]
    missing = "failed to make http request: missing required dns_record_id parameter"
    for operation in (
        lambda: record.update(state, inputs(ttl=60.0), resource_id=resource_id),
        lambda: record.read(resource_id, state, inputs()),
        lambda: record.delete(state, resource_id=resource_id),
    ):
        with pytest.raises(PluginError) as error:
            operation()
        assert str(error.value) == missing


def test_answer_without_an_id_counts_as_created(plugin: Plugin, recorded: Callable[..., Recorder]) -> None:
    recorded({"success": True, "result": {}})
    resource_id, state = plugin.resource(RECORD).create(inputs())
    assert (resource_id, "id" in state) == ("{<nil>}", False)


def test_update_and_delete_reach_the_name_server(record: ResourceCalls, lab: Lab) -> None:
    resource_id, state = record.create(inputs())
    updated = record.update(state, inputs(content="203.0.113.14"), resource_id=resource_id)
    assert updated["createdOn"] == state["createdOn"]
    assert lab.powerdns.contents(HOST, "A") == ["203.0.113.14"]
    record.delete(updated, resource_id=resource_id)
    assert lab.powerdns.sets == {}


def test_deleting_what_is_gone_is_an_error(record: ResourceCalls) -> None:
    with pytest.raises(PluginError, match=r'DELETE "http://.*": 404 Not Found .*81044'):
        record.delete(inputs(id="0" * 32), resource_id="0" * 32)


def test_refresh_takes_over_what_the_zone_says(record: ResourceCalls, lab: Lab, engine: Engine) -> None:
    resource_id, state = record.create(inputs(comment="mine"))
    url = f"{lab.url}/zones/{ID}/dns_records/{resource_id}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    httpx.patch(url, json={"content": "203.0.113.99", "comment": None}, headers=headers).raise_for_status()
    found, current, current_inputs = record.read(resource_id, state, inputs(comment="mine"))
    assert (found, current["content"], "comment" in current) == (resource_id, "203.0.113.99", False)
    assert current_inputs["content"] == "203.0.113.99"
    assert record.diff(current, inputs(comment="mine")).paths == {"content": "UPDATE", "comment": "ADD"}
    httpx.delete(url, headers=headers).raise_for_status()
    engine.lines.clear()
    assert record.read(resource_id, state, inputs())[0] == ""
    assert engine.lines == [
        "WARNING: [WARNING] The resource was not found on the server and will be removed from state.: "
        "Resource not found"
    ]


def test_refresh_does_not_keep_what_the_zone_has_lost(record: ResourceCalls, recorded: Callable[..., Recorder]) -> None:
    given = inputs(comment="mine", priority=1.0, tags=["a:b"], settings={"ipv4Only": True}, privateRouting=True)
    result = {"id": "1" * 32, "name": HOST, "type": "A", "content": "203.0.113.13", "ttl": 3600, "tags": []}
    recorded({"result": result})
    _, state, current = record.read("1" * 32, {**given, "id": "1" * 32}, given)
    assert state["tags"] == []
    assert not {"comment", "priority", "settings", "privateRouting"} & (state.keys() | current.keys())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "TXT", "content": '"v=DKIM1; p=AA" "BB"'},
        {"type": "MX", "content": HOST, "priority": 10.0},
        {"type": "SRV", "content": None, "data": {"priority": 0.0, "weight": 1.0, "port": 993.0, "target": HOST}},
        {"type": "CAA", "content": None, "data": {"flags": 0.0, "tag": "issue", "value": "ca.example"}},
        {"type": "TLSA", "content": None, "data": {**DATA["TLSA"][0]}, "comment": "mine"},
        {"type": "CNAME", "content": "Target.Example"},
        {"type": "CNAME", "content": HOST, "name": "www", "settings": {"flattenCname": False}},
        {"proxied": False, "tags": [], "settings": {"ipv4Only": False}},
        {"name": "mail"},  # relative
        {"name": "@"},
    ],
)
def test_refresh_of_an_unchanged_record_is_no_drift(record: ResourceCalls, given: Any) -> None:
    resource_id, state = record.create(inputs(**given))
    assert not record.diff(state, inputs(**given)).changed
    _, current, _ = record.read(resource_id, state, inputs(**given))
    assert record.diff(current, inputs(**given)).paths == {}
    assert current == state | {"name": current["name"]}


def test_ignored_changes_are_measured_at_the_state(record: ResourceCalls) -> None:
    given = inputs(type="CAA", content=None, data=DATA["CAA"][0], priority=0.0)
    resource_id, _ = record.create(given)
    _, state, imported = record.read(f"{ID}/{resource_id}", {}, {})
    wanted = {**imported, "ttl": 60.0}
    assert set(record.diff(state, wanted, ignored=["ttl"]).paths) == {"data", "priority"}
    assert record.diff(state, wanted, ignored=["data", "priority", "ttl"]).paths == {}


def test_import_needs_the_zone_in_the_id(record: ResourceCalls) -> None:
    resource_id, _ = record.create(inputs())
    found, state, imported = record.read(f"{ID}/{resource_id}", {}, {})
    assert found == resource_id
    assert state["zoneId"] == ID
    assert not record.diff(state, inputs()).changed
    assert imported == inputs()
    with pytest.raises(PluginError) as error:
        record.read(resource_id, {}, {})
    wanted = f'invalid ID: expected urlencoded segments "<zone_id>/<dns_record_id>", got "{resource_id}"'
    assert str(error.value) == wanted


def test_import_of_what_is_not_there_is_an_error(record: ResourceCalls) -> None:
    with pytest.raises(PluginError, match=r'^failed to make http request: GET "http://.*": 404 Not Found .*81044'):
        record.read(f"{ID}/{'0' * 32}", {}, {})


def test_import_leaves_zeros_out_and_takes_content_beside_data(record: ResourceCalls) -> None:
    given = inputs(type="SRV", content=None, data=DATA["SRV"][0], priority=0.0, proxied=False)
    resource_id, _ = record.create(given)
    _, _, imported = record.read(f"{ID}/{resource_id}", {}, {})
    data = {"weight": 1.0, "port": 993.0, "target": HOST}
    assert imported == inputs(type="SRV", content=DATA["SRV"][2], data=data)


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
        ({"name": "mail"}, {}, []),  # the provider's rule: also where the former name was not relative
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
        ({"ttl": "3600"}, "ttl"),  # the official plugin takes it
        ({"coment": "x"}, "coment"),  # the official plugin ignores it
        ({"content": None}, "content"),
        ({"data": {"port": 1.0}}, "content"),  # both
        ({"type": "SRV", "content": None, "data": {"prt": 1.0}}, "data.prt"),
        ({"zoneId": None}, "zoneId"),
    ],
)
def test_inputs_outside_the_schema_are_refused(record: ResourceCalls, given: Any, path: str) -> None:
    assert list(record.check(inputs(**given))[1]) == [path]


def test_proxied_record_needs_the_automatic_ttl(record: ResourceCalls) -> None:
    with pytest.raises(PluginError, match="^ttl must be set to 1 when `proxied` is true: When a DNS record is marked"):
        record.create(inputs(proxied=True))


def test_refusal_of_the_api_is_shown_whole_and_twice(record: ResourceCalls, lab: Lab, engine: Engine) -> None:
    record.create(inputs())
    with pytest.raises(PluginError) as error:
        record.create(inputs())
    body = {
        **{"result": None, "success": False},
        **{"errors": [{"code": 81058, "message": "An identical record already exists."}], "messages": []},
    }
    text = f'POST "{lab.url}/zones/{ID}/dns_records": 400 Bad Request {json.dumps(body)}'
    assert str(error.value) == f"failed to make http request: {text}"
    assert engine.lines == [f"ERROR: [ERROR] {text}: failed to make http request"]


def test_body_that_is_not_json_is_not_shown(plugin: Plugin, recorded: Callable[..., Recorder]) -> None:
    api = recorded(status=403, text="<html>blocked</html>")
    with pytest.raises(PluginError, match=r'^failed to make http request: GET "http://.*": 403 Forbidden $'):
        plugin.invoke(GET_ZONE, zoneId=ID)
    assert len(api.requests) == 1


def test_answer_that_does_not_say_it_is_json_is_refused(plugin: Plugin, recorded: Callable[..., Recorder]) -> None:
    recorded(text="{}")
    with pytest.raises(PluginError, match=r"content-type 'text/plain; charset=utf-8' that is not 'application/json'"):
        plugin.invoke(GET_ZONE, filter={"name": ZONE, "match": "all"})


# Zones


def test_zone_is_found_by_name_or_id(plugin: Plugin) -> None:
    by_name = plugin.invoke(GET_ZONE, filter={"name": ZONE, "match": "all"})
    assert (by_name["zoneId"], by_name["id"], by_name["name"], by_name["status"]) == (ID, ID, ZONE, "active")
    assert by_name["nameServers"] == ["ns1.example", "ns2.example"]
    assert by_name["filter"]["name"] == ZONE
    assert plugin.invoke(GET_ZONE, zoneId=ID)["name"] == ZONE


def test_absent_zone_is_not_named(plugin: Plugin, lab: Lab, engine: Engine) -> None:
    with pytest.raises(PluginError) as error:
        plugin.invoke(GET_ZONE, filter={"name": "no.example", "match": "all"})
    assert str(error.value) == "failed to find exactly one result: 0 found"
    assert engine.lines == ["ERROR: [ERROR] 0 found: failed to find exactly one result"]
    lab.powerdns.zones.add("absent.example.")
    with pytest.raises(PluginError, match="^failed to find exactly one result: 3 found$"):
        plugin.invoke(GET_ZONE, filter={"status": "active", "match": "all"})


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


def test_lists_are_asked_for_page_by_page_until_one_is_empty(plugin: Plugin, recorded: Callable[..., Recorder]) -> None:
    api = recorded({"result": [{"id": "0" * 32}]})
    function = "cloudflare:index/getDnsRecords:getDnsRecords"
    assert len(plugin.invoke(function, zoneId=ID, type="A", match="all", maxItems=3)["results"]) == 3
    first, second, third = [path for _, path, _ in api.requests]
    assert first == f"/zones/{ID}/dns_records?match=all&type=A"
    assert [second, third] == [f"/zones/{ID}/dns_records?match=all&page={page}&type=A" for page in (2, 3)]
    api = recorded({"result": []})
    assert plugin.invoke(function, zoneId=ID)["results"] == []
    assert len(api.requests) == 1
    recorded({"result": [{"id": "0" * 32}]}, status=403, failing=(2, 2))
    with pytest.raises(PluginError, match=r'^failed to fetch next page: GET "http://.*page=2": 403 Forbidden '):
        plugin.invoke(function, zoneId=ID)


# Settings


def test_token_that_cannot_be_one_is_refused(plugin: Plugin, lab: Lab) -> None:
    refusal = plugin.configure(apiToken="short", baseUrl=lab.url)["apiToken"]
    assert (
        "Attribute api_token API tokens must only contain characters a-z, A-Z, 0-9, hyphens and underscores" in refusal
    )
    assert "short" not in refusal
    assert list(plugin.configure(apiTokn=TOKEN)) == ["apiTokn"]


def test_wrong_token_is_refused_by_the_api(plugin: Plugin, lab: Lab) -> None:
    plugin.configure(apiToken="x" * 40, baseUrl=lab.url)
    with pytest.raises(PluginError, match=r"403 Forbidden .*10000.*Authentication error"):
        plugin.invoke(GET_ZONE, filter={"name": ZONE, "match": "all"})


def test_missing_token_is_the_apis_to_refuse(plugin: Plugin, lab: Lab) -> None:
    plugin.configure(baseUrl=lab.url)
    with pytest.raises(PluginError, match=r"400 Bad Request .*9106.*Missing X-Auth-Key, X-Auth-Email or Authorization"):
        plugin.invoke(GET_ZONE, zoneId=ID)


def test_settings_may_come_from_the_environment(start: Callable[..., Plugin], lab: Lab) -> None:
    plugin = start("cloudflare", CLOUDFLARE_BASE_URL=lab.url, CLOUDFLARE_API_TOKEN=TOKEN)
    assert plugin.invoke(GET_ZONE, zoneId=ID)["name"] == ZONE


def test_real_cloudflare_is_never_asked(plugin: Plugin) -> None:
    plugin.configure(apiToken=TOKEN)
    with pytest.raises(PluginError, match="cloudflare:baseUrl is not set"):
        plugin.invoke(GET_ZONE, zoneId=ID)


def test_api_that_refuses_connections_is_tried_in_silence(plugin: Plugin, engine: Engine) -> None:
    plugin.configure(apiToken=TOKEN, baseUrl="http://127.0.0.1:9/client/v4/")
    refused = (
        f'Post "http://127.0.0.1:9/client/v4/zones/{ID}/dns_records": dial tcp 127.0.0.1:9: connect: connection refused'
    )
    with pytest.raises(PluginError) as error:
        plugin.resource(RECORD).create(inputs())
    assert str(error.value) == f"failed to make http request: {refused}"
    assert (engine.passing, engine.lines) == ([], [f"ERROR: [ERROR] {refused}: failed to make http request"])


def test_api_that_has_no_address_is_said_like_go_does(plugin: Plugin) -> None:
    plugin.configure(apiToken=TOKEN, baseUrl="http://no.invalid/")
    with pytest.raises(
        PluginError, match=r': Get "http://no\.invalid/zones/.*": dial tcp: lookup no\.invalid: no such host$'
    ):
        plugin.invoke(GET_ZONE, zoneId=ID)


@pytest.mark.parametrize(
    ("status", "headers", "requests"),
    [
        (500, {}, 1 + RETRIES),
        (503, {"Retry-After": "0"}, 1 + RETRIES),
        (429, {}, 1 + RETRIES),
        (409, {}, 1 + RETRIES),
        (408, {}, 1 + RETRIES),
        (400, {"x-should-retry": "true"}, 1 + RETRIES),
        (500, {"x-should-retry": "false"}, 1),
        (429, {"x-should-retry": "false"}, 1),
        (400, {}, 1),
        (403, {}, 1),
        (404, {}, 1),
    ],
)
def test_requests_are_repeated_like_the_official_client_does(
    *, plugin: Plugin, recorded: Callable[..., Recorder], status: int, headers: dict[str, str], requests: int
) -> None:
    api = recorded({"success": False}, status=status, headers=headers)
    with pytest.raises(PluginError, match=f': {status} .* {{"success": false}}$'):
        plugin.resource(RECORD).create(inputs())
    assert len(api.requests) == requests
    assert len(set(api.requests)) == 1


def test_an_answer_after_retries_is_the_answer(plugin: Plugin, recorded: Callable[..., Recorder]) -> None:
    api = recorded({"result": {"id": ID, "name": ZONE}}, status=500, failing=(1, 2))
    assert plugin.invoke(GET_ZONE, zoneId=ID)["name"] == ZONE
    assert len(api.requests) == 3


def test_the_pause_an_answer_asks_for_is_made(plugin: Plugin, recorded: Callable[..., Recorder]) -> None:
    answer = {"result": {"id": ID, "name": ZONE}}
    recorded(answer, status=429, headers={"Retry-After": "200"}, failing=(1, 2))
    started = time.monotonic()
    plugin.invoke(GET_ZONE, zoneId=ID)
    # A thousandth of it, twice; without it the pauses are a thousandth of 2 and 4 seconds.
    assert time.monotonic() - started > 0.4


def test_an_answer_may_take_any_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            limits.append(self.sock.gettimeout())

    monkeypatch.setattr(http.client, "HTTPConnection", Connection)
    asyncio.run(Api({"apiToken": TOKEN, "baseUrl": lab.url}).call("GET", "zones"))
    assert limits == [None]


def test_pauses_are_the_official_clients() -> None:
    longest = [backoff(attempt, 0) for attempt in range(RETRIES)]
    assert longest == [2, 4, 8, 16, 30, 30, 30, 30, 30, 30]
    assert [backoff(attempt, 1) for attempt in range(RETRIES)] == [0.75 * pause for pause in longest]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "3600"}, 3600),  # version 6.6 had a limit of a minute
        ({"Retry-After-Ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After-Ms": "soon", "Retry-After": "7"}, 7),
        ({"Retry-After": "Tue, 24 Nov 2026 10:00:20 GMT"}, 20),
        ({"Retry-After": "Tue, 24 Nov 2026 09:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
    ],
)
def test_an_answer_may_ask_for_another_pause(headers: dict[str, str], seconds: float | None) -> None:
    message = HTTPMessage()
    for name, value in headers.items():
        message[name] = value
    assert retry_after(message, datetime(2026, 11, 24, 10, tzinfo=UTC)) == seconds
