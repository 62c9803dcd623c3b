"""The SMTP doors against those who bend the protocol: smuggling, haste, odd addresses, old ciphers.

What trips a limit comes from the outside server's address, so that the address of the other tests is never slowed down.
"""

import json
import secrets
import smtplib
import ssl
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest

from lab import machines, outside
from lab.addresses import GATEWAY4, GATEWAY6, OUTSIDE
from lab.clients import TIMEOUT_SECONDS, Account, compose, imap_arrival, imap_message, lab_names, wait_for
from lab.demo import account
from model.constants import SMTP, SUBMISSION, SUBMISSIONS
from tests.e2e.conftest import Host

Step = tuple[str, str]
"""What is sent, and what is read then: one `reply`, or the `rest`."""
_TALK = r"""
import json, socket, sys
order = json.load(sys.stdin)
said = []
with socket.create_connection((order["host"], 25), timeout=30) as client:
    lines = client.makefile("rb")

    def reply():
        text = b""
        while True:
            line = lines.readline()
            text += line
            if line[3:4] != b"-":
                return text.decode()

    try:
        for data, then in order["steps"]:
            client.sendall(data.encode())
            said.append(reply() if then == "reply" else lines.read().decode())
    except OSError as error:
        said.append(type(error).__name__)
print(json.dumps(said))
"""
_AUTHENTICATE = """
import smtplib, ssl, sys
host, user, times, password = *sys.argv[1:], sys.stdin.read()
tls = ssl._create_unverified_context()
for _ in range(int(times)):
    with smtplib.SMTP_SSL(host, 465, context=tls, timeout=30) as client:
        client.ehlo()
        client.user, client.password = user, password
        code, text = client.docmd("AUTH", "PLAIN " + smtplib.encode_base64(f"\\0{user}\\0{password}".encode(), eol=""))
        if code != 235:
            print(code, text.decode())
            break
"""
_HELLO = (("", "reply"), (f"EHLO {OUTSIDE.hostname}\r\n", "reply"))


def talk(client: str, host: Host, *steps: Step) -> list[str]:
    """Speak raw SMTP from a machine to port 25; return the replies."""
    order = {"host": host.machine.ipv4, "steps": steps}
    replies: list[str] = json.loads(machines.run(client, ["python3", "-c", _TALK], content=json.dumps(order)))
    return replies


def commands(*lines: str) -> list[Step]:
    """Greet, then send each line and wait for its reply."""
    return [*_HELLO, *((f"{line}\r\n", "reply") for line in lines)]


@pytest.fixture(scope="module", autouse=True)
def strange_commands(host: Host) -> Iterator["Future[list[str]]"]:
    """What a client hears that says one strange thing after another: it takes 30 s, beside the other tests."""
    strange = [("STRANGE\r\n", "reply")] * 5
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(talk, OUTSIDE.name, host, *_HELLO, *strange, ("", "reply"), ("", "rest"))


# ---- SMTP smuggling (CVE-2023-51764): only <CR><LF>.<CR><LF> ends a message


@pytest.mark.parametrize(
    "end", ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\n.\r", "\r.\r\n", "\r\n\0.\r\n"], ids=repr
)
def test_what_only_looks_like_the_end_of_a_message_is_not(host: Host, end: str) -> None:
    alice, about, smuggled = (account(host.machine, "alice"), *(secrets.token_hex(6) for _ in range(2)))
    envelope = (f"MAIL FROM:<{outside.CAROL}>", f"RCPT TO:<{alice.address}>", "DATA")

    def message(subject: str) -> str:
        return compose(outside.CAROL, alice.address, subject).as_string().replace("\n", "\r\n").rstrip()

    inner = "\r\n".join((*envelope, message(smuggled)))
    steps = [*commands(*envelope), (f"{message(about)}{end}{inner}\r\n.\r\n", "reply"), ("QUIT\r\n", "rest")]
    *_, code, rest = talk(OUTSIDE.name, host, *steps)
    # One reply to all of it, and then the one to QUIT.
    assert rest.startswith("221 ")
    assert rest.count("\n") == 1
    if code.startswith("250 "):
        delivered = imap_arrival(alice, about)
        assert smuggled in delivered.get_content()
    else:
        assert code[0] in "45"
    assert host.run("postqueue", "-j") == ""
    assert imap_message(alice, smuggled) is None


