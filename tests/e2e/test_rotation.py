"""The DKIM key changes under a constant flow of mail, and not one message fails to verify at any moment."""

import email.policy
import re
import secrets
import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from itertools import groupby

import dkim
import pytest

from lab import cloudflare, faults, outside
from lab.clients import compose, submission_session, wait_for
from lab.demo import account
from tests.e2e.conftest import Host
from tests.e2e.doctor import changed, look

GRACE = 5
ROTATION = {"grace": f"{GRACE}s", "every": "180d"}
SIGNING = {"generation": 2, "stage": "signing"}
_PAUSE_SECONDS = 0.8


@dataclass(kw_only=True)
class Flow:
    """Mail on its way out; every subject that the host accepted."""

    run: str = field(default_factory=lambda: f"rotation {secrets.token_hex(4)}")
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def _send(host: Host, flow: Flow) -> None:
    # In one session as long as it lasts: logins are counted.
    alice = account(host.machine, "alice")
    while not flow.stop.is_set():
        try:
            with submission_session(alice, port=465) as client:
                while not flow.stop.wait(_PAUSE_SECONDS):
                    about = f"{flow.run} {len(flow.accepted)}"
                    client.send_message(compose(alice.address, outside.CAROL, about))
                    flow.accepted.append(about)
        except (OSError, smtplib.SMTPException) as error:
            # The signer restarts: a mail program is told to come again, and this one does with its next mail.
            flow.refused.append(f"{datetime.now(UTC):%H:%M:%S} {error}")
            flow.stop.wait(1)


@contextmanager
def flowing(host: Host) -> Iterator[Flow]:
    """Submit mail, about one a second, until the end of the context."""
    flow = Flow()
    sender = threading.Thread(target=_send, args=(host, flow), daemon=True)
    sender.start()
    try:
        yield flow
    finally:
        flow.stop.set()
        sender.join(timeout=60)


def texts(host: Host) -> dict[str, str]:
    """The domain's key records at Cloudflare, by selector."""
    return {
        str(record["name"]).partition(".")[0]: str(record["content"])
        for record in cloudflare.records(host.machine.domain)
        if "._domainkey." in str(record["name"])
    }


@pytest.fixture(scope="module")
def signer(host: Host) -> str:
    """Which of the two signers the release has here, with rotation on; the way of the stages is the same."""
    name = "rspamd" if host.machine.release == "debian13" else "opendkim"
    # The flow is more than an account may send.
    host.stack.configure({"dkim": {"signer": name, "rotation": ROTATION}, "limits": {"enabled": False}})
    return name


def up(host: Host) -> dict[str, object]:
    """Apply, see that a second time changes nothing, and return what the outputs say."""
    host.stack.up().must_pass()
    assert host.stack.planned() == []
    return dict(host.stack.outputs()["dkim"])


