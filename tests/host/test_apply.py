"""Stage, apply, roll back, remove: what an operator relies on."""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from pathlib import Path

import pytest

from mailhostctl import durable
from mailhostctl.manifest import digest, owner_ids, parse
from mailhostctl.system import MailhostError
from tests.host.scratch import Host, bundle, manifest

Capsys = pytest.CaptureFixture[str]
MAIN = "/etc/postfix/main.cf"
USERS = "/etc/postfix/virtual_mailboxes"
OLD = {MAIN: "myhostname = old\n", USERS: "old@example.org x\n"}
NEW = {MAIN: "myhostname = new\n", USERS: "new@example.org x\n"}


def test_staging_never_touches_the_live_file(host: Host) -> None:
    host.write(MAIN, "untouched\n")
    host.stage("postfix", NEW)
    assert host.live(MAIN) == "untouched\n"


def test_staging_keeps_nothing_and_has_another_serial_each_time(host: Host, capsys: Capsys) -> None:
    for _ in range(2):
        host.stage("postfix", NEW)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first != second
    assert [path for path in host.state().rglob("*") if path.is_file() and path.name != "deployers"] == []


def test_what_another_command_takes_is_staged_as_it_is(host: Host, capsys: Capsys) -> None:
    assert host.run("stage", "packages", "names", stdin="postfix\n") == 0
    assert host.run("stage", "certificate", "request", stdin="mail.example.org\n") == 0
    assert len(set(capsys.readouterr().out.split())) == 2


def test_a_serial_changes_nothing_on_the_host(host: Host) -> None:
    host.apply("postfix", OLD)
    host.calls()
    assert host.run("apply", "postfix", "--serial", "5e71a1", stdin=bundle(OLD)) == 0
    assert host.calls("systemctl re") == []


def test_apply_makes_the_files_live_and_tells_the_daemon(host: Host, capsys: Capsys) -> None:
    assert host.apply("postfix", OLD, mode="0640") == 0
    assert capsys.readouterr().out == digest(manifest(OLD, mode="0640").encode()) + "\n"
    assert {path: host.live(path) for path in OLD} == OLD
    assert stat.S_IMODE((host.root / MAIN[1:]).stat().st_mode) == 0o640
    assert host.running == OLD[MAIN]
    assert (host.fake / "enabled/postfix.service").exists()


def test_the_same_manifest_again_does_nothing_and_says_the_same(host: Host, capsys: Capsys) -> None:
    host.apply("postfix", OLD)
    first = capsys.readouterr().out
    host.calls()
    assert host.apply("postfix", OLD) == 0
    assert capsys.readouterr().out == first
    assert host.calls("systemctl re") == []
    assert host.run("generations", "postfix") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_live_file_changed_by_hand_is_put_right_by_the_same_manifest(host: Host) -> None:
    host.apply("postfix", OLD)
    host.write(MAIN, "changed by hand\n")
    assert host.apply("postfix", OLD) == 0
    assert host.live(MAIN) == OLD[MAIN]
    assert host.running == OLD[MAIN]


def test_a_stopped_daemon_is_started_by_the_same_manifest(host: Host) -> None:
    host.apply("postfix", OLD)
    (host.fake / "active/postfix.service").unlink()
    assert host.apply("postfix", OLD) == 0
    assert host.running == OLD[MAIN]


@pytest.mark.parametrize("parser", ["postfix -c", "postconf -c"])
def test_what_the_parser_refuses_never_becomes_live(host: Host, capsys: Capsys, parser: str) -> None:
    host.apply("postfix", OLD)
    host.calls()
    host.fails(parser, "fatal: main.cf line 1: no such thing")
    assert host.apply("postfix", NEW) == 1
    assert "fatal: main.cf line 1: no such thing" in capsys.readouterr().err
    assert host.live(MAIN) == OLD[MAIN]
    assert host.calls("systemctl re") == []
    host.works(parser)
    assert host.apply("postfix", NEW) == 0
    assert host.running == NEW[MAIN]