# ---- Clients that do not wait


def test_who_talks_before_the_greeting_is_refused(host: Host) -> None:
    # From the host's own address: postscreen has not seen it yet, and it is not that of any other test.
    hasty = f"EHLO bot.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@{host.machine.domain}>\r\n"
    greeting, _, refusal = talk(host.machine.name, host, (hasty, "reply"), ("", "reply"), ("", "reply"))
    assert greeting.startswith(f"220-{host.machine.hostname} ESMTP\r\n250-")  # the first half, and no second one
    assert refusal.startswith("550 5.5.1 Protocol error")
    assert f"PREGREET {len(hasty)} after" in host.run(
        "journalctl", "--no-pager", "-o", "cat", "-t", "postfix/postscreen"
    )


def test_who_talks_before_the_answer_is_refused(host: Host) -> None:
    hasty = f"EHLO {OUTSIDE.hostname}\r\nMAIL FROM:<{outside.CAROL}>\r\n"
    _, refusal, rest = talk(OUTSIDE.name, host, ("", "reply"), (hasty, "reply"), ("", "rest"))
    assert refusal.startswith("554 5.5.0 ")
    assert rest == ""


# ---- What strangers are told


def test_nobody_learns_which_mailboxes_exist(host: Host) -> None:
    names = ("alice", "nobody")
    replies = {
        verb: [talk(OUTSIDE.name, host, *commands(f"{verb} {name}@{host.machine.domain}"))[-1] for name in names]
        for verb in ("VRFY", "EXPN")
    }
    for answers in replies.values():
        assert answers[0] == answers[1]
        assert answers[0].startswith("5")


def test_nobody_makes_the_queue_run(host: Host) -> None:
    *_, reply = talk(OUTSIDE.name, host, *commands(f"ETRN {host.machine.domain}"))
    assert reply.startswith("554 5.7.1")


def test_what_people_send_says_nothing_about_where_they_sit(host: Host) -> None:
    alice, about = account(host.machine, "alice"), secrets.token_hex(6)
    message = compose(alice.address, outside.CAROL, about)
    message["Received"] = "from laptop.private.example ([10.9.8.7]); Mon, 1 Jan 2026 00:00:00 +0000"
    message["X-Originating-IP"] = "[10.9.8.7]"
    message["User-Agent"] = "Courier Pigeon/1.0"
    message["X-Mailer"] = "Courier Pigeon"
    message["X-Kept"] = "yes"
    with lab_names(), smtplib.SMTP(alice.host, SUBMISSION, "laptop.private.example", TIMEOUT_SECONDS) as client:
        client.starttls(context=alice.tls)
        client.login(alice.address, alice.password)
        client.send_message(message)
    delivered = wait_for(lambda: outside.message(about), "the mail outside")
    assert delivered["X-Kept"] == "yes"
    (received,) = delivered.get_all("Received", [])
    assert f"by {OUTSIDE.hostname}" in received
    text = delivered.as_string().lower()
    for secret in ("private.example", "10.9.8.7", GATEWAY4, GATEWAY6, "pigeon"):
        assert secret not in text


# ---- Nobody's relay


@pytest.mark.parametrize(
    "recipient",
    [
        "victim%elsewhere.example@{domain}",
        "victim%elsewhere.example",
        "elsewhere.example!victim@{domain}",
        "elsewhere.example!victim",
        "@{domain}:victim@elsewhere.example",
        "@{hostname}:victim@elsewhere.example",
        '"victim@elsewhere.example"@{domain}',
        '"victim@elsewhere.example"',
        '"victim%elsewhere.example"@{hostname}',
        "victim@elsewhere.example@{domain}",
        "victim@[203.0.113.99]",
        "victim@[IPv6:2001:db8:113::99]",
        "victim@[{ipv4}]",
        "alice@[{ipv4}]",
        "victim@localhost",
        "victim@elsewhere.example.",
        "victim@",
    ],
)
def test_no_form_of_address_makes_it_a_relay(host: Host, recipient: str) -> None:
    machine = host.machine
    address = recipient.format(domain=machine.domain, hostname=machine.hostname, ipv4=machine.ipv4)
    *_, sender, answer = talk(OUTSIDE.name, host, *commands("MAIL FROM:<>", f"RCPT TO:<{address}>"))
    assert sender.startswith("250 ")
    assert answer.startswith("5")


