"""The keys of a host name's certificate that TLSA records name: the one in use, and the next (RFC 7671 section 8.1).

Owns /var/lib/mailhost/tlsa:

- `N.pem`, key number N;
- `N.visible`, the Unix time since when every name server shows its record;
- `candidate/`, a certificate that was asked for and is not in certbot's lineage yet;
- `exchange`, present from the first change in the lineage until the deploy hook has succeeded: the host name, and the
  numbers of the key in use before and of the key that replaces it.

A key is used once its record is so old that no cache holds an answer without it; a record goes once its key is not
served any more. certbot keeps the key at each renewal; which key that is, is decided here.

An exchange may die anywhere. The next `use`, of the new key or of the former one, takes the certificate of its key that
is there already, makes it live, and runs the hook; so does `withdrawn`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from mailhostctl import certificate, dns, durable, paths, resolver
from mailhostctl.certificate import Issuer
from mailhostctl.paths import LINEAGES, STATE, Root
from mailhostctl.system import MailhostError, must, run, say

_FOLDER = f"{STATE}/tlsa"
_DOOMED = f"{STATE}/tlsa.old"
"""What is being forgotten: the folder gets this name at once, so it is never half there."""
_ARCHIVE = "/etc/letsencrypt/archive"
_PARTS = ("privkey", "cert", "chain", "fullchain")
_PATIENCE = 120
"""Seconds a command may just wait."""
_RESOLVING = 20.0
"""Seconds the resolver has for the host's own name."""
_FRESH = 86_400
"""Seconds for which a certificate that is there must still be valid to be used; certbot renews it in that time."""


@dataclass(frozen=True, kw_only=True)
class Name:
    """A host name and the number of the key it shall use."""

    hostname: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A change of the key that is not finished; each of the numbers has a record."""

    hostname: str
    numbers: tuple[int, ...]


def keys(root: Root, name: Name, *, address: str) -> list[str]:
    """SHA-256 digests, in hex, of key `number` and the one after it; makes them if need be.

    Raises `MailhostError` where DNSSEC does not prove the host's name, asked at the resolver `address`: nobody would
    believe the records. Also where no record of key `number` is published beside that of the key in use.
    """
    _require_signed(name.hostname, address)
    with certificate.locked(root):
        durable.make_folder(root.live(_FOLDER))
        durable.remove_tree(root.live(_DOOMED))
        if not any(_seen(root, number).exists() for number in _numbers(root)):
            _begin_with(root, name.number, _lineage_key(root, name.hostname).read_bytes())
        _require_published(root, name)
        wanted = (name.number, name.number + 1)
        for number in wanted:
            if not _key(root, number).exists():
                _put(root, number, _generated())
        return [_digest(_public(_key(root, number))) for number in wanted]


def use(root: Root, name: Name, issuer: Issuer, text: str, *, ttl: int) -> None:
    """Waits until its record, in `text` as wait-dns takes it, is seen everywhere; then lets the host use the key.

    `ttl` in seconds is how long others may remember what the name had before. Does nothing when the key is in use and
    the daemons know it. Raises `MailhostError` naming when to come again, where that time is not over and not near.
    """
    resolver.wait(root, resolver.read(text), timeout=300)
    if not _seen(root, name.number).exists():
        _note_visible(root, name.number)
    if not _is_live(root, name):
        _wait_until_known(root, name.number, ttl)
    with certificate.locked(root):
        if not _is_live(root, name):
            _exchange(root, name, issuer)
        _finish(root)


def announced(root: Root, name: Name, text: str) -> None:
    """Waits until the record of key `number`, the next one, is seen everywhere, and notes it; forgets former keys.

    The note is written each time: this runs after the record was made, perhaps once more.
    """
    resolver.wait(root, resolver.read(text), timeout=300)
    with certificate.locked(root):
        _note_visible(root, name.number)
        for number in _numbers(root):
            if number < name.number - 1:
                durable.remove(_seen(root, number))
                durable.remove(_key(root, number))


def withdrawn(root: Root) -> None:
    """Forgets the keys and since when their records were seen: there are none any more. certbot has the one in use.

    An exchange that is not finished is brought to an end first, with whichever key has a certificate.
    """
    with certificate.locked(root):
        exchange = _under_way(root)
        if exchange is not None:
            _link(root, exchange.hostname, max(_versions(root, exchange.hostname)))
        _finish(root)
        folder, doomed = root.live(_FOLDER), root.live(_DOOMED)
        durable.remove_tree(doomed)
        if folder.is_dir():
            folder.replace(doomed)
            durable.sync_folder(doomed.parent)
            durable.remove_tree(doomed)


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


def _begin_with(root: Root, number: int, key: bytes) -> None:
    """Makes the key in use the one of this number. No record was ever seen, so none has to be kept to."""
    if durable.read(_key(root, number)) != key:
        for other in _numbers(root):
            durable.remove(_key(root, other))
        _put(root, number, key)


def _require_published(root: Root, name: Name) -> None:
    exchange = _under_way(root)
    if exchange is not None and name.number in exchange.numbers:
        return
    used = _public(_lineage_key(root, name.hostname))
    in_use = [number for number in _numbers(root) if _public(_key(root, number)) == used]
    if in_use and name.number not in {*in_use, in_use[-1] + 1}:
        raise MailhostError(
            f"tlsa.key: is {name.number}, but key {in_use[-1]} is in use and only key {in_use[-1] + 1} is published "
            f"beside it; set it to {in_use[-1] + 1} for the next key, or back to {in_use[-1]}"
        )


def _wait_until_known(root: Root, number: int, ttl: int) -> None:
    """Waits until nobody remembers the records without key `number`; raises `MailhostError` if that takes long."""
    left = float(_seen(root, number).read_text()) + ttl - time.time()
    if left > _PATIENCE:
        raise MailhostError(
            f"tlsa: key {number} must not be used yet: others may remember the records without it for "
            f"{left / 60:.0f} minutes; run pulumi up again then. The key in use stays in use"
        )
    if left > 0:
        say(f"waiting {left:.0f} s until nobody remembers the records without key {number}")
        time.sleep(left)


def _key(root: Root, number: int) -> Path:
    return root.live(f"{_FOLDER}/{number}.pem")


def _seen(root: Root, number: int) -> Path:
    return root.live(f"{_FOLDER}/{number}.visible")


def _numbers(root: Root) -> list[int]:
    return sorted(int(path.stem) for path in root.live(_FOLDER).glob("*.pem") if path.stem.isdigit())


def _lineage_key(root: Root, hostname: str) -> Path:
    return root.live(f"{LINEAGES}/{hostname}/privkey.pem")


def _put(root: Root, number: int, key: bytes) -> None:
    """Keeps a key under a number that had another one, or none; a note about the former one's record goes first."""
    durable.remove(_seen(root, number))
    durable.write(_key(root, number), key)


