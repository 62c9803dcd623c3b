"""Reports that arrive in the postmaster's mailbox are fetched over SSH and shown."""

import json
import subprocess
import sys

from lab.clients import wait_for
from tests.e2e.conftest import Host
from tests.e2e.stack import ROOT
from tests.reports.samples import BOMB, dmarc, gzipped, mail, tls_mail

OUTSIDE_SENDER = "noreply-dmarc-support@outside.example"


def deliver(host: Host, *contents: bytes) -> None:
    """Hand mails to the host's own Postfix, as its port 25 would after its checks."""
    for content in contents:
        host.run("sendmail", "-f", OUTSIDE_SENDER, f"postmaster@{host.machine.domain}", content=content.decode())


def reports(host: Host, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reports", "--stack", host.stack.name, "--cwd", str(host.stack.folder), *options],
        cwd=ROOT,
        env=host.stack.environment | {"COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_reports_that_arrived_are_shown(host: Host) -> None:
    domain = host.machine.domain
    deliver(
        host,
        mail(gzipped(dmarc())).as_bytes(),
        mail(dmarc(org="hostile").replace("<feedback>", BOMB + "<feedback>").encode(), "text/xml").as_bytes(),
        tls_mail().as_bytes(),
    )

    def fetched() -> dict[str, object] | None:
        document: dict[str, object] = json.loads(reports(host, "--json").stdout)
        return document if document["reports"] == 2 and document["unreadable"] else None

    document = wait_for(fetched, "the reports", seconds=30)
    assert [(line["source"], line["count"]) for line in document["dmarc"]] == [  # type: ignore[attr-defined]
        ("203.0.113.13", 12),
        ("198.51.100.66", 3),
    ]
    shown = reports(host, "--days", "1", "--mailbox", f"alice@{domain}")
    assert shown.returncode == 0, shown.stderr
    assert f"2 reports of the last 1 days in alice@{domain}" in shown.stdout
    for words in ("198.51.100.66", "quarantine", "starttls-not-supported (203)", "not safe, well-formed XML"):
        assert words in shown.stdout


def test_a_mailbox_that_does_not_exist_is_named(host: Host) -> None:
    missing = reports(host, "--mailbox", f"nobody@{host.machine.domain}")
    assert missing.returncode == 3
    assert missing.stderr.startswith("reports: doveadm on ")
