"""What the mail host itself costs: memory at rest, and mail a second through everything it does to a mail."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lab import machines, outside
from lab.addresses import OUTSIDE, Machine
from lab.clients import wait_for
from lab.demo import account
from tests.bench.samples import BARE_DELIVERY, DELIVERY, IDLE_MEMORY, Samples, say
from tests.e2e.stack import Stack

MESSAGES: Final = 200
"""Sent at once over `CONNECTIONS` connections, as a busy server of another domain does."""
CONNECTIONS: Final = 4
_SETTLED: Final = 20
"""Seconds after `up` until the daemons have ended what they do at their start."""
_BARE: Final[Mapping[str, object]] = {
    "spam": {"enabled": False},
    "limits": {"enabled": False},
    "smtp": {"postscreen": False},
    "sieve": {"enabled": False},
    "services": {"managesieve": False},
    "ban": {"enabled": False},
    "metrics": {"enabled": False},
    "clientSetup": {"enabled": False},
    "storage": {"search": False, "compression": False},
}
"""Postfix hands to Dovecot, and nothing looks at the mail."""
_SEND: Final = """
import concurrent.futures, json, secrets, smtplib, sys
order = json.load(sys.stdin)
HEAD = "From: {0}\\r\\nTo: {1}\\r\\nSubject: {2}\\r\\nDate: {3}\\r\\nMessage-ID: <{2}@{4}>\\r\\n\\r\\n"
TEXT = HEAD + "{2}\\r\\n" * 100

def send(count):
    with smtplib.SMTP(order["host"], 25, local_hostname=order["helo"], timeout=120) as client:
        for _ in range(count):
            values = order["sender"], order["recipient"], secrets.token_hex(16), order["date"], order["helo"]
            client.sendmail(order["sender"], [order["recipient"]], TEXT.format(*values))

with concurrent.futures.ThreadPoolExecutor(order["connections"]) as senders:
    list(senders.map(send, [order["messages"] // order["connections"]] * order["connections"]))
"""


def measure(samples: Samples, host: Stack, runs: int) -> None:
    """Measure a host with all defaults; it gets the bare chain for a while, and its own settings back."""
    time.sleep(_SETTLED)
    samples.add(IDLE_MEMORY, memory(host.machine), "MB")
    before = host.settings()
    for run in range(1, runs + 1):
        say(f"mail from outside, run {run} of {runs}")
        samples.add(DELIVERY, _delivery(host.machine), "")
        host.configure(_BARE)
        host.up().must_pass()
        samples.add(BARE_DELIVERY, _delivery(host.machine), "")
        host.restore(before)
        host.up().must_pass()


def memory(machine: Machine) -> float:
    """Return the megabytes that all processes of a machine need, shared pages once (Pss, proc_pid_smaps(5))."""
    show = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ { sum += $2 } END { print sum }'"
    return int(machines.run(machine.name, ["sh", "-c", show])) * 1024 / 1e6


def _delivery(machine: Machine) -> float:
    """Send from the outside server; return the mails a second, from the first greeting to the last mail in its box."""
    alice = account(machine, "alice")
    boxes = machines.root(machine.name) / "var/vmail"
    before = _mails(boxes)
    order = {
        "host": machine.ipv4,
        "helo": OUTSIDE.hostname,
        "sender": outside.CAROL,
        "recipient": alice.address,
        "date": machines.run(OUTSIDE.name, ["date", "-R"]).strip(),
        "messages": MESSAGES,
        "connections": CONNECTIONS,
    }
    started = time.monotonic()
    machines.run(OUTSIDE.name, ["python3", "-c", _SEND], content=json.dumps(order), timeout=300)
    wait_for(lambda: _mails(boxes) >= before + MESSAGES, f"the last of {MESSAGES} mails", seconds=300)
    return MESSAGES / (time.monotonic() - started)


def _mails(boxes: Path) -> int:
    return sum(file.parent.name in {"new", "cur"} for file in boxes.rglob("*") if file.is_file())
