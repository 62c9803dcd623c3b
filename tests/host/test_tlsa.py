"""Keys for TLSA records, made, published and exchanged on a scratch host with a real openssl."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailhostctl import dns, resolver, tlsa
from mailhostctl.system import MailhostError
from tests.host.scratch import Host

NAME = "mail.example.org"
LIVE, ARCHIVE = f"/etc/letsencrypt/live/{NAME}", f"/etc/letsencrypt/archive/{NAME}"
RECORD = f"example.org _25._tcp.{NAME} TLSA 3 1 1 AB\n"
OPENSSL = str(shutil.which("openssl"))
Capsys = pytest.CaptureFixture[str]
# Signs any request with a key of its own, as an authority would.
CERTBOT = f"""
for word; do
    case "$last" in --csr) request=$word;; --cert-path) cert=$word;; --chain-path) chain=$word;;
    --fullchain-path) full=$word;; esac
    last=$word
done
[ -n "$request" ] || exit 0
authority="-CA $FAKE/ca.pem -CAkey $FAKE/ca.key"
{OPENSSL} x509 -req -in "$request" -copy_extensions copyall $authority -out "$cert" || exit 1
cp "$FAKE/ca.pem" "$chain"
cat "$cert" "$chain" > "$full"
"""


def openssl(*words: str) -> bytes:
    return subprocess.run([OPENSSL, *words], check=True, capture_output=True).stdout


def digest(key: Path) -> str:
    return hashlib.sha256(openssl("pkey", "-in", str(key), "-pubout", "-outform", "DER")).hexdigest().upper()


def self_signed(key: Path, certificate: Path) -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/"]
    names = ["-addext", f"subjectAltName=DNS:{NAME},DNS:mta-sts.example.org"]
    openssl("req", "-x509", *curve, *names, "-keyout", str(key), "-out", str(certificate))


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Whether the resolver calls its answers authentic; and every record is seen everywhere at once."""
    state = {"authentic": True}

    def query(_address: str, question: resolver.Question, **_: object) -> dns.Message:
        return dns.Message(
            identity=0,
            response=True,
            truncated=False,
            authentic=state["authentic"],
            rcode=0,
            question=(question.name, 1),
            answers=(),
        )

    monkeypatch.setattr(resolver, "query", query)
    monkeypatch.setattr(resolver, "wait", lambda *_, **__: None)
    return state


@pytest.fixture
def lineage(host: Host, signed: dict[str, bool]) -> Path:
    """A lineage as certbot leaves it, at version 1."""
    del signed
    host.play("openssl", f'exec {OPENSSL} "$@"\n')
    host.play("certbot", CERTBOT)
    archive, live = host.root / ARCHIVE.lstrip("/"), host.root / LIVE.lstrip("/")
    archive.mkdir(parents=True)
    live.mkdir(parents=True)
    self_signed(archive / "privkey1.pem", archive / "cert1.pem")
    self_signed(host.fake / "ca.key", host.fake / "ca.pem")
    for part in ("chain", "fullchain"):
        shutil.copy(archive / "cert1.pem", archive / f"{part}1.pem")
    for part in ("privkey", "cert", "chain", "fullchain"):
        (live / f"{part}.pem").symlink_to(f"../../archive/{NAME}/{part}1.pem")
    hook = host.write(
        "/etc/letsencrypt/renewal-hooks/deploy/mailhost", '#!/bin/sh\necho "$RENEWED_LINEAGE" > "$FAKE/hook"\n'
    )
    hook.chmod(0o755)
    return live


def keys(host: Host, number: int) -> int:
    return host.run("tlsa-keys", NAME, "--key", str(number), "--resolver", "127.0.0.1")


def use(host: Host, number: int, ttl: int = 60) -> int:
    issuer = ("--server", "https://acme/dir", "--contact", "postmaster@example.org")
    return host.run("tlsa-use", NAME, "--key", str(number), "--ttl", str(ttl), *issuer, stdin=RECORD)


def announced(host: Host, number: int) -> int:
    return host.run("tlsa-announced", NAME, "--key", str(number), stdin=RECORD)


def age(host: Host, number: int, seconds: int) -> None:
    note = host.state("tlsa", f"{number}.visible")
    note.write_text(f"{int(note.read_text()) - seconds}\n")


def test_the_key_in_use_becomes_the_first_and_is_not_exchanged(host: Host, lineage: Path, capsys: Capsys) -> None:
    assert keys(host, 1) == 0
    first, second = capsys.readouterr().out.split()
    assert first == digest(lineage / "privkey.pem")
    assert second == digest(host.state("tlsa", "2.pem")) != first
    assert [path.stat().st_mode & 0o777 for path in host.state("tlsa").glob("*.pem")] == [0o600, 0o600]
    assert use(host, 1) == 0
    assert host.calls("certbot") == []
    assert (keys(host, 1), capsys.readouterr().out.split()) == (0, [first, second])


