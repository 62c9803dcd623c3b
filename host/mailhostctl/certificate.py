"""Certificates: HTTP-01 challenges on port 80, answered by certbot itself or from a folder that the web server serves.

Renewal is not here: its hook is a managed file of service `certificate`, which also keeps the timer running. What this
module keeps are certbot's notes on how to renew (/etc/letsencrypt/renewal/NAME.conf): they must name the way that works
now, and domains that are gone must not fail every night.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from mailhostctl import durable, paths
from mailhostctl.paths import LINEAGES, STATE, Root, host_path
from mailhostctl.system import MailhostError, must, run, say

PORT = 80
_ISSUED = f"{STATE}/web-certificates"
"""First names of the certificates last asked for with `certificates`, one a line."""
_CERTBOT_LOCK = "/etc/letsencrypt/.certbot.lock"
_HOOK = "/etc/letsencrypt/renewal-hooks/deploy/mailhost"
_ASKED = f"{STATE}/certificate-asked"
"""Name of the certificate that certbot is asked for: while the file is there, the daemons may not know the new one."""
_DUE = 30 * 86_400
"""Seconds before its end from which certbot is asked whether a certificate is due."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """Whom to ask, and how challenges are answered: from folder `webroot`, or by certbot itself where that is empty."""

    server: str
    contact: str
    webroot: str = ""

    def command(self, root: Root) -> list[str]:
        """The beginning of a call of certbot that asks for a certificate."""
        words = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--no-eff-email"]
        words += ["--webroot", "--webroot-path", str(root.live(self.webroot))] if self.webroot else ["--standalone"]
        return [*words, "--server", self.server, "--email", self.contact]


@contextlib.contextmanager
def locked(root: Root) -> Iterator[None]:
    """One of the commands that change certificates at a time: that of an `up` which was killed may still be at work."""
    with durable.locked(root.live(f"{STATE}/certificates.lock")):
        yield


@contextlib.contextmanager
def certbot_idle(root: Root) -> Iterator[None]:
    """Waits until no certbot runs, and keeps others from starting (certbot's user guide, "Lock Files").

    A renewal by its timer may come at any moment, and a certbot whose caller was killed goes on.
    """
    place = root.live(_CERTBOT_LOCK)
    if not place.parent.is_dir():  # it has never run
        yield
        return
    deadline = time.monotonic() + durable.PATIENCE
    while (fd := _certbot_lock(place)) is None:
        if time.monotonic() > deadline:
            raise MailhostError(f"{place}: another certbot has run for {durable.PATIENCE:.0f} s; run pulumi up again")
        time.sleep(0.2)
    try:
        yield
    finally:
        os.close(fd)


def _certbot_lock(place: Path) -> int | None:
    """The lock, held; None while certbot has it. certbot removes the file when it ends, so it may be another one."""
    fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), place.stat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def obtain(root: Root, hostname: str, issuer: Issuer, *, reuse_key: bool = False) -> None:
    """Asks for a certificate of `hostname`, unless there is one of the same server that is not due for renewal.

    `reuse_key`: a renewal keeps the key.
    """
    with locked(root):
        _deploy_interrupted(root)
        with _answering(root, issuer):
            _obtain(root, [hostname], issuer, reuse_key=reuse_key)
        _reuses_key(root, hostname, reuse_key)


def obtain_for(root: Root, request: Path, issuer: Issuer, folder: Path) -> None:
    """Asks for a certificate by a signing request (RFC 2986), and leaves cert, chain and fullchain.pem in `folder`."""
    command = [*issuer.command(root), "--csr", str(request)]
    for part in ("cert", "chain", "fullchain"):
        command += [f"--{part}-path", str(folder / f"{part}.pem")]
    with _answering(root, issuer):
        _certbot(root, command)


def obtain_all(root: Root, text: str, issuer: Issuer) -> Iterator[str]:
    """Asks for one certificate per line of names, the first of which names it; yields each that is there.

    A certificate that is there, of this server and not due is left alone without a start of certbot, which takes more
    than a second. One that cannot be had does not keep the others back: `MailhostError` names them at the end.
    Certificates that were asked for before and are no longer in the text are not renewed any more.
    """
    lines = [line.split() for line in text.splitlines() if line.split()]
    for name in (name for names in lines for name in names):
        if not _NAME.fullmatch(name):
            raise MailhostError(f"certificates: {name!r} is not a domain name in lower case")
    failed = []
    with locked(root), _answering(root, issuer):
        _deploy_interrupted(root)
        with certbot_idle(root):  # one that goes on may be about to bring what is not wanted any more
            _retire(root, keep=[names[0] for names in lines])
        # Before they are there: what was noted is found again, whatever becomes of this run.
        _note(root, [names[0] for names in lines])
        for names in lines:
            try:
                _resume(root, names[0])
                if _settled(root, names, issuer):
                    _renewed_by(root, names[0], issuer)
                else:
                    say(f"asking for a certificate for {' '.join(names)}")
                    _obtain(root, names, issuer)
            except MailhostError as error:
                failed.append(str(error))
            else:
                yield names[0]
    if failed:
        raise MailhostError("\n".join([f"{len(failed)} of {len(lines)} certificates could not be obtained:", *failed]))


def retire_all(root: Root, webroot: str) -> None:
    """Certificates of the web names are not renewed any more, and the folder for challenges goes. Keys stay."""
    with locked(root):
        with certbot_idle(root):
            _retire(root, keep=[])
        durable.remove(root.live(_ISSUED))
        durable.remove_tree(root.live(host_path(webroot)))


def _obtain(root: Root, names: Sequence[str], issuer: Issuer, *, reuse_key: bool = False) -> None:
    lineage = durable.read(_renewal(root, names[0]))
    moved = lineage is not None and f"server = {issuer.server}" not in lineage.decode().splitlines()
    command = [*issuer.command(root), "--cert-name", names[0]]
    command += [word for name in names for word in ("--domain", name)]
    # Without it certbot asks whether a certificate may get other names than before.
    command += ["--renew-with-new-domains"] if len(names) > 1 else []
    command += ["--reuse-key"] if reuse_key else []
    command += ["--force-renewal"] if moved else ["--keep-until-expiring"]
    before = _served(root, names[0])
    durable.make_folder(root.live(STATE))
    durable.write(root.live(_ASKED), names[0].encode())
    try:
        _certbot(root, command)
    except MailhostError:
        if _served(root, names[0]) == before:
            durable.remove(root.live(_ASKED))
        raise
    if before is not None and _served(root, names[0]) != before:
        deploy(root, names[0])
    durable.remove(root.live(_ASKED))
    _renewed_by(root, names[0], issuer)


def _served(root: Root, name: str) -> bytes | None:
    place = root.live(f"{LINEAGES}/{name}/fullchain.pem")
    return place.read_bytes() if place.is_file() else None


def deploy(root: Root, name: str) -> None:
    """Has the daemons load a certificate.

    certbot runs the same hook, but may die before, and where the hook fails it succeeds all the same.
    """
    done = run([str(root.live(_HOOK))], env={"RENEWED_LINEAGE": f"{LINEAGES}/{name}"})
    if done.code != 0:
        raise MailhostError(
            f"{_HOOK}: {done.said}\nThe daemons have not loaded the new certificate. Put right what it says, then run "
            "pulumi up again"
        )


def _deploy_interrupted(root: Root) -> None:
    """Has the daemons load the certificate that a run was getting when it died, or whose hook failed."""
    noted = durable.read(root.live(_ASKED))
    if noted is not None:
        with certbot_idle(root):  # that run's may still be at work
            pass
        if _served(root, noted.decode()) is not None:
            deploy(root, noted.decode())
        durable.remove(root.live(_ASKED))


def _certbot(root: Root, command: Sequence[str]) -> None:
    """Runs it when no other one does: it would refuse to start."""
    with certbot_idle(root):
        pass
    must(command, timeout=300)


def _renewal(root: Root, name: str) -> Path:
    return root.live(paths.renewal(name))


def _settled(root: Root, names: Sequence[str], issuer: Issuer) -> bool:
    """Whether the certificate is there, from this server, for exactly these names, and far from its end."""
    notes = durable.read(_renewal(root, names[0]))
    if notes is None or f"server = {issuer.server}" not in notes.decode().splitlines():
        return False
    certificate = str(root.live(paths.certificate(names[0])))
    shown = run(["openssl", "x509", "-in", certificate, "-noout", "-ext", "subjectAltName", "-checkend", str(_DUE)])
    return shown.code == 0 and set(re.findall(r"DNS:([^,\s]+)", shown.out)) == set(names)


def _renewed_by(root: Root, name: str, issuer: Issuer) -> None:
    """Makes certbot's notes name the present way of answering: certbot keeps the one of the first time.

    Its own command for that (`reconfigure`) does not exist in Debian 12, and asks the server for a trial.
    """
    place = _renewal(root, name)
    notes = durable.read(place)
    if notes is None:
        return
    text = notes.decode()
    way = f"authenticator = {'webroot' if issuer.webroot else 'standalone'}\n"
    way += f"webroot_path = {root.live(issuer.webroot)},\n" if issuer.webroot else ""
    # The map of names to folders would have precedence over the path.
    without = re.sub(r"(?m)^(?:webroot_path = .*\n|\[\[webroot_map\]\]\n(?:[^\[\n].*\n?)*)", "", text)
    changed = re.sub(r"(?m)^authenticator = .*\n", lambda _: way, without)
    if changed != text:
        durable.write(place, changed.encode(), mode=0o644)


def _reuses_key(root: Root, name: str, wanted: bool) -> None:
    """Makes certbot's notes say whether a renewal keeps the key: the option is noted only with a new certificate."""
    place = _renewal(root, name)
    notes = durable.read(place)
    if notes is None:
        return
    without = re.sub(r"(?m)^reuse_key = .*\n", "", notes.decode())
    changed = without.replace("[renewalparams]\n", "[renewalparams]\nreuse_key = True\n") if wanted else without
    if changed != notes.decode():
        durable.write(place, changed.encode(), mode=0o644)


def _retire(root: Root, *, keep: Sequence[str]) -> None:
    """Lets certbot forget the certificates noted earlier that are not in `keep`. Everything of them stays on disk."""
    noted = durable.read(root.live(_ISSUED))
    for name in noted.decode().split() if noted else []:
        place = _renewal(root, name)
        if name not in keep and place.is_file():
            say(f"{name} is not renewed any more")
            place.replace(root.live(paths.retired(name)))
            durable.sync_folder(place.parent)


def _resume(root: Root, name: str) -> None:
    """Takes `_retire` back, for a domain that is served again."""
    place = _renewal(root, name)
    retired = root.live(paths.retired(name))
    if retired.is_file() and not place.exists():
        retired.replace(place)
        durable.sync_folder(place.parent)


def _note(root: Root, names: Sequence[str]) -> None:
    place = root.live(_ISSUED)
    durable.make_folder(place.parent)
    durable.write(place, "".join(f"{name}\n" for name in names).encode())


@contextlib.contextmanager
def _answering(root: Root, issuer: Issuer) -> Iterator[None]:
    """Serves the folder's challenges on port 80 while nobody does: before the web server runs for the first time."""
    if not issuer.webroot:
        yield
        return
    folder = root.live(host_path(issuer.webroot))
    durable.make_folder(folder, 0o755)
    try:
        server = _Server(folder)
    except OSError:  # somebody listens
        yield
        return
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    """Challenges and nothing else, on both address families where the host has both."""

    allow_reuse_address = True  # connections of the run before may linger in TIME-WAIT
    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        both = socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both else socket.AF_INET
        super().__init__(("::" if both else "0.0.0.0", PORT), _Challenge)  # noqa: S104 -- the issuer may be anywhere

    def server_bind(self) -> None:
        """Takes IPv4 too where the socket is an IPv6 one."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Challenge(BaseHTTPRequestHandler):
    """One request of the ACME server."""

    server: _Server
    timeout = 10
    """Seconds."""

    def do_GET(self) -> None:
        """Sends the file of a token (base64url, RFC 8555 section 8.1), and knows no other path."""
        known = re.fullmatch(r"/\.well-known/acme-challenge/([A-Za-z0-9_-]+)", self.path)
        content = durable.read(self.server.folder / known[0].lstrip("/")) if known else None
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *words: object) -> None:
        """Stays silent: what certbot says is what matters."""
