"""`python -m accounts`, which `make mailbox` runs."""

import sys

from accounts.command_line import main

sys.exit(main())
