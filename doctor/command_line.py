"""Command line: `python -m doctor --stack NAME`, and `--preflight` before the first change.

Exit status: 0 nothing is wrong, 1 something warns, 2 something failed, 3 the doctor could not look.
"""

import argparse
import getpass
import os
import re
import shlex
import socket
import ssl
import sys
from pathlib import Path
from typing import Final, NoReturn

import dns.exception
import dns.resolver
from pydantic import SecretStr

from doctor import examination, preflight, report
from doctor.observe import doors, names
from doctor.options import BLOCKLISTS, PORT25_TARGETS, Options
from doctor.stack import StackError, read

_CLONE: Final = Path(__file__).parent.parent
_VARIABLE: Final = "MAILHOST_DOCTOR"
"""Options that are always given, such as the lab's."""
_PULUMI_SECONDS: Final = 60
_PROBE6: Final = ("2606:4700:4700::1111", 53)
"""Any global address: connecting a UDP socket sends nothing and says whether there is a route."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Keep argparse's 2 free: it means that something failed."""
        self.print_usage(sys.stderr)
        self.exit(report.EXIT_UNABLE, f"doctor: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m doctor",
        description="Look at a mail host from outside, as other mail servers and mail clients do.",
        epilog="Exit status: 0 nothing is wrong, 1 something warns, 2 something failed, 3 the doctor could not look. "
        f"{_VARIABLE} in the environment holds options that are always given.",
    )
    parser.add_argument("--stack", required=True, metavar="NAME", help="whose settings and state to compare with")
    parser.add_argument("--preflight", action="store_true", help="look at what must be there before the first `up`")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    parser.add_argument("--all", action="store_true", help="show each thing that is well, not one line per check")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the table as SVG too")
    parser.add_argument("--cwd", type=Path, default=_CLONE, metavar="FOLDER", help="the Pulumi project; default: here")
    parser.add_argument("--account", metavar="ADDRESS", help="log in and send a mail to itself; asks for the password")
    parser.add_argument(
        "--no-account",
        action="store_true",
        help="do not log in; default: as the postmaster, with a password for this look",
    )
    parser.add_argument("--no-ssh", action="store_true", help="do not ask the host itself")
    parser.add_argument("--ca", metavar="FILE", help="trust the roots in this PEM file instead of the system's")
    parser.add_argument("--resolver", metavar="ADDRESS", help="ask this resolver instead of the system's")
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="SECONDS", help="for one answer; default 30")
    parser.add_argument("--deadline", type=_seconds, default=90.0, metavar="SECONDS", help="for all; default 90")
    parser.add_argument(
        "--blocklist", action="append", metavar="ZONE", help=f"repeatable; default {', '.join(BLOCKLISTS)}"
    )
    parser.add_argument(
        "--port25-target",
        action="append",
        metavar="DOMAIN",
        help=f"whose mail servers to greet; repeatable; default {', '.join(PORT25_TARGETS)}",
    )
    parser.add_argument(
        "--stranger", default="example.org", metavar="DOMAIN", help="recipient of the relay attempts; gets no mail"
    )
    return parser


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]+)?", text) or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return float(text)


def main(arguments: list[str] | None = None) -> int:
    """Look, report, and return the exit status."""
    if arguments is None:
        arguments = [*shlex.split(os.environ.get(_VARIABLE, "")), *sys.argv[1:]]
    given = _parser().parse_args(arguments)
    try:
        stack = read(given.stack, given.cwd, timeout=_PULUMI_SECONDS)
        options = _options(given)
    except (StackError, _OptionError) as error:
        print(f"doctor: {error}", file=sys.stderr)
        return report.EXIT_UNABLE
    try:
        look = preflight.look if given.preflight else examination.examine
        findings = look(stack, options)
    except KeyboardInterrupt:
        print("\ndoctor: interrupted", file=sys.stderr)
        return report.EXIT_UNABLE
    if given.json:
        print(report.as_json(stack.name, findings))
    else:
        where = f"{stack.settings.hostname}, stack {stack.name}"
        title = f"Before the first change: {where}" if given.preflight else f"What the world sees: {where}"
        report.show(title, findings, sys.stdout, everything=given.all, picture=given.picture)
    return report.exit_status(findings)


class _OptionError(Exception):
    pass


def _options(given: argparse.Namespace) -> Options:
    try:
        resolver = names.resolver(given.resolver)
    except (dns.exception.DNSException, ValueError) as error:
        raise _OptionError(f"there is no resolver to ask ({error}); name one: --resolver ADDRESS") from None
    if given.resolver:
        # Everything that connects by name shall ask the same resolver; this process is a short one.
        dns.resolver.override_system_resolver(resolver)
    try:
        context = doors.trusting(given.ca)
    except (OSError, ssl.SSLError) as error:
        raise _OptionError(f"--ca {given.ca}: {getattr(error, 'strerror', None) or error}") from None
    return Options(
        names=names.Names(resolver=resolver, timeout=given.timeout, ipv6=_has_ipv6()),
        context=context,
        outdated=doors.outdated(),
        timeout=given.timeout,
        deadline=given.deadline,
        blocklists=tuple(given.blocklist or BLOCKLISTS),
        port25_targets=tuple(given.port25_target or PORT25_TARGETS),
        stranger=given.stranger,
        name=_own_name(),
        ssh=not given.no_ssh,
        account=(given.account, _password(given.account)) if given.account else None,
        borrow=not given.account and not given.no_account and not given.no_ssh,
    )


def _password(address: str) -> SecretStr:
    """Ask without echo, or read the first line of standard input."""
    if sys.stdin.isatty():
        return SecretStr(getpass.getpass(f"Password of {address}: "))
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise _OptionError(f"the password of {address} is expected on standard input")
    return SecretStr(text)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(_PROBE6)
    except OSError:
        return False
    return True


def _own_name() -> str:
    """A name for EHLO (RFC 5321 §4.1.1.1): this machine's, where it has a full one."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name) else "doctor.invalid"


def run() -> NoReturn:
    """Run the command; threads that still wait for an answer are left behind."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = report.EXIT_UNABLE
    sys.exit(status)
