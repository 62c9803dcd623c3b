"""A staged secret is nowhere but in the files it is for."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.host.scratch import Host, bundle, manifest

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
    host.run("unstage", "accounts", "files")
    kept = [path for path in host.root.rglob("*") if path.is_file() and "secret-hash" in path.read_text()]
    assert kept == []


def test_an_earlier_version_s_copy_of_a_file_goes_by_its_path(host: Host) -> None:
    # As an update from 0.1.0 ends, which staged each file by itself.
    kept = host.state("accounts", "staged", USERS[1:])
    kept.parent.mkdir(parents=True)
    kept.write_text(SECRET)
    assert host.run("unstage", "accounts", USERS) == 0
    assert not kept.exists()


def test_secrets_come_beside_the_files_and_replace_those_before(host: Host, capsys: Capsys) -> None:
    users, plain = {USERS: f"alice@example.org:{SECRET}::::::\n"}, {"/etc/dovecot/plain": "plain\n"}
    host.stage("accounts", plain)
    assert host.run("stage", "accounts", "secrets", stdin=bundle(users)) == 0
    assert (host.state("accounts", "staged", "secrets").stat().st_mode & 0o777) == 0o600
    assert host.run("apply", "accounts", stdin=manifest({**plain, **users})) == 0
    assert host.live(USERS) == users[USERS]
    assert host.run("stage", "accounts", "secrets") == 0
    assert host.run("apply", "accounts", stdin=manifest({USERS: "#\n"})) == 1
    assert "nothing is staged" in capsys.readouterr().err
    assert host.run("unstage", "accounts", "secrets") == 0
    assert not host.state("accounts", "staged", "secrets").exists()
    assert host.run("apply", "accounts", stdin=manifest(plain)) == 0


@pytest.mark.parametrize("text", ["secret-hash", f"==> {USERS} 0644 root:root 1 {'0' * 64} <==\nsecret-hash\n"])
def test_secrets_that_did_not_come_whole_are_refused_without_a_word_of_them(
    host: Host, capsys: Capsys, text: str
) -> None:
    assert host.run("stage", "accounts", "secrets", stdin=text) == 1
    said = capsys.readouterr().err
    assert "secrets: " in said
    assert "secret-hash" not in said
