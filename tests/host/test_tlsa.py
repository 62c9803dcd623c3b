"""Keys for TLSA records, made, published and exchanged on a scratch host with a real openssl."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mailhostctl import dns, durable, resolver, tlsa
from mailhostctl.system import MailhostError
from tests.host import crashes
from tests.host.scratch import Host

NAME = "mail.example.org"
LIVE, ARCHIVE = f"/etc/letsencrypt/live/{NAME}", f"/etc/letsencrypt/archive/{NAME}"
RECORD = f"example.org _25._tcp.{NAME} TLSA 3 1 1 AB\n"
OPENSSL = str(shutil.which("openssl"))
Capsys = pytest.CaptureFixture[str]
# Signs any request with a key of its own, as an authority would. The real one also refuses to write over a file.
CERTBOT = f"""
echo "certbot $*" >> "$FAKE/log"
for word; do
    case "$last" in --csr) request=$word;; --cert-path) cert=$word;; --chain-path) chain=$word;;
    --fullchain-path) full=$word;; esac
    last=$word
done
[ ! -e "$cert" ] && [ ! -e "$chain" ] && [ ! -e "$full" ] || {{ echo "File exists" >&2; exit 1; }}
authority="-CA $FAKE/ca.pem -CAkey $FAKE/ca.key"
{OPENSSL} x509 -req -in "$request" -copy_extensions copyall $authority -out "$cert" || exit 1
cp "$FAKE/ca.pem" "$chain"
cat "$cert" "$chain" > "$full"
"""


def openssl(*words: str) -> bytes:
    return subprocess.run([OPENSSL, *words], check=True, capture_output=True).stdout


@functools.cache
def public(content: str, kind: str) -> bytes:
    """The public key in a private key (`pkey`) or certificate (`x509`)."""
    words = ["pkey", "-pubout"] if kind == "pkey" else ["x509", "-noout", "-pubkey"]
    return subprocess.run([OPENSSL, *words], check=True, capture_output=True, input=content.encode()).stdout


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
    shutil.copy(host.fake / "ca.pem", archive / "chain1.pem")
    (archive / "fullchain1.pem").write_text((archive / "cert1.pem").read_text() + (archive / "chain1.pem").read_text())
    for part in ("privkey", "cert", "chain", "fullchain"):
        (live / f"{part}.pem").symlink_to(f"../../archive/{NAME}/{part}1.pem")
    play_hook(host, HOOK)
    return live


# The daemons' part: they load key and chain.
HOOK = """echo "$RENEWED_LINEAGE" >> "$FAKE/hook"
cd "$MAILHOSTCTL_ROOT$RENEWED_LINEAGE" && cat privkey.pem fullchain.pem > "$FAKE/served"
"""


def play_hook(host: Host, script: str) -> None:
    host.write("/etc/letsencrypt/renewal-hooks/deploy/mailhost", f"#!/bin/sh\n{script}").chmod(0o755)


def served(host: Host) -> str:
    return (host.fake / "served").read_text()


def assert_settled(host: Host, lineage: Path, number: int, when: str = "") -> None:
    """Key `number`, its certificate and the chain are live and loaded, and nothing is left to do."""
    text = {part: (lineage / f"{part}.pem").read_text() for part in ("privkey", "cert", "chain", "fullchain")}
    assert text["privkey"] == host.state("tlsa", f"{number}.pem").read_text(), when
    assert text["fullchain"] == text["cert"] + text["chain"], when
    assert public(text["cert"], "x509") == public(text["privkey"], "pkey"), when
    assert served(host) == text["privkey"] + text["fullchain"], when
    left = {path.name for path in host.state("tlsa").iterdir()} - {f"{n}.pem" for n in range(9)}
    assert left <= {f"{n}.visible" for n in range(9)}, when
    assert [path for path in (host.root / "etc").rglob("*~")] == [], when


def asking(number: int) -> list[str]:
    return ["tlsa-keys", NAME, "--key", str(number), "--resolver", "127.0.0.1"]


def keys(host: Host, number: int) -> int:
    return host.run(*asking(number))


def using(number: int, ttl: int = 60, serial: str = "0") -> list[str]:
    issuer = ("--server", "https://acme/dir", "--contact", "postmaster@example.org")
    return ["tlsa-use", NAME, "--key", str(number), "--ttl", str(ttl), "--serial", serial, *issuer]


def use(host: Host, number: int, serial: str = "0", *, ttl: int = 60) -> int:
    return host.run(*using(number, ttl, serial), stdin=RECORD)


def announced(host: Host, number: int) -> int:
    return host.run("tlsa-announced", NAME, "--key", str(number), stdin=RECORD)


def age(host: Host, number: int, seconds: int) -> None:
    note = host.state("tlsa", f"{number}.visible")
    note.write_text(f"{int(note.read_text()) - seconds}\n")


def test_the_key_in_use_becomes_the_first_and_is_not_exchanged(host: Host, lineage: Path, capsys: Capsys) -> None:
    assert keys(host, 1) == 0
    first, second, serial = capsys.readouterr().out.split()
    assert first == digest(lineage / "privkey.pem")
    assert second == digest(host.state("tlsa", "2.pem")) != first
    assert [path.stat().st_mode & 0o777 for path in host.state("tlsa").glob("*.pem")] == [0o600, 0o600]
    assert use(host, 1, serial) == 0
    assert host.calls("certbot") == []
    assert keys(host, 1) == 0
    *again, other = capsys.readouterr().out.split()
    assert again == [first, second]
    assert re.fullmatch("[0-9a-f]{16}", serial)
    assert other != serial  # so that what makes a key live follows


def test_the_next_key_is_used_once_its_record_is_old_enough(host: Host, lineage: Path, capsys: Capsys) -> None:
    keys(host, 1)
    _, second, _ = capsys.readouterr().out.split()
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
    assert_settled(host, lineage, 2)

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
    assert (keys(host, 1), use(host, 1), announced(host, 2)) == (0, 0, 0)
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


class World(crashes.RealCommands):
    """Commands are real, but asked once for the same files: a test asks some thousand times."""

    answers: ClassVar[dict[tuple[str | bytes, ...], subprocess.CompletedProcess[bytes]]] = {}
    certificates: ClassVar[dict[bytes, dict[str, bytes]]] = {}

    def play(self, argv: list[str], *more: Any) -> subprocess.CompletedProcess[bytes]:
        if argv[0] == "certbot":
            return self._certbot(argv, *more)
        if argv[0] != "openssl" or "-in" not in argv:
            return super().play(argv, *more)
        file = Path(argv[argv.index("-in") + 1])
        known = tuple(file.read_bytes() if word == str(file) and file.exists() else word for word in argv)
        if known not in self.answers:
            self.answers[known] = super().play(argv, *more)
        return self.answers[known]

    def _certbot(self, argv: list[str], *more: Any) -> subprocess.CompletedProcess[bytes]:
        folder = Path(argv[argv.index("--csr") + 1]).parent
        key = (folder / "privkey.pem").read_bytes()
        if key not in self.certificates:
            done = super().play(argv, *more)
            self.certificates[key] = {
                name: (folder / name).read_bytes() for name in ("cert.pem", "chain.pem", "fullchain.pem")
            }
            return done
        with (self.host.fake / "log").open("a") as log:
            log.write(f"{' '.join(argv)}\n")
        for name, content in self.certificates[key].items():
            (folder / name).write_bytes(content)
        return subprocess.CompletedProcess(argv, 0, b"", b"")


class Rewound:
    """A scratch host that goes back to how it was before each death."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._kept = host.fake.parent / "kept"
        shutil.copytree(host.root, self._kept / "root", symlinks=True)
        shutil.copy(host.fake / "served", self._kept / "served")

    def deaths(self, argv: list[str], stdin: str = "", *, at_least: int = 60) -> Iterator[str]:
        """Lets the command die at every step, of so many; yields when, with the host as the dead left it."""
        for step in range(1, 10_000):
            shutil.rmtree(self.host.root)
            shutil.copytree(self._kept / "root", self.host.root, symlinks=True)
            shutil.copy(self._kept / "served", self.host.fake / "served")
            if crashes.run(self.host, argv, stdin, die_at=step, world=World) is not None:
                assert step > at_least
                return
            yield f"dead at step {step}"


