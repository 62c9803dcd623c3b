"""A secret is nowhere but in the files it is for."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.host.scratch import Host, bundle

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
    host.stage("accounts", {USERS: content})
    host.run("apply", "accounts", stdin=bundle({USERS: content})[:-3])
    host.run("apply", "accounts", stdin=bundle({USERS: content}) * 2)
    host.run("status")
    host.run("generations", "accounts")
    host.run("remove", "accounts")
    output = capsys.readouterr()
    assert output.err
    assert "secret-hash" not in output.out + output.err + "".join(commands)


def test_staging_and_remove_leave_no_copy(host: Host) -> None:
    users = {USERS: f"alice@example.org:{SECRET}::::::\n"}
    host.stage("accounts", users)
    host.apply("accounts", users, mode="0640")
    host.run("remove", "accounts")
    kept = [path for path in host.root.rglob("*") if path.is_file() and "secret-hash" in path.read_text()]
    assert kept == []


@pytest.mark.parametrize("text", ["secret-hash", f"==> {USERS} 0644 root:root 1 {'0' * 64} <==\nsecret-hash\n"])
def test_secrets_that_did_not_come_whole_are_refused_without_a_word_of_them(
    host: Host, capsys: Capsys, text: str
) -> None:
    assert host.run("stage", "accounts", "secrets", stdin=text) == 1
    said = capsys.readouterr().err
    assert said
    assert "secret-hash" not in said
