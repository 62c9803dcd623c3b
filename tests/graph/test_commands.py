"""Commands on the host: pinned keys, digests in inputs, root by sudo."""

import hashlib
import json

from tests.graph.conftest import CONFIG, HOST_KEY
from tests.graph.harness import Graph, run


def test_every_connection_pins_the_host_key(graph: Graph) -> None:
    for seen in graph.commands():
        assert seen.inputs["connection"]["value"]["hostKey"] == HOST_KEY, seen.name


def test_no_command_asks_for_environment_variables(graph: Graph) -> None:
    for seen in graph.of_type("command:remote:Command"):
        assert seen.inputs["addPreviousOutputInEnv"] is False, seen.name


def test_every_command_is_one_short_line(graph: Graph) -> None:
    for seen in graph.of_type("command:remote:Command"):
        assert "\n" not in seen.text("create")
        assert len(seen.text("create")) < 200, seen.name


def test_a_manifest_holds_the_digest_of_each_staged_file(graph: Graph) -> None:
    applied = [seen for seen in graph.commands() if " apply " in seen.text("create")]
    assert len(applied) > 10
    for seen in applied:
        files = json.loads(seen.text("stdin"))["files"]
        assert {path: (f"{file['mode']} {file['owner']}", file["sha256"]) for path, file in files.items()} == {
            path: (noted, hashlib.sha256(content.encode()).hexdigest())
            for path, (noted, content) in graph.staged(seen.text("create").split()[-1]).items()
        }


def test_another_setting_touches_one_file_and_one_service(graph: Graph) -> None:
    changed = run(CONFIG | {"messageSizeLimit": "10240000"}, secret_keys=("mailboxes",))
    different = [
        seen.name for seen in changed.resources.values() if dict(seen.inputs) != dict(graph.resources[seen.urn].inputs)
    ]
    assert different == ["mail-postfix-files", "mail-postfix-apply"]
    before, after = graph.staged("postfix"), changed.staged("postfix")
    assert [path for path in before if before[path] != after[path]] == ["/etc/postfix/main.cf"]
    assert before.keys() == after.keys()


def test_another_password_touches_the_accounts_alone(graph: Graph) -> None:
    mailboxes = CONFIG["mailboxes"]
    assert isinstance(mailboxes, dict)
    other = str(mailboxes["bob@example.org"]).replace("0123", "3210")
    changed = run(CONFIG | {"mailboxes": mailboxes | {"bob@example.org": other}}, secret_keys=("mailboxes",))
    different = [
        seen.name for seen in changed.resources.values() if dict(seen.inputs) != dict(graph.resources[seen.urn].inputs)
    ]
    assert different == ["mail-accounts-secrets", "mail-accounts-apply"]


def test_two_runs_of_one_configuration_are_the_same(graph: Graph) -> None:
    again = run(CONFIG, secret_keys=("mailboxes",))
    assert {urn: dict(seen.inputs) for urn, seen in again.resources.items()} == {
        urn: dict(seen.inputs) for urn, seen in graph.resources.items()
    }


def test_the_helper_is_uploaded_again_to_another_machine(graph: Graph) -> None:
    assert graph.named("mail-host-helper").inputs["triggers"] == [HOST_KEY, "root"]


def test_a_user_who_is_not_root_uses_sudo(graph: Graph) -> None:
    by_sudo = run(CONFIG | {"ssh": {"user": "deploy"}}, secret_keys=("mailboxes",))
    for seen in by_sudo.of_type("command:remote:Command"):
        assert seen.text("create").startswith("sudo -n "), seen.name
        assert seen.inputs["connection"]["value"]["user"] == "deploy"
    for seen in graph.of_type("command:remote:Command"):
        assert "sudo" not in seen.text("create"), seen.name


def test_what_starts_something_also_stops_it(graph: Graph) -> None:
    for seen in graph.of_type("command:remote:Command"):
        words = seen.text("create").split()
        if words[1] == "stage":
            assert seen.text("delete") == f"mailhostctl unstage {words[2]} {words[3]}"
        if words[1] == "apply":
            assert seen.text("delete") == f"mailhostctl remove {words[2]}"
            # Replaced on request, the new one must not be removed by the old one's delete.
            assert seen.delete_before_replace
    assert (
        graph.named("mail-host-install-helper").text("delete") == "mailhostctl uninstall --upload .mailhostctl.upload"
    )