@pytest.fixture
def published(host: Host, lineage: Path) -> Rewound:
    """Key 1 is in use, and the record of key 2 so old that it may be."""
    assert (keys(host, 1), use(host, 1), announced(host, 2)) == (0, 0, 0)
    age(host, 1, 7200)
    age(host, 2, 3600)
    (host.fake / "served").write_text((lineage / "privkey.pem").read_text() + (lineage / "fullchain.pem").read_text())
    assert_settled(host, lineage, 1)
    assert keys(host, 2) == 0
    return Rewound(host)


def test_an_exchange_may_die_at_any_step_and_is_finished_by_the_next(
    published: Rewound, host: Host, lineage: Path
) -> None:
    for when in published.deaths(using(2), RECORD):
        crashes.run(host, asking(2), world=World)
        crashes.run(host, using(2), RECORD, world=World)
        assert_settled(host, lineage, 2, when)


def test_an_exchange_may_die_at_any_step_and_the_former_key_be_wanted_again(
    published: Rewound, host: Host, lineage: Path, capsys: Capsys
) -> None:
    back = refused = 0
    for when in published.deaths(using(2), RECORD):
        capsys.readouterr()
        if keys(host, 1) == 0:
            crashes.run(host, using(1), RECORD, world=World)
            assert_settled(host, lineage, 1, when)
            back += 1
        else:
            assert "or back to 2" in capsys.readouterr().err, when
            assert_settled(host, lineage, 2, when)
            refused += 1
    assert (back > 40, refused > 0) == (True, True)


