"""The command: what it refuses, what it prints, and that no answer is no traceback."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.resolver
import pytest

from doctor import checks, command_line, examination, patience, preflight
from doctor.finding import Finding, State, ok, wrong
from doctor.options import Options
from doctor.patience import Late
from doctor.stack import Published, Stack, StackError
from model.cloudflare import URL, Access
from tests.unit.samples import settings

API = Access(url=URL, token=None)
STACK = Stack(name="prod", settings=settings(ipv6="2001:db8::13"), published=(), cloudflare=API)


@pytest.fixture(autouse=True)
def own_resolver() -> Iterator[None]:
    """`--resolver` changes how this process resolves: put it back."""
    yield
    dns.resolver.restore_system_resolver()


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the doctor find what the test says, without any network."""

    def find(*findings: Finding) -> None:
        monkeypatch.setattr(command_line, "read", lambda *_, **__: STACK)
        monkeypatch.setattr(examination, "examine", lambda *_: list(findings))
        monkeypatch.setattr(preflight, "look", lambda *_: list(findings))

    return find


GOOD = ok(checks.PTR, "203.0.113.13", "mail.example.com")
BAD = wrong(checks.BANNER, "25 smtp", "localhost", "the greeting should name mail.example.com")


def run(*arguments: str) -> int:
    return command_line.main(["--stack", "prod", "--resolver", "192.0.2.53", *arguments])


@pytest.mark.parametrize("which", [(), ("--preflight",)])
def test_the_table_goes_to_stdout_and_the_status_to_the_shell(
    look: Callable[..., None], capsys: pytest.CaptureFixture[str], which: tuple[str, ...]
) -> None:
    look(GOOD)
    assert run(*which) == 0
    look(GOOD, BAD)
    capsys.readouterr()
    assert run(*which) == 2
    seen = capsys.readouterr()
    assert "mail.example.com, stack prod" in seen.out
    assert seen.err == ""


def test_json_is_one_document(look: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    look(GOOD, BAD)
    assert run("--json") == 2
    document = json.loads(capsys.readouterr().out)
    assert [finding["state"] for finding in document["findings"]] == ["ok", "failed"]


def test_a_stack_that_cannot_be_read_is_status_3_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> Stack:
        raise StackError("pulumi config: no stack named 'prod' found")

    monkeypatch.setattr(command_line, "read", fails)
    assert run() == 3
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("", "doctor: pulumi config: no stack named 'prod' found\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ca", "/no/such/file"], "--ca /no/such/file: No such file"),
        (["--resolver", "nonsense"], "--resolver ADDRESS"),
    ],
)
def test_an_option_that_cannot_be_is_named(
    look: Callable[..., None], capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    look(GOOD)
    assert run(*arguments) == 3
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--stack"], ["--stack", "x", "--timeout", "0"], ["--nonsense"]])
def test_wrong_usage_is_not_the_status_of_a_failure(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command_line.main(arguments)
    assert left.value.code == 3


def test_the_password_comes_by_standard_input_and_shows_nowhere(
    look: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    look()
    given: list[Options] = []

    def examine(_: Stack, options: Options) -> list[Finding]:
        given.append(options)
        return []

    monkeypatch.setattr(examination, "examine", examine)
    monkeypatch.setattr("sys.stdin", io.StringIO("geheim\nnot this\n"))
    assert run("--account", "alice@example.com") == 0
    account = given[0].account
    assert account is not None
    assert (account[0], account[1].get_secret_value()) == ("alice@example.com", "geheim")
    assert "geheim" not in repr(given) + "".join(capsys.readouterr())


def test_an_account_without_a_password_is_refused(
    look: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    look()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run("--account", "alice@example.com") == 3
    assert "password of alice@example.com" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [Late(reason="the time was over"), OSError("network is down")])
@pytest.mark.parametrize("which", [(), ("--preflight",)])
def test_where_no_answer_comes_everything_is_skipped_or_failed_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: object, which: tuple[str, ...]
) -> None:
    def nothing(_: object, questions: dict[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(questions, answer)

    key = Published(name="mail._domainkey.example.com", type="TXT", content='"v=DKIM1; p=x"', ttl=300)
    deployed = Stack(name="prod", settings=STACK.settings, published=(key,), cloudflare=API)
    monkeypatch.setattr(patience.Work, "all", nothing)
    monkeypatch.setattr(command_line, "read", lambda *_, **__: deployed)
    monkeypatch.setattr("sys.stdin", io.StringIO("geheim\n"))
    assert run("--json", "--account", "alice@example.com", *which) == 2
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert findings
    for finding in findings:
        assert finding["state"] != State.OK
        assert finding["cause"]
    wanted = checks.PREFLIGHT if which else checks.DOCTOR
    assert {finding["id"] for finding in findings} <= {check.id for check in wanted}


def test_every_check_of_the_tables_has_its_own_name() -> None:
    for table in (checks.DOCTOR, checks.PREFLIGHT):
        names = [check.id for check in table]
        assert len(names) == len(set(names))


def test_the_project_is_the_clone_unless_said_otherwise() -> None:
    assert (Path(command_line.__file__).parents[1] / "Pulumi.yaml").exists()
