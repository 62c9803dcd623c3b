"""`make drift`: what differs is in a table with its remedy, and `--repair` uses that remedy and looks again."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from doctor.observe import host, web
from doctor.observe.host import Done, SessionError
from drift import command_line
from tests.drift.fakes import COMMENT, RECORDS, SRV, ZONE, World, finding, record, state, urn

Capsys = pytest.CaptureFixture[str]
APPLY = urn("command:remote:Command", "mail-postfix-apply")
RECORD = "cloudflare:index/dnsRecord:DnsRecord"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(folder=tmp_path)
    world.prepare()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    monkeypatch.setattr(host, "run", world.run)
    monkeypatch.setattr(web, "ask", world.api)
    return world


def run(world: World, *options: str) -> int:
    return command_line.main(["--stack", "prod", "--cwd", str(world.folder), *options])


def rows(capsys: Capsys) -> list[list[str]]:
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def test_without_drift_one_line_says_so(world: World, capsys: Capsys) -> None:
    assert run(world) == 0
    assert capsys.readouterr().out == "No drift: 2 services and 3 records are as stack prod says.\n"


def test_the_host_learns_what_the_stack_has_applied_and_nothing_of_what_is_to_be_deleted(world: World) -> None:
    run(world)
    (said,) = world.asked
    assert json.loads(said) == {
        "services": {"dovecot": "d" * 64, "postfix": "a" * 64},
        "packages": ["dovecot", "postfix"],
    }


def test_an_organisation_before_the_stack_is_not_in_a_comment(world: World) -> None:
    world.records.append(record("left.example.com", "TXT", content='"x"'))
    assert command_line.main(["--stack", "company/prod", "--cwd", str(world.folder)]) == 1


@pytest.mark.parametrize(
    ("mend", "remedy"),
    [
        ("reapply", "mailhostctl reapply postfix"),
        ("apply", "pulumi up --target-replace '**::mail-postfix-apply'"),
        ("remove", "mailhostctl remove postfix, if no other stack needs it"),
    ],
)
def test_what_the_host_finds_is_a_row_with_its_remedy(world: World, capsys: Capsys, mend: str, remedy: str) -> None:
    world.findings = [finding("postfix", "/etc/postfix/main.cf", mend)]
    assert run(world) == 1
    assert rows(capsys) == [["postfix", "/etc/postfix/main.cf", "w", "f", remedy]]
    assert world.commands == world.done == []


CHANGED: dict[str, tuple[int, dict[str, Any], str, str]] = {
    "ttl": (0, {"ttl": 300}, "ttl 60", "ttl 300"),
    "priority": (0, {"priority": 20}, "content 10 mail.example.com.", "content 20 mail.example.com."),
    "proxied": (0, {"proxied": True}, "proxied false", "proxied true"),
    "comment": (0, {"comment": None}, f"comment {COMMENT}", "comment"),
    "name": (0, {"name": "sub.example.com"}, "name example.com", "name sub.example.com"),
    "the case of a key": (
        1,
        {"content": RECORDS[1]["content"].replace("MIIB", "miib")},
        "content v=DKIM1; h=sha256; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A",
        "content v=DKIM1; h=sha256; k=rsa; p=miibIjANBgkqhkiG9w0BAQEFAAOCAQ8A",
    ),
    "data": (
        2,
        {"data": {**SRV, "port": 1}},
        *("content 0 1 993 mail.example.com.", "content 0 1 1 mail.example.com."),
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_changed_record_is_a_row_that_says_what_it_was_and_is(world: World, capsys: Capsys, case: str) -> None:
    at, change, wanted, found = CHANGED[case]
    world.records[at] |= change
    assert run(world) == 1
    what, kind = f"{RECORDS[at]['name']} {RECORDS[at]['type']}", RECORDS[at]["type"].lower()
    remedy = f"pulumi refresh, then up, each with --target '**::mail-{kind}'"
    assert rows(capsys) == [["example.com", what, wanted, found, remedy]]


@pytest.mark.parametrize(
    ("at", "change"),
    [
        (0, {"name": "Example.COM", "content": "Mail.example.com."}),
        (1, {"content": '"v=DKIM1; h=sha256; k=rsa; p=MIIBIjAN" "BgkqhkiG9w0BAQEFAAOCAQ8A"'}),
        (
            2,
            {
                "content": "0 1 993 mail.example.com",
                "data": {**RECORDS[2]["data"], "target": "MAIL.example.com", "x": 1},
            },
        ),
    ],
)
def test_what_dns_takes_for_the_same_is_the_same(world: World, at: int, change: dict[str, Any]) -> None:
    world.records[at] |= change
    assert run(world) == 0


def test_a_record_that_is_gone_is_a_row(world: World, capsys: Capsys) -> None:
    del world.records[0]
    assert run(world) == 1
    ((_, what, wanted, found, _),) = rows(capsys)
    assert (what, wanted, found) == ("example.com MX", "10 mail.example.com.", "no such record")


def test_records_of_others_are_no_drift(world: World) -> None:
    world.records.append(record("example.com", "TXT", content='"theirs"', comment="mailhost production"))
    world.records.append(record("www.example.com", "A", content="203.0.113.9", comment=None))
    assert run(world) == 0


@pytest.mark.parametrize("comment", [COMMENT, f"{COMMENT} mail-mx"])
def test_a_record_of_ours_in_the_way_of_ours_is_deleted_by_a_repair(world: World, capsys: Capsys, comment: str) -> None:
    stale = record("example.com", "MX", content="old.example.com", priority=5, id="stale", comment=comment)
    world.records.append(stale)
    assert run(world) == 1
    assert rows(capsys)[0][1:4] == ["example.com MX", "no such record", "5 old.example.com."]
    assert world.done == []
    assert run(world, "--repair") == 0
    assert world.done == [f"DELETE zones/{ZONE}/dns_records/stale"]


def test_no_repair_deletes_the_records_of_a_stack_whose_state_was_lost(world: World, capsys: Capsys) -> None:
    world.remember(state(RECORDS[:1]))
    assert run(world, "--repair") == 1
    assert {row[1] for row in rows(capsys)} == {"mail._domainkey.example.com TXT", "_imaps._tcp.example.com SRV"}
    assert world.done == []


def test_a_repair_reapplies_on_the_host_what_the_host_knows(world: World, capsys: Capsys) -> None:
    world.findings = [finding("postfix", what, "reapply") for what in ("one", "two")]
    assert run(world, "--repair") == 0
    assert world.done == ["mailhostctl reapply postfix"]
    assert world.commands == []
    assert capsys.readouterr().out.startswith("2 differences mended. No drift: ")


def test_a_repair_has_the_stack_apply_again_what_only_it_knows(world: World, capsys: Capsys) -> None:
    packages = urn("command:remote:Command", "mail-packages-install")
    world.findings = [
        finding("postfix", "generation", "apply"),
        finding("postfix", "/etc/postfix/main.cf", "reapply"),
        finding("packages", "dovecot", "apply"),
    ]
    assert run(world, "--repair") == 1
    assert world.commands == [
        f"up --yes --skip-preview --target-replace {APPLY} --target-replace {packages} --stack prod"
    ]
    assert world.done == []  # applying it again mends its files too
    assert "Left after the repair: mail.example.com, stack prod" in capsys.readouterr().out


def test_a_repair_of_records_looks_at_them_before_it_publishes_them(world: World) -> None:
    del world.records[0]
    assert run(world, "--repair") == 1
    target = f"--target {urn(RECORD, 'mail-mx')} --stack prod"
    assert world.commands == [f"refresh --yes --skip-preview {target}", f"up --yes --skip-preview {target}"]


def test_a_repair_that_fails_says_so_and_what_is_left(world: World, capsys: Capsys) -> None:
    (world.folder / "fails").touch()
    del world.records[0]
    assert run(world, "--repair") == 1
    assert len(world.commands) == 1
    said = capsys.readouterr()
    assert "drift: pulumi refresh ended with 1" in said.err
    assert "example.com MX" in said.out


def test_a_repair_decides_nothing_that_is_the_operators(world: World) -> None:
    world.findings = [finding("redis", "generation", "remove")]
    world.records.append(record("left.example.com", "TXT", content='"x"'))
    assert run(world, "--repair") == 1
    assert world.commands == world.done == []


def test_a_host_without_the_helper_gets_it_from_the_stack(world: World, capsys: Capsys) -> None:
    world.host = Done(status=127, out="", said="bash: line 1: mailhostctl: command not found", started=0)
    assert run(world, "--repair") == 1
    helper = urn("command:remote:Command", "mail-host-install-helper")
    assert world.commands == [f"up --yes --skip-preview --target-replace {helper} --stack prod"]
    assert rows(capsys)[0][:2] == ["mailhostctl", "the helper"]


ANSWERS: Sequence[tuple[Done | SessionError, str]] = (
    (SessionError("nobody answers", "unreachable"), "nobody answers"),
    (Done(status=2, out="", said="mailhostctl: error: invalid choice: 'drift'", started=0), "older than this command"),
    (Done(status=1, out="", said="mailhostctl: drift: no", started=0), "mailhostctl: drift: no"),
    (Done(status=0, out="{}", said="", started=0), "it ended with 0"),
    (Done(status=0, out="welcome", said="", started=0), "it ended with 0"),
)


@pytest.mark.parametrize(("answer", "words"), ANSWERS)
def test_a_host_that_does_not_answer_is_not_without_drift(
    world: World, capsys: Capsys, answer: Done | SessionError, words: str
) -> None:
    world.host = answer
    assert run(world, "--repair") == 1
    ((where, _, _, found, _),) = rows(capsys)
    assert where == "host"
    assert words in found


def test_a_zone_that_does_not_answer_is_not_without_drift(
    world: World, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> object:
        raise web.CloudflareError("it answers 403: 10000 Authentication error")

    monkeypatch.setattr(web, "ask", refused)
    assert run(world) == 1
    assert rows(capsys) == [
        ["example.com", "everything", "an answer", "it answers 403: 10000 Authentication error", "see make doctor"]
    ]


def test_a_stack_that_has_deployed_nothing_is_told_what_comes_first(world: World, capsys: Capsys) -> None:
    world.remember({})
    assert run(world) == 1
    assert "drift: stack prod has deployed nothing yet: `pulumi up` comes first" in capsys.readouterr().err


def test_a_stack_that_cannot_be_read_is_one_line(world: World, capsys: Capsys) -> None:
    (world.folder / "config.json").write_text("a-token")
    assert run(world) == 1
    said = capsys.readouterr().err
    assert said.startswith("drift: pulumi config answered with something that is not JSON")
    assert "a-token" not in said


@pytest.mark.parametrize("arguments", [[], ["--stack"], ["--stack", "prod", "--mend"]])
def test_wrong_usage_has_a_status_of_its_own(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command_line.main(arguments)
    assert left.value.code == 2


def test_help_names_the_exit_statuses(capsys: Capsys) -> None:
    with pytest.raises(SystemExit) as left:
        command_line.main(["--help"])
    assert left.value.code == 0
    assert "0 no drift, 1 something differs" in " ".join(capsys.readouterr().out.split())


def test_a_pipe_gets_no_colours(world: World, capsys: Capsys) -> None:
    del world.records[0]
    run(world)
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