def test_a_warning_of_postconf_is_a_refusal(host: Host, capsys: Capsys) -> None:
    host.play("postconf", 'echo "postconf: warning: $2/main.cf: unused parameter: x=1" >&2\n')
    assert host.apply("postfix", NEW) == 1
    assert "warning: /etc/postfix/main.cf: unused parameter" in capsys.readouterr().err
    assert host.live(MAIN) is None


TABLES = {
    MAIN: "virtual_alias_maps = texthash:$config_directory/virtual_aliases\n"
    "smtpd_sender_login_maps =\n    texthash:$config_directory/sender_logins\n"
    "alias_maps = texthash:$config_directory/virtual_aliases, texthash:/etc/aliases\n",
    "/etc/postfix/virtual_aliases": "abuse@example.org alice@example.org\n",
    "/etc/postfix/sender_logins": "alice@example.org alice@example.org\n",
}


def test_every_table_of_ours_is_read_once_from_the_candidate(host: Host) -> None:
    host.fails("postmap", "")  # the key is in none: exit 1 without a word
    assert host.apply("postfix", TABLES) == 0
    calls = [call.split() for call in host.calls("postmap ")]
    folder = host.state("postfix/candidate/etc/postfix")
    assert [call[-1] for call in calls] == [
        f"texthash:{folder}/{name}" for name in ("virtual_aliases", "sender_logins")
    ]
    assert {call[2] for call in calls} == {str(folder)}


def test_a_table_that_postfix_would_only_warn_of_never_becomes_live(host: Host, capsys: Capsys) -> None:
    host.play(
        "postmap", 'case "$5" in */sender_logins) echo "postmap: warning: ${5#*:}, line 1: duplicate" >&2 ;; esac\n'
    )
    assert host.apply("postfix", TABLES) == 1
    said = capsys.readouterr().err
    assert "postmap sender_logins refuses the new files; nothing was changed" in said
    assert "/etc/postfix/sender_logins, line 1: duplicate" in said
    assert host.live(MAIN) is None


