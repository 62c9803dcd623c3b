"""Command line of mailhostctl. stdout carries only the result; everything for humans goes to stderr."""

# ruff: noqa: PLC0415 -- a command starts in 30 ms because it loads only what it needs

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from mailhostctl.paths import Root
from mailhostctl.system import ADMIN_PATH, MailhostError, say

if TYPE_CHECKING:
    from mailhostctl.transaction import Transaction

SERVICE_NAMES = ("accounts", "certificate", "dovecot", "firewall", "opendkim", "postfix")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 failed with one message on stderr, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    root = Root(base=Path(arguments.root))
    if root.base == Path("/"):
        os.environ["PATH"] = ADMIN_PATH
    os.umask(0o077)
    # The SSH session may die at any moment: go on to a consistent end, or turn back when told to stop.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        _COMMANDS[arguments.command](root, arguments)
        sys.stdout.flush()
    except MailhostError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.filename or arguments.command}: {error.strerror or error}")
        return 1
    except (KeyboardInterrupt, Terminated):
        say("interrupted")
        return 1
    return 0


class Terminated(BaseException):
    """SIGTERM came. Not an `Exception`: nothing but the way back may stop it on its way out."""


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _install(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import install

    print(install.install(root, arguments.sha256))


def _uninstall(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import install

    install.uninstall(root, arguments.upload)


def _packages(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import packages

    for line in packages.install(root, arguments.names):
        print(line)


def _stage(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import staging

    content = sys.stdin.buffer.read()
    staging.stage(
        root, arguments.service, arguments.path, content, mode_text=arguments.mode, owner_text=arguments.owner
    )


def _unstage(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import staging

    staging.unstage(root, arguments.service, arguments.path)


def _apply(root: Root, arguments: argparse.Namespace) -> None:
    print(_transaction(root, arguments).apply(sys.stdin.read()).sha256)


def _rollback(root: Root, arguments: argparse.Namespace) -> None:
    print(_transaction(root, arguments).rollback(arguments.generation))


def _remove(root: Root, arguments: argparse.Namespace) -> None:
    _transaction(root, arguments).remove()


def _transaction(root: Root, arguments: argparse.Namespace) -> Transaction:
    from mailhostctl.services import SERVICES
    from mailhostctl.transaction import Transaction

    return Transaction(root=root, service=SERVICES[arguments.service])


def _generations(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import selfcheck

    for line in selfcheck.generation_lines(root, arguments.service):
        print(line)


def _status(root: Root, _arguments: argparse.Namespace) -> None:
    from mailhostctl import selfcheck

    for line in selfcheck.status_lines(root):
        print(line)


def _check(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import selfcheck

    selfcheck.check(root, hostname=arguments.hostname, domain=arguments.domain, selector=arguments.selector)


def _certificate(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import certificate

    certificate.obtain(root, arguments.hostname, server=arguments.server, contact=arguments.contact)
    print(arguments.hostname)


def _wait_dns(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import resolver

    value = sys.stdin.read().rstrip("\n") if arguments.value == "-" else arguments.value
    resolver.wait(root, arguments.name, arguments.type, value, zone=arguments.zone, timeout=arguments.timeout)
    print(arguments.name, arguments.type, value)


_COMMANDS = {
    "install": _install,
    "uninstall": _uninstall,
    "packages": _packages,
    "stage": _stage,
    "unstage": _unstage,
    "apply": _apply,
    "rollback": _rollback,
    "remove": _remove,
    "generations": _generations,
    "status": _status,
    "check": _check,
    "certificate": _certificate,
    "wait-dns": _wait_dns,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mailhostctl", description="The host's side of mailhost.")
    parser.add_argument("--root", default=os.environ.get("MAILHOSTCTL_ROOT", "/"), help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *, service: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        if service:
            added.add_argument("service", choices=SERVICE_NAMES, metavar="SERVICE")
        return added

    added = command("install", "put this uploaded copy in its place")
    added.add_argument("--sha256", required=True, metavar="HEX", help="digest the copy must have")
    added = command("uninstall", "remove this program and its state")
    added.add_argument("--upload", type=Path, metavar="FILE", help="the copy it was installed from, removed too")
    added = command("packages", "install Debian packages in one transaction, starting nothing")
    added.add_argument("names", nargs="+", metavar="NAME")
    added = command("stage", "keep the content on stdin for a later apply", service=True)
    added.add_argument("path", metavar="PATH")
    added.add_argument("--mode", default="0644")
    added.add_argument("--owner", default="root:root", metavar="USER:GROUP")
    added = command("unstage", "forget what was staged for a path", service=True)
    added.add_argument("path", metavar="PATH")
    command("apply", "make staged files live as the manifest on stdin says, or leave all as it was", service=True)
    added = command("rollback", "apply an earlier generation again", service=True)
    added.add_argument("generation", nargs="?", type=int, metavar="NUMBER", help="default: the one before")
    command("remove", "stop a service and put back what was there before", service=True)
    command("generations", "list the generations kept of a service", service=True)
    command("status", "show each service: generation, files, unit")
    added = command("check", "check the whole mail host from inside")
    for option in ("--hostname", "--domain", "--selector"):
        added.add_argument(option, required=True, metavar="NAME")
    added = command("certificate", "obtain the certificate of a host name, or keep the one there is")
    added.add_argument("hostname", metavar="HOSTNAME")
    added.add_argument("--server", required=True, metavar="URL", help="directory of the ACME server")
    added.add_argument("--contact", required=True, metavar="MAIL")
    added = command("wait-dns", "wait until every authoritative name server answers with a value")
    added.add_argument("name", metavar="NAME")
    added.add_argument("type", metavar="TYPE", choices=("A", "AAAA", "MX", "TXT"))
    added.add_argument("value", metavar="VALUE", help="- reads it from stdin")
    added.add_argument("--zone", required=True)
    added.add_argument("--timeout", type=float, default=300, metavar="SECONDS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
