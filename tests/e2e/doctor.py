"""The doctor's looks at a host, each in a process of its own, as an operator's are.

That process is a fork of one that has imported the doctor already, and the pulumi command is asked only for a stack
that has changed since: both would be most of what a look costs.
"""

import contextlib
import io
import json
import multiprocessing
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import pytest

from doctor import command_line, stack
from lab import cloudflare, faults
from lab.addresses import GATEWAY4
from lab.clients import TIMEOUT_SECONDS
from lab.demo import PASSWORDS
from tests.e2e.conftest import Host

_LONGEST_SECONDS: Final = 120
_PROCESSES: Final = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One run of the doctor."""

    status: int
    findings: Sequence[Mapping[str, str]]

    def not_well(self) -> dict[str, str]:
        """Checks that warn or fail, and the words of their findings."""
        found: dict[str, str] = {}
        for finding in self.findings:
            if finding["state"] in {"failed", "warning"}:
                words = f"{finding['state']} {finding['subject']}: {finding['found']}: {finding['cause']}\n"
                found[finding["id"]] = found.get(finding["id"], "") + words
        return found

    def states(self, check: str) -> set[str]:
        """The states of one check's findings."""
        return {finding["state"] for finding in self.findings if finding["id"] == check}


def look(host: Host, *arguments: str, password: str = PASSWORDS["alice"], timeout: float = 4) -> Seen:
    """Look as an operator in the lab does, without logging in unless the arguments say so."""
    words = ["--json", "--stack", host.stack.name, "--cwd", str(host.stack.folder)]
    # What is broken shall be found by the check that is meant, not by a mail as well.
    words += ["--timeout", str(timeout), *(arguments or ["--no-account"])]
    with faults.undisturbed():
        answer = _run(host, words, f"{password}\n")
    assert answer.status in {0, 1, 2}, answer.errors
    assert answer.errors == ""
    document = json.loads(answer.output)
    assert document["status"] == answer.status
    return Seen(status=answer.status, findings=document["findings"])


def look_as_alice(host: Host, password: str = PASSWORDS["alice"]) -> Seen:
    """Look with an account. After the wrong passwords of other tests Dovecot lets this address wait."""
    return look(host, "--account", f"alice@{host.machine.domain}", password=password, timeout=TIMEOUT_SECONDS)


@contextmanager
def changed(host: Host, name: str, kind: str, **changes: object) -> Iterator[None]:
    """Edit a record at Cloudflare as somebody with a browser would."""
    (record,) = [r for r in cloudflare.records(host.machine.domain) if (r["name"], r["type"]) == (name, kind)]
    path = f"{zone_path(host)}/{record['id']}"
    cloudflare.request("PATCH", path, changes)
    try:
        yield
    finally:
        cloudflare.request("PATCH", path, {key: record[key] for key in changes})


def zone_path(host: Host) -> str:
    """Where the API keeps the records of the host's domain."""
    (zone,) = cloudflare.request("GET", f"zones?name={host.machine.domain}")
    return f"zones/{zone['id']}/dns_records"


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    output: str
    errors: str


_Said = tuple[dict[str, Any], dict[str, Any]]
_known: dict[str, tuple[object, _Said]] = {}
"""What pulumi said of each stack, and of which files."""


def _run(host: Host, words: Sequence[str], password: str) -> _Answer:
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    environment = host.stack.environment | {"NO_PROXY": GATEWAY4}
    target, arguments = _doctor, (sender, _said_of(host), environment, words, password)
    process = _PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    sender.close()
    try:
        assert receiver.poll(_LONGEST_SECONDS), f"the doctor has not answered within {_LONGEST_SECONDS} s"
        answer = receiver.recv()
        assert isinstance(answer, _Answer)
        return answer
    finally:
        process.kill()
        process.join()
        receiver.close()


def _said_of(host: Host) -> _Said:
    """Ask for the stack as the doctor does, unless it is as it was."""
    files = [*host.stack.folder.glob("*.yaml"), *host.stack.folder.glob("*.json")]
    files += host.stack.folder.glob(f"state/.pulumi/stacks/*/{host.stack.name}.json")
    version = [(str(file), file.stat().st_mtime_ns) for file in sorted(files)]
    known = _known.get(host.stack.name)
    if known is None or known[0] != version:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in host.stack.environment.items():
                patch.setenv(name, value)
            known = version, stack.said(host.stack.name, host.stack.folder, timeout=_LONGEST_SECONDS)
        _known[host.stack.name] = known
    return known[1]


def _doctor(
    answer: Connection, known: _Said, environment: Mapping[str, str], words: Sequence[str], password: str
) -> None:
    """Be the doctor: the command itself, but that pulumi has been asked."""
    os.environ.update(environment)
    os.chdir(Path(__file__).parents[2])
    setattr(stack, "said", lambda *_, **__: known)  # noqa: B010 because mypy guards the real one
    sys.stdin = io.StringIO(password)
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = command_line.main([*shlex.split(environment["MAILHOST_DOCTOR"]), *words])
    answer.send(_Answer(status=status, output=output.getvalue(), errors=errors.getvalue()))
