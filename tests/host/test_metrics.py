"""`mailhostctl metrics` and the service that serves it, with commands that are played."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest

from mailhostctl import metrics
from mailhostctl.paths import Root
from tests.host.scratch import Host

UNIT = "/etc/systemd/system/mailhost-metrics.socket"
RULE = "/etc/rsyslog.d/00-mailhost.conf"
FILES = {UNIT: "[Socket]\nListenStream=127.0.0.1:9910\n", RULE: "*.* stop\n"}
UNITS = ("prometheus-postfix-exporter.service", "rsyslog.service", "mailhost-metrics.socket")


@pytest.fixture(autouse=True)
def mail(host: Host) -> None:
    """A folder for mail, an empty queue, and one certificate of a hundred days."""
    (host.root / "var/vmail").mkdir(parents=True)
    host.write("/etc/letsencrypt/live/mail.example.org/cert.pem", "")
    ends = time.strftime("%b %e %H:%M:%S %Y GMT", time.gmtime(time.time() + 100 * 86400))
    host.play("openssl", f"echo 'notAfter={ends}'\n")


def shown(host: Host, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    assert host.run("metrics") == 0
    text = capsys.readouterr().out
    return {name: float(value) for name, value in re.findall(r"^(\w+\{.*\}) (\S+)$", text, re.M)}


def queued(host: Host, *messages: tuple[str, float]) -> None:
    now = int(time.time())
    lines = [json.dumps({"queue_name": queue, "arrival_time": now - age}) for queue, age in messages]
    host.play("postqueue", "".join(f"echo '{line}'\n" for line in lines))


def test_each_queue_has_its_length_and_the_age_of_its_oldest_mail(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    queued(host, ("deferred", 60), ("deferred", 7200), ("active", 5))
    seen = shown(host, capsys)
    assert seen['mailhost_queue_messages{queue="deferred"}'] == 2
    assert seen['mailhost_queue_oldest_seconds{queue="deferred"}'] == pytest.approx(7200, abs=30)
    assert seen['mailhost_queue_messages{queue="active"}'] == 1
    assert seen['mailhost_queue_messages{queue="hold"}'] == 0
    assert seen['mailhost_queue_oldest_seconds{queue="hold"}'] == 0


def test_a_certificate_has_days(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    days = shown(host, capsys)['mailhost_certificate_days_left{name="mail.example.org"}']
    assert days == pytest.approx(100, abs=0.1)


def test_a_certificate_that_nobody_serves_any_more_does_not_count(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("left.example", "back.example"):
        host.write(f"/etc/letsencrypt/live/{name}/cert.pem", "")
        host.write(f"/etc/letsencrypt/renewal/{name}.retired", "")
    host.write("/etc/letsencrypt/renewal/back.example.conf", "")
    counted = {name for name in shown(host, capsys) if name.startswith("mailhost_certificate_days_left")}
    assert counted == {
        f'mailhost_certificate_days_left{{name="{name}"}}' for name in ("back.example", "mail.example.org")
    }


def test_a_source_that_fails_hides_no_other(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.fails("postqueue", "mail system is down")
    seen = shown(host, capsys)
    assert seen['mailhost_source_up{source="queue"}'] == 0
    assert seen['mailhost_source_up{source="certificates"}'] == 1
    assert not [name for name in seen if name.startswith("mailhost_queue")]
    assert 'mailhost_source_up{source="rspamd"}' not in seen  # there is none on this host


def test_a_service_has_its_generation_and_whether_it_runs(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.apply("opendkim", {"/etc/opendkim.conf": "Mode s\n"})
    host.apply("opendkim", {"/etc/opendkim.conf": "Mode sv\n"})
    seen = shown(host, capsys)
    assert seen['mailhost_service_generation{service="opendkim"}'] == 2
    assert seen['mailhost_service_active{service="opendkim"}'] == 1
    applied = seen['mailhost_service_applied_timestamp_seconds{service="opendkim"}']
    assert applied == pytest.approx(time.time(), abs=60)
    (host.fake / "active" / "opendkim.service").unlink()
    assert shown(host, capsys)['mailhost_service_active{service="opendkim"}'] == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /metrics/.. HTTP/1.1\r\n\r\n", b"404 Not Found"),
    ],
)
def test_a_request_is_answered(host: Host, request_: bytes, status: bytes) -> None:
    answer = io.BytesIO()
    metrics.serve(Root(base=host.root), io.BytesIO(request_), answer)
    head, _, body = answer.getvalue().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 " + status)
    assert (b"mailhost_source_up" in body) is (status == b"200 OK" and request_.startswith(b"GET"))
    (length,) = re.findall(rb"Content-Length: (\d+)", head)
    # HEAD has the length of what GET would answer (RFC 9110 §8.6).
    assert (int(length) == len(body)) is not request_.startswith(b"HEAD")


@pytest.mark.parametrize("request_", [b"", b"\r\n", b"GET\r\n\r\n", b"x" * 20_000])
def test_what_is_no_request_is_not_answered(host: Host, request_: bytes) -> None:
    answer = io.BytesIO()
    metrics.serve(Root(base=host.root), io.BytesIO(request_), answer)
    assert answer.getvalue() == b""


def test_exporter_log_and_page_come_and_go_together(host: Host) -> None:
    assert host.apply("metrics", FILES) == 0
    calls = host.calls("systemctl ")
    order = [calls.index(f"systemctl restart {unit}") for unit in ("rsyslog.service", *UNITS[:1], UNITS[2])]
    assert order == sorted(order)
    # Enabling makes aliases (syslog.service), for which systemd would lose a process that runs already.
    enabled = [number for number, call in enumerate(calls) if call.startswith("systemctl enable ")]
    assert enabled
    assert max(enabled) < min(order)
    assert host.run("remove", "metrics") == 0
    stopped = [call for call in host.calls("systemctl disable") if "--now" in call]
    assert {call.split()[-1] for call in stopped} == {*UNITS, "syslog.socket"}


def test_a_request_that_holds_the_address_is_waited_for(host: Host) -> None:
    (host.fake / "again").mkdir()
    (host.fake / "again/systemctl").symlink_to(host.fake / "play")
    held = f'if [ "$*" = "restart {UNITS[2]}" ] && [ ! -e "$FAKE/tried" ]; then : > "$FAKE/tried"; exit 1; fi\n'
    host.play("systemctl", f'{held}exec "$FAKE/again/systemctl" "$@"\n')
    assert host.apply("metrics", FILES) == 0
    assert (host.fake / "tried").exists()


def test_an_rsyslog_that_was_there_stays(host: Host) -> None:
    assert host.apply("metrics", FILES | {RULE: "mail.* -/var/log/mailhost.log\n"}) == 0
    assert host.run("remove", "metrics") == 0
    assert not [call for call in host.calls("systemctl disable") if "syslog" in call]


def test_an_rsyslog_that_ran_before_us_is_given_back(host: Host) -> None:
    """Our rule lets it write nothing but mail: without a restart it would keep to that."""
    (host.fake / "active/rsyslog.service").touch()
    (host.fake / "enabled/rsyslog.service").touch()
    assert host.apply("metrics", FILES) == 0
    assert host.apply("metrics", FILES | {UNIT: "[Socket]\nListenStream=127.0.0.1:9911\n"}) == 0
    host.calls()
    assert host.run("remove", "metrics") == 0
    calls = host.calls("systemctl ")
    assert not [call for call in calls if call.startswith("systemctl disable") and "syslog" in call]
    assert "systemctl restart rsyslog.service" in calls
    assert host.live(RULE) is None
    assert (host.fake / "enabled/rsyslog.service").exists()
    assert (host.fake / "active/rsyslog.service").exists()


def test_a_unit_that_systemd_does_not_understand_never_becomes_live(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.play("systemd-analyze", "echo 'mailhost-metrics.socket:2: Unknown key' >&2\n")  # it exits 0
    assert host.apply("metrics", FILES) == 1
    assert "systemd-analyze refuses the new files; nothing was changed" in capsys.readouterr().err
    assert host.live(UNIT) is None


def test_the_digest_says_how_things_are_and_what_went_through(host: Host, tmp_path: Path) -> None:
    queued(host, ("deferred", 7200))
    sent = tmp_path / "sent"
    host.play("pflogsumm", "echo 'Grand Totals'\n")
    host.play("sendmail", f'echo "$*" > {sent}; cat >> {sent}\n')
    assert host.run("digest", "--to", "postmaster@example.org") == 0
    arguments, _, mail_text = sent.read_text().partition("\n")
    assert arguments == "-i -f postmaster@example.org -- postmaster@example.org"
    for line in (
        "Auto-Submitted: auto-generated",
        "Queue: 1 deferred (oldest 2.0 h)",
        "Certificate mail.example.org: 100 days left",
        "Services: all run",
        "Grand Totals",
    ):
        assert line in mail_text.splitlines()


def test_a_timer_that_fails_is_explained_by_its_service(host: Host) -> None:
    host.fails("systemctl restart")
    assert host.apply("digest", {"/etc/systemd/system/mailhost-digest.timer": "[Timer]\nOnCalendar=daily\n"}) == 1
    assert {call.split()[-1] for call in host.calls("journalctl") if "-u" in call.split()} & {"mailhost-digest*"}


def test_a_digest_without_its_summary_fails(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.fails("pflogsumm", "no such option")
    assert host.run("digest", "--to", "postmaster@example.org") == 1
    assert "pflogsumm: no such option" in capsys.readouterr().err
