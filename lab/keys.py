"""Keys of the lab, all derived from fixed seeds.

The lab is closed, so these keys protect nothing. Derived keys have a practical virtue instead: the public ones can be
written down (the host key in Pulumi.dev.yaml, the root's DS in a machine's base), and no run differs from another.
"""

import datetime
import hashlib
import ipaddress
import struct
from base64 import b64encode
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.addresses import GATEWAY4

_FROM: Final = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_UNTIL: Final = datetime.datetime(2046, 1, 1, tzinfo=datetime.UTC)


def _seed(purpose: str) -> bytes:
    return hashlib.sha256(b"mailhost lab " + purpose.encode()).digest()


def _ed25519(purpose: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(_seed(purpose))


def _openssh_private(key: ed25519.Ed25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()


def _openssh_public(key: ed25519.Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def operator_private() -> str:
    """The operator's SSH private key, OpenSSH format."""
    return _openssh_private(_ed25519("operator key"))


def operator_public() -> str:
    """The operator's SSH public key: `ssh-ed25519 AAAA…`, no comment."""
    return _openssh_public(_ed25519("operator key"))


def host_private(machine: str) -> str:
    """SSH host key of a machine, OpenSSH format."""
    return _openssh_private(_ed25519(f"host key {machine}"))


def host_public(machine: str) -> str:
    """SSH public host key of a machine: `ssh-ed25519 AAAA…`, no comment."""
    return _openssh_public(_ed25519(f"host key {machine}"))


def machine_id(machine: str) -> str:
    """A machine's machine-id(5)."""
    return _seed(f"machine id {machine}").hex()[:32]


def _root_key() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(_seed("root zone")), ec.SECP256R1())


def root_private() -> str:
    """Signing key of the lab's root zone in BIND's format, algorithm 13 (RFC 6605)."""
    number = _root_key().private_numbers().private_value.to_bytes(32)
    return f"Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: {b64encode(number).decode()}\n"


def root_ds() -> str:
    """Trust anchor of the lab: the root zone's DS record (RFC 4034 section 5, digest type 2)."""
    point = _root_key().public_key().public_numbers()
    rdata = struct.pack("!HBB", 257, 3, 13) + point.x.to_bytes(32) + point.y.to_bytes(32)
    words = struct.unpack(f"!{len(rdata) // 2}H", rdata)
    tag = sum(words)  # RFC 4034 appendix B; the record data has an even length
    tag = (tag + (tag >> 16)) & 0xFFFF
    digest = hashlib.sha256(b"\0" + rdata).hexdigest()
    return f". IN DS {tag} 13 2 {digest}"


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: str, serial: int, key: ed25519.Ed25519PrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name("mailhost lab API CA"))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def api_authority() -> str:
    """Certificate (PEM) of the authority behind the ACME server's own HTTPS: machines of the lab trust it."""
    key = _ed25519("API CA")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _builder("mailhost lab API CA", 1, key)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _pem(builder.sign(key, None))


def api_certificate() -> tuple[str, str]:
    """Certificate and private key (PEM) of the ACME server's own HTTPS."""
    names = [x509.IPAddress(ipaddress.ip_address(GATEWAY4)), x509.DNSName("localhost")]
    return _certificate("API", "mailhost lab ACME API", 2, names)


def trusted_certificate(names: Iterable[str]) -> tuple[str, str]:
    """Certificate and private key (PEM) for servers outside, from the authority that machines of the lab trust."""
    return _certificate("trusted outside", "mailhost lab outside", 3, [x509.DNSName(name) for name in names])


def _certificate(purpose: str, subject: str, serial: int, names: list[x509.GeneralName]) -> tuple[str, str]:
    authority, key = _ed25519("API CA"), _ed25519(purpose)
    builder = _builder(subject, serial, key)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    builder = builder.add_extension(issuer, critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _pem(builder.sign(authority, None)), private.decode()
