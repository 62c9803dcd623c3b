"""The keys of a host name's certificate that TLSA records name: the one in use, and the next (RFC 7671 section 8.1).

Owns /var/lib/mailhost/tlsa: `N.pem`, key number N, and `N.visible`, the Unix time since when every name server shows
its record. A key is used once its record is so old that no cache holds an answer without it; a record goes once its key
is not served any more. certbot keeps the key at each renewal; which key that is, is decided here.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mailhostctl import certificate, dns, durable, paths, resolver
from mailhostctl.certificate import Issuer
from mailhostctl.paths import LINEAGES, STATE, Root
from mailhostctl.system import MailhostError, must, run, say

_FOLDER = f"{STATE}/tlsa"
_ARCHIVE = "/etc/letsencrypt/archive"
_HOOK = "/etc/letsencrypt/renewal-hooks/deploy/mailhost"
_PARTS = ("privkey", "cert", "chain", "fullchain")
_PATIENCE = 120
"""Seconds a command may just wait."""
_RESOLVING = 20.0
"""Seconds the resolver has for the host's own name."""


@dataclass(frozen=True, kw_only=True)
class Name:
    """A host name and the number of the key it shall use."""

    hostname: str
    number: int


def keys(root: Root, name: Name, *, address: str) -> list[str]:
    """SHA-256 digests, in hex, of key `number` and the one after it; makes them if need be.

    Raises `MailhostError` where DNSSEC does not prove the host's name, asked at the resolver `address`: nobody would
    believe the records. Also where the number is not that of the key in use or the next one: only those have records.
    """
    _require_signed(name.hostname, address)
    folder = root.live(_FOLDER)
    durable.make_folder(folder)
    used = _digest(_lineage_key(root, name.hostname))
    known = _numbers(root)
    if not known:
        durable.write(_key(root, name.number), _lineage_key(root, name.hostname).read_bytes())
    in_use = next((number for number in known if _digest(_key(root, number)) == used), None)
    if in_use is not None and name.number not in {in_use, in_use + 1}:
        raise MailhostError(
            f"tlsa.key: is {name.number}, but key {in_use} is in use and only key {in_use + 1} is published beside it; "
            f"set it to {in_use + 1} for the next key, or back to {in_use}"
        )
    wanted = (name.number, name.number + 1)
    for number in wanted:
        if not _key(root, number).exists():
            _generate(_key(root, number))
    return [_digest(_key(root, number)) for number in wanted]


def use(root: Root, name: Name, issuer: Issuer, text: str, *, ttl: int) -> None:
    """Waits until its record, in `text` as wait-dns takes it, is seen everywhere; then lets the host use the key.

    `ttl` in seconds is how long others may remember what the name had before. Does nothing when the key is in use.
    Raises `MailhostError` naming when to come again, where that time is not over and not near.
    """
    _note_visible(root, name.number, text)
    key = _key(root, name.number)
    if _digest(_lineage_key(root, name.hostname)) == _digest(key):
        return
    left = float(_seen(root, name.number).read_text()) + ttl - time.time()
    if left > _PATIENCE:
        raise MailhostError(
            f"tlsa: key {name.number} must not be used yet: others may remember the records without it for "
            f"{left / 60:.0f} minutes; run pulumi up again then. The key in use stays in use"
        )
    if left > 0:
        say(f"waiting {left:.0f} s until nobody remembers the records without key {name.number}")
        time.sleep(left)
    _exchange(root, name.hostname, key, issuer)


def announced(root: Root, name: Name, text: str) -> None:
    """Waits until the record of key `number`, the next one, is seen everywhere, and notes it; forgets former keys."""
    _note_visible(root, name.number, text)
    for number in _numbers(root):
        if number < name.number - 1:
            durable.remove(_key(root, number))
            durable.remove(_seen(root, number))


def withdrawn(root: Root) -> None:
    """Forgets the keys and since when their records were seen: there are none any more. certbot has the one in use."""
    durable.remove_tree(root.live(_FOLDER))


def _require_signed(hostname: str, address: str) -> None:
    if _proved(hostname, address):
        return
    # The zone may be signed since a moment ago, and the resolver remember how it was.
    labels = hostname.split(".")
    for start in range(len(labels) - 1):
        run(["unbound-control", "flush_zone", ".".join(labels[start:])])
    if not _proved(hostname, address):
        raise MailhostError(
            f"tlsa: DNSSEC does not prove {hostname}, so nobody would believe its TLSA records; switch DNSSEC on at "
            "Cloudflare (DNS, Settings) and give the DS record to the registrar, or set tlsa.enabled to false"
        )


