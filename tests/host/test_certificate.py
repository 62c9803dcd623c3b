"""Certificates of several names, certbot's notes on how to renew, and who answers challenges before nginx runs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailhostctl import certificate, durable
from mailhostctl.paths import LINEAGES
from tests.host import crashes
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]

WEBROOT = "/var/www/acme"
CALL = ("certificates", "--server", "https://acme/dir", "--contact", "postmaster@example.org", "--webroot", WEBROOT)
FIRST = "autoconfig.one.example autodiscover.one.example\n"
SECOND = "autoconfig.two.example autodiscover.two.example\n"
STANDALONE = """\
version = 4.0.0
[renewalparams]
account = 0123
authenticator = standalone
server = https://acme/dir
key_type = ecdsa
"""
WEBROOT_NOTES = """\
version = 4.0.0
[renewalparams]
account = 0123
authenticator = webroot
webroot_path = /elsewhere,
server = https://acme/dir
key_type = ecdsa
[[webroot_map]]
autoconfig.one.example = /elsewhere
autodiscover.one.example = /elsewhere
"""
VALID = "echo 'X509v3 Subject Alternative Name:'; echo '    DNS:autoconfig.one.example, DNS:autodiscover.one.example'\n"


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port instead of 80, which needs root."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = int(free.getsockname()[1])
    monkeypatch.setattr(certificate, "PORT", number)
    return number


def notes(host: Host, name: str, text: str = STANDALONE) -> Path:
    return host.write(f"/etc/letsencrypt/renewal/{name}.conf", text)


def test_each_line_is_a_certificate_named_by_its_first_name(host: Host, capsys: Capsys) -> None:
    assert host.run(*CALL, stdin=FIRST + SECOND) == 0
    assert capsys.readouterr().out == "autoconfig.one.example\nautoconfig.two.example\n"
    asked = host.calls("certbot")
    assert len(asked) == 2
    assert "--cert-name autoconfig.two.example --domain autoconfig.two.example" in asked[1]
    assert "--domain autodiscover.two.example" in asked[1]
    assert f"--webroot --webroot-path {host.root}{WEBROOT} " in asked[1]


def test_one_that_fails_keeps_no_other_back_and_is_named_at_the_end(host: Host, capsys: Capsys) -> None:
    host.play("certbot", 'case "$*" in *one.example*) echo "one.example: no such name" >&2; exit 1;; esac\n')
    assert host.run(*CALL, stdin=FIRST + SECOND) == 1
    said = capsys.readouterr()
    assert said.out == "autoconfig.two.example\n"
    assert "1 of 2 certificates could not be obtained" in said.err
    assert "one.example: no such name" in said.err


def test_a_valid_certificate_for_these_names_needs_no_certbot(host: Host) -> None:
    notes(host, "autoconfig.one.example")
    host.play("openssl", VALID)
    assert host.run(*CALL, stdin=FIRST) == 0
    assert host.calls("certbot") == []


@pytest.mark.parametrize(
    ("kept", "openssl"),
    [
        (STANDALONE, VALID + "exit 1\n"),  # due: -checkend
        (STANDALONE, "echo '    DNS:autoconfig.one.example'\n"),  # a name is missing
        (STANDALONE, VALID.replace("DNS:autodiscover", "DNS:mta-sts.one.example, DNS:autodiscover")),  # one too many
        (STANDALONE.replace("https://acme/dir", "https://acme/other"), VALID),  # from another server
    ],
)
def test_any_other_certificate_is_asked_for(host: Host, kept: str, openssl: str) -> None:
    notes(host, "autoconfig.one.example", kept)
    host.play("openssl", openssl)
    assert host.run(*CALL, stdin=FIRST) == 0
    (asked,) = host.calls("certbot")
    assert "--renew-with-new-domains" in asked
    assert ("--force-renewal" in asked) == ("other" in kept)


@pytest.mark.parametrize("before", [STANDALONE, WEBROOT_NOTES])
def test_a_renewal_goes_the_way_that_works_now(host: Host, before: str) -> None:
    kept = notes(host, "autoconfig.one.example", before)
    host.play("openssl", VALID)
    assert host.run(*CALL, stdin=FIRST) == 0
    folder = f"{host.root}{WEBROOT}"
    way = f"authenticator = webroot\nwebroot_path = {folder},\n"
    assert kept.read_text() == STANDALONE.replace("authenticator = standalone\n", way)


def test_without_a_web_server_certbot_answers_itself_again(host: Host) -> None:
    kept = notes(host, "mail.example.org", WEBROOT_NOTES)
    call = ("certificate", "mail.example.org", "--server", "https://acme/dir", "--contact", "postmaster@example.org")
    assert host.run(*call) == 0
    assert kept.read_text() == STANDALONE
    assert "--standalone" in host.calls("certbot")[0]


def test_certbot_keeps_the_key_exactly_while_it_is_asked_to(host: Host) -> None:
    kept = notes(host, "mail.example.org")
    call = ("certificate", "mail.example.org", "--server", "https://acme/dir", "--contact", "postmaster@example.org")
    for _ in range(2):
        assert host.run(*call, "--reuse-key") == 0
        assert "--reuse-key" in host.calls("certbot")[0]
        assert kept.read_text() == STANDALONE.replace("[renewalparams]\n", "[renewalparams]\nreuse_key = True\n")
    assert host.run(*call) == 0
    assert "--reuse-key" not in host.calls("certbot")[0]
    assert kept.read_text() == STANDALONE


def test_a_domain_that_is_gone_is_not_renewed_any_more_and_comes_back_whole(host: Host) -> None:
    kept = notes(host, "autoconfig.one.example")
    host.play("openssl", VALID)
    assert host.run(*CALL, stdin=FIRST + SECOND) == 0
    assert host.run(*CALL, stdin=SECOND) == 0
    assert not kept.exists()
    assert host.run(*CALL, stdin=FIRST + SECOND) == 0
    assert "authenticator = webroot" in kept.read_text()
    assert [call for call in host.calls("certbot") if "one.example" in call] == []


def test_retiring_leaves_other_certificates_alone(host: Host) -> None:
    ours, other = notes(host, "autoconfig.one.example"), notes(host, "autoconfig.other.example")
    host.play("openssl", VALID)
    assert host.run(*CALL, stdin=FIRST) == 0
    for _ in range(2):
        assert host.run("retire-certificates", "--webroot", WEBROOT) == 0
    assert other.exists()
    assert not ours.exists()
    assert not (host.root / WEBROOT.lstrip("/")).exists()


def test_challenges_are_answered_while_nobody_else_does(host: Host, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bytes]] = []

    def fetch(path: str) -> None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                seen.append((answer.status, answer.read()))
        except urllib.error.HTTPError as error:
            seen.append((error.code, b""))

    def ask(_root: object, _names: object, _issuer: object) -> None:
        host.write(f"{WEBROOT}/.well-known/acme-challenge/token-1_x", "token.key")
        host.write(f"{WEBROOT}/secret", "none of it")
        for path in ("token-1_x", "../../secret", "", "../../"):
            fetch(f"/.well-known/acme-challenge/{path}")

    monkeypatch.setattr(certificate, "_obtain", ask)
    assert host.run(*CALL, stdin=FIRST) == 0
    assert seen == [(200, b"token.key"), (404, b""), (404, b""), (404, b"")]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


def test_a_web_server_that_runs_answers_itself(host: Host, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        assert host.run(*CALL, stdin=FIRST) == 0
    assert len(host.calls("certbot")) == 1


@pytest.mark.parametrize("line", ["autoconfig.One.example\n", "-x.example\n", "../x\n", "a;b\n"])
def test_what_is_no_name_is_refused(host: Host, line: str, capsys: Capsys) -> None:
    assert host.run(*CALL, stdin=FIRST + line) == 1
    assert "is not a domain name" in capsys.readouterr().err
    assert host.calls("certbot") == []


# Writes what certbot's own would: the notes on a certificate, once it is there.
CERTBOT = f"""echo "certbot $*" >> "$FAKE/log"
for word; do [ "$last" != --cert-name ] || name=$word; last=$word; done
mkdir -p "$MAILHOSTCTL_ROOT/etc/letsencrypt/renewal"
cat > "$MAILHOSTCTL_ROOT/etc/letsencrypt/renewal/$name.conf" <<'END'
{STANDALONE}END
"""
FOLDER = "/etc/letsencrypt/renewal"


def deaths(host: Host, kept: Path, argv: tuple[str, ...], stdin: str) -> Iterator[str]:
    """Lets the command die at every step; yields when, with the host as the dead left it."""
    shutil.copytree(host.root, kept)
    for step in range(1, 1000):
        shutil.rmtree(host.root)
        shutil.copytree(kept, host.root)
        if crashes.run(host, list(argv), stdin, die_at=step, world=crashes.RealCommands) is not None:
            assert step > 8
            return
        yield f"dead at step {step}"


def renewed(host: Host) -> list[str]:
    """The certificates that certbot's timer renews."""
    return sorted(path.stem for path in (host.root / FOLDER.lstrip("/")).glob("*.conf"))


