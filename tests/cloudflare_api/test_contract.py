"""Cloudflare's contract, judged by its own Python client."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from cloudflare import (
    APIStatusError,
    BadRequestError,
    Cloudflare,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
)

from lab.cloudflare_api.service import zone_id
from tests.cloudflare_api.fakes import ZONE, Lab

HOST = f"mail.{ZONE}"


def failure(error: pytest.ExceptionInfo[APIStatusError]) -> dict[str, Any]:
    body = error.value.response.json()
    assert (body["success"], body["result"], body["messages"]) == (False, None, [])
    (found,) = body["errors"]
    return dict(found)


def a_record(client: Any, zone: str, **changed: Any) -> Any:
    return client.dns.records.create(
        **{"zone_id": zone, "name": HOST, "type": "A", "ttl": 300, "content": "203.0.113.13", **changed}
    )


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen within 10 s"
        time.sleep(0.02)


# Zones


def test_zone_is_found_by_name_and_by_its_lasting_id(client: Any) -> None:
    (zone,) = client.zones.list(name=ZONE, match="all")
    assert (zone.id, zone.name, zone.status, zone.type) == (zone_id(ZONE), ZONE, "active", "full")
    assert client.zones.get(zone_id=zone.id) == zone


def test_only_zones_that_powerdns_serves_exist(client: Any, lab: Lab) -> None:
    assert [zone.name for zone in client.zones.list()] == [ZONE, "other.example"]
    lab.powerdns.zones.add("absent.example.")
    assert len(list(client.zones.list())) == 3


def test_list_of_zones_without_match_is_empty(client: Any) -> None:
    assert list(client.zones.list(name="nowhere.example")) == []


def test_token_is_verified(client: Any) -> None:
    assert client.user.tokens.verify().status == "active"


# Records


def test_record_comes_back_as_it_was_given_and_is_published(client: Any, zone: str, lab: Lab) -> None:
    made = a_record(client, zone)
    assert (made.name, made.type, made.content, made.ttl, made.proxied) == (HOST, "A", "203.0.113.13", 300, False)
    assert (made.comment, made.tags) == (None, [])
    assert client.dns.records.get(made.id, zone_id=zone) == made
    assert lab.powerdns.sets[f"{HOST}.", "A"]["ttl"] == 300
    assert lab.powerdns.contents(HOST, "A") == ["203.0.113.13"]


def test_keys_that_are_unset_are_absent_or_null_as_the_provider_needs(lab: Lab, zone: str, client: Any) -> None:
    made = a_record(client, zone)
    raw = httpx.get(
        f"{lab.url}/zones/{zone}/dns_records/{made.id}", headers={"Authorization": f"Bearer {client.api_token}"}
    )
    assert raw.headers["Content-Type"].startswith("application/json")
    result = raw.json()["result"]
    assert result["comment"] is None
    assert result["tags"] == []
    assert not result["settings"]
    assert not {"priority", "private_routing", "data"} & result.keys()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (HOST, HOST),
        ("mail", HOST),
        ("@", ZONE),
        (ZONE, ZONE),
        (f"MAIL.{ZONE}.", HOST),
        ("a.other.example", f"a.other.example.{ZONE}"),
    ],
)
def test_names_are_stored_whole_and_in_lower_case(client: Any, zone: str, given: Any, stored: str) -> None:
    assert a_record(client, zone, name=given).name == stored


def test_put_overwrites_and_patch_merges(client: Any, zone: str, lab: Lab) -> None:
    made = a_record(client, zone, comment="first")
    put = client.dns.records.update(made.id, zone_id=zone, name=HOST, type="A", ttl=600, content="203.0.113.14")
    assert (put.id, put.content, put.ttl, put.comment, put.created_on) == (
        made.id,
        "203.0.113.14",
        600,
        None,
        made.created_on,
    )
    patched = client.dns.records.edit(made.id, zone_id=zone, name=HOST, type="A", ttl=900)
    assert (patched.content, patched.ttl) == ("203.0.113.14", 900)
    assert lab.powerdns.contents(HOST, "A") == ["203.0.113.14"]


def test_renaming_takes_the_old_name_away(client: Any, zone: str, lab: Lab) -> None:
    made = a_record(client, zone)
    client.dns.records.update(made.id, zone_id=zone, name=f"new.{ZONE}", type="A", ttl=300, content="203.0.113.13")
    assert lab.powerdns.contents(HOST, "A") == []
    assert lab.powerdns.contents(f"new.{ZONE}", "A") == ["203.0.113.13"]


def test_delete_says_the_id_and_leaves_nothing(client: Any, zone: str, lab: Lab) -> None:
    made = a_record(client, zone)
    assert client.dns.records.delete(made.id, zone_id=zone).id == made.id
    assert lab.powerdns.sets == {}
    with pytest.raises(NotFoundError) as error:
        client.dns.records.delete(made.id, zone_id=zone)
    assert failure(error) == {"code": 81044, "message": "Record does not exist."}


def test_records_of_one_name_and_type_are_one_set(client: Any, zone: str, lab: Lab) -> None:
    for address in ("203.0.113.13", "203.0.113.14"):
        a_record(client, zone, content=address)
    assert lab.powerdns.contents(HOST, "A") == ["203.0.113.13", "203.0.113.14"]


def test_automatic_ttl_is_published_as_five_minutes(client: Any, zone: str, lab: Lab) -> None:
    assert a_record(client, zone, ttl=1).ttl == 1
    assert lab.powerdns.sets[f"{HOST}.", "A"]["ttl"] == 300


def test_mx_has_a_priority_and_a_target(client: Any, zone: str, lab: Lab) -> None:
    made = client.dns.records.create(zone_id=zone, name=ZONE, type="MX", ttl=300, content=HOST, priority=10)
    assert (made.content, made.priority) == (HOST, 10)
    assert lab.powerdns.contents(ZONE, "MX") == [f"10 {HOST}."]
    # A null MX (RFC 7505) keeps its dot, which every other content loses.
    made = client.dns.records.edit(dns_record_id=made.id, zone_id=zone, name=ZONE, type="MX", ttl=300, content=".")
    assert made.content == "."
    assert lab.powerdns.contents(ZONE, "MX") == ["10 ."]


@pytest.mark.parametrize(
    ("kind", "data", "content", "published"),
    [
        ("SRV", {"priority": 0, "weight": 1, "port": 993, "target": HOST}, f"0 1 993 {HOST}", f"0 1 993 {HOST}."),
        ("CAA", {"flags": 0, "tag": "issue", "value": "ca.example"}, '0 issue "ca.example"', '0 issue "ca.example"'),
        ("TLSA", {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "ab01"}, "3 1 1 AB01", "3 1 1 AB01"),
    ],
)
def test_content_of_data_types_is_computed(
    *, client: Any, zone: str, lab: Lab, kind: Any, data: dict[str, Any], content: str, published: str
) -> None:
    name = f"_x._tcp.{ZONE}"
    made = client.dns.records.create(zone_id=zone, name=name, type=kind, ttl=300, data=data)
    assert made.content == content
    assert lab.powerdns.contents(name, kind) == [published]


DATA = {
    "SRV": ({"priority": 0, "weight": 1, "port": 993, "target": HOST}, f"0 1 993 {HOST}", f"0 1 993 {HOST}."),
    "CAA": ({"flags": 0, "tag": "issue", "value": "ca.example"}, '0 issue "ca.example"', '0 issue "ca.example"'),
    "TLSA": ({"usage": 3, "selector": 1, "matching_type": 1, "certificate": "AB"}, "3 1 1 AB", "3 1 1 AB"),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_wins_over_the_content_the_provider_sends_with_it(client: Any, zone: str, lab: Lab, kind: Any) -> None:
    data, content, published = DATA[kind]
    name = f"_x._tcp.{ZONE}"
    made = client.dns.records.create(zone_id=zone, name=name, type=kind, ttl=300, data=data, content="stale")
    assert (made.content, lab.powerdns.contents(name, kind)) == (content, [published])
    put = client.dns.records.update(made.id, zone_id=zone, name=name, type=kind, ttl=60, data=data, content="stale")
    assert (put.content, put.ttl, lab.powerdns.contents(name, kind)) == (content, 60, [published])


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, (data, *_) in DATA.items() for key in data])
def test_data_without_one_of_its_fields_is_refused(client: Any, zone: str, kind: Any, key: str) -> None:
    data = {name: value for name, value in DATA[kind][0].items() if name != key}
    with pytest.raises(BadRequestError) as error:
        client.dns.records.create(zone_id=zone, name=HOST, type=kind, ttl=300, data=data)
    assert failure(error)["error_chain"] == [{"code": 9101, "message": f"{key} is a required data field."}]


@pytest.mark.parametrize("kind", ["A", "TXT", "CNAME"])
def test_data_does_not_stand_for_the_content_of_other_types(client: Any, zone: str, kind: Any) -> None:
    with pytest.raises(BadRequestError) as error:
        client.dns.records.create(zone_id=zone, name=HOST, type=kind, ttl=300, data={"content": "a.example"})
    assert failure(error)["error_chain"][0]["code"] == 9020


def test_explicit_nulls_take_values_away(client: Any, zone: str, lab: Lab) -> None:
    made = a_record(client, zone, type="MX", content=HOST, priority=10, comment="old")
    body = {"name": HOST, "type": "TXT", "content": "x", "ttl": 60, "proxied": False}
    nulls = dict.fromkeys(("comment", "data", "priority", "private_routing", "settings", "tags"))
    answer = httpx.put(
        f"{lab.url}/zones/{zone}/dns_records/{made.id}",
        json=body | nulls,
        headers={"Authorization": f"Bearer {client.api_token}"},
    )
    result = answer.raise_for_status().json()["result"]
    assert (result["content"], result["comment"], result["tags"]) == ("x", None, [])
    assert not {"priority", "private_routing", "data"} & result.keys()


# TXT


def test_quoted_chunks_are_kept_and_published_as_they_are(client: Any, zone: str, lab: Lab) -> None:
    content = f'"v=DKIM1; k=rsa; p={"A" * 230}" "{"B" * 180}"'
    assert a_record(client, zone, type="TXT", content=content).content == content
    assert lab.powerdns.contents(HOST, "TXT") == [content]


def test_bare_text_is_kept_and_published_quoted(client: Any, zone: str, lab: Lab) -> None:
    assert a_record(client, zone, type="TXT", content="v=spf1 mx -all").content == "v=spf1 mx -all"
    assert lab.powerdns.contents(HOST, "TXT") == ['"v=spf1 mx -all"']


def test_text_too_long_for_one_string_comes_back_as_several(client: Any, zone: str) -> None:
    made = a_record(client, zone, type="TXT", content="x" * 300)
    assert made.content == f'"{"x" * 255}" "{"x" * 45}"'


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("tab\tinside", 9051),  # only printable ASCII
        ("ü", 9051),
        ("x" * 2049, 9052),  # one record's limit
        ('"one" two', 9007),  # half quoted
    ],
)
def test_impossible_text_is_refused(client: Any, zone: str, content: str, code: int) -> None:
    with pytest.raises(BadRequestError) as error:
        a_record(client, zone, type="TXT", content=content)
    assert failure(error)["error_chain"][0]["code"] == code


def test_one_name_holds_a_limited_amount_of_text(client: Any, zone: str) -> None:
    for number in range(4):
        a_record(client, zone, type="TXT", content=str(number) * 2000)
    with pytest.raises(BadRequestError) as error:
        a_record(client, zone, type="TXT", content="5" * 2000)
    assert failure(error)["error_chain"][0]["code"] == 9053


# What the rules refuse


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"ttl": 59}, 9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic."),
        ({"ttl": 86401}, 9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic."),
        ({"content": "203.0.113.400"}, 9005, "Content for A record is invalid. Must be a valid IPv4 address"),
        ({"type": "AAAA"}, 9006, "Content for AAAA record is invalid. Must be a valid IPv6 address"),
        ({"type": "CNAME"}, 9007, "Content for CNAME record is invalid."),  # an address is no host name
        ({"type": "MX", "content": HOST}, 9101, "priority is a required data field."),
        ({"type": "TXT", "proxied": True}, 9041, "Invalid proxied mode. Record cannot be proxied"),
        ({"tags": ["a"]}, 9300, "DNS record has 1 tags, exceeding the quota of 0."),
        ({"name": "not a name"}, 9000, "DNS name is invalid."),
        ({"name": ""}, 9000, "DNS name is invalid."),  # the zone itself is "@"
        ({"type": "WKS"}, 9004, "Invalid record type WKS."),
    ],
)
def test_invalid_records_are_refused_with_the_reason(
    *, client: Any, zone: str, lab: Lab, body: dict[str, Any], code: int, message: str
) -> None:
    with pytest.raises(BadRequestError) as error:
        a_record(client, zone, **body)
    found = failure(error)
    assert (found["code"], found["message"]) == (1004, "DNS Validation Error")
    assert found["error_chain"] == [{"code": code, "message": message}]
    assert lab.powerdns.patches == 0


@pytest.mark.parametrize(
    ("first", "second", "code", "message"),
    [
        ({}, {}, 81058, "An identical record already exists."),
        (
            {},
            {"type": "CNAME", "content": "x.example"},
            81053,
            "An A, AAAA, or CNAME record with that host already exists.",
        ),
        ({"type": "CNAME", "content": "x.example"}, {}, 81054, "A CNAME record with that host already exists."),
        ({"type": "NS", "content": "ns.example"}, {}, 81056, "NS records with that host already exist."),
    ],
)
def test_records_that_cannot_stand_together_are_refused(
    *, client: Any, zone: str, first: dict[str, Any], second: dict[str, Any], code: int, message: str
) -> None:
    a_record(client, zone, **first)
    with pytest.raises(BadRequestError) as error:
        a_record(client, zone, **second)
    assert failure(error) == {"code": code, "message": message}


def test_what_the_name_server_refuses_is_not_kept(client: Any, zone: str) -> None:
    with pytest.raises(BadRequestError) as error:
        a_record(client, zone, content="203.0.113.255")
    assert "refused by the test" in failure(error)["error_chain"][0]["message"]
    assert list(client.dns.records.list(zone_id=zone)) == []


def test_a_comment_has_the_length_of_the_free_plan(client: Any, zone: str) -> None:
    assert a_record(client, zone, comment="ü" * 100).comment == "ü" * 100
    with pytest.raises(BadRequestError) as error:
        a_record(client, zone, name=f"www.{ZONE}", comment="x" * 101)
    message = "DNS record comment exceeds the maximum length of 100 characters."
    assert failure(error) == {"code": 9313, "message": message}


def test_a_failure_of_the_service_is_an_error_that_nobody_repeats(
    client: Any, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("lab.cloudflare_api.records.record", broken)
    with pytest.raises(InternalServerError) as error:
        a_record(client, zone)
    assert error.value.response.headers["x-should-retry"] == "false"
    assert failure(error)["code"] == 1000


def test_a_method_that_a_path_has_not_is_refused_in_json(lab: Lab, client: Any) -> None:
    answer = httpx.delete(f"{lab.url}/zones", headers={"Authorization": f"Bearer {client.api_token}"})
    assert answer.status_code == 405
    assert answer.json()["errors"] == [{"code": 10405, "message": "Method not allowed"}]


def test_every_answer_says_that_it_is_json(lab: Lab, client: Any, zone: str) -> None:
    # The official client refuses lists and deletions that do not.
    made = a_record(client, zone)
    records = f"{lab.url}/zones/{zone}/dns_records"
    headers = {"Authorization": f"Bearer {client.api_token}"}
    answers = [
        httpx.get(records, headers=headers),
        *(httpx.delete(f"{records}/{made.id}", headers=headers) for _ in "12"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert {answer.headers["Content-Type"].partition(";")[0] for answer in answers} == {"application/json"}


# Who may


def test_wrong_token_is_refused(connect: Callable[..., Cloudflare]) -> None:
    with pytest.raises(PermissionDeniedError) as error:
        connect("x" * 40).zones.list(name=ZONE)
    assert failure(error) == {"code": 10000, "message": "Authentication error"}


def test_malformed_token_is_refused(connect: Callable[..., Cloudflare]) -> None:
    with pytest.raises(BadRequestError) as error:
        connect("short").zones.list(name=ZONE)
    assert failure(error) == {
        "code": 6003,
        "message": "Invalid request headers",
        "error_chain": [{"code": 6111, "message": "Invalid format for Authorization header"}],
    }


def test_request_without_token_is_refused(lab: Lab) -> None:
    assert httpx.get(f"{lab.url}/zones").json()["errors"][0]["code"] == 9106


def test_malformed_ids_lead_nowhere(client: Any, zone: str) -> None:
    with pytest.raises(NotFoundError) as error:
        client.zones.get(zone_id="trixie.example")
    assert failure(error)["code"] == 7003
    assert "perhaps your object identifier is invalid?" in failure(error)["message"]
    with pytest.raises(NotFoundError) as error:
        client.dns.records.get("nonsense", zone_id=zone)
    assert failure(error)["code"] == 7003


def test_a_zone_of_somebody_else_is_refused(client: Any) -> None:
    with pytest.raises(PermissionDeniedError):
        client.zones.get(zone_id="0" * 32)


def test_absent_record_is_not_found(client: Any, zone: str) -> None:
    with pytest.raises(NotFoundError) as error:
        client.dns.records.get("0" * 32, zone_id=zone)
    assert failure(error)["code"] == 81044


def test_dead_name_server_is_an_error_that_nobody_repeats(client: Any, zone: str, lab: Lab) -> None:
    lab.powerdns_url = "http://127.0.0.1:9"
    lab.restart()
    client.base_url = lab.url
    with pytest.raises(InternalServerError) as error:
        client.zones.get(zone_id=zone)
    assert error.value.response.headers["x-should-retry"] == "false"
    assert "does not answer" in failure(error)["message"]


# Lists


def test_pages_end_with_an_empty_one(client: Any, zone: str, lab: Lab) -> None:
    for number in range(5):
        a_record(client, zone, name=f"h{number}.{ZONE}")
    headers = {"Authorization": f"Bearer {client.api_token}"}
    pages = [
        httpx.get(f"{lab.url}/zones/{zone}/dns_records", params={"per_page": 2, "page": page}, headers=headers).json()
        for page in (1, 2, 3, 4)
    ]
    assert [len(page["result"]) for page in pages] == [2, 2, 1, 0]
    assert pages[2]["result_info"] == {"page": 3, "per_page": 2, "count": 1, "total_count": 5, "total_pages": 3}
    assert len(list(client.dns.records.list(zone_id=zone, per_page=2))) == 5


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"name": {"exact": HOST}}, 2),
        ({"name": {"contains": "ai"}}, 2),
        ({"name": {"startswith": "www"}}, 1),
        ({"name": {"endswith": ".example"}}, 3),
        ({"content": {"exact": "203.0.113.13"}}, 1),
        ({"type": "TXT"}, 1),
        ({"type": "TXT", "name": {"startswith": "www"}}, 0),
        ({"type": "TXT", "name": {"startswith": "www"}, "match": "any"}, 2),
        ({"search": "spf1"}, 1),
        ({"proxied": True}, 0),
        ({"comment": {"contains": "hello"}}, 1),
    ],
)
def test_filters_select(client: Any, zone: str, query: dict[str, Any], found: int) -> None:
    a_record(client, zone)
    a_record(client, zone, type="TXT", content="v=spf1 -all")
    a_record(client, zone, name=f"www.{ZONE}", content="203.0.113.14", comment="Hello")
    assert len(list(client.dns.records.list(zone_id=zone, **query))) == found


# Durability and delay


def test_records_survive_a_restart_and_reach_a_new_name_server(client: Any, zone: str, lab: Lab) -> None:
    made = a_record(client, zone)
    lab.powerdns.sets.clear()
    lab.restart()
    client.base_url = lab.url
    wait_until(lambda: lab.powerdns.contents(HOST, "A") == ["203.0.113.13"])
    assert client.dns.records.get(made.id, zone_id=zone) == made


def test_state_file_is_never_half_written(client: Any, zone: str, lab: Lab) -> None:
    a_record(client, zone)
    state = json.loads((lab.folder / "records.json").read_text())
    assert len(state["records"][ZONE]) == 1
    assert sorted(path.name for path in lab.folder.iterdir()) == ["records.json"]


def test_delayed_change_is_answered_at_once_and_published_later(client: Any, zone: str, lab: Lab) -> None:
    lab.delay_file.write_text("0.5")
    made = a_record(client, zone)
    assert lab.powerdns.sets == {}
    assert client.dns.records.get(made.id, zone_id=zone).content == "203.0.113.13"
    wait_until(lambda: lab.powerdns.contents(HOST, "A") == ["203.0.113.13"])


def test_a_name_server_with_another_writer_is_asked_again(client: Any, zone: str, lab: Lab) -> None:
    lab.powerdns.locked = 2
    a_record(client, zone)
    assert lab.powerdns.contents(HOST, "A") == ["203.0.113.13"]
    assert lab.powerdns.locked == 0


def test_muted_change_is_published_and_answered_later(client: Any, zone: str, lab: Lab) -> None:
    mute = lab.delays / f"{ZONE}.mute"
    mute.touch()
    with ThreadPoolExecutor(max_workers=1) as clients:
        made = clients.submit(a_record, client, zone)
        wait_until(lambda: lab.powerdns.contents(HOST, "A") == ["203.0.113.13"])
        assert [record.name for record in client.dns.records.list(zone_id=zone)] == [HOST]
        assert not made.done()
        mute.unlink()
        assert made.result(timeout=10).name == HOST


def test_held_change_waits_for_the_end_of_the_hold(client: Any, zone: str, lab: Lab) -> None:
    lab.delay_file.write_text("hold\n")
    made = a_record(client, zone)
    time.sleep(0.5)
    assert lab.powerdns.sets == {}
    lab.delay_file.unlink()
    wait_until(lambda: lab.powerdns.contents(HOST, "A") == ["203.0.113.13"])
    lab.delay_file.write_text("hold")
    client.dns.records.delete(made.id, zone_id=zone)
    assert lab.powerdns.contents(HOST, "A") == ["203.0.113.13"]
    lab.delay_file.unlink()
    wait_until(lambda: lab.powerdns.sets == {})
