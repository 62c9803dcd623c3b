"""What a plan costs where there are many mailboxes, or many domains."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lab.addresses import CLOUDFLARE_TOKEN, Machine
from lab.cloudflare_api.service import Settings, application, zone_id
from tests.bench.samples import FEW_MAILBOXES, MANY_DOMAINS, MANY_MAILBOXES, Samples, say
from tests.cloudflare_api.fakes import Background
from tests.e2e.stack import Stack, password_hashes

FEW: Final = 20
MANY: Final = 10_000
DOMAINS: Final = 100


def measure(samples: Samples, machine: Machine, folder: Path, runs: int) -> None:
    """Preview new hosts of each size in turn; nothing is sent to the machine."""
    few, many = (_mailboxes(machine, folder / f"mailboxes{count}", count) for count in (FEW, MANY))
    names = [f"d{number:02}.example" for number in range(1, DOMAINS)]
    with _cloudflare(folder, (machine.domain, *names)) as url:
        domains = new_stack(machine, folder / "domains")
        domains.configure({"cloudflare:baseUrl": url, "domains": {name: {"zoneId": zone_id(name)} for name in names}})
        for run in range(runs):
            say(f"plans of many, run {run + 1} of {runs}")
            samples.time(FEW_MAILBOXES, lambda: few.preview().must_pass())
            samples.time(MANY_MAILBOXES, lambda: many.preview().must_pass())
            samples.time(MANY_DOMAINS, lambda: domains.preview().must_pass())


def _mailboxes(machine: Machine, folder: Path, count: int) -> Stack:
    """A stack whose mailboxes came by `make mailbox CSV=`."""
    stack = new_stack(machine, folder)
    hashed = password_hashes()["bob"]
    rows = folder / "people.csv"
    people = (f'u{number}@{machine.domain},"{hashed}",U {number},1G\n' for number in range(count))
    rows.write_text("address,hash,name,quota\n" + "".join(people))
    stack.mailbox("--csv", str(rows)).must_pass()
    return stack


def new_stack(machine: Machine, folder: Path) -> Stack:
    """Make a stack of the program as it is, in a folder of its own."""
    folder.mkdir()
    stack = Stack(machine=machine, folder=folder)
    stack.create()
    return stack


@contextmanager
def _cloudflare(folder: Path, zones: tuple[str, ...]) -> Iterator[str]:
    """The lab's API service with more zones than the lab has; nothing is published."""
    settings = Settings(
        powerdns="http://127.0.0.1:9",
        key="",
        token=CLOUDFLARE_TOKEN,
        state=folder / "records.json",
        zones=zones,
        known_zones=set(zones),
    )
    background = Background()
    try:
        yield f"{background.serve(application(settings))}/client/v4/"
    finally:
        background.close()
