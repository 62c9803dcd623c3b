"""Health probes against small servers, and the self-check made of them."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import ssl
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mailhostctl import probes, resolver
from mailhostctl.paths import Root
from mailhostctl.services import SERVICES
from mailhostctl.system import MailhostError
from model import dkim
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
Talk = Callable[[socket.socket], None]
HOSTNAME = "mail.example.org"


def _certificate(folder: Path) -> Path:
    """A certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOSTNAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "certificate.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return file


class Server:
    """Speaks one prepared conversation to each client; `tls` is there to be switched to."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client:
                client.settimeout(2)
                try:
                    self._talk(client)
                except OSError:  # the client has left
                    continue
                except StopIteration:
                    return

    def close(self) -> None:
        self._talk = lambda _client: next(iter(()))
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Talk], int]]:
    servers: list[Server] = []

    def start(talk: Talk) -> int:
        servers.append(Server(talk))
        return servers[-1].port

    yield start
    for server in servers:
        server.close()


def _says(*replies: bytes) -> Talk:
    """Says the first reply at once, each further one after a command."""

    def talk(client: socket.socket) -> None:
        client.sendall(replies[0])
        for reply in replies[1:]:
            client.recv(1000)
            client.sendall(reply)
        client.recv(1000)

    return talk


Serve = Callable[[Talk], int]


def test_a_greeting_is_compared(serve: Serve) -> None:
    port = serve(_says(b"220-mail\r\n220 mail ESMTP\r\n"))
    assert probes.failures((f"tcp {port} 220",)) == []
    assert probes.failures((f"tcp {port}",)) == []
    assert "expected '* OK', got '220-mail" in probes.failures((f"tcp {port} * OK",))[0]


def test_nobody_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert "refused" in probes.failures((f"tcp {port} 220",))[0]


def test_silence_is_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ANSWER", 0.1)
    port = serve(lambda _client: time.sleep(0.3))
    started = time.monotonic()
    assert probes.failures((f"tcp {port} 220",))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("kind", "before"),
    [
        ("starttls-smtp", [b"220 mail\r\n", b"250-mail\r\n250 STARTTLS\r\n", b"220 go\r\n"]),
        ("starttls-imap", [b"* OK ready\r\n", b"a OK begin\r\n"]),
        ("starttls-pop3", [b"+OK ready\r\n", b"+OK begin\r\n"]),
        ("starttls-sieve", [b'"IMPLEMENTATION" "x"\r\n"STARTTLS"\r\nOK "ready"\r\n', b'OK "begin"\r\n']),
    ],
)
def test_encryption_is_switched_on(tmp_path: Path, serve: Serve, kind: str, before: list[bytes]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))

    def talk(client: socket.socket) -> None:
        client.sendall(before[0])
        for reply in before[1:]:
            client.recv(1000)
            client.sendall(reply)
        with context.wrap_socket(client, server_side=True) as secured:
            secured.recv(1000)

    assert probes.failures((f"{kind} {serve(talk)}",)) == []
    plain = serve(_says(*before[:-1], b"454 4.7.0 TLS not available\r\n"))
    assert "454" in probes.failures((f"{kind} {plain}",))[0]


def test_encryption_from_the_start(tmp_path: Path, serve: Serve) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))

    def talk(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secured:
            secured.sendall(b"* OK ready\r\n")
            secured.recv(1000)

    port = serve(talk)
    assert probes.failures((f"tls {port} * OK",)) == []
    assert "expected '220'" in probes.failures((f"tls {port} 220",))[0]


def test_a_socket_and_a_unit(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    assert len(probes.failures((f"unix {path}", "unit postfix.service"))) == 2
    (host.fake / "active/postfix.service").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert probes.failures((f"unix {path}", "unit postfix.service")) == []


@pytest.mark.parametrize("probe", ["ping 25", "tcp smtp 220"])
def test_an_unknown_probe_is_a_mistake_not_a_failure(probe: str) -> None:
    with pytest.raises(MailhostError, match="health probe"):
        probes.failures((probe,))


def test_a_configuration_error_is_not_waited_for(
    host: Host, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))

    def talk(client: socket.socket) -> None:
        client.sendall(b"220 mail\r\n")
        for reply in (b"250 STARTTLS\r\n", b"220 go\r\n"):
            client.recv(1000)
            client.sendall(reply)
        with context.wrap_socket(client, server_side=True) as secured:
            for reply in (b"250 mail\r\n", b"250 ok\r\n", b"451 4.3.5 Server configuration error\r\n"):
                secured.recv(1000)
                secured.sendall(reply)

    port = serve(talk)
    monkeypatch.setattr(probes, "SMTP", port)
    impatient = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: pytest.fail("waits"))
    monkeypatch.setattr(probes, "time", impatient)
    (host.fake / "active/postfix.service").touch()
    with pytest.raises(MailhostError, match="451 4.3.5 Server configuration error"):
        probes.wait((f"starttls-smtp {port}",), SERVICES["postfix"], since=0)


def test_a_service_gets_time_to_start(host: Host, serve: Serve) -> None:
    (host.fake / "active/postfix.service").touch()
    replies = iter([b"421 not yet\r\n", b"421 not yet\r\n"])
    port = serve(lambda client: client.sendall(next(replies, b"220 ready\r\n")))
    probes.wait((f"tcp {port} 220",), SERVICES["postfix"], since=0)


def _play_openssl(host: Host) -> None:
    """The real one, but every certificate is for the host."""
    certificate = f'[ "$1" != x509 ] || exec echo "Hostname {HOSTNAME} does match certificate"\n'
    host.play("openssl", f'{certificate}exec {shutil.which("openssl", path=os.defpath)} "$@"\n')


def _apply_with_certificate(host: Host, serve: Serve, served: Path, filed: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served)

    def talk(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secured:
            secured.sendall(b"* OK ready\r\n")
            secured.recv(1000)

    _play_openssl(host)
    host.write(f"/etc/letsencrypt/live/{HOSTNAME}/cert.pem", filed.read_text().partition("-----BEGIN PRIVATE")[0])
    assert host.apply("dovecot", {"/etc/dovecot/dovecot.conf": "x\n"}, health=[f"tls {serve(talk)} * OK"]) == 0


CHECK = ["check", "--hostname", HOSTNAME]
KEYS = "example.org mail\nexample.net 2026a\nexample.net 2026a-ed25519\n"


@pytest.fixture
def published(host: Host, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The DKIM keys of KEYS on the host, as either signer stores them, and the TXT records that name servers have."""
    rsa_key, ed25519_key = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    pem, public = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    no_password = serialization.NoEncryption()
    private = rsa_key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, no_password).decode()
    host.write("/etc/dkimkeys/example.org.mail.private", private)
    host.write("/etc/rspamd/dkim/example.net.2026a.private", private)
    second = ed25519_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password).decode()
    host.write("/etc/rspamd/dkim/example.net.2026a-ed25519.private", dkim.ed25519_seed(second))
    record = dkim.key_record(rsa_key.public_key().public_bytes(pem, public).decode())
    records = {
        "mail._domainkey.example.org": record,
        "2026a._domainkey.example.net": record,
        "2026a-ed25519._domainkey.example.net": dkim.ed25519_record(
            ed25519_key.public_key().public_bytes(pem, public).decode()
        ),
    }

    def wait(root: Root, wanted: Sequence[resolver.Wanted], *, timeout: float) -> None:
        assert root.base == host.root
        assert timeout == 30
        for one in wanted:
            assert one.name.endswith(f"._domainkey.{one.zone}")
            if records[one.name] != one.value:
                raise MailhostError(f"{one}: ns1 answers {records[one.name]}")

    monkeypatch.setattr(resolver, "wait", wait)
    return records


