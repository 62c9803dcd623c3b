"""Entry point of `python -m lab`."""

import sys

try:
    from lab.command_line import main

    sys.exit(main())
except KeyboardInterrupt:  # also while modules are still being loaded
    print("lab: interrupted; `python -m lab down` removes what was started", file=sys.stderr)
    sys.exit(130)
