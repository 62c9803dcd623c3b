"""The plugins' schemas are those of the official Python SDKs: names on the wire, required ones, secrets, versions."""

import ast
import importlib
import json
import typing
from importlib import metadata
from typing import Any

import pulumi
import pytest

from lab.plugins import NAMES, version
from lab.plugins.cloudflare import CloudflareProvider
from lab.plugins.command import CommandProvider
from lab.plugins.schema import Field
from lab.plugins.serve import Provider
from lab.plugins.tls import TlsProvider
from tests.official import SITE, arguments, class_of

PROVIDERS: dict[str, type[Provider]] = {
    "cloudflare": CloudflareProvider,
    "command": CommandProvider,
    "tls": TlsProvider,
}


def names(class_: ast.ClassDef) -> dict[str, bool]:
    """Names on the wire that the class's constructor takes, and whether each is required."""
    return {name: argument.required for name, argument in arguments(class_).items()}


def schema(fields: typing.Mapping[str, Field] | None) -> dict[str, bool]:
    return {name: field.required for name, field in (fields or {}).items()}


def plugin(name: str, token: str) -> Any:
    return PROVIDERS[name]().resources[token]


@pytest.mark.parametrize(
    ("name", "token", "module", "class_"),
    [
        ("command", "command:remote:Command", "remote/command.py", "CommandArgs"),
        ("tls", "tls:index/privateKey:PrivateKey", "private_key.py", "PrivateKeyArgs"),
        ("cloudflare", "cloudflare:index/dnsRecord:DnsRecord", "dns_record.py", "DnsRecordArgs"),
    ],
)
def test_inputs_are_the_official_ones(name: str, token: str, module: str, class_: str) -> None:
    official = names(class_of(f"pulumi_{name}/{module}", class_))
    if name == "cloudflare":
        # Its SDK calls the zone optional; Cloudflare has no record without one.
        official["zoneId"] = True
    assert schema(plugin(name, token).inputs) == official


@pytest.mark.parametrize(
    ("path", "class_"),
    [(("connection",), "ConnectionArgs"), (("connection", "proxy"), "ProxyConnectionArgs")],
)
def test_connection_is_the_official_one(path: tuple[str, ...], class_: str) -> None:
    fields = plugin("command", "command:remote:Command").inputs
    for key in path:
        fields = fields[key].fields
    assert schema(fields) == names(class_of("pulumi_command/remote/_inputs.py", class_))


def test_connection_defaults_are_the_official_ones() -> None:
    from pulumi_command.remote import ConnectionArgs  # noqa: PLC0415 - warns at import

    official = ConnectionArgs(host="h")
    fields = plugin("command", "command:remote:Command").inputs["connection"].fields
    for name, field in fields.items():
        attribute = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        assert field.default == (getattr(official, attribute) if name != "host" else None)


@pytest.mark.parametrize(("key", "class_"), [("data", "DnsRecordDataArgs"), ("settings", "DnsRecordSettingsArgs")])
def test_objects_of_records_are_the_official_ones(key: str, class_: str) -> None:
    fields = plugin("cloudflare", "cloudflare:index/dnsRecord:DnsRecord").inputs[key].fields
    assert schema(fields) == names(class_of("pulumi_cloudflare/_inputs.py", class_))


def test_outputs_are_the_official_ones() -> None:
    record = plugin("cloudflare", "cloudflare:index/dnsRecord:DnsRecord")
    state = names(class_of("pulumi_cloudflare/dns_record.py", "_DnsRecordState"))
    assert {*record.inputs, *record.outputs} == set(state)
    key = plugin("tls", "tls:index/privateKey:PrivateKey")
    state = names(class_of("pulumi_tls/private_key.py", "_PrivateKeyState"))
    # The SDKs do not list the id, which every resource has.
    assert {*key.inputs, *key.outputs} == {*state, "id"}


@pytest.mark.parametrize(
    ("module", "function", "token"),
    [
        ("get_zone.py", "get_zone", "cloudflare:index/getZone:getZone"),
        ("get_zones.py", "get_zones", "cloudflare:index/getZones:getZones"),
        ("get_dns_records.py", "get_dns_records", "cloudflare:index/getDnsRecords:getDnsRecords"),
    ],
)
def test_functions_take_the_official_names(module: str, function: str, token: str) -> None:
    source = (SITE / "pulumi_cloudflare" / module).read_text(encoding="utf-8")
    node = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == function)
    wire = {
        statement.targets[0].slice.value  # type: ignore[attr-defined]
        for statement in node.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Subscript)
    }
    assert f"'{token}'" in source
    fields, _ = CloudflareProvider().functions[token]
    assert set(fields) == wire


def test_zone_filter_is_the_official_one() -> None:
    fields, _ = CloudflareProvider().functions["cloudflare:index/getZone:getZone"]
    official = names(class_of("pulumi_cloudflare/_inputs.py", "GetZoneFilterArgs"))
    assert schema(fields["filter"].fields) == official


def test_settings_are_the_official_ones() -> None:
    official = names(class_of("pulumi_cloudflare/provider.py", "ProviderArgs"))
    assert schema(CloudflareProvider.config) == official


@pytest.mark.parametrize("name", NAMES)
def test_versions_are_those_the_packages_ask_for(name: str) -> None:
    pin = json.loads((SITE / f"pulumi_{name}" / "pulumi-plugin.json").read_text(encoding="utf-8"))
    assert PROVIDERS[name].version == version(name) == pin["version"] == metadata.version(f"pulumi-{name}")


def test_protocol_signatures_are_the_sdk_s() -> None:
    ours = importlib.import_module("lab.plugins.values")
    sdk = pulumi.runtime.rpc
    assert sdk._special_sig_key == ours.SIGNATURE
    assert sdk._special_secret_sig == ours.SECRET_SIGNATURE
    assert ours.UNKNOWN_STRING == sdk.UNKNOWN
