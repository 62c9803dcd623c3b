"""Dovecot's files beside dovecot.conf: compiled filters, old variables, and the watcher that comes and goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhostctl import services
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
MAIN = "/etc/dovecot/dovecot.conf"
SCRIPT = "/etc/dovecot/sieve/junk.sieve"
OLD = {MAIN: "ssl = required\n", SCRIPT: "keep;\n"}
NEW = {MAIN: "ssl = required\n", SCRIPT: "discard;\n"}
VERSION = "dovecot_config_version = 2.4.1\n"


@pytest.fixture(autouse=True)
def scripts(host: Host, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of compiled scripts, on the scratch root."""
    folder = host.root / "etc/dovecot/sieve"
    monkeypatch.setattr(services.Dovecot, "scripts", folder)
    return folder


def test_filters_are_tried_in_scratch_and_compiled_where_they_live(host: Host, scripts: Path) -> None:
    assert host.apply("dovecot", OLD) == 0
    tried, live = (call.split() for call in host.calls("sievec "))
    assert tried[1] == "-c"
    assert tried[2].endswith(MAIN)
    assert tried[2] != MAIN
    assert tried[3].endswith(SCRIPT)
    assert not tried[3].startswith(str(scripts))
    assert live[1:] == ["-c", MAIN, str(scripts / "junk.sieve")]


def test_a_filter_that_does_not_compile_never_becomes_live(host: Host, capsys: Capsys) -> None:
    host.apply("dovecot", OLD)
    host.fails("sievec -c", "junk: line 1: error: unknown command")
    assert host.apply("dovecot", NEW) == 1
    said = capsys.readouterr().err
    assert "sievec /etc/dovecot/sieve/junk.sieve refuses the new files; nothing was changed" in said
    assert "line 1: error: unknown command" in said
    assert host.live(SCRIPT) == OLD[SCRIPT]


def test_what_was_compiled_goes_with_its_script(host: Host, scripts: Path) -> None:
    host.apply("dovecot", OLD)
    (scripts / "junk.svbin").write_text("compiled")
    (scripts / "learn-ham.svbin").write_text("compiled")
    assert host.apply("dovecot", NEW) == 0
    assert [path.name for path in scripts.glob("*.svbin")] == ["junk.svbin"]
    assert host.run("remove", "dovecot") == 0
    assert not scripts.exists()


def test_filters_of_somebody_else_are_left_alone(host: Host, scripts: Path) -> None:
    host.write("/etc/dovecot/sieve/own.sieve", "keep;\n")
    host.write("/etc/dovecot/sieve/own.svbin", "compiled")
    host.apply("dovecot", OLD)
    assert host.run("remove", "dovecot") == 0
    assert not [call for call in host.calls("sievec ") if "own" in call]
    assert sorted(path.name for path in scripts.iterdir()) == ["own.sieve", "own.svbin"]


@pytest.mark.parametrize("line", ["mail_home = /var/vmail/%d/%n", "mail_path = %h/Maildir", "x = $mail_plugins sieve"])
def test_a_variable_of_2_3_is_refused_in_a_file_of_2_4(host: Host, capsys: Capsys, line: str) -> None:
    assert host.apply("dovecot", {MAIN: f"{VERSION}{line}\n"}) == 1
    said = capsys.readouterr().err
    assert "/etc/dovecot/dovecot.conf line 2: " in said
    assert "is a variable of Dovecot 2.3" in said
    assert host.apply("dovecot", {MAIN: f"{line}\n"}) == 0


def test_variables_of_2_4_and_comments_are_accepted(host: Host) -> None:
    text = f"{VERSION}# once %u\nmail_home = /var/vmail/%{{user | domain}}\nargs = 95 %{{user}}\n"
    assert host.apply("dovecot", {MAIN: text}) == 0


@pytest.mark.parametrize(("started", "verb"), [("@0", "restart"), ("@99999999999", "reload"), ("n/a", "reload")])
def test_a_plugin_that_came_since_the_start_needs_a_restart(
    host: Host, monkeypatch: pytest.MonkeyPatch, started: str, verb: str
) -> None:
    (host.root / "plugins/settings").mkdir(parents=True)
    monkeypatch.setattr(services.Dovecot, "plugins", host.root / "plugins")
    host.apply("dovecot", OLD)
    (host.fake / "started").write_text(started)
    host.calls()
    assert host.apply("dovecot", NEW) == 0
    assert f"systemctl {verb} dovecot.service" in host.calls("systemctl")
