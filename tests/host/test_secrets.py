"""A staged secret is nowhere but in the files it is for."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.host.scratch import Host, manifest

Capsys = pytest.CaptureFixture[str]
SECRET = "{ARGON2ID}$argon2id$v=19$secret-hash"  # noqa: S105 -- the one looked for
USERS = "/etc/dovecot/users"


@pytest.mark.parametrize(
    "content",
    [f"alice@example.org:{SECRET}::::::\n", f"no mailbox {SECRET}\n", f"alice@example.org:{SECRET} x\n"],
    ids=["good", "bad", "bad"],
)
def test_no_output_and_no_command_has_it(
    host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    commands: list[str] = []
    really = subprocess.run

    def watched(argv: list[str], **named: object) -> object:
        commands.append(json.dumps([*argv, *map(str, named.get("env", {}).items())]))  # type: ignore[attr-defined]
        return really(argv, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", watched)
    host.apply("accounts", {USERS: content}, mode="0640")
    host.run("apply", "accounts", stdin=manifest({USERS: content + "x"}))
    host.run("apply", "accounts", stdin=manifest({USERS: content}, mode="0600"))
    host.run("status")
    host.run("generations", "accounts")
    host.run("remove", "accounts")
    output = capsys.readouterr()
    assert output.err
    assert "secret-hash" not in output.out + output.err + "".join(commands)


def test_remove_and_unstage_leave_no_copy(host: Host) -> None:
    host.apply("accounts", {USERS: f"alice@example.org:{SECRET}::::::\n"}, mode="0640")
    host.run("remove", "accounts")
    host.run("unstage", "accounts", USERS)
    kept = [path for path in host.root.rglob("*") if path.is_file() and "secret-hash" in path.read_text()]
    assert kept == []


def test_all_secrets_of_a_service_come_at_once_and_replace_those_before(host: Host, capsys: Capsys) -> None:
    users = f"alice@example.org:{SECRET}::::::\n"
    document = {USERS: {"mode": "0640", "owner": "root:root", "content": users}}
    assert host.run("stage-secrets", "accounts", stdin=json.dumps(document)) == 0
    assert (host.state("accounts", "secrets.json").stat().st_mode & 0o777) == 0o600
    # What an update from the former way of staging does at its end.
    assert host.run("unstage", "accounts", USERS) == 0
    assert host.run("apply", "accounts", stdin=manifest({USERS: users}, mode="0640")) == 0
    assert host.live(USERS) == users
    assert host.run("stage-secrets", "accounts", stdin="{}") == 0
    assert host.run("apply", "accounts", stdin=manifest({USERS: users + "#\n"}, mode="0640")) == 1
    assert "nothing is staged" in capsys.readouterr().err
    assert host.run("unstage-secrets", "accounts") == 0
    assert not host.state("accounts", "secrets.json").exists()


@pytest.mark.parametrize("text", ["secret-hash", "[]", '{"/x": {"content": "secret-hash"}}', '{"/x": "secret-hash"}'])
def test_a_bad_document_is_refused_without_a_word_of_it(host: Host, capsys: Capsys, text: str) -> None:
    assert host.run("stage-secrets", "accounts", stdin=text) == 1
    said = capsys.readouterr().err
    assert "secrets: " in said
    assert "secret-hash" not in said
