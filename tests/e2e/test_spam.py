"""Filtering and sending limits, with mail from a real outside server: refused, put off, marked, delivered, counted."""

import json
import re
import secrets
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage

import dns.flags
import dns.message
import pytest

from lab import machines, outside
from lab.addresses import OUTSIDE
from lab.clients import TIMEOUT_SECONDS, Account, compose, imap_arrival, imap_message, submit, wait_for
from lab.demo import account
from tests.e2e.conftest import Host

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
VIRUS = "This mail carries the one virus of the lab."
LEARN = "/run/rspamd/learn.sock"
NAMES = ("alice", "bob", "abuse", "postmaster", "root", "mailer-daemon")
"""Addresses that every host has."""

_SEND = """
import json, smtplib, sys
order = json.load(sys.stdin)
with smtplib.SMTP(order["host"], 25, timeout=60) as client:
    client.ehlo(order["helo"])
    try:
        client.sendmail(order["sender"], order["recipients"], order["message"].encode())
        code, text = 250, b""
    except smtplib.SMTPResponseException as error:
        code, text = error.smtp_code, error.smtp_error
print(json.dumps([code, text.decode()]))
"""
_PING = """
import socket
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(30)  # systemd holds the socket until clamd has read its signatures
    client.connect("/run/clamav/clamd.ctl")
    client.sendall(b"PING\\n")
    print(client.recv(16).decode(), end="")
"""
_ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(10)
    client.sendto(bytes.fromhex(sys.stdin.read()), ("127.0.0.1", 53))
    print(client.recv(4096).hex())
"""


def subject() -> str:
    return f"test {secrets.token_hex(6)}"


def text() -> str:
    """Write something of its own in each mail."""
    return f"The meeting about {secrets.token_hex(8)} is moved to Thursday, {secrets.token_hex(4)} will come too.\n"


@pytest.fixture(autouse=True)
def _nothing_is_remembered(host: Host) -> None:
    """What was put off keeps its sender away for five minutes, and what was sent counts for an hour: also in tests."""
    redis = "redis-cli -s /run/redis/redis-server.sock"
    for prefix in ("rg", "RL"):
        host.run("sh", "-c", f"{redis} --scan --pattern '{prefix}*' | xargs -r {redis} del")


def from_outside(host: Host, message: EmailMessage) -> tuple[int, str]:
    """Hand a mail over from the outside server's address, unsigned; return the reply to it."""
    order = {
        "host": host.machine.ipv4,
        "helo": OUTSIDE.hostname,
        "sender": outside.CAROL,
        "recipients": [str(message["To"])],
        "message": message.as_string(),
    }
    code, reply = json.loads(machines.run(OUTSIDE.name, ["python3", "-c", _SEND], content=json.dumps(order)))
    return code, reply


def to_alice(host: Host, about: str, *, text_: str = "", **headers: str) -> EmailMessage:
    message = compose(outside.CAROL, account(host.machine, "alice").address, about, text_ or text())
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


def test_a_clean_first_mail_from_outside_passes_at_once(host: Host) -> None:
    alice, about = account(host.machine, "alice"), subject()
    outside.send(to_alice(host, about))
    delivered = imap_arrival(alice, about)
    (results,) = delivered.get_all("Authentication-Results", [])
    assert str(results).startswith(f"{host.machine.hostname};")
    assert {"spf=pass", "dkim=pass", "dmarc=pass"} <= {word.strip(";") for word in str(results).split()}
    assert delivered["X-Spam"] is None


def test_gtube_is_refused(host: Host) -> None:
    assert from_outside(host, to_alice(host, subject(), text_=f"{GTUBE}\n")) == (554, "5.7.1 Gtube pattern")


