"""Certificates of several names, certbot's notes on how to renew, and who answers challenges before nginx runs."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mailhostctl import certificate
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
