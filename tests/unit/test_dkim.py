"""The DKIM record: what a verifier reads is the key that signed."""

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from model.dkim import CHUNK_OCTETS, key_name, key_record, quoted

MESSAGE = b"From: alice@example.com\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\nHow are you?\r\n"


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def joined(content: str) -> str:
    """What DNS delivers of quoted strings."""
    return "".join(part.strip('"') for part in content.split('" "'))


@pytest.mark.parametrize("bits", [2048, 4096])
def test_a_signature_verifies_with_the_published_record(bits: int) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    # PKCS#1, as tls.PrivateKey gives it
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    name, content = key_name("mail", "example.com"), quoted(key_record(public_pem(key)))
    assert name == "mail._domainkey.example.com"
    signed = dkimpy.sign(MESSAGE, b"mail", b"example.com", private) + MESSAGE

    def dns(asked: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001 - dkimpy's signature
        return joined(content).encode() if asked == f"{name}.".encode() else None

    assert dkimpy.verify(signed, dnsfunc=dns)
    assert not dkimpy.verify(signed.replace(b"How", b"Who"), dnsfunc=dns)


def test_the_record_of_a_2048_bit_key_is_420_octets_in_two_strings() -> None:
    text = key_record(public_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    assert text.startswith("v=DKIM1; h=sha256; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A")
    assert [len(chunk) for chunk in quoted(text)[1:-1].split('" "')] == [255, 165]


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "ssh-rsa AAAAB3NzaC1yc2E",  # the other form tls.PrivateKey offers
        "-----BEGIN PUBLIC KEY-----\nMIIB!\n-----END PUBLIC KEY-----\n",  # not base64
        "-----BEGIN PUBLIC KEY-----\nMIIBI\n-----END PUBLIC KEY-----\n",  # cut off
        "-----BEGIN RSA PUBLIC KEY-----\nMIIBIjAN\n-----END RSA PUBLIC KEY-----\n",  # PKCS#1, not SPKI
        pytest.param(public_pem(ec.generate_private_key(ec.SECP256R1())), id="another algorithm"),
    ],
)
def test_anything_but_an_rsa_public_key_is_refused(pem: str) -> None:
    with pytest.raises(ValueError, match="not an RSA key"):
        key_record(pem)


plain = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=2000)


@given(plain)
def test_quoted_text_is_the_text_again_in_strings_of_255_octets(text: str) -> None:
    content = quoted(text)
    chunks = content[1:-1].split('" "') if '" "' in content else [content[1:-1]]
    assert "".join(chunks) == text
    assert all(len(chunk) == CHUNK_OCTETS for chunk in chunks[:-1])
    assert len(chunks[-1]) <= CHUNK_OCTETS
    assert len(chunks) == max(1, -(-len(text) // CHUNK_OCTETS))


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "ä", "a\x7f"])
def test_what_would_need_escaping_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        quoted(text)
