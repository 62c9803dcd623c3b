"""Prints how fast and how heavy the program is, each figure beside a reference measured in the same run.

Needs root and a lab that `make up` has once prepared; uses and resets the machine of the Debian 13 tests.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from lab import processes
from lab.errors import LabError
from tests.bench import figures, scenarios
from tests.bench.samples import Samples


def main() -> int:
    """Run the command line. Exit status 0: measured, whatever the figures are; 1: something did not work."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        default=3,
        metavar="N",
        help="fresh machines (default: 3); what is quick is measured three times as often",
    )
    parser.add_argument("--json", action="store_true", help="print every value as JSON instead of a table")
    parser.add_argument(
        "--newcomer", action="store_true", help="also `make up` the second time and `make test`: takes the lab down"
    )
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs {arguments.runs}: at least 1")
    processes.heed_interrupts()
    load = _load()
    samples = Samples()
    try:
        with tempfile.TemporaryDirectory(prefix="mailhost-bench-") as folder:
            scenarios.measure(samples, Path(folder), arguments.runs)
        if arguments.newcomer:
            scenarios.measure_newcomer(samples)
    except (LabError, AssertionError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench: interrupted", file=sys.stderr)
        return 130
    conditions = {"runs": arguments.runs, "cores": os.cpu_count(), "load before": load, "load after": _load()}
    if arguments.json:
        print(figures.as_json(samples.figures(), conditions))
    else:
        figures.show(samples.figures(), conditions)
    return 0


def _load() -> float:
    """Processes that ran or wanted to, on average over the last minute."""
    return round(os.getloadavg()[0], 2)


if __name__ == "__main__":
    sys.exit(main())
