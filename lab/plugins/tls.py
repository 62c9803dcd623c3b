"""Offline stand-in for the resource plugin `tls` 5.5.1: PrivateKey.

Formats: terraform-provider-tls, docs/resources/private_key.md. Every change of an input makes a new key. Like the
official plugin it marks nothing as secret: the SDK does (`additional_secret_outputs`).
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lab.plugins.schema import Change, Field
from lab.plugins.serve import Call, Diagnostic, Provider, Resource

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


_SMALLEST: Final = 1024
"""Bits of an RSA key that Go makes."""


class PrivateKey(Resource):
    """A key pair that lives in state."""

    token = "tls:index/privateKey:PrivateKey"  # noqa: S105
    inputs: ClassVar[Mapping[str, Field]] = {
        "algorithm": Field(required=True, choices=("RSA", "ECDSA", "ED25519"), replaces=True),
        "rsaBits": Field(type="integer", replaces=True),
        "ecdsaCurve": Field(choices=("P224", "P256", "P384", "P521"), replaces=True),
    }
    outputs = (
        "id",
        "privateKeyPem",
        "privateKeyOpenssh",
        "privateKeyPemPkcs8",
        "publicKeyPem",
        "publicKeyOpenssh",
        "publicKeyFingerprintMd5",
        "publicKeyFingerprintSha256",
    )

    _defaults: ClassVar[Mapping[str, Any]] = {"rsaBits": 2048, "ecdsaCurve": "P224"}

    def changes(self, state: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Change]:
        """Compare with the defaults filled in on both sides."""
        return super().changes({**self._defaults, **state}, {**self._defaults, **inputs})

    async def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Generate the key."""
        del call
        settings = {**self._defaults, **inputs}
        outputs = _describe(_generate(settings["algorithm"], int(settings["rsaBits"]), settings["ecdsaCurve"]))
        return outputs["id"], {"rsaBits": settings["rsaBits"], "ecdsaCurve": settings["ecdsaCurve"], **outputs}


class TlsProvider(Provider):
    """The package `tls`."""

    version = "5.5.1"

    def __init__(self) -> None:
        super().__init__()
        self.resources = {PrivateKey.token: PrivateKey()}


def _generate(algorithm: str, bits: int, curve: str) -> "PrivateKeyTypes":
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415 - not needed for a preview

    if algorithm == "RSA":
        if bits < _SMALLEST:
            detail = (
                f"crypto/rsa: {bits}-bit keys are insecure (see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size)"
            )
            raise Diagnostic("Unable to generate Key from configuration", detail)
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    if algorithm == "ED25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"P224": ec.SECP224R1(), "P256": ec.SECP256R1(), "P384": ec.SECP384R1(), "P521": ec.SECP521R1()}
    return ec.generate_private_key(curves[curve])


def _describe(key: "PrivateKeyTypes") -> dict[str, str]:
    """The key in each format; the id is the public key's SHA-1, as the official provider's."""
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    clear = form.NoEncryption()
    der = key.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    described = {
        "id": hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        "publicKeyPem": key.public_key()
        .public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        "privateKeyPemPkcs8": key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, clear).decode(),
    }
    # PKCS#1 for RSA, SEC 1 for ECDSA; Ed25519 has only PKCS#8 (RFC 8410).
    traditional = form.PrivateFormat.PKCS8 if _is_ed25519(key) else form.PrivateFormat.TraditionalOpenSSL
    described["privateKeyPem"] = key.private_bytes(form.Encoding.PEM, traditional, clear).decode()
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp224r1":
        # OpenSSH does not know this curve (RFC 5656 section 10.1 leaves it out of the required ones).
        absent = ("publicKeyOpenssh", "privateKeyOpenssh", "publicKeyFingerprintMd5", "publicKeyFingerprintSha256")
        return {**described, **dict.fromkeys(absent, "")}
    line = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    blob = base64.b64decode(line.split()[1])
    sha256 = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return {
        **described,
        "publicKeyOpenssh": f"{line.decode()}\n",
        "privateKeyOpenssh": key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, clear).decode(),
        "publicKeyFingerprintMd5": hashlib.md5(blob, usedforsecurity=False).digest().hex(":"),
        "publicKeyFingerprintSha256": f"SHA256:{sha256}",
    }


def _is_ed25519(key: "PrivateKeyTypes") -> bool:
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    return isinstance(key, ed25519.Ed25519PrivateKey)
