"""The real engine with the offline plugins, an SSH server and the lab's API on loopback: one stack's whole life."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import paths, plugins
from tests.cloudflare_api.fakes import TOKEN, ZONE, Background, Lab
from tests.plugins.conftest import ROOT, SshServer

SECRET = "correct horse battery staple"  # noqa: S105 - looked for wherever it must not be
PULUMI = shutil.which("pulumi", path=f"{paths.toolchain()}:{os.environ['PATH']}")

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(PULUMI is None, reason="the pulumi command is missing; `make tools` gets it"),
]

PROGRAM = """
import json
import os
import signal

import pulumi
import pulumi_tls as tls
from pulumi_command import remote
from components.cloudflare import DnsRecord, find_zone

signal.signal(signal.SIGINT, signal.SIG_DFL)
config = pulumi.Config()
settings = json.loads(os.environ["TEST_SETTINGS"])
connection = remote.ConnectionArgs(**settings["connection"], private_key=config.require_secret("key"))

def command(name, **inputs):
    return remote.Command(name, connection=connection, add_previous_output_in_env=False, **inputs)

parent = pulumi.ComponentResource("test:index:Parent", "parent")
zone = find_zone(settings["zone"])
key = tls.PrivateKey("key", algorithm="RSA")
first = command("first", create="cat", stdin=settings["text"], delete="touch deleted-first",
                triggers=[settings["trigger"]])
second = command("second", create="cat", stdin=pulumi.Output.concat("after ", first.stdout))
secret = command("secret", create="wc -c", stdin=config.require_secret("secret"))
record = DnsRecord("record", zone_id=zone, name=f"mail.{settings['zone']}", type_="TXT", ttl=300, parent=parent,
                   content=pulumi.Output.concat('"', second.stdout.apply(lambda text: text.split()[0]), '"'))
if settings["broken"]:
    command("broken", create="echo reason >&2; exit 7", stdin=config.require_secret("secret"))
if stranger := settings.get("stranger"):
    connection = remote.ConnectionArgs(**settings["connection"] | {"host_key": stranger})
    command("stranger", create="touch ran")
pulumi.export("second", second.stdout)
pulumi.export("pem", key.public_key_pem)
"""


@dataclass
class Stack:
    """A program of its own, with its own home and state."""

    folder: Path
    settings: dict[str, Any]
    key: str

    def __post_init__(self) -> None:
        assert PULUMI is not None
        self.folder.mkdir()
        plugins.install(Path(PULUMI), self.folder / "home", Path(sys.executable), nursery=self.folder / "none")
        (self.folder / "state").mkdir()
        (self.folder / "Pulumi.yaml").write_text("name: test\nruntime: python\n")
        (self.folder / "__main__.py").write_text(PROGRAM)
        self.environment = {key: value for key, value in os.environ.items() if key != "SSH_AUTH_SOCK"} | {
            "PATH": f"{Path(sys.executable).parent}:{Path(PULUMI).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "x",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        self.run("stack", "init", "s")
        secrets = {"test:key": self.key, "test:secret": SECRET, "cloudflare:apiToken": TOKEN}
        self.run("config", "set-all", *(word for item in secrets.items() for word in ("--secret", "=".join(item))))
        self.run("config", "set", "cloudflare:baseUrl", self.settings.pop("base_url"))

    def run(self, *words: str, fails: bool = False) -> str:
        """Output of a pulumi command."""
        command = [str(PULUMI), *words, "--non-interactive"]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        assert SECRET not in output
        assert self.key.splitlines()[1] not in output
        return output

    def set(self, **changed: Any) -> None:
        self.settings |= changed
        self.environment["TEST_SETTINGS"] = json.dumps(self.settings)

    def up(self, **options: Any) -> str:
        return self.run("up", "--yes", "--skip-preview", **options)

    def state(self) -> dict[str, dict[str, Any]]:
        """Resources by name, as the exported state has them: nothing in it is secret in plain."""
        text = self.run("stack", "export")
        return {item["urn"].rpartition("::")[2]: item for item in json.loads(text)["deployment"].get("resources", [])}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    background = Background()
    (tmp_path / "api").mkdir()
    yield Lab.started(background, tmp_path / "api")
    background.close()


def test_life_of_a_stack(ssh: SshServer, lab: Lab, tmp_path: Path) -> None:
    connection = {"host": "127.0.0.1", "port": ssh.port, "host_key": ssh.host_key_line, "dial_error_limit": 1}
    settings = {"zone": ZONE, "base_url": lab.url, "text": "one\ntwo\nthree\n", "trigger": "a", "broken": ""}
    stack = Stack(tmp_path / "stack", settings, ssh.user_pem)

    # A preview plans everything and connects to no host.
    stack.set(connection=connection)
    assert "7 to create" in stack.run("preview")
    assert ssh.connections == 0

    assert "7 created" in stack.up()
    state = stack.state()
    assert state["second"]["outputs"]["stdout"] == "after one\ntwo\nthree"
    assert state["secret"]["outputs"]["stdout"] == str(len(SECRET))
    assert "ciphertext" in state["secret"]["outputs"]["stdin"]
    assert "ciphertext" in state["key"]["outputs"]["privateKeyPem"]
    assert "ciphertext" in state["first"]["outputs"]["connection"]
    assert lab.powerdns.contents(f"mail.{ZONE}", "TXT") == ['"after"']

    # A second run changes nothing and asks no host.
    ssh.commands.clear()
    assert "7 unchanged" in stack.up()
    assert ssh.commands == []

    # A changed file is shown line by line, and what follows from it is unknown yet.
    stack.set(text="one\n2\nthree\n", trigger="b")
    shown = [line.strip() for line in stack.run("preview", "--diff").splitlines()]
    at = shown.index("- two")
    assert shown[at - 1 : at + 3] == ["one", "- two", "+ 2", "three"]
    assert any(line.startswith('~ stdin: "after one') and line.endswith("[unknown]") for line in shown), shown
    # A changed trigger replaces: create, then what depends on it, then delete.
    output = stack.up()
    assert "1 replaced" in output
    assert "1 updated" in output
    assert ssh.commands == ["cat", "cat", "touch deleted-first"]

    # What failed is not in state and names its reason; on a host that is another one nothing is run.
    ssh.commands.clear()
    stack.set(broken="yes")
    assert 'Process exited with status 7: running "echo reason >&2; exit 7":' in stack.up(fails=True)
    stack.set(broken="", stranger=SshServer(tmp_path).host_key_line)
    output = stack.up(fails=True)
    assert "after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch" in output
    assert ssh.commands == ["echo reason >&2; exit 7"]
    assert stack.state().keys().isdisjoint({"broken", "stranger"})

    stack.set(stranger=None)
    stack.run("destroy", "--yes", "--skip-preview")
    assert stack.state() == {}
    assert lab.powerdns.sets == {}
