"""What is measured and what it is compared with, and the values so far."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lab import faults
from tests.bench.figures import Comparison, Figure, Unit
from tests.bench.processes import lab_tests_run, seconds

APT: Final = "apt-get update, install"
UP: Final = "fresh up"
EMPTY_PREVIEW: Final = "preview, empty program"
NEW_PREVIEW: Final = "preview, new host"
PREVIEW: Final = "preview, nothing changed"
EMPTY_MEMORY: Final = "program's memory, empty"
MEMORY: Final = "program's memory"
EMPTY_UP: Final = "up, empty program"
SAME_UP: Final = "up, nothing changed"
SAME_LOGINS: Final = "SSH connections, nothing changed"
CHANGED_UP: Final = "up, one file changed"
CHANGED_LOGINS: Final = "SSH connections, one file changed"
MAKE_UP: Final = "make up, the second time"
MAKE_TEST: Final = "make test"
FRESH_MEMORY: Final = "memory, fresh machine"
IDLE_MEMORY: Final = "memory, idle host"
FEW_MAILBOXES: Final = "preview, 20 mailboxes"
MANY_MAILBOXES: Final = "preview, 10,000 mailboxes"
MANY_DOMAINS: Final = "preview, 100 domains"
BARE_DELIVERY: Final = "delivered a second, Postfix and Dovecot alone"
DELIVERY: Final = "delivered a second, whole chain"

_FIGURES: Final[tuple[tuple[str, str, Unit, Comparison, float | None], ...]] = (
    (UP, APT, "s", "ratio", 1.2),
    (NEW_PREVIEW, EMPTY_PREVIEW, "s", "ratio", 1.5),
    (PREVIEW, EMPTY_PREVIEW, "s", "ratio", 1.5),
    (MEMORY, EMPTY_MEMORY, "MB", "value", 120),
    (SAME_UP, EMPTY_UP, "s", "difference", 2.5),
    (SAME_LOGINS, "", "", "value", 0),
    (CHANGED_UP, EMPTY_UP, "s", "difference", 3.5),
    (CHANGED_LOGINS, "", "", "value", None),
    (IDLE_MEMORY, FRESH_MEMORY, "MB", "value", 400),
    (MANY_MAILBOXES, FEW_MAILBOXES, "s", "ratio", 1.3),
    (MANY_DOMAINS, EMPTY_PREVIEW, "s", "value", 10),
    (DELIVERY, BARE_DELIVERY, "", "ratio", None),
    (MAKE_UP, "", "s", "value", 180),
    (MAKE_TEST, "", "s", "value", 900),
)


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Samples:
    """What was measured so far, by name."""

    values: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def time(self, name: str, work: Callable[[], object]) -> None:
        """Measure `work` once on the wall clock, when no test disturbs it."""
        wait_for_tests()
        with faults.undisturbed():
            took = seconds(work)
        self.add(name, took, "s")

    def add(self, name: str, value: float, unit: Unit) -> None:
        """Note one value."""
        self.values[name].append(value)
        say(f"  {name}: {value:.2f} {unit}".rstrip())

    def figures(self) -> list[Figure]:
        """Return everything that was measured beside its reference."""
        return [
            Figure(
                name=name,
                unit=unit,
                measured=self.values[name],
                reference=reference,
                references=self.values[reference],
                comparison=comparison,
                aim=aim,
            )
            for name, reference, unit, comparison, aim in _FIGURES
            if name in self.values
        ]


def wait_for_tests() -> None:
    """Return once no test uses the lab."""
    if lab_tests_run():
        say("waiting for tests that use the lab to finish")
        while lab_tests_run():
            time.sleep(2)