def test_forged_results_are_removed(host: Host) -> None:
    alice, about = account(host.machine, "alice"), subject()
    forged = {
        "Authentication_Results": f"{host.machine.hostname}; dkim=pass header.d=bank.example",
        "X_Spam_Status": "No, score=-100",
        "X_Spamd_Result": "default: False [-100.00 / 15.00]",
    }
    assert from_outside(host, to_alice(host, about, **forged)) == (250, "")
    delivered = imap_arrival(alice, about)
    (results,) = delivered.get_all("Authentication-Results", [])
    assert "bank.example" not in str(results)
    assert delivered["X-Spam-Status"] is None
    assert "-100" not in "".join(str(value) for value in delivered.get_all("X-Spamd-Result", []))


def test_a_user_cannot_forge_results_either(host: Host) -> None:
    alice, bob, about = account(host.machine, "alice"), account(host.machine, "bob"), subject()
    message = compose(alice.address, bob.address, about)
    message["Authentication-Results"] = f"{host.machine.hostname}; dkim=pass header.d=bank.example"
    message["X-Spam"] = "Yes"
    submit(alice, message, port=587)
    delivered = imap_arrival(bob, about)
    assert delivered["Authentication-Results"] is None
    assert delivered["X-Spam"] is None


def test_a_doubtful_mail_is_asked_to_come_again(host: Host) -> None:
    # Marked as spam by an earlier server, all else right: between the scores for greylisting and for Junk.
    assert from_outside(host, to_alice(host, subject(), X_Spam="Yes")) == (451, "4.7.1 Try again later")


def test_dovecots_user_may_let_rspamd_learn_and_others_not(host: Host) -> None:
    def learned() -> int:
        found = re.search(r"Messages learned: (\d+)", host.run("rspamc", "-h", LEARN, "stat"))
        assert found
        return int(found[1])

    before = learned()
    message = to_alice(host, subject(), text_=" ".join(secrets.token_hex(4) for _ in range(60))).as_string()
    said = host.run("runuser", "-u", "vmail", "--", "rspamc", "-h", LEARN, "learn_spam", content=message)
    assert "success = true" in said
    assert learned() == before + 1
    refused = host.run_fails("runuser", "-u", "nobody", "--", "rspamc", "-h", LEARN, "learn_spam")
    assert "denied" in refused.lower()


def test_nothing_of_the_filter_listens_to_the_world(host: Host) -> None:
    listening = {line.split()[3] for line in host.run("ss", "-Hltn").splitlines()}
    assert {address for address in listening if address.endswith(":53")} == {"127.0.0.1:53"}
    assert not {address for address in listening if address.rpartition(":")[2] in {"6379", "11332", "11333", "11334"}}


def test_the_hosts_resolver_validates(host: Host) -> None:
    query = dns.message.make_query(OUTSIDE.hostname, "A", want_dnssec=True)
    answer = dns.message.from_wire(bytes.fromhex(host.run("python3", "-c", _ASK, content=query.to_wire().hex())))
    assert OUTSIDE.ipv4 in answer.to_text()
    assert answer.flags & dns.flags.AD


@pytest.fixture(scope="module")
def strict(host: Host) -> Iterator[str]:
    """Low limits, and no greylisting, so that nothing waits five minutes first; the value is the settings of before."""
    with host.stack.kept() as before:
        host.stack.configure({"spam": {"greylist": 14}, "limits": {"messages": 3, "recipients": 5}})
        yield before


@pytest.mark.usefixtures("strict")
def test_spam_and_mail_that_fails_its_senders_policy_go_to_junk_marked(host: Host) -> None:
    alice, spam, faked = account(host.machine, "alice"), subject(), subject()
    message = to_alice(host, spam, X_Spam="Yes")
    del message["Date"], message["Message-ID"]
    assert from_outside(host, message) == (250, "")
    with smtplib.SMTP(host.machine.ipv4, 25, timeout=TIMEOUT_SECONDS) as client:
        client.ehlo("stranger.outside.example")
        # Neither from outside's address nor signed; its policy is reject.
        client.send_message(to_alice(host, faked))
    delivered = imap_arrival(alice, spam, folder="Junk")
    assert delivered.get_all("X-Spam") == ["Yes"]
    delivered = imap_arrival(alice, faked, folder="Junk")
    assert "dmarc=fail" in str(delivered["Authentication-Results"])
    assert imap_message(alice, spam) is imap_message(alice, faked) is None


