"""Pebble issues a certificate to whoever holds a host name: RFC 8555 with an http-01 challenge on port 80."""

import base64
import hashlib
import http.client
import json
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from lab import acme, keys, machines, processes
from lab import dns as lab_dns
from lab.addresses import ACME_DIRECTORY, ACME_PORT, GATEWAY4, Machine
from lab.clients import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("undisturbed")]

NAME = "acme.bookworm.example"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Client:
    """Just enough of an ACME client."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        point = self.key.public_key().public_numbers()
        self.jwk = {"crv": "P-256", "kty": "EC", "x": b64(point.x.to_bytes(32)), "y": b64(point.y.to_bytes(32))}
        self.account = ""
        self.nonce = ""
        self.directory = json.loads(self.fetch("GET", ACME_DIRECTORY)[0])
        self.fetch("HEAD", self.directory["newNonce"])

    def fetch(self, method: str, url: str, body: str | None = None) -> tuple[bytes, str]:
        context = ssl.create_default_context(cadata=keys.api_authority())
        connection = http.client.HTTPSConnection(GATEWAY4, ACME_PORT, timeout=10, context=context)
        connection.request(method, urlsplit(url).path, body, {"Content-Type": "application/jose+json"} if body else {})
        answer = connection.getresponse()
        self.nonce = answer.headers.get("Replay-Nonce", self.nonce)
        content = answer.read()
        connection.close()
        assert answer.status < 300, content
        return content, answer.headers.get("Location", url)

    def post(self, url: str, payload: object | None) -> tuple[bytes, str]:
        """A signed request (RFC 8555 section 6.2); None as payload reads (section 6.3)."""
        protected: dict[str, Any] = {"alg": "ES256", "nonce": self.nonce, "url": url}
        protected |= {"kid": self.account} if self.account else {"jwk": self.jwk}
        head = b64(json.dumps(protected).encode())
        body = "" if payload is None else b64(json.dumps(payload).encode())
        signature = self.key.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(signature)
        signed = {"protected": head, "payload": body, "signature": b64(r.to_bytes(32) + s.to_bytes(32))}
        return self.fetch("POST", url, json.dumps(signed))

    def read(self, url: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.post(url, None)[0])
        return found

    def until(self, url: str, status: str) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while (found := self.read(url))["status"] != status:
            assert found["status"] != "invalid", found
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found


def issue(client: Client, site: Path) -> bytes:
    _, client.account = client.post(client.directory["newAccount"], {"termsOfServiceAgreed": True})
    content, order = client.post(client.directory["newOrder"], {"identifiers": [{"type": "dns", "value": NAME}]})
    placed = json.loads(content)
    (authorization,) = placed["authorizations"]
    (challenge,) = (item for item in client.read(authorization)["challenges"] if item["type"] == "http-01")
    thumbprint = hashlib.sha256(json.dumps(client.jwk, sort_keys=True, separators=(",", ":")).encode()).digest()
    answer = site / ".well-known/acme-challenge" / challenge["token"]
    answer.parent.mkdir(parents=True)
    answer.write_text(f"{challenge['token']}.{b64(thumbprint)}")
    client.post(challenge["url"], {})
    client.until(authorization, "valid")
    request = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    )
    request = request.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    der = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.DER
    )
    client.post(placed["finalize"], {"csr": b64(der)})
    return client.post(client.until(order, "valid")["certificate"], None)[0]


def test_a_machine_gets_a_certificate_for_its_name(guest: Machine, tmp_path: Path) -> None:
    lab_dns.api("PATCH", "/zones/bookworm.example.", {"rrsets": [lab_dns.record(NAME, "A", [guest.ipv4])]})
    serve = [sys.executable, "-m", "http.server", "80", "--bind", guest.ipv4, "--directory", str(tmp_path)]
    with subprocess.Popen(machines.network_command(guest.name, serve), stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: processes.listening(guest.ipv4, 80), "the web server")
            chain = x509.load_pem_x509_certificates(issue(Client(), tmp_path))
        finally:
            server.terminate()
            gone = {"name": f"{NAME}.", "type": "A", "changetype": "DELETE"}
            lab_dns.api("PATCH", "/zones/bookworm.example.", {"rrsets": [gone]})
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
    root = x509.load_pem_x509_certificates(acme.issuing_roots().encode())[-1]
    chain[0].verify_directly_issued_by(chain[1])
    chain[1].verify_directly_issued_by(root)


def test_a_machine_trusts_the_acme_server(guest: Machine) -> None:
    script = f"import urllib.request; print(urllib.request.urlopen('{ACME_DIRECTORY}', timeout=5).status)"
    assert machines.run(guest.name, ["python3", "-c", script]).strip() == "200"
