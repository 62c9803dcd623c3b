"""What monitoring reads: pages with real values, on localhost only, and the digest."""

import json
import re
import secrets
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.clients import compose, imap_arrival, submit, wait_for
from lab.demo import account
from model import constants
from tests.e2e.conftest import Host

PAGES = {
    "mailhost": constants.HOST_METRICS,
    "postfix": constants.POSTFIX_METRICS,
    "dovecot": constants.DOVECOT_METRICS,
}
MONITORING = Path(__file__).parents[2] / "monitoring"
_FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
_WORDS = frozenset({"and", "or", "by", "on", "count", "max", "min", "rate", "increase", "vector", "label_values"})


def page(host: Host, name: str) -> str:
    return host.run("python3", "-c", _FETCH, f"http://127.0.0.1:{PAGES[name]}/metrics")


def figures(text: str) -> dict[str, float]:
    """Return the value of each line, by the name with its labels."""
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.M)}


def asked(expression: str) -> set[str]:
    """Return the metrics that an expression of Prometheus names."""
    bare = re.sub(r'\{[^}]*\}|"[^"]*"|\[\w+\]|\([\w, ]*\)(?= \()', " ", expression)
    return set(re.findall(r"\b[a-z]\w+\b", bare)) - _WORDS


def expressions() -> set[str]:
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    board: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    alerts = {rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    return alerts | {target["expr"] for panel in board["panels"] for target in panel["targets"]}


def test_the_hosts_own_page_has_real_values(host: Host) -> None:
    seen = figures(page(host, "mailhost"))
    hostname = host.machine.hostname
    assert seen[f'mailhost_certificate_days_left{{name="{hostname}"}}'] > 30
    blocks, size = map(int, host.run("stat", "-f", "-c", "%b %S", constants.MAIL_DIR).split())
    assert seen[f'mailhost_disk_size_bytes{{path="{constants.MAIL_DIR}"}}'] == blocks * size
    generation = host.run("cat", "/var/lib/mailhost/postfix/current").strip()
    assert seen['mailhost_service_generation{service="postfix"}'] == float(generation)
    sources = {name: value for name, value in seen.items() if name.startswith("mailhost_source_up")}
    assert len(sources) == 5
    assert set(sources.values()) == {1}
    assert "rspamd_scanned_total" in seen


def test_a_service_that_is_down_shows(host: Host) -> None:
    line = 'mailhost_service_active{service="opendkim"}'
    assert figures(page(host, "mailhost"))[line] == 1
    with host.stopped("opendkim"):
        assert figures(page(host, "mailhost"))[line] == 0


def test_mail_that_waits_shows(host: Host) -> None:
    nobody = "nobody@[203.0.113.254]"  # no machine has the address

    def deferred() -> tuple[float, ...]:
        seen = figures(page(host, "mailhost"))
        return tuple(seen[f'mailhost_queue_{name}{{queue="deferred"}}'] for name in ("messages", "oldest_seconds"))

    assert deferred() == (0, 0)
    host.run("sendmail", "-f", "", nobody, content="Subject: waits\n\nA mail.\n")
    try:
        _, age = wait_for(lambda: deferred() if deferred()[0] == 1 else None, "the mail in the queue")
        assert 0 < age < 60
    finally:
        host.run("postsuper", "-d", "ALL")
    assert deferred() == (0, 0)


def test_a_mail_raises_the_counters(host: Host) -> None:
    alice, about = account(host.machine, "alice"), secrets.token_hex(6)
    names = ("postfix_cleanup_messages_processed_total", "postfix_qmgr_messages_removed_total")

    def counted() -> list[float]:
        seen = figures(page(host, "postfix"))
        return [seen[name] for name in names]

    before = counted()
    delivered = figures(page(host, "dovecot"))["dovecot_mail_delivery_total"]
    submit(alice, compose(alice.address, alice.address, about), port=constants.SUBMISSIONS)
    imap_arrival(alice, about)
    wait_for(lambda: all(now > then for now, then in zip(counted(), before, strict=True)), "Postfix' counters")
    assert figures(page(host, "dovecot"))["dovecot_mail_delivery_total"] > delivered


@pytest.mark.parametrize("port", PAGES.values(), ids=PAGES)
def test_a_page_is_not_for_the_world(host: Host, port: int) -> None:
    (listening,) = host.run("ss", "-Hltn", f"sport = :{port}").splitlines()
    assert listening.split()[3] == f"127.0.0.1:{port}"
    with pytest.raises(OSError, match=r"timed out|refused"):
        socket.create_connection((host.machine.ipv4, port), timeout=2)


def test_there_is_only_one_page(host: Host) -> None:
    for request, status in (
        ("GET / HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("HEAD /metrics HTTP/1.0", "200"),
    ):
        ask = (
            "import socket, sys; client = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
            "client.sendall(sys.stdin.read().encode()); print(client.makefile().read())"
        )
        answer = host.run("python3", "-c", ask, str(constants.HOST_METRICS), content=f"{request}\n\n")
        assert answer.startswith(f"HTTP/1.0 {status} ")
    assert host.run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "mailhost-metrics*") == ""


def test_nothing_of_the_page_stays_in_memory(host: Host) -> None:
    page(host, "mailhost")
    ended = "the end of the process"
    wait_for(lambda: "mailhostctl metrics" not in host.run("ps", "-eo", "args"), ended, seconds=5)


def test_dashboard_and_rules_only_name_what_a_host_has(host: Host) -> None:
    shown = {name.partition("{")[0] for name in PAGES for name in figures(page(host, name))} | {"up"}
    wanted = {name for expression in expressions() for name in asked(expression)}
    assert len(wanted) > 15
    assert wanted - shown == set()


def test_the_log_holds_mail_only_and_is_turned_over(host: Host) -> None:
    host.run("logger", "-p", "user.notice", "not mail")
    host.run("logger", "-p", "mail.info", "-t", "postfix/test", "is mail")
    wait_for(lambda: "is mail" in host.run("cat", "/var/log/mailhost.log"), "the line")
    assert "not mail" not in host.run("cat", "/var/log/mailhost.log")
    assert not re.search(r"\b(?:syslog|user\.log|auth\.log|mail\.log)\b", host.run("ls", "/var/log"))
    host.run("logrotate", "--force", "/etc/logrotate.d/mailhost")
    assert "is mail" in host.run("cat", "/var/log/mailhost.log.1")
    # The exporter was restarted.
    port = str(constants.POSTFIX_METRICS)
    wait_for(lambda: host.run("ss", "-Hltn", f"sport = :{port}"), "the exporter's port")
    test_a_mail_raises_the_counters(host)


def test_the_digest_reaches_the_postmaster(host: Host) -> None:
    alice = account(host.machine, "alice")
    host.run_fails("dpkg-query", "-W", "pflogsumm")
    with host.stack.kept():
        host.stack.configure({"metrics": {"digest": True}})
        host.stack.up().must_pass()
        assert host.run("systemctl", "is-active", "mailhost-digest.timer").strip() == "active"
        host.run("systemctl", "start", "mailhost-digest.service")
        about = f"Mail on {host.machine.hostname}, {host.run('date', '+%F').strip()}"
        text = str(imap_arrival(alice, about).get_content())
    host.stack.up().must_pass()
    assert "Queue: " in text
    assert f"Certificate {host.machine.hostname}: " in text
    assert int(re.findall(r"^ +(\d+)[km]? +delivered\r?$", text, re.M)[0]) > 0
    host.run_fails("systemctl", "is-active", "mailhost-digest.timer")
    host.run_fails("test", "-e", "/etc/systemd/system/mailhost-digest.timer")
