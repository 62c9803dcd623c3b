"""The ACME account as CAA records name it: made once, and found again."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request

import pytest

from mailhostctl import resolver
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]

SERVER = "https://acme.example:14000/dir"
ACCOUNT = "https://acme.example:14000/my-account/32f0156d2a183431"
FOLDER = "/etc/letsencrypt/accounts/acme.example:14000/dir"
CALL = ("acme-account", "--server", SERVER, "--contact", "postmaster@example.org")
ISSUER = ("--issuer", "ca.example")


def registration(host: Host, number: int = 1, text: str = "") -> None:
    host.write(f"{FOLDER}/{number}/regr.json", text or json.dumps({"body": {}, "uri": ACCOUNT}))


def directory(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """Let the ACME server's directory be this."""

    def urlopen(url: str, **_: object) -> io.BytesIO:
        assert url == SERVER
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def test_an_account_that_is_there_is_used(host: Host, capsys: Capsys) -> None:
    registration(host)
    assert host.run(*CALL, *ISSUER) == 0
    assert capsys.readouterr().out == f"ca.example\n{ACCOUNT}\n"
    assert host.calls("certbot") == []


def test_without_one_certbot_makes_it(host: Host, capsys: Capsys) -> None:
    made = host.root / f"{FOLDER}/1/regr.json".lstrip("/")
    host.play("certbot", f"mkdir -p {made.parent} && echo '{json.dumps({'uri': ACCOUNT})}' > {made}\n")
    for _ in range(2):
        assert host.run(*CALL, *ISSUER) == 0
        assert capsys.readouterr().out.splitlines() == ["ca.example", ACCOUNT]
    registration(host)  # as it was
    assert len(list(made.parent.parent.iterdir())) == 1


def test_certbot_is_asked_for_an_account_and_nothing_else(host: Host, capsys: Capsys) -> None:
    assert host.run(*CALL, *ISSUER) == 1
    assert "there are 0 accounts in" in capsys.readouterr().err
    (asked,) = host.calls("certbot")
    assert "register --non-interactive --agree-tos" in asked
    assert f"--server {SERVER} --email postmaster@example.org" in asked


def test_of_two_accounts_nobody_knows_which_certbot_will_use(host: Host, capsys: Capsys) -> None:
    registration(host, 1)
    registration(host, 2)
    assert host.run(*CALL, *ISSUER) == 1
    assert f"there are 2 accounts in {host.root}{FOLDER}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"uri": 1}', '{"uri": "https://acme.example/a;b"}'])
def test_an_account_that_cannot_be_read_is_named(host: Host, capsys: Capsys, text: str) -> None:
    registration(host, text=text)
    assert host.run(*CALL, *ISSUER) == 1
    assert "regr.json names no account" in capsys.readouterr().err


def test_the_server_says_its_name(host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    registration(host)
    directory(monkeypatch, {"meta": {"caaIdentities": ["ca.example", "ca.example.net"]}})
    assert host.run(*CALL) == 0
    assert capsys.readouterr().out == f"ca.example\n{ACCOUNT}\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"meta": {"termsOfService": "x"}}, "does not say by which name CAA records mean it; set caa.issuer"),
        ({"meta": {"caaIdentities": []}}, "does not say by which name"),
        ({"meta": {"caaIdentities": ['ca.example" ; x']}}, "does not say by which name"),
        ([], "does not say by which name"),
        (b"<html>", "cannot be read"),
        (urllib.error.URLError("refused"), "cannot be read: <urlopen error refused>"),
    ],
)
def test_a_server_that_does_not_say_its_name_is_one_line(
    host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, answer: object, said: str
) -> None:
    registration(host)
    directory(monkeypatch, answer)
    assert host.run(*CALL) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_certificate_is_asked_for_once_its_records_are_seen(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def wait(_root: object, wanted: list[resolver.Wanted], **_: object) -> None:
        assert host.calls("certbot") == []
        seen.extend(f"{one} {one.value}" for one in wanted)

    monkeypatch.setattr(resolver, "wait", wait)
    call = ("certificate", "mail.example.org", "--server", SERVER, "--contact", "postmaster@example.org", "--wait-dns")
    assert host.run(*call, stdin='example.org mail.example.org CAA 0 issuewild ";"\n') == 0
    assert seen == ['mail.example.org CAA 0 issuewild ";"']
    assert len(host.calls("certbot")) == 1