def _generated() -> bytes:
    """A new key as certbot's own are: ECDSA on P-256."""
    return must(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]).out.encode()


def _public(key: Path) -> str:
    """The public half of a private key: SubjectPublicKeyInfo as PEM."""
    return must(["openssl", "pkey", "-in", str(key), "-pubout"]).out


def _digest(public: str) -> str:
    """Of SubjectPublicKeyInfo, as a certificate holds it (RFC 6698 section 1.2: selector 1, matching type 1)."""
    return hashlib.sha256(base64.b64decode("".join(public.splitlines()[1:-1]))).hexdigest().upper()


def _note_visible(root: Root, number: int) -> None:
    durable.write(_seen(root, number), f"{time.time():.0f}\n".encode())


def _under_way(root: Root) -> Exchange | None:
    """The exchange that is not finished; None when there is none."""
    noted = durable.read(_journal(root))
    if noted is None:
        return None
    hostname, *numbers = noted.decode().split()
    return Exchange(hostname=hostname, numbers=tuple(map(int, numbers)))


def _journal(root: Root) -> Path:
    return root.live(f"{_FOLDER}/exchange")


@dataclass(frozen=True, kw_only=True)
class _Set:
    """Key, certificate and chain in one place: a version of certbot's archive, live/, or a candidate."""

    privkey: Path
    cert: Path
    chain: Path
    fullchain: Path

    @classmethod
    def of(cls, folder: Path, version: int | str = "") -> _Set:
        """The set in a folder, by certbot's names."""
        return cls(**{part: folder / f"{part}{version}.pem" for part in _PARTS})

    def public(self) -> str:
        """The public key that all of it is about, as PEM; empty where something is missing or does not match."""
        if not all(file.is_file() for file in (self.privkey, self.cert, self.chain, self.fullchain)):
            return ""
        if self.fullchain.read_bytes() != self.cert.read_bytes() + self.chain.read_bytes():
            return ""
        certified = run(["openssl", "x509", "-in", str(self.cert), "-noout", "-pubkey"]).out
        return certified if certified and certified == _public(self.privkey) else ""

    def serves(self, key: Path, names: Collection[str]) -> bool:
        """Whether it is a certificate of this key for these names, and not about to end."""
        if self.public() != _public(key):
            return False
        fresh = run(["openssl", "x509", "-in", str(self.cert), "-noout", "-checkend", str(_FRESH)])
        return fresh.code == 0 and _names(self.cert) == set(names)


