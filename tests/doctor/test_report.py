"""What the operator and cron get to see."""

import io
import json
from pathlib import Path

import pytest

from doctor import checks, report
from doctor.finding import Finding, ok, skipped, wrong

GOOD = ok(checks.PTR, "203.0.113.13", "mail.example.com")
ALSO = ok(checks.PTR, "2001:db8::13", "mail.example.com")
WARNS = wrong(checks.TTL, "example.com MX", "3600 s", "the settings say 300 s")
FAILS = wrong(checks.BANNER, "25 smtp", "[red]localhost[/]", "the greeting should name mail.example.com")
UNKNOWN = skipped(checks.DANE, "TLSA", "the stack has no TLSA record")


def shown(*findings: Finding, everything: bool = False) -> str:
    out = io.StringIO()
    report.show("Title", findings, out, everything=everything)
    return out.getvalue()


@pytest.mark.parametrize(
    ("findings", "status"),
    [([GOOD], 0), ([], 0), ([GOOD, UNKNOWN], 0), ([GOOD, WARNS], 1), ([WARNS, FAILS, GOOD], 2)],
)
def test_the_exit_status_is_that_of_the_worst(findings: list[Finding], status: int) -> None:
    assert report.exit_status(findings) == status


def test_what_is_well_takes_one_row_per_check() -> None:
    assert [row[3] for row in report.rows([GOOD, ALSO], everything=False)] == ["2 looked at"]
    assert len(report.rows([GOOD, ALSO], everything=True)) == 2
    assert [row[1] for row in report.rows([GOOD], everything=False)] == ["203.0.113.13"]


def test_each_problem_has_cause_and_fix_below_the_table() -> None:
    lines = " ".join(shown(GOOD, WARNS, FAILS).split())
    assert (
        "failed: smtp.banner, 25 smtp: The greeting should name mail.example.com. Put Postfix in place again" in lines
    )
    assert "warning: dns.ttl, example.com MX: The settings say 300 s. Run `pulumi up`" in lines
    assert "1 failed, 1 warning, 1 ok" in lines


def test_a_server_cannot_write_markup_or_colours() -> None:
    text = shown(FAILS)
    assert "[red]" in text
    assert "\x1b" not in text


def test_a_control_character_of_a_server_does_not_reach_the_terminal() -> None:
    assert "\x1b" not in shown(wrong(checks.BANNER, "25 smtp", "\x1b[2Jgone", "x"))


def test_json_has_the_same_findings() -> None:
    document = json.loads(report.as_json("prod", [GOOD, FAILS, UNKNOWN]))
    assert document["stack"] == "prod"
    assert document["status"] == 2
    assert document["summary"] == {"failed": 1, "warning": 0, "skipped": 1, "ok": 1}
    assert [set(finding) for finding in document["findings"]] == [
        {"id", "what", "subject", "state", "found", "cause", "fix"}
    ] * 3
    assert document["findings"][1]["id"] == "smtp.banner"


def test_a_picture_shows_the_same_and_fetches_nothing(tmp_path: Path) -> None:
    file = tmp_path / "doctor.svg"
    report.show("Title", [GOOD, FAILS], io.StringIO(), everything=False, picture=file)
    drawn = file.read_text().replace("&#160;", " ")
    assert "smtp.banner" in drawn
    assert "[red]localhost[/]" in drawn
    assert "url(http" not in drawn.replace(" ", "").replace('"', "")