def test_certificates_may_die_at_any_step(host: Host, tmp_path: Path) -> None:
    host.play("certbot", CERTBOT)
    for when in deaths(host, tmp_path / "kept", CALL, FIRST + SECOND):
        crashes.run(host, list(CALL), FIRST + SECOND, world=crashes.RealCommands)
        assert renewed(host) == ["autoconfig.one.example", "autoconfig.two.example"], when
        for name in renewed(host):
            assert "authenticator = webroot" in (host.live(f"{FOLDER}/{name}.conf") or ""), when


def test_certificates_may_die_at_any_step_and_a_domain_be_gone_again(host: Host, tmp_path: Path) -> None:
    host.play("certbot", CERTBOT)
    for when in deaths(host, tmp_path / "kept", CALL, FIRST + SECOND):
        crashes.run(host, list(CALL), SECOND, world=crashes.RealCommands)
        assert renewed(host) == ["autoconfig.two.example"], when


def test_certificates_may_die_at_any_step_and_a_domain_that_went_stay(host: Host, tmp_path: Path) -> None:
    host.play("certbot", CERTBOT)
    assert host.run(*CALL, stdin=FIRST + SECOND) == 0
    for when in deaths(host, tmp_path / "kept", CALL, SECOND):
        crashes.run(host, list(CALL), FIRST + SECOND, world=crashes.RealCommands)
        assert renewed(host) == ["autoconfig.one.example", "autoconfig.two.example"], when
        crashes.run(host, ["retire-certificates", "--webroot", WEBROOT], world=crashes.RealCommands)
        assert renewed(host) == [], when


