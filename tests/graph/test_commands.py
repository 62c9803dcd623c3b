"""Commands on the host: pinned keys, digests in inputs, root by sudo."""

import hashlib
import re

import pytest

from host.build import installer, zipapp
from model.constants import ACME_CHALLENGES
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
        assert len(seen.text("create")) < 220, seen.name


def test_an_apply_carries_what_was_staged_and_its_serials(graph: Graph) -> None:
    applied = [seen for seen in graph.commands() if " apply " in seen.text("create")]
    assert len(applied) > 10
    for seen in applied:
        service = seen.text("create").split()[2]
        stagings = [one for one in graph.commands() if one.text("create").startswith(f"mailhostctl stage {service} ")]
        carried = [one for one in stagings if one.text("create").split()[-1] in {"files", "secrets"}]
        assert graph.applied(service) == graph.staged(service) != {}
        assert seen.text("create").split()[-1] == "-".join(["5e71a1"] * len(carried))
        assert {one.urn for one in carried} <= seen.property_dependencies["create"]


@pytest.mark.parametrize(
    ("later", "staging"),
    [
        ("mail-host-install-helper", "mail-host-facts"),
        ("mail-packages-install", "mail-packages-names"),
        ("mail-certificate-issue", "mail-certificate-request"),
        ("mail-web-certificates-issue", "mail-web-certificates-request"),
        ("mail-tlsa-use", "mail-tlsa-keys"),
    ],
)
def test_what_changes_the_host_has_the_serial_of_a_staging(graph: Graph, later: str, staging: str) -> None:
    assert graph.named(staging).urn in graph.named(later).property_dependencies["create"]
    assert " --serial " in graph.named(later).text("create")


def test_a_staged_request_holds_every_word_of_its_command(graph: Graph) -> None:
    for request, issue in (
        ("mail-certificate-request", "mail-certificate-issue"),
        ("mail-web-certificates-request", "mail-web-certificates-issue"),
    ):
        words = graph.named(issue).text("create").split()
        staged = graph.named(request).text("stdin").split()
        assert set(words[2 : words.index("--serial")]) <= set(staged)
    issued = graph.named("mail-web-certificates-issue").text("stdin").split()
    assert set(issued) <= set(graph.named("mail-web-certificates-request").text("stdin").split())


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


def test_the_helper_travels_with_the_command_that_installs_it(graph: Graph) -> None:
    install = graph.named("mail-host-install-helper")
    archive = zipapp()
    assert install.text("create").startswith(f"python3 - --sha256 {hashlib.sha256(archive).hexdigest()} --serial ")
    assert install.text("stdin") == installer(archive)


def test_a_user_who_is_not_root_uses_sudo(graph: Graph) -> None:
    by_sudo = run(CONFIG | {"ssh": {"user": "deploy"}}, secret_keys=("mailboxes",))
    for seen in by_sudo.of_type("command:remote:Command"):
        assert seen.text("create").startswith("sudo -n "), seen.name
        assert seen.inputs["connection"]["value"]["user"] == "deploy"
    for seen in graph.of_type("command:remote:Command"):
        assert "sudo" not in seen.text("create"), seen.name


def test_what_undoes_a_change_is_the_staging_s(graph: Graph) -> None:
    deletes = {seen.name: seen.text("delete") for seen in graph.commands() if seen.text("delete")}
    services = {seen.text("create").split()[2] for seen in graph.commands() if " apply " in seen.text("create")}
    assert sorted(deletes.values()) == sorted(
        [
            *(f"mailhostctl remove {service}" for service in services),
            f"mailhostctl retire-certificates --webroot {ACME_CHALLENGES}",
            "mailhostctl tlsa-withdrawn",
            "sh -c 'test ! -x /usr/local/sbin/mailhostctl || exec /usr/local/sbin/mailhostctl uninstall'",
        ]
    )
    for name, delete in deletes.items():
        seen = graph.named(name)
        # It goes last: a removal that is cut off has dropped what follows it from the state, which then runs again.
        assert graph.before(seen).isdisjoint(
            one.urn for one in graph.commands() if one.text("create").startswith(delete.replace(" remove ", " apply "))
        )
        if " remove " in delete:
            apply = graph.named(re.sub("-(files|secrets)$", "-apply", name))
            assert seen.urn in graph.before(apply)
            # Replaced on request, the new one must not be removed by the old one's delete.
            assert seen.delete_before_replace
