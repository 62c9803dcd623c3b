"""Python run by a test on the network of a lab machine."""

import json
import subprocess
import sys
from typing import Any

from lab import machines, paths


def run_inside(machine: str, script: str, *arguments: str) -> Any:
    """Run `script` with the tests' own interpreter on the machine's network; returns what it prints, read as JSON."""
    done = subprocess.run(
        machines.network_command(machine, [sys.executable, "-c", script, *arguments]),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=paths.CLONE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