@pytest.mark.usefixtures("published")
def test_the_self_check_is_silent_about_nothing(host: Host, tmp_path: Path, serve: Serve, capsys: Capsys) -> None:
    certificate = _certificate(tmp_path)
    _apply_with_certificate(host, serve, certificate, certificate)
    capsys.readouterr()
    assert host.run(*CHECK, stdin=KEYS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip("0123456789") for line in lines if " tls " not in line] == [
        "ok dovecot files",
        "ok dovecot active",
        f"ok certificate for {HOSTNAME}",
        "ok certificate served on ",
        "ok DKIM key mail of example.org",
        "ok DKIM key 2026a of example.net",
        "ok DKIM key 2026a-ed25519 of example.net",
    ]


def test_the_self_check_names_all_that_is_wrong(
    host: Host, tmp_path: Path, serve: Serve, capsys: Capsys, published: dict[str, str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    _apply_with_certificate(host, serve, _certificate(tmp_path), _certificate(other))
    host.write("/etc/dovecot/dovecot.conf", "by hand\n")
    published["mail._domainkey.example.org"] = "another key"
    published["2026a-ed25519._domainkey.example.net"] = "another one"
    (host.root / "etc/rspamd/dkim/example.net.2026a.private").unlink()
    (host.fake / "active/dovecot.service").unlink()
    assert host.run(*CHECK, stdin=KEYS) == 1
    err = capsys.readouterr().err
    assert "dovecot files: changed by hand" in err
    assert "dovecot active: is not active" in err
    assert f"is not the one in /etc/letsencrypt/live/{HOSTNAME}/cert.pem" in err
    assert "DKIM key mail of example.org: mail._domainkey.example.org TXT: ns1 answers another key" in err
    assert "DKIM key 2026a of example.net: its private key is in neither /etc/dkimkeys nor /etc/rspamd/dkim" in err
    assert "DKIM key 2026a-ed25519 of example.net: 2026a-ed25519._domainkey" in err


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("content", ["topsecret!", "dG9wc2VjcmV0", "-----BEGIN PRIVATE KEY-----\ntopsecret"])
def test_a_file_that_is_no_key_is_told_without_its_content(host: Host, capsys: Capsys, content: str) -> None:
    _play_openssl(host)
    host.write("/etc/dkimkeys/example.org.mail.private", f"{content}\n")
    assert host.run(*CHECK, stdin="example.org mail\n") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("DKIM key mail of example.org")]
    assert "private key" in line or "openssl pkey" in line
    assert content not in line


def test_a_certificate_of_another_server_is_renewed(host: Host, capsys: Capsys) -> None:
    call = ["certificate", HOSTNAME, "--server", "https://new/dir", "--contact", "postmaster@example.org"]
    assert host.run(*call) == 0
    assert capsys.readouterr().out == f"{HOSTNAME}\n"
    assert "--keep-until-expiring" in host.calls("certbot")[0]
    lineage = host.write(f"/etc/letsencrypt/renewal/{HOSTNAME}.conf", "[renewalparams]\nserver = https://old/dir\n")
    assert host.run(*call) == 0
    assert "--force-renewal" in host.calls("certbot")[0]
    lineage.write_text("[renewalparams]\nserver = https://new/dir\n")
    assert host.run(*call) == 0
    assert "--keep-until-expiring" in host.calls("certbot")[0]
    host.fails("certbot", "Challenge failed for domain")
    assert host.run(*call) == 1
    assert "Challenge failed" in capsys.readouterr().err


def _web_server(certificate: Path, status: str, names: list[str | None]) -> Talk:
    """Answers one request with `status` and notes the name it was asked for in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    def talk(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secured:
            request = secured.recv(4096)
            if not request:  # the self-check wants the certificate alone
                return
            assert request.startswith(b"GET /help/me HTTP/1.1\r\nHost: " + HOSTNAME.encode())
            secured.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    return talk


def test_a_page_is_asked_for_by_its_name(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str | None] = []
    monkeypatch.setattr(probes, "HTTPS", serve(_web_server(_certificate(tmp_path), "200 OK", names)))
    assert probes.failures((f"https {HOSTNAME}/help/me",)) == []
    assert names == [HOSTNAME]


def test_a_page_that_is_missing_is_a_failure(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "HTTPS", serve(_web_server(_certificate(tmp_path), "404 Not Found", [])))
    (failure,) = probes.failures((f"https {HOSTNAME}/help/me",))
    assert failure == f"https {HOSTNAME}/help/me: answers 'HTTP/1.1 404 Not Found'"


def test_the_self_check_judges_the_certificate_of_each_name(
    host: Host, tmp_path: Path, serve: Serve, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, other = _certificate(tmp_path), tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(probes, "HTTPS", serve(_web_server(served, "200 OK", [])))
    host.play("openssl", 'for word; do :; done; echo "Hostname $word does match certificate"\n')
    filed = f"/etc/letsencrypt/live/{HOSTNAME}/cert.pem"
    host.write(filed, served.read_text().partition("-----BEGIN PRIVATE")[0])
    health = [f"https {HOSTNAME}/help/me"]
    assert host.apply("nginx", {"/etc/nginx/nginx.conf": "x\n"}, health=health) == 0
    host.run(*CHECK)
    assert f"ok certificate served for {HOSTNAME}\n" in capsys.readouterr().out
    host.write(filed, _certificate(other).read_text().partition("-----BEGIN PRIVATE")[0])
    host.run(*CHECK)
    assert f"certificate served for {HOSTNAME}: is not the one in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rcode", "values", "complaint"),
    [
        (0, ("a.root-servers.net",), ""),
        (0, (), "answers NOERROR for the root"),
        (2, (), "answers SERVFAIL"),  # what it says when nothing validates, or no way out is open
        (None, (), "no answer"),
    ],
)
def test_a_resolver_is_healthy_when_it_finds_the_root(
    monkeypatch: pytest.MonkeyPatch, rcode: int | None, values: tuple[str, ...], complaint: str
) -> None:
    def query(address: str, question: resolver.Question) -> types.SimpleNamespace:
        assert (address, question.name, question.recursive) == ("127.0.0.1", ".", True)
        if rcode is None:
            raise resolver.NoAnswerError("no answer")
        return types.SimpleNamespace(rcode=rcode, answers=values)

    monkeypatch.setattr(resolver, "query", query)
    if complaint:
        with pytest.raises(probes.Unhealthy, match=complaint):
            probes.check("resolver 127.0.0.1")
    else:
        probes.check("resolver 127.0.0.1")


def test_restarts_of_long_ago_take_no_patience_away(host: Host, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload leaves systemd's count as it is."""
    monkeypatch.setattr(probes, "PATIENCE", 10.0)
    host.play("systemctl", "echo active; echo 7\n")
    port = _late(serve)
    probes.wait((f"tcp {port} 220",), SERVICES["opendkim"], since=0)


def test_a_daemon_that_systemd_starts_again_and_again_is_not_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "PATIENCE", 60.0)
    count = host.fake / "count"
    host.play("systemctl", f"echo x >> {count}; echo active; wc -l < {count}\n")
    began = time.monotonic()
    with pytest.raises(MailhostError, match="not healthy"):
        probes.wait(("unix /nonexistent",), SERVICES["opendkim"], since=0)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("unit", ["postfix.service", "postfix@-.service"])
def test_a_failed_unit_is_not_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    """On Debian 12 the process that failed is not that of postfix.service."""
    monkeypatch.setattr(probes, "PATIENCE", 60.0)
    host.play("systemctl", f'for word; do :; done; [ "$word" = {unit} ] && echo failed || echo active; echo 0\n')
    began = time.monotonic()
    with pytest.raises(MailhostError, match="not healthy"):
        probes.wait(("unix /nonexistent",), SERVICES["postfix"], since=0)
    assert time.monotonic() - began < 20


def _late(serve: Serve) -> int:
    """A server that greets at the third attempt."""
    attempts = iter(range(100))

    def talk(client: socket.socket) -> None:
        if next(attempts) > 1:
            client.sendall(b"220 here\r\n")
            client.recv(1000)

    return serve(talk)