@pytest.mark.usefixtures("strict")
def test_the_limits_are_kept_and_named(host: Host) -> None:
    alice, bob = account(host.machine, "alice"), account(host.machine, "bob")

    def send(sender: Account, *names: str) -> str:
        message = compose(sender.address, ", ".join(f"{name}@{host.machine.domain}" for name in names), subject())
        try:
            submit(sender, message, port=587)
        except smtplib.SMTPDataError as error:
            return f"{error.smtp_code} {bytes(error.smtp_error).decode()}"  # type: ignore[arg-type] # it is bytes
        return "sent"

    assert [send(alice, "bob") for _ in range(3)] == ["sent"] * 3
    refused = "451 4.7.1 Sending limit reached: this account may send 3 messages an hour; try again later"
    assert send(alice, "bob") == refused
    # More than an hour's recipients at once: nobody gets it, and it does not count.
    refused = "554 5.7.1 Sending limit reached: this account may write to 5 recipients an hour, "
    assert send(bob, *NAMES[:6]) == f"{refused}and this message has 6; nobody got it"
    # Recipients count one by one, and each account has limits of its own.
    assert send(bob, "alice", "bob", "abuse") == "sent"
    refused = "451 4.7.1 Sending limit reached: this account may write to 5 recipients an hour; try again later"
    assert send(bob, "alice", "bob", "abuse") == refused
    assert send(bob, "alice", "bob") == "sent"


def know_a_virus(host: Host) -> None:
    """Give clamd one signature in place of the hundreds of megabytes that freshclam would fetch."""
    folder = "/var/lib/clamav"
    # What its unit waits for before it starts (ConditionPathExistsGlob=).
    host.run("mkdir", "--parents", f"{folder}/main.inc", f"{folder}/daily.inc")
    host.run("tee", f"{folder}/lab.ndb", content=f"Lab.Virus:0:*:{VIRUS.encode().hex()}\n")
    host.run("systemctl", "restart", "clamav-daemon.service")
    assert host.run("python3", "-c", _PING) == "PONG\n"


def infected(host: Host) -> EmailMessage:
    message = to_alice(host, subject())
    virus = f"{VIRUS} {secrets.token_hex(8)}".encode()  # results are remembered by content
    message.add_attachment(virus, maintype="application", subtype="octet-stream", filename="invoice.bin")
    return message


def refusal(host: Host) -> str | None:
    code, reply = from_outside(host, infected(host))
    return reply if code != 250 else None


def test_on_request_it_signs_with_both_kinds_of_keys_and_refuses_viruses(host: Host, strict: str) -> None:
    alice, about = account(host.machine, "alice"), subject()
    host.stack.restore(strict)
    host.stack.configure({"dkim": {"signer": "rspamd"}, "spam": {"antivirus": True}})
    host.stack.up().must_pass()
    assert host.run_fails("systemctl", "is-active", "opendkim") == ""
    submit(alice, compose(alice.address, outside.CAROL, about), port=587)
    delivered = wait_for(lambda: outside.message(about), "the mail outside")
    verdicts = outside.verdicts(delivered)
    assert len(delivered.get_all("DKIM-Signature", [])) == 2
    assert verdicts.count("dkim=pass") == 2
    assert "header.a=rsa-sha256" in verdicts
    assert "header.a=ed25519-sha256" in verdicts

    assert from_outside(host, infected(host)) == (250, "")  # without signatures nothing is held up
    know_a_virus(host)
    # rspamd leaves a scanner alone for a while that was not there.
    reply = wait_for(lambda: refusal(host), "a virus that is refused", seconds=90)
    assert reply == '5.7.1 Message rejected: virus "Lab.Virus.UNOFFICIAL" found'
    assert from_outside(host, to_alice(host, subject())) == (250, "")
    host.stack.restore(strict)
    host.stack.up().must_pass()
    assert host.run_fails("systemctl", "is-active", "clamav-daemon", "clamav-freshclam") == ""
