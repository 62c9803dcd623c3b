"""No secret in a command, a plan or plain state."""

import json
from pathlib import Path

import asyncssh
import pytest

from model import mailbox_file
from tests.graph.conftest import ALICES_HASH, CONFIG
from tests.graph.harness import PRIVATE_KEY, Graph, is_secret, run


def plain_inputs(graph: Graph) -> str:
    """Everything that is readable in the state."""
    return json.dumps(
        [
            {name: value for name, value in seen.inputs.items() if not is_secret(value)}
            for seen in graph.resources.values()
        ]
    )


def test_no_secret_is_readable_in_any_input(graph: Graph) -> None:
    text = plain_inputs(graph)
    assert "argon2id" not in text
    assert "not a key, but as secret as one" not in text
    assert json.dumps(ALICES_HASH)[1:-1] not in text


def test_the_secrets_do_travel_by_stdin(graph: Graph) -> None:
    secret = [seen for seen in graph.commands() if is_secret(seen.inputs.get("stdin"))]
    texts = "".join(seen.text("stdin") for seen in secret)
    assert ALICES_HASH in texts
    assert PRIVATE_KEY in texts


def test_the_signing_key_is_for_the_signer_only(graph: Graph) -> None:
    with_the_key = [seen.name for seen in graph.commands() if PRIVATE_KEY in seen.text("stdin")]
    assert with_the_key == ["mail-opendkim-secrets", "mail-opendkim-apply"]
    assert ("0600 opendkim:opendkim", PRIVATE_KEY) in graph.staged("opendkim").values()


def test_what_carries_a_secret_is_secret(graph: Graph) -> None:
    for name in ("mail-accounts-apply", "mail-opendkim-apply", "mail-opendkim-secrets"):
        assert is_secret(graph.named(name).inputs["stdin"]), name


def test_what_carries_no_secret_is_readable(graph: Graph) -> None:
    for name in ("mail-postfix-apply", "mail-dovecot-files", "mail-opendkim-files"):
        assert isinstance(graph.named(name).inputs["stdin"], str), name


def test_an_operators_own_key_never_enters_the_state(graph: Graph) -> None:
    for seen in graph.commands():
        connection = seen.inputs["connection"]
        assert is_secret(connection)
        assert set(connection["value"]) <= {"host", "port", "user", "hostKey", "dialErrorLimit", "perDialTimeout"}


def test_a_deploy_key_of_the_stack_is_secret_and_used() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    graph = run(CONFIG | {"sshPrivateKey": key}, secret_keys=("mailboxes", "sshPrivateKey"))
    assert key.splitlines()[1] not in plain_inputs(graph)
    for seen in graph.commands():
        assert seen.inputs["connection"]["value"]["privateKey"] == key


def test_exports_hold_no_secret(graph: Graph) -> None:
    assert "argon2id" not in str(graph.exports)


def test_the_mailbox_file_is_read_and_its_hashes_are_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = mailbox_file.new_key()
    hashed = ALICES_HASH.replace("c2FsdHNhbHRzYWx0", "c2FsdGllc3RvZmFsbA")
    entry = {"password": mailbox_file.Seal(key).close("carol@example.org", hashed)}
    (tmp_path / "mailboxes.test.json").write_text(mailbox_file.text({"carol@example.org": entry}))
    monkeypatch.setattr(mailbox_file, "FOLDER", tmp_path)
    graph = run(CONFIG | {"mailboxesKey": key}, secret_keys=("mailboxes", "mailboxesKey"))
    assert f"carol@example.org:{hashed}" in graph.named("mail-accounts-secrets").text("stdin")
    assert "argon2id" not in plain_inputs(graph)
    assert key not in plain_inputs(graph)
