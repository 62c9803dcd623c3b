"""The page of all checks as Markdown, from the table in `doctor.checks`: `python -m doctor.reference`."""

import sys
from collections.abc import Sequence
from typing import Final

from doctor import checks
from model.preflight import Check

_HEAD: Final = """# The doctor

<!-- Made by `python -m doctor.reference` from doctor/checks.py; do not edit. -->

It looks at a mail host from outside, as another mail server and a mail client do, and compares what it sees with the
stack's settings and state. It changes nothing.

```sh
make preflight STACK=prod          # before the first `pulumi up`
make doctor STACK=prod             # afterwards, whenever you like
```

Both need the `pulumi` command and what it needs to read the stack (backend, passphrase). More options go into
`OPTIONS`, and `.venv/bin/python -m doctor --help` lists them:

```sh
make doctor STACK=prod OPTIONS='--account alice@example.com'     # asks for her password
make doctor STACK=prod OPTIONS='--json --no-ssh'                 # for machines
```

It also logs in on every port, and sends a mail from a mailbox to itself, which it deletes again. The mailbox is the
postmaster's: the host lets it in with a second password, which is valid as long as the doctor's SSH session lasts
(`mailhostctl lend`). `--account` names another one, `--no-account` leaves this out. The password of an account you name
is typed, or is the first line of standard input; no password is in a command or a report.

**A finding** is ok, a warning, failed, or skipped with the reason. Below the table, each warning and failure says its
cause and what to do. `--all` shows each good finding too.

**The exit status** is 0 when nothing is wrong, 1 when something warns, 2 when something failed, and 3 when the doctor
could not look: an unknown stack, wrong settings, wrong usage. What was skipped does not count. So cron can run it:

```sh
.venv/bin/python -m doctor --stack prod >doctor.txt || cat doctor.txt
```

**Where it looks from** matters. Many home connections close port 25 on the way out; the doctor tells that apart by
greeting another mail server, and skips the port. Without IPv6 on this machine, IPv6 addresses are skipped. Blocklists
refuse public resolvers; that is recognised (127.255.255.x) and skipped, and `--resolver` names a better one.
Preflight asks the blocklists and port 25 from the host itself.

**What the host notices**: sessions without a login, refused recipients, and refused handshakes in its log. An address
that does this often may be banned; the one a host is deployed from is not.

It takes seconds; `--deadline` (90 s) bounds the whole, `--timeout` (10 s) each answer. `MAILHOST_DOCTOR` in the
environment holds options that are always given; the lab sets it, so that stack `dev` is seen with the lab's resolver
and roots.
"""

_TABLE: Final = """
| check | level | what is looked at | why | what to do |
|---|---|---|---|---|
"""


def markdown() -> str:
    """Return the whole document."""
    return (
        f"{_HEAD}\n## From outside\n\n`make doctor`. What stops is a failure, what warns a warning.\n"
        f"{_rows(checks.DOCTOR)}\n## Before the first change\n\n"
        "`make preflight`. A failure means that the deployment would not work, or its mail would not be taken.\n"
        f"{_rows(checks.PREFLIGHT)}"
    )


def _rows(table: Sequence[Check]) -> str:
    lines = (f"| `{check.id}` | {check.level} | {check.what} | {check.why} | {check.fix} |\n" for check in table)
    return _TABLE + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown())
