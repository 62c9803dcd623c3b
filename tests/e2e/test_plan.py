"""What a plan costs and says when nothing changed, and who may look."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Host
from tests.e2e.stack import Stack


def test_a_second_up_changes_nothing_and_opens_no_connection(host: Host) -> None:
    before = host.ssh_connections()
    host.stack.up().must_pass()
    assert set(host.stack.changes()) == {"same"}
    assert host.ssh_connections() == before


@pytest.mark.one_release("debian13")
def test_an_operator_with_another_key_sees_the_same_plan(host: Host, tmp_path: Path) -> None:
    before = host.ssh_connections()
    agent = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(SSH_\w+)=([^;]+);", agent))
    try:
        key = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        subprocess.run(["ssh-add", "-q", str(key)], env=host.stack.environment | found, check=True)
        preview = host.stack.preview("--expect-no-changes", SSH_AUTH_SOCK=found["SSH_AUTH_SOCK"])
    finally:
        subprocess.run(["ssh-agent", "-k"], env=host.stack.environment | found, check=True, stdout=subprocess.DEVNULL)
    preview.must_pass()
    assert host.ssh_connections() == before


@pytest.mark.one_release("debian13")
def test_a_preview_without_any_agent_works(host: Host) -> None:
    # As in a pull request: the workflow holds no SSH key.
    environment = {name: value for name, value in host.stack.environment.items() if name != "SSH_AUTH_SOCK"}
    bare = Stack(machine=host.machine, folder=host.stack.folder, environment=environment)
    bare.preview("--expect-no-changes").must_pass()


@pytest.mark.one_release("debian13")
def test_records_do_not_drift(host: Host) -> None:
    # What the API gives back is what the program sent: quotes, chunks and case included.
    host.stack.pulumi("refresh", "--yes", "--expect-no-changes", stack=True).must_pass()
    host.stack.preview("--expect-no-changes").must_pass()


@pytest.mark.one_release("debian13")
def test_a_preview_shows_the_changed_line_of_a_file(host: Host) -> None:
    with host.stack.kept():
        host.stack.configure({"messageSizeLimit": "31457280"})
        shown = host.stack.preview("--diff").must_pass().output
    assert re.search(r"^\s*-\s*message_size_limit = \d+$", shown, re.M)
    assert re.search(r"^\s*\+\s*message_size_limit = 31457280$", shown, re.M)
    # The file's name is beside it, and nothing of the service's other files.
    assert re.search(r"^\s*\+\s*==> /etc/postfix/main.cf 0644 root:root ", shown, re.M)
    assert "==> /etc/postfix/master.cf" not in shown
