"""What a cut has left is put right: by the next command, by hand, and at boot before any daemon starts."""

from __future__ import annotations

import os
import time

import pytest

from mailhostctl.services import SERVICES
from tests.host import crashes
from tests.host.scratch import Host, bundle
from tests.host.test_crash import APPLY, BEFORE, MAIN, NEW, OLD, REMOVE, Stage, deaths

Capsys = pytest.CaptureFixture[str]
BOOT = ["recover", "--boot"]
POSTFIX = "postfix.service"


def power_cut(host: Host) -> None:
    """Nothing runs any more."""
    for unit in (host.fake / "active").iterdir():
        unit.unlink()


def settled(host: Host) -> bool:
    return not host.state("postfix/journal.json").exists()


def test_after_a_power_cut_at_any_step_the_files_are_whole_before_a_daemon_starts(stage: Stage) -> None:
    host = stage.host
    for step in deaths(stage, APPLY, bundle(NEW), stride=3):
        committed = host.state("postfix/current").exists() and host.state("postfix/current").read_text() != "1\n"
        if stage.origin == BEFORE:
            committed = host.state("postfix/current").exists()
        journalled = not settled(host)
        power_cut(host)
        world = crashes.run(host, BOOT)
        assert world is not None
        assert host.running is None, f"step {step}: started before its time"
        if committed:
            assert {path: host.live(path) for path in NEW} == NEW, step
        elif journalled:
            stage.assert_files_before(f"recovered after death at step {step}")
        assert settled(host), step


def test_recovery_at_boot_may_die_too(stage: Stage) -> None:
    host = stage.host
    for step in deaths(stage, APPLY, bundle(NEW), stride=7):
        for again in (5, 20, 40):
            power_cut(host)
            crashes.run(host, BOOT, die_at=again)
        stage.assert_nothing_torn(f"step {step}")
        crashes.run(host, BOOT)
        assert settled(host), step


def test_at_boot_no_unit_is_waited_for(host: Host) -> None:
    """A unit that orders itself before the daemons would wait for itself."""
    host.apply("postfix", OLD)
    cut(host)
    host.calls()
    assert host.run(*BOOT) == 0
    assert host.live(MAIN) == OLD[MAIN]
    verbs = [call for call in host.calls("systemctl ") if call.split()[1] in {"start", "restart", "reload", "stop"}]
    assert verbs == [f"systemctl start --no-block {POSTFIX}"]


def test_at_boot_a_service_that_did_not_run_before_us_does_not_start(host: Host) -> None:
    host.write(MAIN, BEFORE[MAIN])
    cut(host)
    (host.fake / "enabled" / POSTFIX).touch()  # systemd has planned its start
    host.calls()
    assert host.run(*BOOT) == 0
    assert host.live(MAIN) == BEFORE[MAIN]
    assert not (host.fake / "enabled" / POSTFIX).exists()
    calls = host.calls("systemctl ")
    assert f"systemctl stop --no-block {POSTFIX} postfix@-.service" in calls
    assert not [call for call in calls if call.split()[1] in {"start", "restart", "enable"}]


def test_at_boot_a_service_that_ran_before_us_starts(host: Host) -> None:
    host.write(MAIN, BEFORE[MAIN])
    (host.fake / "active" / POSTFIX).touch()
    cut(host)
    power_cut(host)
    assert host.run(*BOOT) == 0
    assert host.live(MAIN) == BEFORE[MAIN]
    assert f"systemctl start --no-block {POSTFIX}" in host.calls("systemctl ")


def test_by_hand_the_daemon_is_told_too(host: Host, capsys: Capsys) -> None:
    host.apply("postfix", OLD)
    cut(host)
    capsys.readouterr()
    assert host.run("status") == 0
    assert "postfix: a change was interrupted; run: mailhostctl recover\n" in capsys.readouterr().out
    assert host.run("check", "--hostname", "mail.example.org") == 1
    assert "postfix change: was interrupted; run: mailhostctl recover" in capsys.readouterr().err
    assert host.run("recover") == 0
    assert capsys.readouterr().out == "postfix: recovered\n"
    assert host.running == OLD[MAIN]
    assert settled(host)
    host.calls()
    assert host.run("recover") == 0
    assert capsys.readouterr().out == ""
    assert host.calls("systemctl ") == []


def test_one_service_that_cannot_be_recovered_keeps_no_other_back(host: Host, capsys: Capsys) -> None:
    host.apply("opendkim", {"/etc/opendkim.conf": "Mode s\n"})
    host.apply("postfix", OLD)
    cut(host)
    host.state("opendkim/journal.json").write_text('{"from": 1, "to": 7}')
    capsys.readouterr()
    assert host.run("recover") == 1
    said = capsys.readouterr()
    assert "opendkim: generation 7 is not kept" in said.err
    assert said.out == "postfix: recovered\n"
    assert host.live(MAIN) == OLD[MAIN]