def test_retiring_may_die_at_any_step(host: Host, tmp_path: Path) -> None:
    host.play("certbot", CERTBOT)
    assert host.run(*CALL, stdin=FIRST + SECOND) == 0
    retire = ("retire-certificates", "--webroot", WEBROOT)
    for when in deaths(host, tmp_path / "kept", retire, ""):
        crashes.run(host, list(retire), world=crashes.RealCommands)
        assert renewed(host) == [], when
        assert not (host.root / WEBROOT.lstrip("/")).exists(), when


def test_the_hosts_certificate_may_die_at_any_step(host: Host, tmp_path: Path) -> None:
    host.play("certbot", CERTBOT)
    call = ("certificate", "mail.example.org", "--server", "https://acme/dir", "--contact", "postmaster@example.org")
    for when in deaths(host, tmp_path / "kept", (*call, "--reuse-key", "--webroot", WEBROOT), ""):
        crashes.run(host, [*call, "--reuse-key", "--webroot", WEBROOT], world=crashes.RealCommands)
        notes = host.live(f"{FOLDER}/mail.example.org.conf") or ""
        assert ("reuse_key = True" in notes, "authenticator = webroot" in notes) == (True, True), when
        crashes.run(host, list(call), world=crashes.RealCommands)  # the former settings
        assert host.live(f"{FOLDER}/mail.example.org.conf") == STANDALONE, when