def test_the_next_key_is_used_once_its_record_is_old_enough(host: Host, lineage: Path, capsys: Capsys) -> None:
    keys(host, 1)
    _, second = capsys.readouterr().out.split()
    assert (use(host, 1), announced(host, 2)) == (0, 0)
    assert keys(host, 2) == 0
    assert capsys.readouterr().out.split()[0] == second
    assert use(host, 2, ttl=3600) == 1
    assert "others may remember the records without it for 60 minutes" in capsys.readouterr().err
    assert digest(lineage / "privkey.pem") != second

    age(host, 2, 3601)
    assert use(host, 2, ttl=3600) == 0
    assert digest(lineage / "privkey.pem") == second
    certificate = openssl("x509", "-in", str(lineage / "cert.pem"), "-noout", "-ext", "subjectAltName").decode()
    assert re.findall(r"DNS:([\w.-]+)", certificate) == [NAME, "mta-sts.example.org"]
    assert (lineage / "fullchain.pem").read_text().startswith((lineage / "cert.pem").read_text())
    assert {path.name: str(path.readlink()) for path in lineage.iterdir()} == {
        f"{part}.pem": f"../../archive/{NAME}/{part}2.pem" for part in ("privkey", "cert", "chain", "fullchain")
    }
    assert (lineage / "privkey.pem").stat().st_mode & 0o777 == 0o600
    assert (host.fake / "hook").read_text() == f"{LIVE}\n"

    assert announced(host, 3) == 0
    assert sorted(path.name for path in host.state("tlsa").glob("*.pem")) == ["2.pem", "3.pem"]
    assert use(host, 2, ttl=3600) == 0  # nothing to do


def test_a_refused_request_leaves_everything_as_it_was(host: Host, lineage: Path, capsys: Capsys) -> None:
    keys(host, 1)
    announced(host, 2)
    age(host, 2, 3600)
    before = digest(lineage / "privkey.pem")
    host.play("certbot", "echo 'too many certificates' >&2; exit 1\n")
    assert use(host, 2) == 1
    assert "too many certificates" in capsys.readouterr().err
    assert digest(lineage / "privkey.pem") == before
    assert sorted(path.name for path in host.state("tlsa").iterdir()) == ["1.pem", "2.pem", "2.visible"]


@pytest.mark.parametrize("number", [3, 9])
def test_a_key_without_a_record_is_never_used(host: Host, lineage: Path, capsys: Capsys, number: int) -> None:
    del lineage
    keys(host, 1)
    capsys.readouterr()
    assert keys(host, number) == 1
    assert f"tlsa.key: is {number}, but key 1 is in use" in capsys.readouterr().err


def test_a_machine_that_lost_its_keys_goes_on_with_the_number(host: Host, lineage: Path, capsys: Capsys) -> None:
    assert keys(host, 7) == 0
    assert capsys.readouterr().out.split()[0] == digest(lineage / "privkey.pem")


def test_a_key_of_certbots_own_is_exchanged_for_the_published_one(host: Host, lineage: Path) -> None:
    keys(host, 1)
    first = digest(lineage / "privkey.pem")
    use(host, 1)
    self_signed(lineage / "privkey.pem", lineage / "cert.pem")  # certbot renew --new-key
    age(host, 1, 3600)
    assert keys(host, 1) == 0
    assert use(host, 1) == 0
    assert digest(lineage / "privkey.pem") == first


def test_records_nobody_would_believe_are_refused(
    host: Host, lineage: Path, signed: dict[str, bool], capsys: Capsys
) -> None:
    del lineage
    signed["authentic"] = False
    assert keys(host, 1) == 1
    assert f"tlsa: DNSSEC does not prove {NAME}" in capsys.readouterr().err
    assert not host.state("tlsa").exists()


def test_a_resolver_without_an_answer_is_no_unsigned_zone(
    host: Host, lineage: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> dns.Message:
        raise resolver.NoAnswerError("no answer")

    del lineage
    monkeypatch.setattr(resolver, "query", silent)
    monkeypatch.setattr(tlsa, "_RESOLVING", 0)
    assert keys(host, 1) == 1
    assert f"tlsa: {NAME}: the resolver 127.0.0.1: no answer" in capsys.readouterr().err


def test_without_records_nothing_is_remembered(host: Host, lineage: Path) -> None:
    keys(host, 1)
    announced(host, 2)
    assert host.run("tlsa-withdrawn") == 0
    assert not host.state("tlsa").exists()
    assert host.run("tlsa-withdrawn") == 0
    assert keys(host, 4) == 0
    assert (lineage / "privkey.pem").exists()


def test_an_unsigned_zone_is_asked_for_twice(
    host: Host, lineage: Path, signed: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver may remember how it was."""
    del lineage, host
    signed["authentic"] = False
    flushed: list[str] = []
    monkeypatch.setattr(tlsa, "run", lambda words: flushed.append(words[-1]))
    with pytest.raises(MailhostError):
        tlsa._require_signed(NAME, "127.0.0.1")
    assert flushed == [NAME, "example.org"]