def _proved(hostname: str, address: str) -> bool:
    """Asks for `_RESOLVING` while there is no answer: a resolver that has just started has much to look up."""
    deadline = time.monotonic() + _RESOLVING
    while True:
        try:
            reply = resolver.query(address, resolver.Question(name=hostname, kind="A", recursive=True))
            wrong = "" if reply.rcode == 0 else dns.RCODES.get(reply.rcode, str(reply.rcode))
        except resolver.NoAnswerError as error:
            wrong = str(error)
        else:
            if not wrong:
                return reply.authentic
        if time.monotonic() > deadline:
            raise MailhostError(f"tlsa: {hostname}: the resolver {address}: {wrong}")
        time.sleep(0.5)


def _key(root: Root, number: int) -> Path:
    return root.live(f"{_FOLDER}/{number}.pem")


def _seen(root: Root, number: int) -> Path:
    return root.live(f"{_FOLDER}/{number}.visible")


def _numbers(root: Root) -> list[int]:
    return sorted(int(path.stem) for path in root.live(_FOLDER).glob("*.pem") if path.stem.isdigit())


def _lineage_key(root: Root, hostname: str) -> Path:
    return root.live(f"{LINEAGES}/{hostname}/privkey.pem")


def _generate(path: Path) -> None:
    """As certbot's own: ECDSA on P-256."""
    made = must(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
    durable.write(path, made.out.encode())


def _digest(key: Path) -> str:
    """Of the public half as a certificate holds it (SubjectPublicKeyInfo, RFC 6698 section 1.2: selector 1)."""
    with tempfile.NamedTemporaryFile() as der:
        must(["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER", "-out", der.name])
        return hashlib.sha256(Path(der.name).read_bytes()).hexdigest().upper()


def _note_visible(root: Root, number: int, text: str) -> None:
    resolver.wait(root, resolver.read(text), timeout=300)
    if not _seen(root, number).exists():
        durable.write(_seen(root, number), f"{time.time():.0f}\n".encode())


def _exchange(root: Root, hostname: str, key: Path, issuer: Issuer) -> None:
    """Gets a certificate for the key, with the names of the present one, and lets the daemons serve it."""
    present = str(root.live(paths.certificate(hostname)))
    shown = must(["openssl", "x509", "-in", present, "-noout", "-ext", "subjectAltName"])
    names = re.findall(r"DNS:[^,\s]+", shown.out)
    with tempfile.TemporaryDirectory(dir=root.live(_FOLDER)) as made:
        folder = Path(made)
        request = folder / "request.pem"
        alternatives = f"subjectAltName={','.join(names)}"
        must(["openssl", "req", "-new", "-key", str(key), "-subj", "/", "-addext", alternatives, "-out", str(request)])
        certificate.obtain_for(root, request, issuer, folder)
        parts = {part: (folder / f"{part}.pem").read_bytes() for part in _PARTS[1:]}
    _install(root, hostname, {"privkey": key.read_bytes(), **parts})
    hook = root.live(_HOOK)
    done = run([str(hook)], env={"RENEWED_LINEAGE": f"{LINEAGES}/{hostname}"})
    if done.code != 0:
        raise MailhostError(f"{_HOOK}: {done.said}")


def _install(root: Root, hostname: str, parts: dict[str, bytes]) -> None:
    """Adds a version to certbot's lineage as certbot does: numbered files, to which the links in live/ lead.

    All are on disk before the first link changes, and key and certificate change next to each other: a daemon that
    starts between the two would serve neither.
    """
    archive = root.live(f"{_ARCHIVE}/{hostname}")
    taken = [int(found[1]) for path in archive.iterdir() if (found := re.fullmatch(r"[a-z]+(\d+)\.pem", path.name))]
    version = max(taken, default=0) + 1
    for part, content in parts.items():
        durable.write(archive / f"{part}{version}.pem", content, mode=0o600 if part == "privkey" else 0o644)
    live = root.live(f"{LINEAGES}/{hostname}")
    drafts = []
    for part in ("chain", "cert", "privkey", "fullchain"):
        draft = live / f".{part}.pem{durable.TEMPORARY_SUFFIX}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(f"../../archive/{hostname}/{part}{version}.pem")
        drafts.append((draft, live / f"{part}.pem"))
    for draft, link in drafts:
        os.replace(draft, link)  # noqa: PTH105 -- nothing between the two that matter
    durable.sync_folder(live)