def test_the_parser_sees_the_new_versions_of_files_named_in_files(host: Host, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    host.play("opendkim", f'cat "$3" $(cut -d" " -f2 "$3") > {seen}\n')
    files = {"/etc/opendkim.conf": "KeyTable /etc/opendkim/KeyTable\n", "/etc/opendkim/KeyTable": "the new one\n"}
    assert host.apply("opendkim", files) == 0
    assert "the new one" in seen.read_text()
    assert "candidate" in seen.read_text()


def test_when_the_daemon_fails_the_previous_generation_comes_back(host: Host, capsys: Capsys) -> None:
    host.apply("postfix", OLD)
    host.fails("systemctl reload", "Job for postfix.service failed")
    assert host.apply("postfix", NEW) == 1
    assert "Job for postfix.service failed" in capsys.readouterr().err
    assert {path: host.live(path) for path in OLD} == OLD
    host.works("systemctl reload")
    assert host.apply("postfix", NEW) == 0
    assert {path: host.live(path) for path in NEW} == NEW


def test_when_the_first_apply_fails_what_was_there_comes_back(host: Host) -> None:
    host.write(MAIN, "the package's own\n")
    host.fails("systemctl restart")
    assert host.apply("postfix", NEW) == 1
    assert host.live(MAIN) == "the package's own\n"
    assert host.live(USERS) is None
    assert host.running is None
    assert not (host.fake / "enabled/postfix.service").exists()


def test_an_unhealthy_service_gets_its_previous_generation_back(
    host: Host, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailhostctl.probes.PATIENCE", 0.05)
    host.apply("postfix", OLD)
    assert host.apply("postfix", NEW, health=["unix /nonexistent"]) == 1
    assert "unix /nonexistent" in capsys.readouterr().err
    assert host.running == OLD[MAIN]
    assert host.live(MAIN) == OLD[MAIN]


def test_a_file_no_longer_in_the_manifest_goes(host: Host) -> None:
    host.apply("postfix", OLD)
    assert host.apply("postfix", {MAIN: NEW[MAIN]}) == 0
    assert host.live(USERS) is None


def test_a_file_no_longer_in_the_manifest_gives_place_to_the_one_before_us(host: Host) -> None:
    host.write(USERS, "the operator's own\n")
    host.apply("postfix", OLD)
    assert host.apply("postfix", {MAIN: NEW[MAIN]}) == 0
    assert host.live(USERS) == "the operator's own\n"


def test_a_symbolic_link_is_replaced_and_comes_back(host: Host) -> None:
    live = host.write("/etc/postfix/elsewhere", "target\n").with_name("main.cf")
    live.symlink_to("elsewhere")
    host.apply("postfix", OLD)
    assert not live.is_symlink()
    assert host.live("/etc/postfix/elsewhere") == "target\n"
    host.run("remove", "postfix")
    assert live.is_symlink()
    assert host.live(MAIN) == "target\n"


def test_remove_stops_the_service_and_puts_everything_back(host: Host) -> None:
    host.write(MAIN, "the package's own\n")
    host.apply("postfix", OLD)
    host.apply("postfix", NEW)
    for _ in range(2):
        assert host.run("remove", "postfix") == 0
        assert host.live(MAIN) == "the package's own\n"
        assert host.live(USERS) is None
        assert host.running is None
    assert not (host.fake / "enabled/postfix.service").exists()
    assert not host.state("postfix/generations").exists()


def test_remove_takes_away_the_folders_we_made_but_no_other(host: Host) -> None:
    host.write("/etc/hostname", "mail\n")
    assert host.apply("accounts", {"/etc/dovecot/users": "a@example.org:{ARGON2ID}$x::::::\n"}) == 0
    host.write("/etc/dovecot/kept", "somebody else's\n")
    assert host.apply("certificate", {"/etc/letsencrypt/renewal-hooks/deploy/mailhost": "#!/bin/sh\n"}) == 0
    host.run("remove", "accounts")
    host.run("remove", "certificate")
    assert sorted(str(path.relative_to(host.root / "etc")) for path in (host.root / "etc").rglob("*")) == [
        "dovecot",
        "dovecot/kept",
        "hostname",
    ]


def test_a_service_that_ran_before_us_runs_on_after_remove(host: Host) -> None:
    host.write(MAIN, "the operator's own\n")
    (host.fake / "active/postfix.service").touch()
    host.apply("postfix", OLD)
    host.run("remove", "postfix")
    assert host.running == "the operator's own\n"


def test_rollback_applies_the_generation_before_once_more(host: Host, capsys: Capsys) -> None:
    host.apply("postfix", OLD)
    host.apply("postfix", NEW)
    capsys.readouterr()
    assert host.run("rollback", "postfix") == 0
    assert capsys.readouterr().out == "3\n"
    assert host.running == OLD[MAIN]
    assert host.run("rollback", "postfix", "2") == 0
    assert host.running == NEW[MAIN]
    assert host.run("rollback", "postfix", "9") == 1
    assert "no such earlier generation" in capsys.readouterr().err


def test_five_generations_are_kept_and_what_was_before_us(host: Host, capsys: Capsys) -> None:
    host.write(MAIN, "before\n")
    for number in range(8):
        assert host.apply("postfix", {MAIN: f"myhostname = {number}\n"}) == 0
    capsys.readouterr()
    host.run("generations", "postfix")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["8", "7", "6", "5", "4"]
    host.run("remove", "postfix")
    assert host.live(MAIN) == "before\n"


def test_postfix_is_reloaded_but_restarted_when_its_network_changes(host: Host) -> None:
    host.apply("postfix", {MAIN: "inet_protocols = ipv4\n"})
    assert host.calls("systemctl re")[1:] == ["systemctl restart postfix.service"]
    host.apply("postfix", {MAIN: "inet_protocols = ipv4\nbiff = no\n"})
    assert host.calls("systemctl re") == ["systemctl reload postfix.service"]
    host.apply("postfix", {MAIN: "inet_protocols = all\n"})
    assert host.calls("systemctl re")[1:] == ["systemctl restart postfix.service"]


def test_a_new_file_does_not_look_half_written_to_postfix(host: Host) -> None:
    """Postfix waits up to two seconds for a main.cf that is younger than that, in each of its programs."""
    host.play("postfix", f'[ "$3" != check ] || find "$2/main.cf" -newermt "-2 seconds" >> {host.fake / "young"}\n')
    assert host.apply("postfix", OLD) == 0
    assert (host.fake / "young").read_text() == ""
    assert time.time() - (host.root / MAIN[1:]).stat().st_mtime >= 2


def test_a_unit_that_was_started_too_often_is_started_all_the_same(host: Host) -> None:
    """Systemd's start limit was hit by failed attempts; without this the way back would end in a stopped service."""
    (host.fake / "limit").touch()
    assert host.apply("postfix", OLD) == 0
    assert host.running == OLD[MAIN]


def test_no_other_unit_is_ever_touched(host: Host) -> None:
    host.apply("postfix", OLD)
    host.apply("postfix", NEW)
    host.run("remove", "postfix")
    asking = ("is-active", "is-enabled", "show", "cat")
    changes = [call.split() for call in host.calls("systemctl") if call.split()[1] not in asking]
    assert {words[1] for words in changes} == {"reset-failed", "restart", "reload", "enable", "disable", "stop"}
    assert {words[-1] for words in changes} == {"postfix.service", "postfix@-.service"}


def test_systemd_sees_its_own_kinds_of_files(host: Host) -> None:
    files = {
        "/etc/sysusers.d/mailhost.conf": "u vmail -\n",
        "/etc/tmpfiles.d/mailhost.conf": "d /var/vmail\n",
        "/etc/systemd/system/x.service.d/mailhost.conf": "[Service]\n",
    }
    assert host.apply("accounts", files) == 0
    assert [call.replace(str(host.root), "") for call in host.calls("system")] == [
        "systemd-sysusers --dry-run /var/lib/mailhost/accounts/candidate/etc/sysusers.d/mailhost.conf",
        "systemd-tmpfiles --create --prefix=/nonexistent "
        "/var/lib/mailhost/accounts/candidate/etc/tmpfiles.d/mailhost.conf",
        "systemd-sysusers /etc/sysusers.d/mailhost.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/mailhost.conf",
        "systemctl daemon-reload",
    ]


def test_a_broken_script_is_refused(host: Host, capsys: Capsys) -> None:
    hook = "/etc/letsencrypt/renewal-hooks/deploy/mailhost"
    assert host.apply("certificate", {hook: "#!/bin/sh\nif true; then\n"}, mode="0755") == 1
    assert "sh -n" in capsys.readouterr().err
    assert host.live(hook) is None


def test_a_required_file_that_is_missing_stops_before_any_change(host: Host, capsys: Capsys) -> None:
    assert host.apply("postfix", OLD, requires=["/etc/letsencrypt/live/x/fullchain.pem"]) == 1
    assert "/etc/letsencrypt/live/x/fullchain.pem, which does not exist" in capsys.readouterr().err
    host.write("/etc/letsencrypt/live/x/fullchain.pem", "x")
    assert host.apply("postfix", OLD, requires=["/etc/letsencrypt/live/x/fullchain.pem"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("myhostname = x\n", "line 1 on stdin should name a file"),
        (f"{bundle(OLD)}one line more\n", "line 5 on stdin should name a file"),
        (bundle(OLD).replace("old", "new"), f"{MAIN}: did not arrive whole"),
        (bundle(OLD)[:-2], f"{USERS}: did not arrive whole"),
        (bundle(OLD).replace(MAIN, "/etc/../x"), "must be absolute"),
        (bundle(OLD, mode="644"), "mode '644'"),
        (bundle(OLD).replace("root:root", "root"), "owner 'root'"),
        (bundle(OLD) + bundle(OLD), f"{MAIN}: sent twice"),
        (bundle(OLD, requires=["/etc/../x"]), "must be absolute"),
        (bundle(OLD, helth=["unit x"]), "line 1 on stdin should name a file"),
    ],
)
@pytest.mark.parametrize("command", [["stage", "postfix", "files"], ["apply", "postfix"]])
def test_files_that_did_not_come_whole_are_refused_in_words(
    host: Host, capsys: Capsys, command: list[str], text: str, message: str
) -> None:
    host.apply("postfix", NEW)
    assert host.run(*command, stdin=text) == 1
    assert message in capsys.readouterr().err
    assert {path: host.live(path) for path in NEW} == NEW


def test_files_of_any_content_come_whole(host: Host) -> None:
    odd = {MAIN: "", USERS: "\r\x0b==> /etc/x 0644 root:root 1 00 <==\r\n\u2028ü\n"}
    assert host.apply("postfix", odd) == 0
    assert {path: (host.root / path[1:]).read_bytes().decode() for path in odd} == odd


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ('{"files": {}, "helth": []}', "must be an object"),
        ('{"files": []}', '"files" must be an object'),
        ('{"files": {"etc/x": {}}}', "must be absolute"),
        ('{"files": {"/etc/../x": {}}}', "must be absolute"),
        ('{"files": {"/etc/x": {"mode": "0644"}}}', "must have exactly"),
        ('{"files": {"/etc/x": {"mode": "644", "owner": "root:root", "sha256": "' + "0" * 64 + '"}}}', "mode '644'"),
        ('{"files": {"/etc/x": {"mode": "0644", "owner": "root", "sha256": "' + "0" * 64 + '"}}}', "owner 'root'"),
        ('{"files": {"/etc/x": {"mode": "0644", "owner": "root:root", "sha256": "zz"}}}', "64 hex digits"),
        ('{"files": {}, "health": "tcp 25"}', "list of texts"),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(MailhostError, match=re.escape(message)):
        parse(text)


def test_when_told_to_stop_it_turns_back(host: Host) -> None:
    host.apply("postfix", OLD)
    once = host.write("/once", "")
    live = host.root / MAIN[1:]
    dies_in_reload = f"[ -f {once} ] && grep -q new {live} && {{ rm {once}; kill -TERM $PPID; sleep 9; }}\necho all\n"
    host.play("postconf", dies_in_reload)
    assert host.apply("postfix", NEW) == 1
    assert host.live(MAIN) == OLD[MAIN]
    assert not host.state("postfix/journal.json").exists()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_two_applies_of_one_service_wait_for_each_other(host: Host) -> None:
    lock = host.state("postfix/lock")
    with (
        durable.locked(lock),
        pytest.raises(MailhostError, match=rf"lock: held by process {os.getpid()} \(.*\) since .*; waited 0 s"),
        durable.locked(lock, patience=0.1),
    ):
        pass
    with durable.locked(lock, patience=0.1):
        pass


def test_a_file_whose_owner_does_not_exist_is_named() -> None:
    with pytest.raises(MailhostError, match="user nosuchuser does not exist"):
        owner_ids("nosuchuser:root")
    with pytest.raises(MailhostError, match="group nosuchgroup does not exist"):
        owner_ids("root:nosuchgroup")


def test_status_tells_the_state_of_each_service(host: Host, capsys: Capsys) -> None:
    host.apply("postfix", OLD)
    host.write(MAIN, "by hand\n")
    capsys.readouterr()
    assert host.run("status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "postfix: generation 1, files changed by hand, active",
    ]


def test_what_left_the_program_is_no_service_any_more(host: Host, capsys: Capsys) -> None:
    host.apply("postfix", OLD)
    assert host.run("remove", "postfix") == 0
    capsys.readouterr()
    assert host.run("status") == 0
    assert capsys.readouterr().out == ""
