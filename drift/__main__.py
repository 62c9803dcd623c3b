"""`python -m drift`, which `make drift` runs."""

import sys

from drift.command_line import main

sys.exit(main())
