"""Command line of mailhostctl. stdout carries only the result; everything for humans goes to stderr."""

# ruff: noqa: PLC0415 -- a command starts in 30 ms because it loads only what it needs

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from mailhostctl import deployers
from mailhostctl.paths import Root
from mailhostctl.system import ADMIN_PATH, MailhostError, described, drain, read_text, say, speak_utf8, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailhostctl.certificate import Issuer
    from mailhostctl.transaction import Transaction

SERVICE_NAMES = (
    *("accounts", "antivirus", "certificate", "digest", "dovecot", "fail2ban", "firewall", "metrics", "nginx"),
    *("opendkim", "postfix", "redis", "resolver", "rspamd", "tls-policy"),
)


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 failed with one message on stderr, 2 wrong usage."""
    speak_utf8()
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit:
        drain()
        raise
    try:
        return _run(arguments)
    finally:
        signal.alarm(0)
        if not (arguments.command == "metrics" and arguments.http):  # a client waits for the end of the answer
            drain()


def _run(arguments: argparse.Namespace) -> int:
    root = Root(base=Path(arguments.root))
    if root.base == Path("/"):
        os.environ["PATH"] = ADMIN_PATH
    os.umask(0o077)
    # The SSH session may die at any moment: go on to a consistent end, or turn back when told to stop.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    limit = _SECONDS.get(arguments.command, _MOST_SECONDS)
    signal.signal(signal.SIGALRM, _overdue)
    signal.alarm(limit)
    try:
        if arguments.command in _DEPLOYING:
            deployers.record(root)
        _COMMANDS[arguments.command](root, arguments)
        sys.stdout.flush()
    except MailhostError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(described(error) if error.filename else f"{arguments.command}: {described(error)}")
        return 1
    except Overdue:
        say(f"{arguments.command}: not done within {limit} s; given up, and what was under way taken back")
        return 1
    except (KeyboardInterrupt, Terminated):
        say("interrupted")
        return 1
    return 0


class Terminated(BaseException):
    """SIGTERM came. Not an `Exception`: nothing but the way back may stop it on its way out."""


class Overdue(Terminated):
    """The command has had all the time it may take."""


_MOST_SECONDS = 900
"""Seconds a command may take, by its own bounds mostly much less. The way back has as much again."""
_SECONDS = {
    "packages": 7200,
    "certificate": 1800,
    "certificates": 3600,
    "digest": 1800,
    "metrics": 60,
    "tls-policy": 0,
    "tlsa-use": 1800,
    "wait-dns": 3600,
}
"""Those that may take longer; 0: no end."""


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _overdue(_number: int, _frame: FrameType | None) -> None:
    signal.alarm(_MOST_SECONDS)
    raise Overdue


def _install(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import install

    tell(install.install(root, arguments.sha256))


def _uninstall(root: Root, _arguments: argparse.Namespace) -> None:
    from mailhostctl import install

    install.uninstall(root)


def _packages(root: Root, _arguments: argparse.Namespace) -> None:
    from mailhostctl import packages

    for line in packages.install(root, read_text().split()):
        tell(line)


def _stage(_root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import staging

    tell(staging.stage(arguments.part, read_text().encode()))


def _apply(root: Root, arguments: argparse.Namespace) -> None:
    tell(_transaction(root, arguments).apply(read_text().encode()).sha256)


def _rollback(root: Root, arguments: argparse.Namespace) -> None:
    tell(str(_transaction(root, arguments).rollback(arguments.generation)))


def _reapply(root: Root, arguments: argparse.Namespace) -> None:
    tell(str(_transaction(root, arguments).reapply()))


def _drift(root: Root, _arguments: argparse.Namespace) -> None:
    from mailhostctl import drift

    tell(drift.report(root, read_text()))


def _remove(root: Root, arguments: argparse.Namespace) -> None:
    _transaction(root, arguments).remove()


def _transaction(root: Root, arguments: argparse.Namespace) -> Transaction:
    from mailhostctl.services import SERVICES
    from mailhostctl.transaction import Transaction

    return Transaction(root=root, service=replace(SERVICES[arguments.service], root=root))


def _recover(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import recovery

    for line in recovery.recover(root, boot=arguments.boot):
        tell(line)


def _expire(root: Root, _arguments: argparse.Namespace) -> None:
    from mailhostctl import recovery

    recovery.expire(root)


def _generations(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import selfcheck

    for line in selfcheck.generation_lines(root, arguments.service):
        tell(line)


def _status(root: Root, _arguments: argparse.Namespace) -> None:
    from mailhostctl import selfcheck

    for line in selfcheck.status_lines(root):
        tell(line)


def _lend(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import lend

    lend.lend(root, arguments.address, sys.stdin.buffer)


def _preflight(root: Root, _arguments: argparse.Namespace) -> None:
    from mailhostctl import preflight

    preflight.look(root, read_text())


def _check(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import selfcheck

    selfcheck.check(root, hostname=arguments.hostname, keys=read_text())


def _acme_account(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import account
    from mailhostctl.certificate import Issuer

    tell(arguments.issuer or account.identity(arguments.server))
    tell(account.uri(root, Issuer(server=arguments.server, contact=arguments.contact)))


def _certificate(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import certificate, resolver

    if arguments.wait_dns:
        resolver.wait(root, resolver.read(read_text()), timeout=300)
    certificate.obtain(root, arguments.hostname, _issuer(arguments), reuse_key=arguments.reuse_key)
    tell(arguments.hostname)


def _certificates(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import certificate

    for name in certificate.obtain_all(root, read_text(), _issuer(arguments)):
        tell(name)


def _issuer(arguments: argparse.Namespace) -> Issuer:
    from mailhostctl.certificate import Issuer

    return Issuer(server=arguments.server, contact=arguments.contact, webroot=arguments.webroot)


def _retire_certificates(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import certificate

    certificate.retire_all(root, arguments.webroot)


def _wait_dns(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import resolver

    wanted = resolver.read(read_text())
    resolver.wait(root, wanted, timeout=arguments.timeout)
    for one in wanted:
        tell(f"{one} {one.value}")


def _metrics(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import metrics

    if arguments.http:
        metrics.serve(root, sys.stdin.buffer, sys.stdout.buffer)
    else:
        tell(metrics.page(root).rstrip())


def _digest(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import metrics

    metrics.send(metrics.digest(root, arguments.to))


def _tlsa_keys(root: Root, arguments: argparse.Namespace) -> None:
    import secrets

    from mailhostctl import tlsa

    name = tlsa.Name(hostname=arguments.hostname, number=arguments.key)
    for digest in tlsa.keys(root, name, address=arguments.resolver):
        tell(digest)
    tell(secrets.token_hex(8))


def _tlsa_use(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import tlsa

    name = tlsa.Name(hostname=arguments.hostname, number=arguments.key)
    tlsa.use(root, name, _issuer(arguments), read_text(), ttl=arguments.ttl)


def _tlsa_announced(root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import tlsa

    tlsa.announced(root, tlsa.Name(hostname=arguments.hostname, number=arguments.key), read_text())


def _tlsa_withdrawn(root: Root, _arguments: argparse.Namespace) -> None:
    from mailhostctl import tlsa

    tlsa.withdrawn(root)


def _tls_policy(_root: Root, arguments: argparse.Namespace) -> None:
    from mailhostctl import tls_policy

    tls_policy.serve(tls_policy.Sources(resolver=arguments.resolver, mta_sts=arguments.mta_sts))


_COMMANDS = {
    "install": _install,
    "uninstall": _uninstall,
    "packages": _packages,
    "stage": _stage,
    "apply": _apply,
    "rollback": _rollback,
    "reapply": _reapply,
    "drift": _drift,
    "remove": _remove,
    "recover": _recover,
    "expire": _expire,
    "generations": _generations,
    "status": _status,
    "lend": _lend,
    "preflight": _preflight,
    "check": _check,
    "acme-account": _acme_account,
    "certificate": _certificate,
    "certificates": _certificates,
    "retire-certificates": _retire_certificates,
    "wait-dns": _wait_dns,
    "metrics": _metrics,
    "digest": _digest,
    "tls-policy": _tls_policy,
    "tlsa-keys": _tlsa_keys,
    "tlsa-use": _tlsa_use,
    "tlsa-announced": _tlsa_announced,
    "tlsa-withdrawn": _tlsa_withdrawn,
}


_DEPLOYING = {"install", "packages", "stage", "apply", "rollback", "reapply"}
"""Whoever runs these over SSH is never banned."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mailhostctl", description="The host's side of mailhost.")
    parser.add_argument("--root", default=os.environ.get("MAILHOSTCTL_ROOT", "/"), help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *, service: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        if service:
            added.add_argument("service", choices=SERVICE_NAMES, metavar="SERVICE")
        return added

    added = command("install", "install the copy that runs now")
    added.add_argument("--sha256", required=True, metavar="HEX", help="digest the copy must have")
    _serial(added)
    command("uninstall", "remove this program and its state")
    added = command("packages", "install the Debian packages named on stdin in one transaction, starting nothing")
    _serial(added)
    added = command("stage", "check the text on stdin and print a new serial; change nothing")
    added.add_argument("what", choices=("packages", *SERVICE_NAMES), metavar="WHAT", help="packages, or a service")
    added.add_argument("part", metavar="PART", help="files, secrets, or what another command will take")
    added = command("apply", "make the files on stdin live, or leave all as it was", service=True)
    _serial(added)
    added = command("rollback", "apply an earlier generation again", service=True)
    added.add_argument("generation", nargs="?", type=int, metavar="NUMBER", help="default: the one before")
    command("reapply", "put the current generation in place again: its files, units and rules", service=True)
    command("drift", "compare this host with the stack, which is described on stdin; change nothing")
    command("remove", "stop a service and put back what was there before", service=True)
    added = command("recover", "finish or undo the changes of services that were cut off")
    added.add_argument("--boot", action="store_true", help="before the daemons start: exchange files, wait for no unit")
    command("expire", "drop generations that are too old")
    command("generations", "list the generations kept of a service", service=True)
    command("status", "show each service: generation, files, unit")
    added = command("lend", "let a mailbox log in with the password whose hash is on stdin, until stdin ends")
    added.add_argument("address", metavar="ADDRESS")
    command("preflight", "see whether this machine can become a mail host, as the JSON on stdin asks; change nothing")
    added = command("check", "check the whole mail host from inside, and each DKIM key on stdin: DOMAIN SELECTOR")
    added.add_argument("--hostname", required=True, metavar="NAME")
    _acme_parser(command)
    added = command("wait-dns", "wait until every authoritative name server answers with the records on stdin")
    added.add_argument("--timeout", type=float, default=300, metavar="SECONDS")
    added = command("metrics", "show queue, certificates, services, disk and rspamd's figures as Prometheus reads them")
    added.add_argument("--http", action="store_true", help="answer the HTTP request on stdin, for a systemd socket")
    added = command("digest", "mail a summary of the last 24 hours")
    added.add_argument("--to", required=True, metavar="ADDRESS")
    added = command("tls-policy", "tell Postfix what destinations must prove, on a socket that systemd opened")
    added.add_argument("--resolver", required=True, metavar="ADDRESS", help="a resolver that validates DNSSEC")
    added.add_argument("--mta-sts", required=True, type=int, metavar="PORT", help="of mta-sts-daemon on this host")
    return parser


def _serial(command: argparse.ArgumentParser) -> None:
    """Adds what makes Pulumi run a command again after each staging; the host needs nothing of it."""
    command.add_argument("--serial", default="", metavar="TEXT", help="serial of the staging it follows")


def _acme_parser(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Adds the commands that ask an ACME server for something."""
    account = command("acme-account", "print the authority's name in CAA records and our account, made if need be")
    account.add_argument("--issuer", default="", metavar="NAME", help="default: as the server says")
    one = command("certificate", "obtain the certificate of a host name, or keep the one there is")
    one.add_argument("hostname", metavar="HOSTNAME")
    one.add_argument("--reuse-key", action="store_true", help="keep the key when it is renewed")
    one.add_argument("--wait-dns", action="store_true", help="first wait for the records on stdin, as wait-dns does")
    several = command("certificates", "the same for each line of names on stdin, the first of which names it")
    issued = (one, _tlsa_parser(command), several)
    for added in (account, *issued):
        added.add_argument("--server", required=True, metavar="URL", help="directory of the ACME server")
        added.add_argument("--contact", required=True, metavar="MAIL")
    for added in issued:
        _serial(added)
        added.add_argument("--webroot", default="", metavar="FOLDER", help="of the web server; default: there is none")
    retired = command("retire-certificates", "renew no more what certificates has obtained")
    retired.add_argument("--webroot", required=True, metavar="FOLDER")


def _tlsa_parser(command: Callable[[str, str], argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds the commands about TLSA records; returns the one that asks for a certificate."""
    keys = command(
        "tlsa-keys", "print the digests of a certificate key and the next one, made if need be, and a serial"
    )
    keys.add_argument("--resolver", required=True, metavar="ADDRESS", help="a resolver that validates DNSSEC")
    uses = command("tlsa-use", "let the host use a key whose TLSA record, on stdin, has been seen for long enough")
    uses.add_argument("--ttl", type=int, required=True, metavar="SECONDS", help="how long others remember records")
    announced = command("tlsa-announced", "note since when the next key's TLSA record, on stdin, is seen")
    for added in (keys, uses, announced):
        added.add_argument("hostname", metavar="HOSTNAME")
        added.add_argument("--key", type=int, required=True, metavar="NUMBER")
    command("tlsa-withdrawn", "forget the keys: their TLSA records are gone")
    return uses


if __name__ == "__main__":
    sys.exit(main())