def test_an_exchange_may_die_at_any_step_and_the_records_go_instead(
    published: Rewound, host: Host, lineage: Path
) -> None:
    for when in published.deaths(using(2), RECORD):
        assert crashes.run(host, ["tlsa-withdrawn"], world=World), when
        live = {part: (lineage / f"{part}.pem").read_text() for part in ("privkey", "cert", "chain", "fullchain")}
        assert live["fullchain"] == live["cert"] + live["chain"], when
        assert served(host) == live["privkey"] + live["fullchain"], when
        assert [path.name for path in host.state().iterdir() if "tlsa" in path.name] == [], when


def test_making_the_keys_may_die_at_any_step(host: Host, lineage: Path, capsys: Capsys) -> None:
    (host.fake / "served").write_text("")
    in_use = (lineage / "privkey.pem").read_text()
    for when in Rewound(host).deaths(asking(1), at_least=20):
        capsys.readouterr()
        assert keys(host, 1) == 0, when
        first, second, _ = capsys.readouterr().out.split()
        assert host.state("tlsa/1.pem").read_text() == in_use, when
        assert (first, second) == (digest(lineage / "privkey.pem"), digest(host.state("tlsa/2.pem"))), when


def test_forgetting_the_keys_may_die_at_any_step_and_the_records_come_back(
    published: Rewound, host: Host, lineage: Path, capsys: Capsys
) -> None:
    """The key in use is the first again, and no note of a record that is gone lets the next one be used too early."""
    for when in published.deaths(["tlsa-withdrawn"], at_least=8):
        capsys.readouterr()
        assert keys(host, 1) == 0, when
        assert capsys.readouterr().out.split()[0] == digest(lineage / "privkey.pem"), when
        assert announced(host, 2) == 0, when
        assert use(host, 2, ttl=3600) == 1, when
        assert "must not be used yet" in capsys.readouterr().err, when


def test_a_hook_that_failed_runs_again_with_the_same_number(
    published: Rewound, host: Host, lineage: Path, capsys: Capsys
) -> None:
    del published
    play_hook(host, "echo 'postfix.service: not now' >&2; exit 1\n")
    for _ in range(2):
        assert use(host, 2) == 1
        assert "postfix.service: not now" in capsys.readouterr().err
    assert len(host.calls("certbot")) == 1
    play_hook(host, HOOK)
    assert use(host, 2) == 0
    assert_settled(host, lineage, 2)


def test_the_former_key_may_be_wanted_again_while_the_hook_fails(published: Rewound, host: Host, lineage: Path) -> None:
    del published
    play_hook(host, "exit 1\n")
    assert use(host, 2) == 1
    play_hook(host, HOOK)
    assert keys(host, 1) == 0
    assert use(host, 1) == 0
    assert_settled(host, lineage, 1)
    assert len(host.calls("certbot")) == 1  # the former certificate is still there


def test_a_certificate_that_came_while_nobody_waited_is_taken(published: Rewound, host: Host) -> None:
    """The certbot of a caller that was killed goes on; each certificate counts against the authority's limits."""
    for when in published.deaths(using(2), RECORD):
        calls = len(host.calls("certbot"))
        crashes.run(host, using(2), RECORD, world=World)
        assert calls + len(host.calls("certbot")) == 1, when


def test_half_a_certificate_is_not_taken(published: Rewound, host: Host, lineage: Path) -> None:
    """What certbot leaves that died while it wrote."""
    del published
    for name in ("privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"):
        host.write(f"/var/lib/mailhost/tlsa/candidate/{name}", "-----BEGIN CERTIFICATE-----\n")
    shutil.copy(host.state("tlsa/2.pem"), host.state("tlsa/candidate/privkey.pem"))
    assert use(host, 2) == 0
    assert_settled(host, lineage, 2)
    assert len(host.calls("certbot")) == 1


def test_until_a_record_was_seen_another_number_is_that_of_the_key_in_use(
    host: Host, lineage: Path, capsys: Capsys
) -> None:
    """The first `up` with TLSA records was cut off, and `tlsa.key` set meanwhile."""
    for number in (1, 2, 1):
        capsys.readouterr()
        assert keys(host, number) == 0
        first, second, _ = capsys.readouterr().out.split()
        assert first == digest(lineage / "privkey.pem") != second
        assert sorted(path.name for path in host.state("tlsa").iterdir()) == [f"{number}.pem", f"{number + 1}.pem"]


def test_an_exchange_waits_for_a_renewal_under_way(
    published: Rewound, host: Host, lineage: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    """What certbot's timer has begun would make the former key live again."""
    del published
    lock = host.write("/etc/letsencrypt/.certbot.lock", "")
    hold = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.lockf(f, 2); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as renewal:
        assert renewal.stdin is not None
        assert renewal.stdout is not None
        renewal.stdout.readline()
        monkeypatch.setattr(durable, "PATIENCE", 0.1)
        assert use(host, 2) == 1
        assert "another certbot has run" in capsys.readouterr().err
        renewal.stdin.close()
    assert use(host, 2) == 0
    assert_settled(host, lineage, 2)