def cut(host: Host) -> None:
    """Lets an apply of `NEW` die after it has exchanged the files."""
    with pytest.MonkeyPatch.context() as patch:
        for step in ("mailhostctl.probes.wait", "mailhostctl.transaction.Transaction._go_back"):
            patch.setattr(step, _dies)
        with pytest.raises(crashes.Death):
            host.run("apply", "postfix", stdin=bundle(NEW))
    assert not settled(host)
    assert host.live(MAIN) == NEW[MAIN]


def _dies(*_: object, **__: object) -> None:
    raise crashes.Death


def test_a_daemon_that_does_not_come_back_keeps_the_journal_but_not_the_next_apply(host: Host, capsys: Capsys) -> None:
    host.apply("postfix", OLD)
    for verb in ("restart", "reload"):
        host.fails(f"systemctl {verb}", "the disk of the daemon is gone")
    assert host.apply("postfix", NEW) == 1
    said = capsys.readouterr().err
    assert "postfix: generation 1 is in place again, but: systemctl re" in said
    assert host.live(MAIN) == OLD[MAIN]
    assert not settled(host), "nobody would know that the daemon was not told"
    for verb in ("restart", "reload"):
        host.works(f"systemctl {verb}")
    better = NEW | {MAIN: "inet_protocols = ipv6\n"}
    assert host.apply("postfix", better) == 0
    assert host.running == better[MAIN]
    assert settled(host)


def test_a_bad_origin_does_not_stop_a_good_apply(host: Host, capsys: Capsys) -> None:
    """The daemon refuses the former files too, for whatever reason; the new ones it takes."""
    host.apply("postfix", OLD)
    refuses = f'grep -q "all\\|ipv4" "{host.root}{MAIN}"'
    host.play(
        "systemctl", f'case "$1" in reload | restart) {refuses} && exit 1 ;; show) echo running ;; esac\nexit 0\n'
    )
    assert host.apply("postfix", NEW) == 1
    assert not settled(host)
    better = NEW | {MAIN: "inet_protocols = ipv6\n"}
    assert host.apply("postfix", better) == 0, capsys.readouterr().err
    assert host.live(MAIN) == better[MAIN]
    assert settled(host)


def test_what_the_daemon_has_loaded_is_unknown_after_a_cut_so_it_is_restarted(host: Host) -> None:
    host.apply("postfix", OLD)
    cut(host)
    host.calls()
    assert host.run("recover") == 0
    assert f"systemctl restart {POSTFIX}" in host.calls("systemctl ")


# --- what expires


def age(host: Host, number: int, days: float) -> None:
    """Makes a generation older."""
    then = time.time() - days * 86400
    os.utime(host.state(f"postfix/generations/{number}"), (then, then))


def kept(host: Host) -> list[str]:
    return sorted(path.name for path in host.state("postfix/generations").iterdir())


def test_a_generation_goes_30_days_after_the_next_one_without_any_apply(host: Host, capsys: Capsys) -> None:
    for number in range(4):
        host.apply("postfix", {MAIN: f"{number}\n"})
    age(host, 1, 400)
    age(host, 2, 31)  # number 1 was in effect until then
    age(host, 3, 29)
    assert host.run("expire") == 0
    assert kept(host) == ["0", "2", "3", "4"]
    age(host, 3, 4001)
    age(host, 4, 4000)  # however long it has been in effect
    assert host.run("expire") == 0
    assert kept(host) == ["0", "4"]
    capsys.readouterr()
    assert host.run("rollback", "postfix") == 1
    assert "kept before this one: none (at most 4, each for 30 days after the next one)" in capsys.readouterr().err


def test_nothing_expires_while_a_change_is_interrupted(host: Host) -> None:
    host.apply("postfix", OLD)
    cut(host)
    age(host, 2, 400)
    assert host.run("expire") == 0
    assert kept(host) == ["0", "1", "2"]


# --- the unit


def test_every_unit_of_every_service_waits_for_recovery_at_boot() -> None:
    ordered = {unit for service in SERVICES.values() for unit in service.ordered()}
    enabled = {unit for service in SERVICES.values() for unit in service.enabled()}
    assert enabled <= ordered
    assert {
        *("postfix@-.service", "postfix.service", "dovecot.service", "opendkim.service", "rspamd.service"),
        *("unbound.service", "redis-server.service", "nginx.service", "ufw.service", "fail2ban.service"),
        *("rsyslog.service", "mailhost-metrics.socket", "mailhost-tls-policy.socket", "mailhost-digest.timer"),
        *("clamav-daemon.socket", "clamav-daemon.service", "clamav-freshclam.service", "certbot.timer"),
        *("postfix-mta-sts-resolver.service", "mailhost-filter-errors.path", "prometheus-postfix-exporter.service"),
    } <= ordered


def test_removing_is_a_change_that_recovery_takes_back(host: Host) -> None:
    host.apply("postfix", OLD)
    host.fails("systemctl disable", "no")
    assert host.run(*REMOVE) == 1
    assert not settled(host)
    host.works("systemctl disable")
    assert host.run("recover") == 0
    assert host.live(MAIN) == OLD[MAIN]
    assert host.running == OLD[MAIN]
    assert host.run(*REMOVE) == 0
    assert host.live(MAIN) is None
