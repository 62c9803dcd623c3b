"""A stack of the real engine on a machine of the lab, in a copy of the project that a test may damage."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from argon2 import PasswordHasher

from lab import environment, keys
from lab.addresses import (
    ACME_DIRECTORY,
    CAA_ISSUER,
    CLOUDFLARE_TOKEN,
    CLOUDFLARE_URL,
    GATEWAY4,
    GATEWAY6,
    OUTSIDE,
    Machine,
)
from lab.clients import wait_for
from lab.demo import PASSWORDS

ROOT = Path(__file__).parents[2]
PROGRAM = (
    "Pulumi.yaml",
    "__main__.py",
    "model",
    "components",
    "templates",
    "host",
    "accounts",
    "rotation",
    "toolchain",
)
_TIMEOUT_SECONDS = 400
_CHANGING = frozenset({"destroy", "import", "refresh", "up"})
"""Commands after which host or state may differ from what the last update made."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the pulumi command."""

    code: int
    output: str

    def must_pass(self) -> "Run":
        """Fail the test with the whole output unless the command succeeded."""
        assert self.code == 0, self.output
        return self


def password_hashes() -> dict[str, str]:
    """Hash the lab's passwords, cheaply: the strength of a hash is not under test."""
    hasher = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    return {user: "{ARGON2ID}" + hasher.hash(password) for user, password in PASSWORDS.items()}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a preview would change."""

    steps: list[tuple[str, str]]
    """(operation, resource name)."""
    files: set[str]
    """Host paths of the files that would be staged anew, or forgotten; secret ones are not seen."""


def _heads(step: Mapping[str, Any], side: str) -> set[str]:
    """Return the lines above the files that one side of a step stages (model/bundle.py)."""
    return set(re.findall("^==> .+ <==$", str(step.get(side, {}).get("inputs", {}).get("stdin")), re.M))


@dataclass(kw_only=True)
class Stack:
    """The program, copied to `folder`, and its stack for one machine."""

    machine: Machine
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    applied: str | None = None
    """The settings that the host has: None from the start of an update until it passes, and after one that failed."""

    @property
    def name(self) -> str:
        """The stack is called like its machine."""
        return self.machine.name

    def create(self) -> None:
        """Copy the program, make the stack and write its configuration."""
        for part in PROGRAM:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, self.folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.folder / part)
        self.environment = environment.complete() | {
            "PULUMI_BACKEND_URL": environment.backend(self.folder / "state"),
            # Of the hundreds of engines here each spends a tenth of its processor time on collecting what it leaves.
            "GOGC": "400",
        }
        (self.folder / "state").mkdir()
        self.pulumi("stack", "init", self.name).must_pass()
        self.configure(
            {
                "domain": self.machine.domain,
                "os": self.machine.release,
                "ipv4": self.machine.ipv4,
                "ipv6": self.machine.ipv6,
                "hostKey": keys.host_public(self.machine.name),
                "postmaster": f"alice@{self.machine.domain}",
                "acme": {"server": ACME_DIRECTORY},
                # Pebble does not say by which name CAA records mean it, nor does it look at them.
                "caa": {"issuer": CAA_ISSUER},
                "dns": {"ttl": 60},
                "preflight": {"mailServers": [OUTSIDE.hostname]},
                # Where the tests' mail programs come from over IPv6, wrong passwords and all; `up` comes over IPv4.
                "ban": {"allow": [GATEWAY6]},
                "cloudflare:baseUrl": CLOUDFLARE_URL,
            }
        )
        for user, hashed in password_hashes().items():
            self.set_secret(f'mailboxes["{user}@{self.machine.domain}"]', hashed)
        self.set_secret("cloudflare:apiToken", CLOUDFLARE_TOKEN)

    @property
    def _file(self) -> Path:
        return self.folder / f"Pulumi.{self.name}.yaml"

    def configure(self, values: Mapping[str, object]) -> None:
        """Set plain values in the stack's file as an editor would; None removes one."""
        with self.edited() as config:
            for key, value in values.items():
                full = key if ":" in key else f"mailhost:{key}"
                if value is None:
                    config.pop(full, None)
                else:
                    config[full] = value

    @contextmanager
    def edited(self) -> Iterator[dict[str, Any]]:
        """Open the configuration in the stack's file; what was changed in it is written at the end."""
        document = yaml.safe_load(self._file.read_text()) if self._file.exists() else {}
        yield document.setdefault("config", {})
        self._file.write_text(yaml.safe_dump(document))

    def settings(self) -> str:
        """Return the stack's file as it is, to restore it later."""
        return self._file.read_text()

    def restore(self, text: str) -> None:
        """Put the stack's file back."""
        self._file.write_text(text)

    @contextmanager
    def kept(self) -> Iterator[str]:
        """Have the settings of before again afterwards: `settle` applies them; the value is these settings."""
        before = self.settings()
        try:
            yield before
        finally:
            self.restore(before)

    @contextmanager
    def extended(self, file: str, text: str) -> Iterator[None]:
        """Have more text at the end of a file of the program, until the context ends; `settle` goes back then."""
        path = self.folder / file
        before = path.read_text()
        path.write_text(before + text)
        self.applied = None
        try:
            yield
        finally:
            path.write_text(before)
            self.applied = None

    def settle(self) -> None:
        """Apply the settings, unless the last update did."""
        if self.applied != self.settings():
            self.up().must_pass()

    def set_secret(self, path: str, value: str) -> None:
        """Encrypt a value into the stack's file; it travels by stdin."""
        self.pulumi("config", "set", "--secret", "--path", path, stack=True, stdin=value).must_pass()

    def mailbox(self, *options: str, stdin: str = "") -> Run:
        """Run what `make mailbox` runs, on this stack; a password travels by stdin."""
        return self._run([sys.executable, "-m", "accounts", "--stack", self.name, *options], stdin)

    def rotate(self, *options: str) -> Run:
        """Run what `make rotate` runs, on this stack."""
        return self._run([sys.executable, "-m", "rotation", "--stack", self.name, *options], "")

    def drift(self, *options: str) -> Run:
        """Run what `make drift` runs, on this stack, with room for long lines."""
        command = [sys.executable, "-m", "drift", "--stack", self.name, "--cwd", str(self.folder), *options]
        return self._run(command, "", PYTHONPATH=str(ROOT), NO_PROXY=GATEWAY4, COLUMNS="1000")

    def pulumi(self, *arguments: str, stack: bool = False, stdin: str = "", **variables: str) -> Run:
        """Run the pulumi command without a terminal."""
        if arguments[0] in _CHANGING:
            self.applied = None
        command = ["pulumi", *arguments, "--non-interactive", *(("--stack", self.name) if stack else ())]
        return self._run(command, stdin, **variables)

    def _run(self, command: Sequence[str], stdin: str, **variables: str) -> Run:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | variables,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        return Run(code=done.returncode, output=done.stdout)

    def up(self, *arguments: str, **variables: str) -> Run:
        """Run `pulumi up`."""
        settings = self.settings()
        run = self.pulumi("up", "--yes", "--skip-preview", *arguments, stack=True, **variables)
        if run.code == 0:
            self.applied = settings
        return run

    def start_up(self) -> "subprocess.Popen[str]":
        """Run `pulumi up` beside the test, which looks at the machine meanwhile."""
        self.applied = None
        return subprocess.Popen(
            ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", self.name],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def cut_off(self, running: "subprocess.Popen[str]", reached: Callable[[], object], what: str) -> None:
        """Kill the engine of an update in its middle: as soon as `reached` says so.

        What it runs on the host goes on, and the plugin until that has ended: the next update may meet it.
        """
        try:
            wait_for(lambda: running.poll() is not None or reached(), what, seconds=90)
            underway = running.poll() is None
        finally:
            running.kill()
            output, _ = running.communicate(timeout=60)
            self.pulumi("cancel", "--yes", stack=True)
        assert underway, f"the update ended before it was cut off: {output}"

    def preview(self, *arguments: str, **variables: str) -> Run:
        """Run `pulumi preview`."""
        return self.pulumi("preview", *arguments, stack=True, **variables)

    def changes(self) -> dict[str, int]:
        """Return what the last update did, by kind: `{"same": 48}` when it did nothing."""
        history = json.loads(
            self.pulumi("stack", "history", "--json", "--page-size", "1", stack=True).must_pass().output
        )
        return dict(history[0]["resourceChanges"])

    def plan(self) -> Plan:
        """Return what a preview would change."""
        document = json.loads(self.pulumi("preview", "--json", stack=True).must_pass().output)
        steps: Sequence[Mapping[str, Any]] = [step for step in document["steps"] if step["op"] != "same"]
        return Plan(
            steps=[(step["op"], step["urn"].rpartition("::")[2]) for step in steps],
            files={
                line.split()[1]
                for step in steps
                if not step["urn"].endswith("-apply")  # a preview does not know its input
                for line in _heads(step, "oldState") ^ _heads(step, "newState")
            },
        )

    def planned(self) -> list[tuple[str, str]]:
        """Return the steps of `plan`."""
        return self.plan().steps

    def state(self) -> str:
        """Return the exported state as anybody with the state file, but without the passphrase, reads it."""
        return self.pulumi("stack", "export", stack=True).must_pass().output

    def names(self) -> dict[str, str]:
        """Return the type of every resource in the state by its name."""
        resources = json.loads(self.state())["deployment"]["resources"]
        return {
            resource["urn"].rpartition("::")[2]: resource["type"] for resource in resources if resource.get("custom")
        }

    def urn(self, name: str) -> str:
        """Return the URN of a resource in the state."""
        resources = json.loads(self.state())["deployment"]["resources"]
        return next(str(found["urn"]) for found in resources if found["urn"].endswith(f"::{name}"))

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs."""
        return dict(json.loads(self.pulumi("stack", "output", "--json", stack=True).must_pass().output))
