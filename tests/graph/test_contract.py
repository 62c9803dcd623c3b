"""Everything the program sends is what the official SDKs' argument types take: names, requirement, types."""

from collections.abc import Mapping
from typing import Any

import asyncssh
import pytest

from tests.graph.conftest import CONFIG
from tests.graph.harness import Graph, Seen, is_secret, run
from tests.official import Argument, arguments, class_of

RESOURCES = {
    "cloudflare:index/dnsRecord:DnsRecord": ("pulumi_cloudflare/dns_record.py", "DnsRecordArgs"),
    "command:remote:Command": ("pulumi_command/remote/command.py", "CommandArgs"),
    "tls:index/privateKey:PrivateKey": ("pulumi_tls/private_key.py", "PrivateKeyArgs"),
}
PYTHON = {"_builtins.str": str, "_builtins.float": float, "_builtins.int": float, "_builtins.bool": bool}
"""Numbers travel as floats."""


def check(sent: Mapping[str, Any], official: Mapping[str, Argument], where: str) -> None:
    assert set(sent) <= set(official), where
    assert {name for name, argument in official.items() if argument.required} <= set(sent), where
    for name, value in sent.items():
        plain = value["value"] if is_secret(value) else value
        expected = [kind for text, kind in PYTHON.items() if text in official[name].annotation]
        if expected and not isinstance(plain, dict | list):
            assert type(plain) in expected, f"{where}: {name} is {type(plain).__name__}"


def test_every_provider_resource_is_covered(graph: Graph) -> None:
    custom = {seen.type for seen in graph.resources.values() if seen.custom}
    assert custom == set(RESOURCES)


@pytest.mark.parametrize("token", list(RESOURCES))
def test_inputs_are_what_the_official_type_takes(graph: Graph, token: str) -> None:
    path, name = RESOURCES[token]
    official = arguments(class_of(path, name))
    for seen in graph.of_type(token):
        check(seen.inputs, official, seen.name)


def test_the_parts_of_a_record_are_what_the_official_type_takes(graph: Graph) -> None:
    official = arguments(class_of("pulumi_cloudflare/_inputs.py", "DnsRecordDataArgs"))
    services = [seen for seen in graph.of_type("cloudflare:index/dnsRecord:DnsRecord") if seen.inputs["type"] == "SRV"]
    assert services
    for seen in services:
        check(seen.inputs["data"], official, seen.name)
        # Cloudflare's provider plans a change in each preview when the record's own priority is left out.
        assert seen.inputs["priority"] == seen.inputs["data"]["priority"]
        assert "content" not in seen.inputs


def test_connections_are_what_the_official_type_takes(graph: Graph) -> None:
    official = arguments(class_of("pulumi_command/remote/_inputs.py", "ConnectionArgs"))
    for seen in graph.commands():
        check(connection_of(seen), official, seen.name)


def test_connection_with_a_private_key_has_only_official_names(graph: Graph) -> None:
    """Refused over any other name, the official plugin shows the private key in its error (pulumi#19465)."""
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    official = arguments(class_of("pulumi_command/remote/_inputs.py", "ConnectionArgs"))
    with_key = run(CONFIG | {"sshPrivateKey": key}, secret_keys=("mailboxes", "sshPrivateKey"))
    connections = [connection_of(seen) for seen in with_key.commands()]
    # One place makes them all, so that no command can have one of its own.
    assert connections == [connections[0]] * len(list(graph.commands()))
    check(connections[0], official, "connection")
    assert connections[0]["privateKey"] == key


def test_the_zone_lookup_asks_what_the_official_function_takes(graph: Graph) -> None:
    official = arguments(class_of("pulumi_cloudflare/_inputs.py", "GetZoneFilterArgs"))
    ((function, sent),) = graph.calls
    assert function == "cloudflare:index/getZone:getZone"
    assert set(sent) == {"filter"}
    check(sent["filter"], official, function)


def connection_of(seen: Seen) -> Mapping[str, Any]:
    connection = seen.inputs["connection"]
    assert is_secret(connection)
    return dict(connection["value"])
