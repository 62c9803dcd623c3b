"""Sessions with servers of our own making, on the loopback: the protocols' replies, TLS, and what goes wrong."""

import datetime
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from doctor.observe import doors
from doctor.observe.doors import Dialogue, DialogueError, Visitor
from doctor.ports import Port, Protocol

HOSTNAME = "mail.example.com"
Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve) -> Iterator[int]:
    """Serve connections one after another; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.settimeout(5)
                    with suppress(OSError):
                        serve(client)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def script(*replies: str, greeting: str) -> Serve:
    """Greet, and answer each command with the next reply."""

    def serve(client: socket.socket) -> None:
        client.sendall(greeting.encode())
        for reply in replies:
            client.recv(512)
            client.sendall(reply.encode())

    return serve


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of the host, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTNAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOSTNAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "identity.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def secure_imap(identity: Path, *, old: bool = False) -> Serve:
    """IMAP in TLS from the start; an old one speaks TLS 1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    if old:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_2

    def serve(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secured:
            secured.sendall(b"* OK ready\r\n")
            secured.recv(512)
            secured.sendall(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nd1 OK done\r\n")

    return serve


def port(number: int, protocol: Protocol = "imap", *, implicit: bool = True) -> Port:
    return Port(number=number, protocol=protocol, implicit=implicit, on=True)


def visitor(roots: Path | None = None, context: ssl.SSLContext | None = None) -> Visitor:
    return Visitor(
        hostname=HOSTNAME,
        context=context or doors.trusting(str(roots) if roots else None),
        name="doctor.invalid",
        timeout=2,
    )


def test_a_trusted_session_shows_certificate_and_capabilities(identity: Path) -> None:
    with server(secure_imap(identity)) as number:
        door = doors.knock(port(number), "127.0.0.1", visitor(identity))
    assert door.tls is not None
    assert door.tls.distrust == ""
    assert door.after == ("IMAP4REV1", "AUTH=PLAIN")
    assert door.error == ""


def test_an_unknown_certificate_is_shown_with_the_reason(identity: Path) -> None:
    with server(secure_imap(identity)) as number:
        door = doors.knock(port(number), "127.0.0.1", visitor())
    assert door.tls is not None
    assert "self-signed" in door.tls.distrust
    assert x509.load_der_x509_certificate(door.tls.certificate).serial_number == 1


@pytest.mark.parametrize(("old", "accepted"), [(True, "TLSv1.1"), (False, "")])
def test_an_outdated_handshake_succeeds_only_where_it_is_spoken(identity: Path, old: bool, accepted: str) -> None:
    with server(secure_imap(identity, old=old)) as number:
        floor = doors.floor(port(number), "127.0.0.1", visitor(context=doors.outdated()))
    assert (floor.accepted, floor.error) == (accepted, "")


def test_words_slipped_in_before_tls_are_not_believed(identity: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)

    def serve(client: socket.socket) -> None:
        client.sendall(b"220 mail.example.com ESMTP\r\n")
        client.recv(512)
        client.sendall(b"250-mail.example.com\r\n250 STARTTLS\r\n")
        client.recv(512)
        client.sendall(b"220 go\r\n250-mail.example.com\r\n250 INJECTED\r\n")  # RFC 3207 §6
        with context.wrap_socket(client, server_side=True) as secured:
            secured.recv(512)
            secured.sendall(b"250-mail.example.com\r\n250 HONEST\r\n")

    with server(serve) as number:
        door = doors.knock(port(number, "smtp", implicit=False), "127.0.0.1", visitor(identity))
    assert door.after == ("HONEST",)


def test_nobody_there_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
    door = doors.knock(port(number), "127.0.0.1", visitor())
    assert (door.reached, door.refusal) == (False, "refused")


def test_a_silent_server_is_a_timeout() -> None:
    def silent(client: socket.socket) -> None:
        client.recv(512)

    with server(silent) as number:
        door = doors.knock(port(number, implicit=False), "127.0.0.1", visitor())
    assert (door.reached, door.error) == (True, "timeout")


@pytest.mark.parametrize(
    ("protocol", "greeting", "reply", "name", "offers"),
    [
        (
            "smtp",
            "220-mail.example.com ESMTP\r\n220 still\r\n",
            "250-mail.example.com\r\n250-SIZE 1\r\n250 STARTTLS\r\n",
            HOSTNAME,
            ("SIZE 1", "STARTTLS"),
        ),
        (
            "imap",
            "* OK hi\r\n",
            "* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nd1 OK x\r\n",
            "",
            ("IMAP4REV1", "LOGINDISABLED"),
        ),
        (
            "sieve",
            '"SASL" ""\r\nOK "hi"\r\n',
            '"SASL" ""\r\n"STARTTLS"\r\nOK\r\n',
            "",
            ('"SASL" ""', '"STARTTLS"', "OK"),
        ),
        ("pop3", "+OK hi\r\n", "+OK\r\nSTLS\r\nUIDL\r\n.\r\n", "", ("STLS", "UIDL", ".")),
    ],
)
def test_capabilities_are_read(
    protocol: Protocol, greeting: str, reply: str, name: str, offers: tuple[str, ...]
) -> None:
    with (
        server(script(reply, greeting=greeting)) as number,
        Dialogue.open("127.0.0.1", number, protocol, 2) as talk,
    ):
        assert talk.greeting().splitlines()[0] == greeting.splitlines()[0]
        assert talk.capabilities("doctor.invalid") == (name, offers)


@pytest.mark.parametrize(
    ("greeting", "words"),
    [("554 go away\r\n", "go away"), ("", "closed the connection"), ("x" * 70_000, "does not stop")],
)
def test_a_server_that_is_rude_is_quoted(greeting: str, words: str) -> None:
    with (
        server(script(greeting=greeting)) as number,
        Dialogue.open("127.0.0.1", number, "smtp", 2) as talk,
        pytest.raises(DialogueError, match=words),
    ):
        talk.greeting()


def test_every_relay_form_leads_to_the_stranger() -> None:
    forms = doors.relay_forms("example.com", HOSTNAME, "example.org")
    assert len(forms) > 5
    assert [form for form, _, recipient in forms if "example.org" not in recipient] == []
