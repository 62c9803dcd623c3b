"""The DKIM key changes under a constant flow of mail, and not one message fails to verify at any moment."""

import re
import secrets
import smtplib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lab import cloudflare, faults, outside
from lab.clients import compose, submit, wait_for
from lab.demo import account
from tests.e2e.conftest import Host
from tests.e2e.stack import Run

GRACE = 5
_PAUSE_SECONDS = 0.5


@dataclass(kw_only=True)
class Flow:
    """Mail on its way out; every subject that the host accepted."""

    run: str = field(default_factory=lambda: f"rotation {secrets.token_hex(4)}")
    accepted: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def _send(host: Host, flow: Flow) -> None:
    alice = account(host.machine, "alice")
    for number in range(600):
        about = f"{flow.run} {number}"
        # The signer restarts: a mail program is told to come again, and this one does with its next mail.
        with suppress(smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
            submit(alice, compose(alice.address, outside.CAROL, about), port=465)
            flow.accepted.append(about)
        if flow.stop.wait(_PAUSE_SECONDS):
            return


@contextmanager
def flowing(host: Host) -> Iterator[Flow]:
    """Submit mail, about two a second, until the end of the context."""
    flow = Flow()
    sender = threading.Thread(target=_send, args=(host, flow), daemon=True)
    sender.start()
    try:
        yield flow
    finally:
        flow.stop.set()
        sender.join(timeout=60)


def rotate(host: Host) -> Run:
    return host.stack.rotate()


def texts(host: Host) -> dict[str, str]:
    """The domain's key records at Cloudflare, by selector."""
    return {
        str(record["name"]).partition(".")[0]: str(record["content"])
        for record in cloudflare.records(host.machine.domain)
        if "._domainkey." in str(record["name"])
    }


def up(host: Host) -> dict[str, object]:
    """Apply, see that a second time changes nothing, and return what the outputs say."""
    host.stack.up().must_pass()
    assert host.stack.planned() == []
    return dict(host.stack.outputs()["dkim"])


def test_no_mail_fails_while_the_keys_change(host: Host) -> None:
    zone, stack = host.machine.domain, host.stack
    first = texts(host)["mail"]
    before = stack.settings()
    stack.configure({"dkim": {"rotation": {"grace": f"{GRACE}s"}}})
    try:
        with flowing(host) as flow:
            assert rotate(host).code == 0
            # Held back on its way to the name servers, and the run that waits for it dies.
            with faults.publication_held(zone):
                running = stack.start_up()
                wait_for(lambda: texts(host).get("mail-2"), "the second record at Cloudflare", seconds=60)
                time.sleep(2)
                running.kill()
                running.communicate(timeout=60)
                stack.pulumi("cancel", "--yes", stack=True)
                refused = rotate(host)
                assert refused.code == 1
                assert "run `pulumi up` first" in refused.output
                assert "mail-2" not in host.run("cat", "/etc/opendkim/SigningTable")
            said = up(host)
            assert (said["stage"], said["selectors"]) == ("published", {"mail": "signs", "mail-2": "published"})

            assert rotate(host).code == 0
            said = up(host)
            assert said["selectors"] == {"mail": "retiring", "mail-2": "signs"}
            assert texts(host)["mail"] == first
            switched = len(flow.accepted)

            stack.configure({"dkim": {"rotation": {"grace": "1h", "generation": 2, "stage": "signing"}}})
            early = rotate(host)
            assert early.code == 1
            assert len([line for line in early.output.splitlines() if "under way until" in line]) == 1
            stack.configure({"dkim": {"rotation": {"grace": f"{GRACE}s", "generation": 2, "stage": "signing"}}})
            wait_for(lambda: rotate(host).code == 0 or None, "the end of the grace", seconds=GRACE + 10)
            said = up(host)
            assert said["selectors"] == {"mail": "withdrawn", "mail-2": "signs"}
            assert texts(host)["mail"] == '"v=DKIM1; p="'
            wait_for(lambda: len(flow.accepted) > switched + 2 or None, "mail with the new key")
        _count(flow)
    finally:
        if "generation" not in stack.settings():
            stack.restore(before)


def _count(flow: Flow) -> None:
    """Every accepted mail arrived outside and passed; both keys were seen."""

    def arrived() -> dict[str, str] | None:
        found = {
            str(message["Subject"]): outside.verdicts(message)
            for message in outside.messages()
            if str(message["Subject"]).startswith(flow.run)
        }
        return found if found.keys() >= set(flow.accepted) else None

    verdicts = wait_for(arrived, "every mail outside", seconds=60)
    failed = {about: said for about, said in verdicts.items() if "dkim=pass" not in said}
    assert not failed
    assert len(verdicts) >= 20
    seen = {selector for said in verdicts.values() for selector in re.findall(r"header\.s=([\w-]+)", said)}
    assert seen == {"mail", "mail-2"}