def _names(cert: Path) -> set[str]:
    shown = must(["openssl", "x509", "-in", str(cert), "-noout", "-ext", "subjectAltName"])
    return set(re.findall(r"DNS:[^,\s]+", shown.out))


def _live(root: Root, hostname: str) -> _Set:
    return _Set.of(root.live(f"{LINEAGES}/{hostname}"))


def _is_live(root: Root, name: Name) -> bool:
    return _live(root, name.hostname).public() == _public(_key(root, name.number))


def _versions(root: Root, hostname: str) -> list[int]:
    """The complete versions in certbot's archive, in ascending order. What a writer that died has left is none."""
    folder = root.live(f"{_ARCHIVE}/{hostname}")
    numbered = (re.fullmatch(r"fullchain(\d+)\.pem", path.name) for path in folder.iterdir())
    return sorted(int(found[1]) for found in numbered if found and _Set.of(folder, found[1]).public())


def _exchange(root: Root, name: Name, issuer: Issuer) -> None:
    """Lets the host use the key, with the names of the present certificate: with one that is there, or a new one."""
    key, names = _key(root, name.number), _names(root.live(paths.certificate(name.hostname)))
    archive = root.live(f"{_ARCHIVE}/{name.hostname}")

    def kept() -> Iterator[int]:
        return (
            version
            for version in reversed(_versions(root, name.hostname))
            if _Set.of(archive, version).serves(key, names)
        )

    if not any(kept()):
        candidate = _certified(root, name, names, issuer)
        with certificate.certbot_idle(root):
            _add(root, name.hostname, candidate)
    _begin(root, name)
    with certificate.certbot_idle(root):
        _link(root, name.hostname, next(kept()))


def _certified(root: Root, name: Name, names: Collection[str], issuer: Issuer) -> _Set:
    """A certificate for the key, which a run that died may have got already."""
    key, folder = _key(root, name.number), root.live(f"{_FOLDER}/candidate")
    made = _Set.of(folder)
    if not made.serves(key, names):
        durable.remove_tree(folder)  # certbot does not write over a file
        durable.make_folder(folder)
        durable.write(made.privkey, key.read_bytes())
        request = folder / "request.pem"
        alternatives = f"subjectAltName={','.join(sorted(names))}"
        must(["openssl", "req", "-new", "-key", str(key), "-subj", "/", "-addext", alternatives, "-out", str(request)])
        try:
            certificate.obtain_for(root, request, issuer, folder)
        except MailhostError:
            durable.remove_tree(folder)
            raise
    if not made.serves(key, names):
        raise MailhostError(f"tlsa: {issuer.server}: sent no certificate of key {name.number} for {' '.join(names)}")
    return made


def _add(root: Root, hostname: str, made: _Set) -> None:
    """Adds a version to certbot's archive, in place of one that a writer who died has left."""
    archive = root.live(f"{_ARCHIVE}/{hostname}")
    version = max(_versions(root, hostname), default=0) + 1
    added = _Set.of(archive, version)
    for part in _PARTS:
        source, target = getattr(made, part), getattr(added, part)
        durable.write(target, source.read_bytes(), mode=0o600 if part == "privkey" else 0o644)


def _begin(root: Root, name: Name) -> None:
    """Notes that the lineage is about to change, unless it is noted already."""
    if _under_way(root) is None:
        used = _public(_lineage_key(root, name.hostname))
        numbers = {number for number in _numbers(root) if _public(_key(root, number)) == used} | {name.number}
        durable.write(_journal(root), " ".join([name.hostname, *map(str, sorted(numbers))]).encode() + b"\n")


def _link(root: Root, hostname: str, version: int) -> None:
    """Lets the links in live/ lead to a version.

    Key and certificate change next to each other: a daemon that starts between the two would serve neither.
    """
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


def _finish(root: Root) -> None:
    """Has the daemons load what is live if an exchange is under way, and removes what is left of it."""
    exchange = _under_way(root)
    if exchange is not None:
        certificate.deploy(root, exchange.hostname)
    for folder in (LINEAGES, _ARCHIVE):
        for left in root.live(folder).glob(f"*/.*{durable.TEMPORARY_SUFFIX}"):
            left.unlink()
    durable.remove_tree(root.live(f"{_FOLDER}/candidate"))
    durable.remove(_journal(root))
