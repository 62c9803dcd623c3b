"""tls.PrivateKey: every format, and what makes a new key; of the official plugin where `MAILHOST_PLUGINS` has it."""

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

from lab.plugins.values import UNKNOWN
from tests.plugins.conftest import Engine, Plugin, PluginError, ResourceCalls

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
    private = load_pem_private_key(state["privateKeyPem"].encode(), None)
    assert isinstance(private, kind)
    assert state["privateKeyPem"].startswith(f"-----BEGIN {header}-----\n")
    assert state["privateKeyPemPkcs8"].startswith("-----BEGIN PRIVATE KEY-----\n")
    assert state["publicKeyOpenssh"].endswith("\n")
    public = [
        private.public_key(),
        load_pem_private_key(state["privateKeyPemPkcs8"].encode(), None).public_key(),
        load_ssh_private_key(state["privateKeyOpenssh"].encode(), None).public_key(),
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
    assert state["privateKeyOpenssh"] == ""


def test_size_is_as_asked(key: ResourceCalls) -> None:
    _, state = key.create({"algorithm": "RSA", "rsaBits": 3072})
    private = load_pem_private_key(state["privateKeyPem"].encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.key_size == 3072


def test_preview_knows_no_key_and_marks_nothing_as_secret(key: ResourceCalls) -> None:
    resource_id, planned = key.create({"algorithm": "RSA"}, preview=True)
    assert resource_id == ""
    # That some of them are secret is the SDK's doing.
    assert {name for name, value in planned.items() if value is UNKNOWN} == OUTPUTS | {"id"}


def test_refusal_comes_twice(key: ResourceCalls, engine: Engine) -> None:
    with pytest.raises(PluginError) as error:
        key.create({"algorithm": "RSA", "rsaBits": 512})
    summary = "Unable to generate Key from configuration"
    detail = "crypto/rsa: 512-bit keys are insecure (see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size)"
    assert str(error.value) == f"{summary}: {detail}"
    assert engine.lines == [f"ERROR: [ERROR] {detail}: {summary}"]


@pytest.mark.parametrize(
    ("change", "replaces"),
    [
        ({}, []),
        ({"rsaBits": 2048}, []),  # the default, said aloud
        ({"rsaBits": 4096}, ["rsaBits"]),
        ({"algorithm": "ED25519"}, ["algorithm"]),
    ],
)
def test_every_change_is_a_new_key(key: ResourceCalls, change: dict[str, Any], replaces: list[str]) -> None:
    inputs = {"algorithm": "RSA"}
    _, state = key.create(inputs)
    diff = key.diff(state, inputs | change)
    assert (diff.replaces, diff.changed) == (replaces, bool(replaces))


@pytest.mark.parametrize("inputs", [{}, {"algorithm": "DSA"}, {"algorithm": "ECDSA", "ecdsaCurve": "P1"}])
def test_inputs_that_make_no_key_are_refused(key: ResourceCalls, inputs: dict[str, Any]) -> None:
    assert key.check(inputs)[1]
