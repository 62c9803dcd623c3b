"""tls.PrivateKey: every format, and what makes a new key."""

import hashlib
from collections.abc import Callable
from typing import Any

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from lab.plugins.values import UNKNOWN, Secret
from tests.plugins.conftest import Plugin, ResourceCalls

OUTPUTS = {
    "privateKeyPem",
    "privateKeyOpenssh",
    "privateKeyPemPkcs8",
    "publicKeyPem",
    "publicKeyOpenssh",
    "publicKeyFingerprintMd5",
    "publicKeyFingerprintSha256",
}


@pytest.fixture
def key(start: Callable[..., Plugin]) -> ResourceCalls:
    return start("tls").resource("tls:index/privateKey:PrivateKey")


@pytest.mark.parametrize(
    ("inputs", "kind", "header"),
    [
        ({"algorithm": "RSA"}, rsa.RSAPrivateKey, "RSA PRIVATE KEY"),
        ({"algorithm": "ECDSA", "ecdsaCurve": "P256"}, ec.EllipticCurvePrivateKey, "EC PRIVATE KEY"),
        ({"algorithm": "ED25519"}, ed25519.Ed25519PrivateKey, "PRIVATE KEY"),
    ],
)
def test_all_formats_hold_the_same_key(key: ResourceCalls, inputs: dict[str, Any], kind: Any, header: str) -> None:
    resource_id, state = key.create(inputs)
    assert state.keys() >= OUTPUTS
    private = load_pem_private_key(state["privateKeyPem"].value.encode(), None)
    assert isinstance(private, kind)
    assert state["privateKeyPem"].value.startswith(f"-----BEGIN {header}-----\n")
    assert state["privateKeyPemPkcs8"].value.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert state["publicKeyOpenssh"].endswith("\n")
    public = [
        private.public_key(),
        load_pem_private_key(state["privateKeyPemPkcs8"].value.encode(), None).public_key(),
        load_ssh_private_key(state["privateKeyOpenssh"].value.encode(), None).public_key(),
        load_pem_public_key(state["publicKeyPem"].encode()),
        load_ssh_public_key(state["publicKeyOpenssh"].encode()),
    ]
    der = {item.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for item in public}
    assert len(der) == 1
    assert resource_id == hashlib.sha1(der.pop()).hexdigest()  # noqa: S324 - the official id
    ssh = asyncssh.import_public_key(state["publicKeyOpenssh"])
    assert state["publicKeyFingerprintSha256"] == ssh.get_fingerprint("sha256")
    assert f"MD5:{state['publicKeyFingerprintMd5']}" == ssh.get_fingerprint("md5")


def test_curve_that_openssh_does_not_know_has_no_openssh_form(key: ResourceCalls) -> None:
    _, state = key.create({"algorithm": "ECDSA"})
    assert state["ecdsaCurve"] == "P224"
    assert state["publicKeyOpenssh"] == state["publicKeyFingerprintSha256"] == ""
    assert state["privateKeyOpenssh"] == Secret("")


def test_size_is_as_asked(key: ResourceCalls) -> None:
    _, state = key.create({"algorithm": "RSA", "rsaBits": 3072})
    private = load_pem_private_key(state["privateKeyPem"].value.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.key_size == 3072


def test_private_forms_are_secret_also_in_preview(key: ResourceCalls) -> None:
    resource_id, planned = key.create({"algorithm": "RSA"}, preview=True)
    assert resource_id == ""
    secret = {name for name, value in planned.items() if isinstance(value, Secret)}
    assert secret == {"privateKeyPem", "privateKeyOpenssh", "privateKeyPemPkcs8"}
    assert planned["publicKeyPem"] is UNKNOWN


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({}, {}),
        ({"rsaBits": 2048}, {}),  # the default, said aloud
        ({"rsaBits": 4096}, {"rsaBits": "UPDATE_REPLACE"}),
        ({"algorithm": "ED25519"}, {"algorithm": "UPDATE_REPLACE"}),
    ],
)
def test_every_change_is_a_new_key(key: ResourceCalls, change: dict[str, Any], paths: dict[str, str]) -> None:
    inputs = {"algorithm": "RSA"}
    _, state = key.create(inputs)
    diff = key.diff(state, inputs | change)
    assert (diff.paths, diff.replaces) == (paths, list(paths))


@pytest.mark.parametrize(
    ("inputs", "path"),
    [({}, "algorithm"), ({"algorithm": "DSA"}, "algorithm"), ({"algorithm": "RSA", "bits": 2048}, "bits")],
)
def test_inputs_outside_the_schema_are_refused(key: ResourceCalls, inputs: dict[str, Any], path: str) -> None:
    assert list(key.check(inputs)[1]) == [path]