def verifies(host: Host, message: EmailMessage) -> bool:
    """Whether the RSA signature of a message is that of a key which is published now."""
    signatures = message.get_all("DKIM-Signature", [])
    number = next(number for number, value in enumerate(signatures) if "a=rsa-sha256" in value)

    def dns(name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001 - dkimpy's signature
        text = texts(host).get(name.decode().partition(".")[0], "")
        return "".join(re.findall('"([^"]*)"', text)).encode() or None

    raw = message.as_bytes(policy=email.policy.SMTP.clone(refold_source="none"))
    return bool(dkim.DKIM(raw).verify(number, dnsfunc=dns))


def test_a_key_in_use_is_not_replaced_by_other_settings(host: Host, signer: str) -> None:
    stack = host.stack
    before = texts(host)
    about = f"under way {secrets.token_hex(4)}"
    alice = account(host.machine, "alice")
    with submission_session(alice, port=465) as client:
        client.send_message(compose(alice.address, outside.CAROL, about))
    sent = wait_for(lambda: outside.message(about), "the mail outside", seconds=60)
    assert verifies(host, sent)

    dkim_settings = {"signer": signer, "rotation": ROTATION}
    stack.configure({"dkim": {**dkim_settings, "selector": "another-2027"}})
    for refused in (stack.preview(), stack.up()):
        assert refused.code != 0
        # Whichever of its keys is looked at first.
        assert re.search(rf"published as mail(-ed25519)?\._domainkey\.{re.escape(host.machine.domain)}", refused.output)
        assert "pulumi config set --path dkim.selector mail" in refused.output
        assert f"make rotate STACK={stack.name} START=yes" in refused.output
        assert "Traceback" not in refused.output
    assert texts(host) == before
    live = host.run("sh", "-c", "cat /etc/opendkim/* /etc/rspamd/local.d/dkim_signing.conf 2>/dev/null || true")
    assert "mail" in live
    assert "another-2027" not in live

    # It counts for the next key, which the next test makes.
    stack.configure({"dkim": {**dkim_settings, "bits": 3072}})
    told = "dkim.bits: 3072 counts for the next key; the one that is in use has 2048 bits"
    assert told in stack.preview().must_pass().output
    done = stack.up().must_pass()
    assert told in done.output
    assert stack.planned() == []
    assert texts(host) == before
    assert verifies(host, sent)


def test_no_mail_fails_while_the_keys_change(host: Host, signer: str) -> None:
    stack = host.stack
    table = "/etc/opendkim/SigningTable" if signer == "opendkim" else "/etc/rspamd/local.d/dkim_signing.conf"
    assert stack.planned() == []
    assert stack.outputs()["dkim"]["selectors"] == {"mail": "signs"}
    first = texts(host)
    names = set(first)
    later = {name.replace("mail", "mail-2", 1) for name in names}
    assert len(names) == (2 if signer == "rspamd" else 1)

    early = stack.rotate()
    assert early.code == 1
    assert "the next key is due on" in early.output
    # Another test's fault of the name servers would be a mail that fails.
    with faults.undisturbed(), flowing(host) as flow:
        wait_for(lambda: len(flow.accepted) > 2, "mail with the first key")
        assert stack.rotate("--start").code == 0
        # Once before the engine can note that the record is there, once while the next one waits for the name servers.
        with faults.publication_held(host.machine.domain):
            with faults.answers_held(host.machine.domain):
                stack.cut_off(stack.start_up(), lambda: texts(host).keys() == names | later, "the new records")
            stack.cut_off(
                stack.start_up(), lambda: "mailhostctl wait-dns" in host.run("ps", "-eo", "args"), "the second wait"
            )
            assert set(texts(host)) == names | later
            refused = stack.rotate()
            assert refused.code == 1
            assert "run `pulumi up` first" in refused.output
            assert "mail-2" not in host.run("cat", table)
        assert up(host)["selectors"] == {"mail": "signs", "mail-2": "published"}
        assert {name: texts(host)[name] for name in names} == first
        # As dkim.bits says since the test before.
        assert len(texts(host)["mail-2"]) > len(first["mail"]) + 100

        assert stack.rotate().code == 0
        stack.cut_off(stack.start_up(), lambda: "mail-2" in host.run("cat", table), "the signer's table")
        assert stack.rotate().code == 1
        assert up(host)["selectors"] == {"mail": "retiring", "mail-2": "signs"}
        assert {name: texts(host)[name] for name in names} == first
        switched = len(flow.accepted)
        # The settings of long ago, from a backup say: the key that signs would be gone, the former one another.
        stack.configure({"dkim": {"signer": signer, "rotation": ROTATION}})
        leap = stack.preview()
        assert leap.code != 0
        assert "generation 1 settled cannot follow generation 2 signing" in leap.output
        stack.configure({"dkim": {"signer": signer, "rotation": {**ROTATION, **SIGNING, "grace": "1h"}}})
        early = stack.rotate()
        assert early.code == 1
        assert len([line for line in early.output.splitlines() if "under way until" in line]) == 1
        # And the one after it is due at once, which the doctor shall see.
        stack.configure({"dkim": {"signer": signer, "rotation": {**ROTATION, **SIGNING, "every": "1s"}}})
        wait_for(lambda: stack.rotate().code == 0, "the end of the grace", seconds=GRACE + 30)
        said = up(host)
        assert said["selectors"] == {"mail": "withdrawn", "mail-2": "signs"}
        assert {texts(host)[name] for name in names} == {'"v=DKIM1; p="'}
        wait_for(lambda: len(flow.accepted) > switched + 2, "mail with the new key")
    _count(host, flow, [names, later])


def test_the_doctor_knows_the_rotation(host: Host) -> None:
    stack = host.stack
    try:
        assert "the next key is due since" in stack.preview().must_pass().output
        seen = look(host).not_well()
        assert set(seen) == {"dns.dkim-rotation"}
        assert "the next key is due since" in seen["dns.dkim-rotation"]
        name = f"mail._domainkey.{host.machine.domain}"
        with changed(host, name, "TXT", content=texts(host)["mail-2"]):
            seen = look(host).not_well()
        assert set(seen) == {"dns.dkim-rotation", "dns.record", "dns.dkim"}
        assert "withdrawn" in seen["dns.dkim"]
    finally:
        # As the tests after these expect it; the keys stay as they are.
        stated = {**SIGNING, "stage": "settled", "since": stack.outputs()["dkim"]["since"], "grace": f"{GRACE}s"}
        stack.configure({"dkim": {"rotation": stated}, "limits": None})
        stack.up().must_pass()
    assert stack.outputs()["dkim"]["due"] == "when you say so"


def _count(host: Host, flow: Flow, expected: list[set[str]]) -> None:
    """Every accepted mail arrived outside and passed, by all keys of one generation; both generations were seen."""

    def arrived() -> dict[str, EmailMessage] | None:
        found = {
            str(message["Subject"]): message
            for message in outside.messages()
            if str(message["Subject"]).startswith(flow.run)
        }
        return found if found.keys() >= set(flow.accepted) else None

    mails = wait_for(arrived, "every mail outside", seconds=60)
    verdicts = {about: outside.verdicts(mail) for about, mail in mails.items()}
    assert not {about: said for about, said in verdicts.items() if "dkim=pass" not in said or "dkim=fail" in said}
    signed = [
        {
            found[1]
            for header in mail.get_all("DKIM-Signature", [])
            if f"d={host.machine.domain};" in header and (found := re.search(r"\bs=([\w-]+)", header))
        }
        for _, mail in sorted(mails.items(), key=lambda item: int(item[0].rpartition(" ")[2]))
    ]
    assert len(signed) >= 20
    # Each generation once, and the former never again after the later one: the signer changes over in one moment.
    assert [key for key, _ in groupby(signed)] == expected
    print(f"{len(signed)} mails, {len(flow.refused)} to be sent again by their programs", *flow.refused, sep="\n")