# ---- Old protocols and weak ciphers


class Offer(NamedTuple):
    """What a client offers."""

    ciphers: str
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


MODERN = Offer("ECDHE-ECDSA-AES128-GCM-SHA256")
TLS_1_0 = Offer("DEFAULT", ssl.TLSVersion.TLSv1)
TLS_1_1 = Offer("DEFAULT", ssl.TLSVersion.TLSv1_1)
SHA1 = Offer("ECDHE-ECDSA-AES128-SHA")
CAMELLIA = Offer("ECDHE-ECDSA-CAMELLIA128-SHA256")
ARIA = Offer("ECDHE-ECDSA-ARIA128-GCM-SHA256")
CCM = Offer("ECDHE-ECDSA-AES128-CCM8")
NO_CERTIFICATE = Offer("aNULL")
WEAKEST_FIRST = Offer("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")


def agreed(server: Account, port: int, offer: Offer) -> str:
    """Shake hands; return the cipher both agreed on, and nothing where the server refused."""
    context = server.tls
    context.check_hostname = False  # anonymous ciphers have no certificate to look at
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(f"{offer.ciphers}:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = offer.version
    client: smtplib.SMTP
    with lab_names():
        try:
            if port in (SMTP, SUBMISSION):
                client = smtplib.SMTP(server.host, port, timeout=TIMEOUT_SECONDS)
                client.starttls(context=context)
            else:
                client = smtplib.SMTP_SSL(server.host, port, timeout=TIMEOUT_SECONDS, context=context)
        except (ssl.SSLError, ConnectionResetError) as refusal:
            if "AVAILABLE" in str(refusal):  # to this machine's own OpenSSL, which then asked for nothing
                raise
            return ""
    with client:
        assert isinstance(client.sock, ssl.SSLSocket)
        cipher = client.sock.cipher()
        return cipher[0] if cipher else ""


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("port", "refused"),
    [
        (SMTP, [TLS_1_0, TLS_1_1, NO_CERTIFICATE, CAMELLIA, ARIA, CCM]),
        (SUBMISSION, [TLS_1_0, TLS_1_1, NO_CERTIFICATE, SHA1, CAMELLIA]),
        (SUBMISSIONS, [TLS_1_0, NO_CERTIFICATE, SHA1, CAMELLIA]),
    ],
)
def test_weak_tls_is_refused(host: Host, port: int, refused: list[Offer]) -> None:
    server = account(host.machine, "alice")
    assert agreed(server, port, MODERN) == MODERN.ciphers
    assert agreed(server, port, WEAKEST_FIRST) == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert {offer: agreed(server, port, offer) for offer in refused} == dict.fromkeys(refused, "")


# ---- Limits, at the end: they slow the outside server's address down


def test_who_makes_mistake_after_mistake_is_cut_off(strange_commands: "Future[list[str]]") -> None:
    _, _, *replies, farewell, rest = strange_commands.result(timeout=60)
    assert [reply[:9] for reply in replies] == ["500 5.5.2"] * 5
    assert farewell.startswith("421 4.7.0 ")
    assert rest == ""


def test_logins_are_throttled_per_address(host: Host) -> None:
    alice = account(host.machine, "alice")
    try:
        arguments = [host.machine.ipv4, alice.address, "70"]
        said = machines.run(OUTSIDE.name, ["python3", "-c", _AUTHENTICATE, *arguments], content=alice.password)
        assert said.startswith("450 4.7.1 Error: too many AUTH commands")
    finally:
        host.run("systemctl", "restart", "postfix")  # anvil(8) forgets
