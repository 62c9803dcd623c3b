"""`python -m reports`, which `make reports` runs."""

import sys

from reports.command_line import main

sys.exit(main())
