"""`python -m rotation`, which `make rotate` runs."""

import sys

from rotation.command_line import main

sys.exit(main())
