"""Looks at the mail host from inside: each service, its files, what it answers, its certificate, its signature keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailhostctl import durable, generations, paths, probes, resolver
from mailhostctl.paths import Root
from mailhostctl.services import SERVICES
from mailhostctl.system import MailhostError, must, run, tell
from mailhostctl.transaction import Transaction

_KEYS = ("/etc/dkimkeys", "/etc/rspamd/dkim")
"""Where OpenDKIM or rspamd keeps its private keys: DOMAIN.SELECTOR.private."""
_ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""What precedes the octets of such a private key in PKCS #8 (RFC 8410 section 7)."""


def status_lines(root: Root) -> Iterator[str]:
    """One line per service that is applied: generation, whether its files are intact, whether it runs."""
    for name, service in SERVICES.items():
        state = root.service(name)
        if not state.folder.is_dir():
            continue
        number = generations.current(state)
        if durable.read(state.journal) is not None:
            yield f"{name}: a change was interrupted; run: mailhostctl recover"
        elif number:
            intact = "intact" if Transaction(root=root, service=service).intact() else "changed by hand"
            active = "active" if service.active() else "not active"
            yield f"{name}: generation {number}, files {intact}, {active}"


def generation_lines(root: Root, name: str) -> Iterator[str]:
    """One line per kept generation, newest first: number, digest of its manifest, number of files."""
    state = root.service(name)
    applied = generations.current(state)
    for number in reversed(generations.numbers(state)):
        manifest = generations.load(state, number)
        mark = " (applied)" if number == applied else ""
        yield f"{number} {manifest.sha256} {len(manifest.files)} files{mark}"


@dataclass(frozen=True, kw_only=True)
class _Finding:
    what: str
    wrong: str = ""


def check(root: Root, *, hostname: str, keys: str) -> None:
    """Prints one stable `ok …` line per thing that is right; raises `MailhostError` naming all that is not.

    `keys` holds a line `DOMAIN SELECTOR` for each DKIM key.
    """
    pairs = [tuple(line.split()) for line in keys.splitlines()]
    if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004 -- domain and selector
        raise MailhostError("check: a line on stdin is not DOMAIN SELECTOR")
    findings = list(_findings(root, hostname, pairs))
    for finding in findings:
        if not finding.wrong:
            tell(f"ok {finding.what}")
    failed = [f"{finding.what}: {finding.wrong}" for finding in findings if finding.wrong]
    if failed:
        raise MailhostError("\n".join(["not all is well:", *failed]))


def _findings(root: Root, hostname: str, keys: Sequence[tuple[str, ...]]) -> Iterator[_Finding]:
    served = []
    for name, service in SERVICES.items():
        state = root.service(name)
        number = generations.current(state)
        if durable.read(state.journal) is not None:
            yield _Finding(what=f"{name} change", wrong="was interrupted; run: mailhostctl recover")
        if not number:
            continue
        intact = Transaction(root=root, service=service).intact()
        yield _Finding(
            what=f"{name} files",
            wrong="" if intact else f"changed by hand since they were applied; mailhostctl reapply {name}",
        )
        if service.unit:
            yield _Finding(what=f"{name} active", wrong="" if service.active() else "is not active")
        for probe in generations.load(state, number).health:
            wrong = probes.failures((probe,))
            yield _Finding(what=f"{name} {probe}", wrong=wrong[0].removeprefix(f"{probe}: ") if wrong else "")
            if probe.startswith(("tls ", "starttls-", "https ")) and not wrong:
                served.append(probe)
    yield _certificate(root, hostname)
    for probe in served:
        name = probes.page_name(probe) if probe.startswith("https ") else hostname
        if name != hostname:
            yield _certificate(root, name)
        yield _served(root, paths.certificate(name), probe)
    for domain, selector in keys:
        yield _key(root, domain, selector)


def _key(root: Root, domain: str, selector: str) -> _Finding:
    """Every name server of the domain has the public half of the private key that signs here.

    opendkim-testkey(8) could say it of OpenDKIM's keys only: rspamd's Ed25519 keys are no PEM.
    """
    what = f"DKIM key {selector} of {domain}"
    places = [root.live(f"{folder}/{domain}.{selector}.private") for folder in _KEYS]
    try:
        found = [data for data in map(durable.read, places) if data is not None]
        if not found:
            return _Finding(what=what, wrong=f"its private key is in neither {' nor '.join(_KEYS)}")
        name, value = f"{selector}._domainkey.{domain}", _record(found[0].decode())
        resolver.wait(root, [resolver.Wanted(zone=domain, name=name, kind="TXT", value=value)], timeout=30)
    except MailhostError as error:
        return _Finding(what=what, wrong=str(error))
    return _Finding(what=what)


def _record(private: str) -> str:
    """The record of a private key as the program publishes it (model/dkim.py); raises `MailhostError` for no key.

    RSA is PEM; Ed25519 is its 32 octets in base64, here (rspamd) and in DNS (RFC 8463 section 4.2).
    """
    if private.startswith("-----BEGIN "):
        return f"v=DKIM1; h=sha256; k=rsa; p={_public(private)}"
    try:
        der = base64.b64encode(_ED25519 + base64.b64decode(private)).decode()
        public = base64.b64decode(_public(f"-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"))
    except binascii.Error:
        raise MailhostError("the file on this host holds no private key") from None
    return f"v=DKIM1; h=sha256; k=ed25519; p={base64.b64encode(public[-32:]).decode()}"


def _public(pem: str) -> str:
    """The public half of a private key: SubjectPublicKeyInfo, base64 in one line."""
    return "".join(must(["openssl", "pkey", "-pubout"], stdin=pem.encode()).out.splitlines()[1:-1])


def _command(what: str, command: list[str]) -> _Finding:
    done = run(command, timeout=30)
    return _Finding(what=what, wrong="" if done.code == 0 else done.said)


def _certificate(root: Root, hostname: str) -> _Finding:
    """The file is for this host name and not expired. x509(1) exits 0 whatever -checkhost finds before OpenSSL 3.4."""
    what = f"certificate for {hostname}"
    show = ["openssl", "x509", "-noout", "-in", str(root.live(paths.certificate(hostname)))]
    name = run([*show, "-checkhost", hostname])
    if name.code != 0 or "does match certificate" not in name.out:
        return _Finding(what=what, wrong=name.said)
    return _command(what, [*show, "-checkend", "0"])


def _served(root: Root, path: str, probe: str) -> _Finding:
    """The served certificate is the one in the file: a renewal that no daemon has loaded shows here."""
    import ssl  # noqa: PLC0415 -- costs 25 ms, which most commands need not pay

    kind, place = probe.split()[:2]
    what = f"certificate served {'for' if kind == 'https' else 'on'} {place.partition('/')[0]}"
    data = durable.read(root.live(path).resolve())
    if data is None:
        return _Finding(what=what, wrong=f"{path} does not exist")
    with probes.secured(f"{kind} {place}") as client:
        served = client.getpeercert(binary_form=True)
    if served != ssl.PEM_cert_to_DER_cert(data.decode()):
        return _Finding(what=what, wrong=f"is not the one in {path}; reload the service")
    return _Finding(what=what)
