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