@pytest.fixture
def moved(host: Host) -> tuple[str, ...]:
    """The call that gets the host's certificate from another server; the daemons serve the present one."""
    notes(host, "mail.example.org", STANDALONE.replace("https://acme/dir", "https://acme/other"))
    host.write(f"{LINEAGES}/mail.example.org/fullchain.pem", "old")
    host.play("certbot", f'{CERTBOT}printf new > "$MAILHOSTCTL_ROOT{LINEAGES}/$name/fullchain.pem"\n')
    play_hook(host, SERVE)
    return "certificate", "mail.example.org", "--server", "https://acme/dir", "--contact", "postmaster@example.org"


SERVE = 'cat "$MAILHOSTCTL_ROOT$RENEWED_LINEAGE/fullchain.pem" > "$FAKE/served"\n'


def play_hook(host: Host, script: str) -> None:
    host.write("/etc/letsencrypt/renewal-hooks/deploy/mailhost", f"#!/bin/sh\n{script}").chmod(0o755)


def test_the_daemons_load_a_certificate_whose_call_died(host: Host, tmp_path: Path, moved: tuple[str, ...]) -> None:
    """A certbot may die between the certificate and its hook, and the next one finds nothing to do."""
    for when in deaths(host, tmp_path / "kept", moved, ""):
        crashes.run(host, list(moved), world=crashes.RealCommands)
        assert host.live(f"{LINEAGES}/mail.example.org/fullchain.pem") == "new", when
        assert (host.fake / "served").read_text() == "new", when
        (host.fake / "served").unlink()


def test_a_hook_that_fails_is_told_and_runs_again(host: Host, moved: tuple[str, ...], capsys: Capsys) -> None:
    play_hook(host, "echo 'nginx.service: not now' >&2; exit 1\n")
    for _ in range(2):
        assert host.run(*moved) == 1
        assert "nginx.service: not now" in capsys.readouterr().err
    play_hook(host, SERVE)
    assert host.run(*moved) == 0
    assert (host.fake / "served").read_text() == "new"
    (host.fake / "served").unlink()
    assert host.run(*moved) == 0
    assert not (host.fake / "served").exists()  # once is enough


def test_a_refused_request_tells_no_daemon(host: Host, moved: tuple[str, ...]) -> None:
    host.play("certbot", "exit 1\n")
    assert host.run(*moved) == 1
    host.play("certbot", CERTBOT)
    assert host.run(*moved) == 0
    assert not (host.fake / "served").exists()


def test_a_certbot_whose_caller_was_killed_is_waited_for(host: Host) -> None:
    """It would make a certificate that is renewed for ever, of a domain that is gone meanwhile."""
    host.play("certbot", CERTBOT)
    lock = host.write("/etc/letsencrypt/.certbot.lock", "")
    orphan = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'ab'); fcntl.lockf(f, 2); print(flush=True); time.sleep(1)\n"
        "open(sys.argv[2], 'w').write(sys.argv[3])"
    )
    left = notes(host, "autoconfig.one.example")
    assert host.run(*CALL, stdin=FIRST) == 0
    left.unlink()
    with subprocess.Popen([sys.executable, "-c", orphan, lock, left, STANDALONE], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert host.run(*CALL, stdin=SECOND) == 0
    assert renewed(host) == ["autoconfig.two.example"]


def test_two_commands_about_certificates_do_not_meet(
    host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a killed `up` would put back what the next has retired."""
    monkeypatch.setattr(durable, "PATIENCE", 0.1)
    with durable.locked(host.state("certificates.lock")):
        for call in (CALL, ("retire-certificates", "--webroot", WEBROOT)):
            assert host.run(*call) == 1
            assert "waiting for process" in capsys.readouterr().err
